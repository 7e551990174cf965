// SPDX-License-Identifier: MIT OR Apache-2.0

//! The EEPROM that holds the bootloader of a Raspberry Pi 4 or 5: its images, and whether and how one is written.
//!
//! An update is three files on the first partition. At the next reset the ROM runs `recovery.bin`, which writes
//! `pieeprom.upd` where `pieeprom.sig` has its hash, renames itself and resets again. They lie there all the time under
//! names that nothing looks for, and are renamed together by one sector write: [`stage`]. Whether that is done is
//! [`decide`]'s. (Raspberry Pi documentation, `raspberry-pi/boot-eeprom.adoc`; what this tree calls rpi-eeprom is the
//! repository raspberrypi/rpi-eeprom with its scripts rpi-eeprom-update, rpi-eeprom-config and rpi-eeprom-digest.)

pub mod attempts;
pub mod bootconf;
pub mod decide;
pub mod image;
pub mod lz4;
pub mod signature;
pub mod stage;
pub mod version;

use core::fmt;

/// The processors with an EEPROM. Images, recovery.bin and ROM of the one are not compatible with those of the other;
/// the ROM passes over the other one's recovery.bin. (rpi-eeprom, `firmware-2712/release-notes.md`, 2023-09-13)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// Pi 4 family.
    Bcm2711,
    /// Pi 5 family.
    Bcm2712,
}

impl Chip {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bcm2711, Self::Bcm2712];

    /// `2711` or `2712`, as file names and signatures have it.
    pub fn number(self) -> u16 {
        match self {
            Self::Bcm2711 => 2711,
            Self::Bcm2712 => 2712,
        }
    }

    /// The chip of that number.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|chip| chip.number() == number)
    }

    /// Bytes of the EEPROM and of each image. (rpi-eeprom-config: `VALID_IMAGE_SIZES`)
    pub fn image_bytes(self) -> u32 {
        match self {
            Self::Bcm2711 => 512 << 10,
            Self::Bcm2712 => 2 << 20,
        }
    }

    /// The chip whose images are that long.
    pub fn from_image_bytes(bytes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|chip| usize::try_from(chip.image_bytes()) == Ok(bytes))
    }

    /// Build time of the oldest bootloader that slots can be tried with, where nothing else is asked for. On a Pi 4
    /// 2022-11-25, the first release for everybody with `tryboot_a_b`; on a Pi 5 2024-05-13, the first that says which
    /// partition it booted. (rpi-eeprom, `firmware-*/versions.txt` and `release-notes.md`)
    pub fn least(self) -> u32 {
        match self {
            Self::Bcm2711 => 1_669_373_653,
            Self::Bcm2712 => 1_715_613_301,
        }
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BCM{}", self.number())
    }
}
