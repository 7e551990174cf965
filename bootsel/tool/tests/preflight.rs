// SPDX-License-Identifier: MIT OR Apache-2.0
//! A slot is tried only if its revision is for this board, which would boot from it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;

use device::{Device, revision_for};

const FORCED: [&str; 3] = ["try", "--no-reboot", "--force"];

const CODE: &str = "proc/device-tree/system/linux,revision";
const PI_4B: u32 = 0x00c0_3111;
const PI_5: u32 = 0x00c0_4170;

/// A slot that is not what it is to be: nothing forces that.
#[track_caller]
fn broken(without: &str, why: &str) {
    let device = Device::new();
    let bundle = device.bundle(&revision_for("2", 2, "pi4b", without));
    for force in [&[][..], &["--force"]] {
        let outcome = device.run(&[&["install", bundle.to_str().unwrap()], force].concat());
        assert!(outcome.code == 3 && outcome.err.contains(why), "{outcome:?}");
    }
    assert_eq!(device.status()["slots"]["b"]["complete"], false);
    device.refused(&FORCED, "slot b cannot be tried");
    assert_eq!(device.status()["slots"]["a"]["complete"], true);
}

/// A slot from which this board would not start, as far as this tool knows.
#[track_caller]
fn lacks(without: &str, why: &str) {
    let device = Device::new();
    device.put(CODE, PI_4B.to_be_bytes());
    let bundle = device.bundle(&revision_for("2", 2, "pi5,pi4b", without));
    let install = ["install", bundle.to_str().unwrap()];
    let outcome = device.run(&install);
    assert!(outcome.code == 3 && outcome.err.contains(why), "{outcome:?}");
    device.refused(&FORCED, "slot b cannot be tried");
    let outcome = device.run(&[install[0], install[1], "--force"]);
    assert!(outcome.code == 0 && outcome.err.contains("installed all the same"), "{outcome:?}");
    device.refused(&["try", "--no-reboot"], why);
    let outcome = device.run(&["verify"]);
    assert!(outcome.code == 3 && outcome.out.contains(why), "{outcome:?}");
    device.done(&FORCED);
    device.done(&["cancel"]);
    // a type that nobody knows yet is not judged
    device.put(CODE, 0x00c0_4ff0_u32.to_be_bytes());
    device.done(&["verify"]);
}

#[test]
fn what_a_board_loads() {
    lacks(
        "bcm2711-rpi-4-b.dtb",
        "pi4b (Raspberry Pi 4 Model B) would not boot: bcm2711-rpi-4-b.dtb is missing",
    );
    lacks("fixup4.dat", "would not boot: fixup4.dat is missing");
    // the others' firmware is there: this one would stop
    lacks("start4.elf", "would not boot: start4.elf is missing");
    broken("kernel8.img", "kernel8.img of kernel 6.12-test is missing or empty");
    broken("kernels.txt", "there is no kernels.txt");
}

#[test]
fn the_boards_that_it_is_for() {
    let device = Device::new();
    device.put(CODE, PI_5.to_be_bytes());
    let bundle = device.bundle(&revision_for("2", 2, "pi4b", ""));
    let install = ["install", bundle.to_str().unwrap()];
    device.refused(&install, "the revision is for pi4b, and this is a Raspberry Pi 5");
    device.refused(&FORCED, "the revision is for pi4b, and this is a Raspberry Pi 5");
    // a Raspberry Pi 4, and a type that nobody knows yet
    for known in [PI_4B, 0x00c0_4ff0] {
        device.put(CODE, known.to_be_bytes());
        device.done(&install);
        device.done(&FORCED);
        device.done(&["cancel"]);
    }
    // others are not judged here: the builder did, and it may know more of them
    let bundle = device.bundle(&revision_for("3", 3, "pi9,pi5,pi4b", ""));
    device.put(CODE, PI_4B.to_be_bytes());
    device.put("proc/kallsyms", "0000 t rpi_firmware_notify_reboot\n");
    device.done(&["install", bundle.to_str().unwrap()]);
    device.done(&["try", "--no-reboot"]);
}
