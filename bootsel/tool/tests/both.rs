// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real tool over a disk that a Raspberry Pi and a machine with UEFI boot: both selectors are kept the same.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;
mod uefi;

use bootsel::Slot;
use bootsel::autoboot::Autoboot;
use device::{PARTITIONS, revision};
use uefi::{Uefi, block};

const TRY: [&str; 2] = ["try", "--no-reboot"];
const A: &str = "pivot_default=a\npivot_trial=\n";
const B: &str = "pivot_default=b\npivot_trial=\n";

/// Writes autoboot.txt behind the tool's back.
fn autoboot(uefi: &Uefi, bytes: &[u8]) {
    let (start, length) = PARTITIONS[0];
    let volume = uefi.device.peek(start, length);
    let place = volume.windows(12).position(|window| window == b"tryboot_a_b=").unwrap();
    uefi.device.poke(start + (place - place % 512) as u64, bytes);
}

fn leads_to(default: u8, trial: u8) -> Vec<u8> {
    Autoboot::new(default, trial).unwrap().to_bytes().unwrap().to_vec()
}

/// In which each kind of machine boots what the other one committed.
#[test]
fn both_are_written() {
    let mut uefi = Uefi::both();
    let status = uefi.device.status();
    assert_eq!((&status["selector"], &status["default"]), (&"grub".into(), &"a".into()));
    assert_eq!(status["other_selector"]["selector"], "tryboot");
    assert_eq!(status["other_selector"]["default"], "a");
    uefi.device.done(&TRY);
    assert_eq!(uefi.boot(), (Slot::B, true));
    let said = uefi.device.done(&["commit"]).err;
    assert!(said.contains("slot b is the default in autoboot.txt, too"), "{said}");
    uefi.says(B);
    assert_eq!(uefi.device.autoboot().default(), 3);

    assert_eq!(uefi.boot_as_pi(), 3);
    let status = uefi.device.status();
    assert_eq!((&status["selector"], &status["default"]), (&"tryboot".into(), &"b".into()));
    assert_eq!(status["other_selector"]["selector"], "grub");
    let bundle = uefi.device.bundle(&revision("2", 2));
    uefi.device.done(&["install", bundle.to_str().unwrap()]);
    uefi.device.done(&["try", "--no-reboot", "--force"]);
    // GRUB's variable is not how a Raspberry Pi starts trials
    uefi.says(B);
    assert_eq!(uefi.boot_as_pi(), 2);
    uefi.device.done(&["commit"]);
    uefi.says(A);
    assert_eq!(uefi.boot(), (Slot::A, false));
    let status = uefi.device.status();
    assert_eq!(status["slots"]["a"]["revision"], "2");
    uefi.device.done(&["rollback", "--no-reboot"]);
    uefi.says(B);
    assert_eq!(uefi.device.autoboot().default(), 3);
}

/// The power was cut between the two.
#[test]
fn a_commit_is_finished() {
    let mut uefi = Uefi::both();
    uefi.device.done(&TRY);
    assert_eq!(uefi.boot(), (Slot::B, true));
    uefi.device.done(&["commit"]);
    autoboot(&uefi, &leads_to(2, 3));
    assert_eq!(uefi.boot(), (Slot::B, false));
    let warnings = uefi.device.status()["warnings"].to_string();
    assert!(warnings.contains("autoboot.txt names slot a, grubenv slot b"), "{warnings}");
    let bundle = uefi.device.bundle(&revision("2", 2));
    let install = ["install", bundle.to_str().unwrap()];
    uefi.device.refused(&install, "slot a is the default in autoboot.txt; `bootsel commit`");
    uefi.device.done(&["commit"]);
    assert_eq!(uefi.device.autoboot().default(), 3);
    assert_eq!(uefi.device.status()["warnings"].as_array().map(Vec::len), Some(0));
    uefi.device.done(&install);
}

#[test]
fn a_broken_file_of_the_other_machine() {
    let uefi = Uefi::both();
    autoboot(&uefi, b"boot_partition=x\n");
    let status = uefi.device.status();
    assert!(status["selector_problem"].is_null());
    let problem = status["other_selector"]["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("expected a number"), "{status}");
    let bundle = uefi.device.bundle(&revision("2", 2));
    let install = ["install", bundle.to_str().unwrap()];
    uefi.device.refused(&install, "slot b may be what another machine boots; `bootsel repair`");
    uefi.device.done(&["repair"]);
    assert_eq!(uefi.device.autoboot().default(), 2);
    uefi.device.done(&install);
    // and the other way round
    let mut uefi = Uefi::both();
    uefi.overwrite(&block("nothing of ours\n"));
    assert_eq!(uefi.boot_as_pi(), 2);
    uefi.device.refused(&install, "grubenv has no pivot_default");
    uefi.device.done(&["repair"]);
    uefi.says(A);
}

/// A trial that was armed with GRUB waits for it.
#[test]
fn a_trial_that_waits_for_the_other_machine() {
    let mut uefi = Uefi::both();
    uefi.device.done(&TRY);
    assert_eq!(uefi.boot_as_pi(), 2);
    assert_eq!(uefi.device.status()["armed"], false);
    let bundle = uefi.device.bundle(&revision("2", 2));
    let install = ["install", bundle.to_str().unwrap()];
    uefi.device.refused(&install, "a trial of slot b is armed: `bootsel cancel`");
    let forced = ["try", "--no-reboot", "--force"];
    uefi.device.refused(&forced, "a trial is armed in grubenv, for another machine");
    uefi.device.done(&["cancel"]);
    uefi.says(A);
    uefi.device.done(&install);
    uefi.device.done(&forced);
    assert_eq!(uefi.boot_as_pi(), 3);
}
