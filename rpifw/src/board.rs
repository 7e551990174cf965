// SPDX-License-Identifier: MIT OR Apache-2.0

//! The boards. (DOC raspberry-pi/revision-codes.adoc: types, chips and memory; DOC config_txt/conditional.adoc:
//! filters; raspberrypi/firmware `boot/`: device trees; start.elf of 2024-04-24: the table of upstream names behind
//! its `bcm%d-rpi-%s.dtb`.)

/// The processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chip {
    /// Pi 1 and Zero: one ARMv6 core.
    Bcm2835,
    /// Pi 2: ARMv7.
    Bcm2836,
    /// Pi 2 revision 1.2, Pi 3 and Zero 2 W: ARMv8.
    Bcm2837,
    /// Pi 4 family: ARMv8.
    Bcm2711,
    /// Pi 5 family: ARMv8, 64-bit kernels only.
    Bcm2712,
}

impl Chip {
    /// The second half of the firmware and the file that goes with it, both loaded from the boot partition. A Pi 5
    /// has everything in its EEPROM. (DOC configuration/boot_folder.adoc)
    #[must_use]
    pub fn firmware(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bcm2835 | Self::Bcm2836 | Self::Bcm2837 => Some(("start.elf", "fixup.dat")),
            Self::Bcm2711 => Some(("start4.elf", "fixup4.dat")),
            Self::Bcm2712 => None,
        }
    }

    /// Whether the first half of the firmware lies in an EEPROM; the others load bootcode.bin from partition 1.
    /// (DOC raspberry-pi/boot-eeprom.adoc)
    #[must_use]
    pub fn has_eeprom(self) -> bool {
        matches!(self, Self::Bcm2711 | Self::Bcm2712)
    }

    /// Whether it runs 64-bit kernels.
    #[must_use]
    pub fn can_64bit(self) -> bool {
        !matches!(self, Self::Bcm2835 | Self::Bcm2836)
    }

    /// `arm_64bit` where config.txt does not say. (DOC config_txt/boot.adoc: "Defaults to 1 on Pi 4s [...] and 0 on
    /// all other platforms"; the Pi 5 has no other mode.)
    #[must_use]
    pub fn default_arm_64bit(self) -> bool {
        matches!(self, Self::Bcm2711 | Self::Bcm2712)
    }

    /// Names of kernels that are looked for where config.txt names none, the first that exists being taken.
    /// (DOC config_txt/boot.adoc, `kernel`; a Pi 5 falls back to kernel8.img.)
    #[must_use]
    pub fn kernels(self, arm_64bit: bool) -> &'static [&'static str] {
        match self {
            Self::Bcm2712 => &["kernel_2712.img", "kernel8.img"],
            _ if arm_64bit && self.can_64bit() => &["kernel8.img"],
            Self::Bcm2835 => &["kernel.img"],
            Self::Bcm2836 | Self::Bcm2837 => &["kernel7.img"],
            Self::Bcm2711 => &["kernel7l.img"],
        }
    }
}

/// A model of Raspberry Pi.
#[derive(Debug, PartialEq, Eq)]
pub struct Board {
    /// What a person types: `pi3b`.
    pub name: &'static str,
    /// `Raspberry Pi 3 Model B`
    pub model: &'static str,
    /// Its processor.
    pub chip: Chip,
    /// The model filters that match it, in lower case and without brackets.
    pub filters: &'static [&'static str],
    /// Its type in a revision code of the new style, which `[board-type=]` compares.
    pub type_code: u32,
    /// Device trees that it asks for by default, in order; the first that exists is loaded.
    pub dtb: &'static [&'static str],
    /// The same with `upstream_kernel=1`, before those of `dtb`.
    pub upstream_dtb: &'static [&'static str],
    /// MiB of memory of the smallest variant.
    pub memory: u32,
}

/// The board of this name, without regard to case.
#[must_use]
pub fn board(name: &str) -> Option<&'static Board> {
    BOARDS.iter().find(|board| board.name.eq_ignore_ascii_case(name))
}

#[allow(clippy::too_many_arguments, reason = "a row of the table below")]
const fn row(
    name: &'static str,
    model: &'static str,
    chip: Chip,
    type_code: u32,
    memory: u32,
    filters: &'static [&'static str],
    dtb: &'static [&'static str],
    upstream_dtb: &'static [&'static str],
) -> Board {
    Board { name, model, chip, filters, type_code, dtb, upstream_dtb, memory }
}

use Chip::{Bcm2711, Bcm2712, Bcm2835, Bcm2836, Bcm2837};

/// All boards, in the order in which they came out, by family.
#[rustfmt::skip]
pub static BOARDS: &[Board] = &[
    row("pi1a", "Raspberry Pi 1 Model A", Bcm2835, 0x00, 256, &["pi1"],
        &["bcm2708-rpi-b.dtb"], &["bcm2835-rpi-a.dtb"]),
    row("pi1b-rev1", "Raspberry Pi 1 Model B, revision 1", Bcm2835, 0x01, 256, &["pi1"],
        &["bcm2708-rpi-b-rev1.dtb", "bcm2708-rpi-b.dtb"], &["bcm2835-rpi-b.dtb"]),
    row("pi1b", "Raspberry Pi 1 Model B", Bcm2835, 0x01, 256, &["pi1"],
        &["bcm2708-rpi-b.dtb"], &["bcm2835-rpi-b-rev2.dtb"]),
    row("pi1a+", "Raspberry Pi 1 Model A+", Bcm2835, 0x02, 256, &["pi1"],
        &["bcm2708-rpi-b-plus.dtb"], &["bcm2835-rpi-a-plus.dtb"]),
    row("pi1b+", "Raspberry Pi 1 Model B+", Bcm2835, 0x03, 512, &["pi1"],
        &["bcm2708-rpi-b-plus.dtb"], &["bcm2835-rpi-b-plus.dtb"]),
    row("cm1", "Raspberry Pi Compute Module 1", Bcm2835, 0x06, 512, &["pi1"],
        &["bcm2708-rpi-cm.dtb"], &["bcm2835-rpi-cm1-io1.dtb"]),
    row("pi0", "Raspberry Pi Zero", Bcm2835, 0x09, 512, &["pi0"],
        &["bcm2708-rpi-zero.dtb"], &["bcm2835-rpi-zero.dtb"]),
    row("pi0w", "Raspberry Pi Zero W", Bcm2835, 0x0c, 512, &["pi0", "pi0w"],
        &["bcm2708-rpi-zero-w.dtb"], &["bcm2835-rpi-zero-w.dtb"]),
    row("pi2b", "Raspberry Pi 2 Model B, revision 1.0 and 1.1", Bcm2836, 0x04, 1024, &["pi2"],
        &["bcm2709-rpi-2-b.dtb"], &["bcm2836-rpi-2-b.dtb"]),
    row("pi2b-1.2", "Raspberry Pi 2 Model B, revision 1.2", Bcm2837, 0x04, 1024, &["pi2"],
        &["bcm2710-rpi-2-b.dtb"], &["bcm2837-rpi-2-b.dtb"]),
    row("pi3b", "Raspberry Pi 3 Model B", Bcm2837, 0x08, 1024, &["pi3"],
        &["bcm2710-rpi-3-b.dtb"], &["bcm2837-rpi-3-b.dtb"]),
    row("pi3b+", "Raspberry Pi 3 Model B+", Bcm2837, 0x0d, 1024, &["pi3", "pi3+"],
        &["bcm2710-rpi-3-b-plus.dtb"], &["bcm2837-rpi-3-b-plus.dtb"]),
    row("pi3a+", "Raspberry Pi 3 Model A+", Bcm2837, 0x0e, 512, &["pi3", "pi3+"],
        &["bcm2710-rpi-3-b-plus.dtb"], &["bcm2837-rpi-3-a-plus.dtb"]),
    row("cm3", "Raspberry Pi Compute Module 3", Bcm2837, 0x0a, 1024, &["pi3"],
        &["bcm2710-rpi-cm3.dtb"], &["bcm2837-rpi-cm3-io3.dtb"]),
    row("cm3+", "Raspberry Pi Compute Module 3+", Bcm2837, 0x10, 1024, &["pi3"],
        &["bcm2710-rpi-cm3.dtb"], &["bcm2837-rpi-cm3-io3.dtb"]),
    row("pi02w", "Raspberry Pi Zero 2 W", Bcm2837, 0x12, 512, &["pi0", "pi0w", "pi02"],
        &["bcm2710-rpi-zero-2-w.dtb", "bcm2710-rpi-zero-2.dtb"], &["bcm2837-rpi-zero-2-w.dtb"]),
    row("cm0", "Raspberry Pi Compute Module 0", Bcm2837, 0x1b, 512, &["cm0"],
        &["bcm2710-rpi-cm0.dtb"], &["bcm2837-rpi-cm0.dtb"]),
    row("pi4b", "Raspberry Pi 4 Model B", Bcm2711, 0x11, 1024, &["pi4"],
        &["bcm2711-rpi-4-b.dtb"], &["bcm2711-rpi-4-b.dtb"]),
    row("pi400", "Raspberry Pi 400", Bcm2711, 0x13, 4096, &["pi4", "pi400"],
        &["bcm2711-rpi-400.dtb"], &["bcm2711-rpi-400.dtb"]),
    row("cm4", "Raspberry Pi Compute Module 4", Bcm2711, 0x14, 1024, &["pi4", "cm4"],
        &["bcm2711-rpi-cm4.dtb"], &["bcm2711-rpi-cm4-io.dtb"]),
    row("cm4s", "Raspberry Pi Compute Module 4S", Bcm2711, 0x15, 1024, &["pi4", "cm4s"],
        &["bcm2711-rpi-cm4s.dtb"], &["bcm2711-rpi-cm4s.dtb"]),
    row("pi5", "Raspberry Pi 5", Bcm2712, 0x17, 4096, &["pi5"],
        &["bcm2712-rpi-5-b.dtb"], &["bcm2712-rpi-5-b.dtb"]),
    row("pi5-d0", "Raspberry Pi 5, stepping D0", Bcm2712, 0x17, 2048, &["pi5"],
        &["bcm2712d0-rpi-5-b.dtb", "bcm2712-rpi-5-b.dtb"], &["bcm2712d0-rpi-5-b.dtb", "bcm2712-rpi-5-b.dtb"]),
    row("cm5", "Raspberry Pi Compute Module 5", Bcm2712, 0x18, 2048, &["pi5", "cm5"],
        &["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5-cm4io.dtb"],
        &["bcm2712-rpi-cm5-cm5io.dtb", "bcm2712-rpi-cm5-cm4io.dtb"]),
    row("cm5l", "Raspberry Pi Compute Module 5 Lite", Bcm2712, 0x1a, 2048, &["pi5", "cm5"],
        &["bcm2712-rpi-cm5l-cm5io.dtb", "bcm2712-rpi-cm5l-cm4io.dtb"],
        &["bcm2712-rpi-cm5l-cm5io.dtb", "bcm2712-rpi-cm5l-cm4io.dtb"]),
    row("pi500", "Raspberry Pi 500", Bcm2712, 0x19, 8192, &["pi5", "pi500"],
        &["bcm2712-rpi-500.dtb"], &["bcm2712-rpi-500.dtb"]),
    row("pi500+", "Raspberry Pi 500+", Bcm2712, 0x19, 16384, &["pi5", "pi500"],
        &["bcm2712-rpi-500.dtb"], &["bcm2712-rpi-500.dtb"]),
];

#[cfg(test)]
mod tests;
