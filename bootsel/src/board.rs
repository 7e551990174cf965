// SPDX-License-Identifier: MIT OR Apache-2.0

//! The revision code of a Raspberry Pi: which board it is, and whether its bootloader lies in an EEPROM. The device
//! tree has it as `system/linux,revision`, the firmware as a property.
//! (Raspberry Pi documentation, `raspberry-pi/revision-codes.adoc`.)

use crate::eeprom;

/// Set in the codes that are put together from fields.
const NEW: u32 = 1 << 23;
/// Sizes of memory by their number, in MiB; number 7 is "other".
const MEMORY: [u32; 7] = [256, 512, 1024, 2048, 4096, 8192, 16384];

/// The processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// Pi 1 and Zero.
    Bcm2835,
    /// Pi 2.
    Bcm2836,
    /// Pi 2 revision 1.2, Pi 3 and Zero 2 W.
    Bcm2837,
    /// Pi 4 family.
    Bcm2711,
    /// Pi 5 family.
    Bcm2712,
}

/// What a revision code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Number of the type in codes of the new style.
    pub kind: u8,
    /// The processor.
    pub chip: Chip,
    /// Fourth digit of the board's revision: 4 is 1.4.
    pub revision: u8,
    /// MiB of memory, where the code tells.
    pub memory: Option<u32>,
}

/// Type 0x11.
const PI_4B: u8 = 0x11;
/// Type 0x14.
const CM4: u8 = 0x14;
/// Type 0x15.
const CM4S: u8 = 0x15;

impl Board {
    /// `None` for codes that no board has.
    pub fn from_code(code: u32) -> Option<Self> {
        if code & NEW == 0 {
            return old(code);
        }
        let chip = match code >> 12 & 0xf {
            0 => Chip::Bcm2835,
            1 => Chip::Bcm2836,
            2 => Chip::Bcm2837,
            3 => Chip::Bcm2711,
            4 => Chip::Bcm2712,
            _ => return None,
        };
        let [low, type_low, memory, _] = code.to_le_bytes();
        let kind = type_low << 4 | low >> 4;
        let memory = MEMORY.get(usize::from(memory >> 4 & 7)).copied();
        Some(Self { kind, chip, revision: low & 0xf, memory })
    }

    /// `Raspberry Pi 4 Model B`; types that came later have no name here, and all the rest of the code holds.
    pub fn model(&self) -> &'static str {
        match self.kind {
            0x00 => "Raspberry Pi 1 Model A",
            0x01 => "Raspberry Pi 1 Model B",
            0x02 => "Raspberry Pi 1 Model A+",
            0x03 => "Raspberry Pi 1 Model B+",
            0x04 => "Raspberry Pi 2 Model B",
            0x06 => "Raspberry Pi Compute Module 1",
            0x08 => "Raspberry Pi 3 Model B",
            0x09 => "Raspberry Pi Zero",
            0x0a => "Raspberry Pi Compute Module 3",
            0x0c => "Raspberry Pi Zero W",
            0x0d => "Raspberry Pi 3 Model B+",
            0x0e => "Raspberry Pi 3 Model A+",
            0x10 => "Raspberry Pi Compute Module 3+",
            PI_4B => "Raspberry Pi 4 Model B",
            0x12 => "Raspberry Pi Zero 2 W",
            0x13 => "Raspberry Pi 400",
            CM4 => "Raspberry Pi Compute Module 4",
            CM4S => "Raspberry Pi Compute Module 4S",
            0x17 => "Raspberry Pi 5",
            0x18 => "Raspberry Pi Compute Module 5",
            0x19 => "Raspberry Pi 500",
            0x1a => "Raspberry Pi Compute Module 5 Lite",
            0x1b => "Raspberry Pi Compute Module 0",
            _ => "Raspberry Pi of a type that is not known",
        }
    }

    /// The kind of EEPROM that the bootloader lies in; the others load it from the first partition.
    /// (`raspberry-pi/boot-eeprom.adoc`)
    pub fn eeprom(&self) -> Option<eeprom::Chip> {
        match self.chip {
            Chip::Bcm2835 | Chip::Bcm2836 | Chip::Bcm2837 => None,
            Chip::Bcm2711 => Some(eeprom::Chip::Bcm2711),
            Chip::Bcm2712 => Some(eeprom::Chip::Bcm2712),
        }
    }

    /// Whether the ROM looks for recovery.bin, which writes the EEPROM. That of a Compute Module 4 or 4S does not:
    /// `compute-module/cm-bootloader.adoc` has it for SD cards as for eMMC, and rpi-eeprom-update leaves both types out
    /// whatever they boot from. That text is older than the Compute Module 5, which rpi-eeprom-update does not leave
    /// out; where its ROM did not look either, the attempts come to their end.
    pub fn runs_recovery(&self) -> bool {
        self.eeprom().is_some() && ![CM4, CM4S].contains(&self.kind)
    }

    /// Whether the USB controller's firmware lies in an EEPROM of its own, which is not written here.
    /// (rpi-eeprom-update: `HAVE_VL805_EEPROM`)
    pub fn has_vl805_eeprom(&self) -> bool {
        self.kind == PI_4B && self.revision < 4
    }
}

/// The codes before the Pi 2, which were counted. Bit 24 says that the warranty is void, and whatever stands above it
/// is not part of the number.
fn old(code: u32) -> Option<Board> {
    let (kind, revision, memory) = match code & 0x00ff_ffff {
        0x02 | 0x03 => (0x01, 0, Some(256)),
        0x04..=0x06 => (0x01, 0, Some(256)),
        0x07..=0x09 => (0x00, 0, Some(256)),
        0x0d..=0x0f => (0x01, 0, Some(512)),
        0x10 | 0x13 => (0x03, 2, Some(512)),
        0x11 | 0x14 => (0x06, 0, Some(512)),
        0x12 => (0x02, 1, Some(256)),
        // sold with 256 and with 512 MiB
        0x15 => (0x02, 1, None),
        _ => return None,
    };
    Some(Board { kind, chip: Chip::Bcm2835, revision, memory })
}

#[cfg(test)]
mod tests;
