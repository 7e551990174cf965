// SPDX-License-Identifier: MIT OR Apache-2.0
//! A slot is tried only if every board that its revision is for would boot from it, this one among them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;

use device::{Device, revision_for};

const FORCED: [&str; 3] = ["try", "--no-reboot", "--force"];

#[track_caller]
fn lacks(without: &str, why: &str) {
    let device = Device::new();
    let bundle = device.bundle(&revision_for("2", 2, "pi4b", without));
    let outcome = device.run(&["install", bundle.to_str().unwrap()]);
    assert!(outcome.code == 3 && outcome.err.contains(why), "{outcome:?}");
    assert_eq!(device.status()["slots"]["b"]["complete"], false);
    device.refused(&FORCED, "slot b cannot be tried");
    assert_eq!(device.status()["slots"]["a"]["complete"], true);
}

#[test]
fn what_a_board_loads() {
    lacks(
        "bcm2711-rpi-4-b.dtb",
        "pi4b (Raspberry Pi 4 Model B) would not boot: bcm2711-rpi-4-b.dtb is missing",
    );
    lacks("fixup4.dat", "would not boot: fixup4.dat is missing");
    lacks("kernel8.img", "kernel8.img of kernel 6.12-test is missing or empty");
    lacks("kernels.txt", "there is no kernels.txt");
    // the others' firmware is there: this one would stop
    lacks("start4.elf", "would not boot: start4.elf is missing");
}

#[test]
fn the_boards_that_it_is_for() {
    let device = Device::new();
    let code = "proc/device-tree/system/linux,revision";
    // a Raspberry Pi 5
    device.put(code, 0x00c0_4170_u32.to_be_bytes());
    let bundle = device.bundle(&revision_for("2", 2, "pi4b", ""));
    let install = ["install", bundle.to_str().unwrap()];
    device.refused(&install, "the revision is for pi4b, and this is a Raspberry Pi 5");
    device.refused(&FORCED, "the revision is for pi4b, and this is a Raspberry Pi 5");
    // a Raspberry Pi 4, and a type that nobody knows yet
    for known in [0x00c0_3111_u32, 0x00c0_4ff0] {
        device.put(code, known.to_be_bytes());
        device.done(&install);
        device.done(&FORCED);
        device.done(&["cancel"]);
    }
    let bundle = device.bundle(&revision_for("3", 3, "pi9,pi4b", ""));
    device.done(&["install", bundle.to_str().unwrap()]);
}
