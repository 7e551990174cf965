// SPDX-License-Identifier: MIT OR Apache-2.0

//! Images of the EEPROM of a Raspberry Pi 4 or 5, made up: sections, texts and configuration as those of Raspberry Pi
//! have them, and noise where those have programs. They are for tests and for whatever plays the firmware's part; no
//! board starts from them.
//!
//! Written from `rpi-eeprom-config` and from what was seen in all images of rpi-eeprom's `firmware-2711` and
//! `firmware-2712` up to 2026-08, and not from `bootsel`, which reads them.
#![forbid(unsafe_code)]

pub mod lz4;
mod release;
mod section;

pub use release::{Date, Release};
pub use section::{RESERVED, Section, build};

/// The processors with an EEPROM.
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

    /// As in the names of directories.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Bcm2711 => 2711,
            Self::Bcm2712 => 2712,
        }
    }

    /// Bytes of an image. (rpi-eeprom-config: `VALID_IMAGE_SIZES`)
    #[must_use]
    pub fn image_bytes(self) -> usize {
        match self {
            Self::Bcm2711 => 512 << 10,
            Self::Bcm2712 => 2 << 20,
        }
    }
}

/// Bytes that do not compress, equal for equal numbers.
#[must_use]
pub fn noise(number: u32, bytes: usize) -> Vec<u8> {
    let mut state = u64::from(number);
    let mut next = || {
        // Knuth's MMIX generator, of which the upper bits are the good ones
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}
