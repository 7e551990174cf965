// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of a slot.

use super::image::{Image, elf};
use super::{check, check_clean};

#[test]
fn firmware_files() {
    for name in ["recovery.bin", "PIEEPROM.UPD", "pieeprom.sig", "vl805.bin"] {
        let place = format!("partition 3, {name}");
        check(|i| i.both(name, b"x"), &["eeprom-in-slot"], &place, "it belongs on partition 1");
    }
}

#[test]
fn firmware() {
    check(
        |i| i.both("bootcode.bin", b"\0tryboot_a_b\0"),
        &["bootcode-in-slot"],
        "partition 2, bootcode.bin",
        "partition 1 alone",
    );
    check(
        |i| i.both("start4.elf", b"\0tryboot.txt\0"),
        &["firmware-token"],
        "partition 2, start4.elf",
        "does not know tryboot:",
    );
    check(
        |i| i.bootsel_file("bootcode.bin", b"\0tryboot.txt\0tryboot\0"),
        &["firmware-token"],
        "partition 1, bootcode.bin",
        "does not know tryboot_a_b",
    );
    check(
        |i| ["start4.elf", "fixup4.dat"].iter().for_each(|name| i.remove(name)),
        &["firmware-missing"],
        "partition 3, start4.elf",
        "for pi4b pi400 cm4 cm4s the image is for emulation only",
    );
    check(
        |i| i.remove("fixup.dat"),
        &["firmware-missing"],
        "partition 2, fixup.dat",
        "is missing: for pi1a ",
    );
}

#[test]
fn config() {
    let add = |line: &str| {
        let line = format!("{line}\n");
        move |i: &mut Image| i.append("config.txt", &line)
    };
    let at = "partition 2, config.txt, line 17";
    let long = "x=".to_owned() + &"y".repeat(97);
    check(add(&long), &["config-length"], at, "has 99 characters, the firmware reads 98");
    check(add("[pi6]"), &["config-filter"], at, "there is no filter [pi6]");
    check(add("arm_64bit 1"), &["config-form"], at, "neither a filter nor property=value");
    check(add("include gone.txt"), &["config-form"], at, "cannot include gone.txt");
    check(add("auto_initramfs=1"), &["config-auto-initramfs"], at, "auto_initramfs");
    check(
        |i| i.bootsel_file("config.txt", b"[pi7]\n"),
        &["config-filter"],
        "partition 1, config.txt, line 1",
        "[pi7]",
    );
}

#[test]
fn command_lines() {
    let at = "partition 2, cmdline.txt";
    let line = |from: &'static str, to: &str| {
        let to = to.to_owned();
        move |i: &mut Image| {
            assert!(i.cmdline.contains(from));
            i.cmdline = i.cmdline.replace(from, &to);
        }
    };
    check(line("quiet", "quiet\nsplash"), &["cmdline-form"], at, "more than one line");
    check(line("quiet", &"x".repeat(500)), &["cmdline-form"], at, "512 are safe");
    check(line("quiet", "\u{e4}"), &["cmdline-form"], at, "is not printable ASCII");
    check(line(" panic=5", ""), &["cmdline-panic"], at, "no panic=5");
    check(line("panic=5", "panic=0"), &["cmdline-panic"], at, "no panic=5");
    check(line("quiet", "init=/bin/sh"), &["cmdline-init"], at, "pivot.init= is meant");
    check(line(" systemd.gpt_auto=0", ""), &["cmdline-gpt"], at, "no systemd.gpt_auto=0");
    check(line("pivot.watchdog=15", "pivot.watchdog=16"), &["watchdog"], at, "pivot.watchdog=16");
    check(line("_sec=15", "_sec=10min"), &["watchdog"], at, "systemd.watchdog_sec=10min");
    let fine = line("pivot.watchdog=15", "pivot.watchdog=off");
    check_clean(fine);
    check_clean(line("pivot.watchdog=15", "pivot.watchdog=30"));
    check_clean(line("quiet", "pivot.init=/bin/sh"));
}

#[test]
fn one_program_may_have_an_init() {
    check_clean(|i| {
        i.set_initrd(&[("init", elf(0x10000))]);
        i.cmdline = i.cmdline.replace("quiet", "init=/bin/sh");
    });
}
