// SPDX-License-Identifier: MIT OR Apache-2.0

//! What may be written, what makes it active, and why not.

use core::fmt;

use super::{Active, BOOT_ACK, Boot, ENABLE_SHIFT, ExtCsd, PARTITION_CONFIG, Protection};

/// What is zeroed first and written last of an image.
pub const SECTOR: usize = 512;

impl ExtCsd {
    /// The boot partition that does not boot: the only one that may be written.
    ///
    /// # Errors
    /// Where it is not known that one of the two boots.
    pub fn inactive(&self) -> Result<Boot, Refusal> {
        if self.boot_bytes() == 0 {
            return Err(Refusal::NoBootPartitions);
        }
        match self.active() {
            Active::Boot(boot) => Ok(boot.other()),
            Active::None => Err(Refusal::NotEnabled),
            Active::User => Err(Refusal::UserArea),
            Active::Reserved(value) => Err(Refusal::Reserved(value)),
        }
    }

    /// Where an image of so many bytes goes; `bytes` of the partition are what the kernel has of it.
    ///
    /// # Errors
    /// Where it must not, or cannot.
    pub fn may_write(&self, image: u64, partition: impl Fn(Boot) -> u64) -> Result<Boot, Refusal> {
        let to = self.inactive()?;
        let room = self.boot_bytes().min(partition(to));
        if image == 0 {
            return Err(Refusal::Empty);
        }
        if image > room {
            return Err(Refusal::Large { image, to, room });
        }
        match self.write_protection(to) {
            Protection::None => Ok(to),
            protection => Err(Refusal::WriteProtected(to, protection)),
        }
    }

    /// What makes the other boot partition active.
    ///
    /// # Errors
    /// Where that cannot be, or must not.
    pub fn may_switch(&self) -> Result<Switch, Refusal> {
        let to = self.inactive()?;
        match self.config_protection() {
            Protection::None => {
                let value = self.partition_config & BOOT_ACK | to.enable() << ENABLE_SHIFT;
                Ok(Switch { to, value })
            }
            protection => Err(Refusal::ConfigProtected(protection)),
        }
    }

    /// What is to be done so that the partition with a content boots; nothing where it does. `found` is what the same
    /// number of bytes of each partition hashes to.
    ///
    /// # Errors
    /// As [`ExtCsd::may_switch`], and where no partition has it.
    pub fn decide_switch<T: PartialEq>(
        &self,
        wanted: &T,
        found: &[T; 2],
    ) -> Result<Option<Switch>, Refusal> {
        let to = self.inactive()?;
        let has = |boot: Boot| boot.of(found.each_ref()) == wanted;
        if has(to.other()) {
            return Ok(None);
        }
        let switch = self.may_switch()?;
        if has(switch.to) { Ok(Some(switch)) } else { Err(Refusal::Content(to)) }
    }
}

/// PARTITION_CONFIG as it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The partition that boots then.
    pub to: Boot,
    /// With BOOT_ACK as it was, and 0 in PARTITION_ACCESS.
    pub value: u8,
}

impl Switch {
    /// The argument of CMD6: one byte is written, wholly or not at all. (`__mmc_switch`)
    pub fn argument(self) -> u32 {
        /// `MMC_SWITCH_MODE_WRITE_BYTE`
        const WRITE_BYTE: u32 = 3;
        /// `EXT_CSD_CMD_SET_NORMAL`
        const CMD_SET_NORMAL: u32 = 1;
        WRITE_BYTE << 24
            | u32::from(PARTITION_CONFIG) << 16
            | u32::from(self.value) << 8
            | CMD_SET_NORMAL
    }

    /// Whether the register says so. PARTITION_ACCESS is the kernel's.
    pub fn is_done(self, ext_csd: &ExtCsd) -> bool {
        ext_csd.partition_config & (BOOT_ACK | 7 << ENABLE_SHIFT) == self.value
    }
}

/// The first sector of an image that is not all zeros. An SoC's ROM looks for a header at an offset of its own, and before
/// that an image is empty: without this sector it is none. `None` where nothing is there.
pub fn first_sector(image: &[u8]) -> Option<usize> {
    let sector = image.chunks(SECTOR).position(|sector| sector.iter().any(|byte| *byte != 0))?;
    sector.checked_mul(SECTOR)
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An old eMMC, or one without.
    NoBootPartitions,
    /// Neither partition boots.
    NotEnabled,
    /// The user area boots.
    UserArea,
    /// A value that the standard does not give.
    Reserved(u8),
    /// Nothing to write.
    Empty,
    /// The image does not fit.
    Large {
        /// Its bytes.
        image: u64,
        /// The partition.
        to: Boot,
        /// And its bytes.
        room: u64,
    },
    /// The partition cannot be written.
    WriteProtected(Boot, Protection),
    /// Nothing can be made active.
    ConfigProtected(Protection),
    /// The partition that would be made active has another content.
    Content(Boot),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHOOSE: &str = "where the SoC's ROM boots from boot partitions and one of them has a bootloader, `mmc \
                              bootpart enable` of mmc-utils makes that active";
        let when = |protection: &Protection| match protection {
            Protection::Permanent => "for good: this eMMC cannot be updated so",
            _ => {
                "until its power is off, by the bootloader or by somebody in this boot: do it before that"
            }
        };
        match self {
            Self::NoBootPartitions => f.write_str("this eMMC has no boot partitions"),
            Self::NotEnabled => {
                write!(f, "no partition is enabled for boot, so none is the inactive one; {CHOOSE}")
            }
            Self::UserArea => write!(
                f,
                "the user area is active: the bootloader lies there, and no boot partition is in use; {CHOOSE}"
            ),
            Self::Reserved(value) => {
                write!(f, "BOOT_PARTITION_ENABLE is {value}, which is reserved; {CHOOSE}")
            }
            Self::Empty => f.write_str("the image is empty, or zeros to its end"),
            Self::Large { image, to, room } => {
                write!(f, "the image has {image} bytes or more, {to} has {room}")
            }
            Self::WriteProtected(boot, protection) => {
                write!(f, "{boot} is write-protected {}", when(protection))
            }
            Self::ConfigProtected(protection) => {
                write!(f, "PARTITION_CONFIG is protected {}", when(protection))
            }
            Self::Content(boot) => write!(
                f,
                "{boot} does not verify: its content is another one; write it again with `bootsel emmc write`"
            ),
        }
    }
}

impl core::error::Error for Refusal {}
