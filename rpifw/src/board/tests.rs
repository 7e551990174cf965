// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{BOARDS, Chip, board};

/// Name, processor, filters, 32-bit and 64-bit kernel, firmware: by hand from the documentation that the table
/// itself names.
const EXPECTED: [(&str, u32, &str, &str, &str, &str); 27] = [
    ("pi1a", 2835, "pi1", "kernel.img", "-", "start.elf"),
    ("pi1b-rev1", 2835, "pi1", "kernel.img", "-", "start.elf"),
    ("pi1b", 2835, "pi1", "kernel.img", "-", "start.elf"),
    ("pi1a+", 2835, "pi1", "kernel.img", "-", "start.elf"),
    ("pi1b+", 2835, "pi1", "kernel.img", "-", "start.elf"),
    ("cm1", 2835, "pi1", "kernel.img", "-", "start.elf"),
    ("pi0", 2835, "pi0", "kernel.img", "-", "start.elf"),
    ("pi0w", 2835, "pi0 pi0w", "kernel.img", "-", "start.elf"),
    ("pi2b", 2836, "pi2", "kernel7.img", "-", "start.elf"),
    ("pi2b-1.2", 2837, "pi2", "kernel7.img", "kernel8.img", "start.elf"),
    ("pi3b", 2837, "pi3", "kernel7.img", "kernel8.img", "start.elf"),
    ("pi3b+", 2837, "pi3 pi3+", "kernel7.img", "kernel8.img", "start.elf"),
    ("pi3a+", 2837, "pi3 pi3+", "kernel7.img", "kernel8.img", "start.elf"),
    ("cm3", 2837, "pi3", "kernel7.img", "kernel8.img", "start.elf"),
    ("cm3+", 2837, "pi3", "kernel7.img", "kernel8.img", "start.elf"),
    ("pi02w", 2837, "pi0 pi0w pi02", "kernel7.img", "kernel8.img", "start.elf"),
    ("cm0", 2837, "cm0", "kernel7.img", "kernel8.img", "start.elf"),
    ("pi4b", 2711, "pi4", "kernel7l.img", "kernel8.img", "start4.elf"),
    ("pi400", 2711, "pi4 pi400", "kernel7l.img", "kernel8.img", "start4.elf"),
    ("cm4", 2711, "pi4 cm4", "kernel7l.img", "kernel8.img", "start4.elf"),
    ("cm4s", 2711, "pi4 cm4s", "kernel7l.img", "kernel8.img", "start4.elf"),
    ("pi5", 2712, "pi5", "-", "kernel_2712.img", "-"),
    ("pi5-d0", 2712, "pi5", "-", "kernel_2712.img", "-"),
    ("cm5", 2712, "pi5 cm5", "-", "kernel_2712.img", "-"),
    ("cm5l", 2712, "pi5 cm5", "-", "kernel_2712.img", "-"),
    ("pi500", 2712, "pi5 pi500", "-", "kernel_2712.img", "-"),
    ("pi500+", 2712, "pi5 pi500", "-", "kernel_2712.img", "-"),
];

#[test]
fn every_board() {
    let names: Vec<_> = BOARDS.iter().map(|board| board.name).collect();
    assert_eq!(names, EXPECTED.map(|(name, ..)| name));
    for (name, chip, filters, kernel32, kernel64, start) in EXPECTED {
        let board = board(name).unwrap();
        assert_eq!(format!("{:?}", board.chip), format!("Bcm{chip}"), "{name}");
        assert_eq!(board.filters.join(" "), filters, "{name}");
        let kernel = |wide| board.chip.kernels(wide).first().copied();
        let (narrow, wide) = (kernel(false), kernel(true));
        assert_eq!(wide.filter(|_| board.chip.can_64bit()).unwrap_or("-"), kernel64, "{name}");
        let narrow = narrow.filter(|_| board.chip != Chip::Bcm2712);
        assert_eq!(narrow.unwrap_or("-"), kernel32, "{name}");
        assert_eq!(board.chip.firmware().map_or("-", |(start, _)| start), start, "{name}");
        let new = matches!(chip, 2711 | 2712);
        assert_eq!(board.chip.has_eeprom(), new, "{name}");
        assert_eq!(board.chip.default_arm_64bit(), new, "{name}");
    }
}

/// Names in raspberrypi/firmware `boot/`, and in the kernel's `arch/arm*/boot/dts/broadcom/`.
#[track_caller]
fn trees(name: &str, downstream: &str, upstream: &str) {
    let board = board(name).unwrap();
    assert_eq!(board.dtb.join(" "), downstream);
    assert_eq!(board.upstream_dtb.join(" "), upstream);
}

#[test]
fn device_trees() {
    trees("PI1B-rev1", "bcm2708-rpi-b-rev1.dtb bcm2708-rpi-b.dtb", "bcm2835-rpi-b.dtb");
    trees("pi1b", "bcm2708-rpi-b.dtb", "bcm2835-rpi-b-rev2.dtb");
    trees("pi1a+", "bcm2708-rpi-b-plus.dtb", "bcm2835-rpi-a-plus.dtb");
    trees("pi0w", "bcm2708-rpi-zero-w.dtb", "bcm2835-rpi-zero-w.dtb");
    trees("pi2b", "bcm2709-rpi-2-b.dtb", "bcm2836-rpi-2-b.dtb");
    trees("pi2b-1.2", "bcm2710-rpi-2-b.dtb", "bcm2837-rpi-2-b.dtb");
    trees("pi3b", "bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb");
    trees("pi3a+", "bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-a-plus.dtb");
    trees("cm3+", "bcm2710-rpi-cm3.dtb", "bcm2837-rpi-cm3-io3.dtb");
    trees("pi4b", "bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-b.dtb");
    trees("cm4", "bcm2711-rpi-cm4.dtb", "bcm2711-rpi-cm4-io.dtb");
    trees("pi5", "bcm2712-rpi-5-b.dtb", "bcm2712-rpi-5-b.dtb");
    trees("pi500+", "bcm2712-rpi-500.dtb", "bcm2712-rpi-500.dtb");
}

#[test]
fn names() {
    assert_eq!(board("pi6"), None);
    assert_eq!(board(""), None);
    // a name is typed, and becomes part of file names
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    assert!(BOARDS.iter().all(|board| board.name.bytes().all(plain)));
}
