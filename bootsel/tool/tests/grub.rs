// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real tool over the files of a device that GRUB boots.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;
mod uefi;

use std::fs;

use bootsel::Slot;
use bootsel::manifest::{self, Manifest};
use device::{Device, Made, PARTITIONS, revision, revision_for};
use uefi::{Uefi, block, tables};

const TRY: [&str; 2] = ["try", "--no-reboot"];
const A: &str = "pivot_default=a\npivot_trial=\n";
const ARMED: &str = "pivot_default=a\npivot_trial=b\n";
const B: &str = "pivot_default=b\npivot_trial=\n";

fn install(device: &Device, made: &Made) {
    let bundle = device.bundle(made);
    device.done(&["install", bundle.to_str().unwrap()]);
}

#[track_caller]
fn attempt(device: &Device, outcome: &str, reason: &str) {
    let status = device.status();
    let attempt = &status["attempt"];
    assert_eq!(attempt["outcome"], outcome, "{status}");
    assert!(attempt["reason"].as_str().unwrap_or_default().contains(reason), "{status}");
}

#[track_caller]
fn slots(device: &Device, default: &str, booted: &str, trial: bool, armed: bool) {
    let status = device.status();
    assert_eq!((&status["default"], &status["booted"]), (&default.into(), &booted.into()));
    assert_eq!((&status["trial"], &status["armed"]), (&trial.into(), &armed.into()), "{status}");
}

#[test]
fn a_whole_life() {
    let mut uefi = Uefi::new();
    let status = uefi.device.status();
    assert_eq!((&status["selector"], &status["tryboot_by"]), (&"grub".into(), &"grubenv".into()));
    assert!(status["other_selector"].is_null() && status["selector_problem"].is_null());
    assert!(status["firmware"]["knows_tryboot_a_b"].is_null(), "{status}");
    assert_eq!(status["warnings"].as_array().map(Vec::len), Some(0), "{status}");
    let text = uefi.device.done(&["status"]).out;
    assert!(text.contains("trial: by GRUB, with grubenv\n"), "{text}");
    install(&uefi.device, &revision("2", 2));
    uefi.device.done(&["verify"]);

    let said = uefi.device.done(&TRY).err;
    assert!(said.contains("the trial is set in grubenv and read back"), "{said}");
    uefi.says(ARMED);
    attempt(&uefi.device, "armed", "");
    slots(&uefi.device, "a", "a", false, true);
    // asked for again: the same
    uefi.device.done(&TRY);
    uefi.says(ARMED);
    assert_eq!(uefi.boot(), (Slot::B, true));
    uefi.says(A);
    slots(&uefi.device, "a", "b", true, false);
    attempt(&uefi.device, "running", "");
    uefi.device.done(&["commit"]);
    uefi.says(B);
    slots(&uefi.device, "b", "b", false, false);
    assert_eq!(uefi.boot(), (Slot::B, false));
    attempt(&uefi.device, "committed", "");
    assert!(uefi.device.done(&["commit"]).err.contains("nothing to do"));

    // the next one fails
    install(&uefi.device, &revision("3", 3));
    uefi.device.done(&TRY);
    assert_eq!(uefi.boot(), (Slot::A, true));
    uefi.device.init_writes("trial", Slot::A, "");
    uefi.device.init_writes("trial-failed", Slot::A, "root.squashfs cannot be mounted");
    assert_eq!(uefi.boot(), (Slot::B, false));
    attempt(&uefi.device, "failed", "root.squashfs cannot be mounted");
    uefi.device.refused(&["rollback", "--no-reboot"], "never committed");
    uefi.says(B);
}

#[test]
fn leaving_a_slot() {
    let mut uefi = Uefi::new();
    uefi.device.done(&TRY);
    uefi.device.refused(&["rollback", "--no-reboot"], "`bootsel cancel`");
    uefi.device.done(&["cancel"]);
    uefi.says(A);
    attempt(&uefi.device, "cancelled", "");
    assert_eq!(uefi.boot(), (Slot::A, false));
    uefi.device.done(&TRY);
    assert_eq!(uefi.boot(), (Slot::B, true));
    uefi.device.refused(&["cancel"], "`bootsel rollback`");
    uefi.device.done(&["rollback", "--no-reboot"]);
    attempt(&uefi.device, "rolled-back", "");
    assert_eq!(uefi.boot(), (Slot::A, false));
    // both slots of a new device are good
    let mut uefi = Uefi::new();
    uefi.device.done(&["rollback", "--no-reboot"]);
    uefi.says(B);
    assert_eq!(uefi.boot(), (Slot::B, false));
}

/// What others put into the block stays, and only its first sector is ever written.
#[test]
fn one_sector() {
    let mut uefi = Uefi::new();
    let foreign = "# by hand\nsaved_entry=x y\n";
    uefi.overwrite(&block(&format!("{foreign}{A}timeout=3\n")));
    let steps: [&[&str]; 4] = [&TRY, &["cancel"], &TRY, &["commit"]];
    let expected = [ARMED, A, ARMED, B];
    for (step, expected) in steps.iter().zip(expected) {
        if step[0] == "commit" {
            assert_eq!(uefi.boot(), (Slot::B, true));
        }
        let before = fs::read(&uefi.device.disk).unwrap();
        uefi.device.done(step);
        let after = fs::read(&uefi.device.disk).unwrap();
        let sectors = before.chunks(512).zip(after.chunks(512)).enumerate();
        let changed: Vec<_> = sectors.filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
        assert_eq!(changed, [usize::try_from(uefi.at / 512).unwrap()], "{step:?}");
        uefi.says(&format!("{expected}{foreign}timeout=3\n"));
    }
}

#[test]
fn a_trial_that_grub_cannot_take() {
    let mut uefi = Uefi::new();
    uefi.device.done(&TRY);
    uefi.saves = false;
    assert_eq!(uefi.boot(), (Slot::A, false));
    attempt(&uefi.device, "failed", "could not save grubenv");
    slots(&uefi.device, "a", "a", false, true);
    uefi.device.done(&["collect"]);
    // it comes later, and only then it is over
    uefi.saves = true;
    assert_eq!(uefi.boot(), (Slot::B, true));
    uefi.device.init_writes("trial", Slot::B, "root");
    assert_eq!(uefi.boot(), (Slot::A, false));
    uefi.device.done(&["collect"]);
    attempt(&uefi.device, "failed", "it came as far as: root");
    // a kernel that cannot be loaded
    let mut uefi = Uefi::new();
    uefi.device.done(&TRY);
    uefi.device.poke(PARTITIONS[2].0, &[0; 512]);
    assert_eq!(uefi.boot(), (Slot::A, false));
    attempt(&uefi.device, "never-started", "");
    uefi.device.refused(&TRY, "slot b cannot be tried");
}

#[track_caller]
fn mended(bytes: &[u8], problem: &str, kept: &str) {
    let uefi = Uefi::new();
    uefi.overwrite(bytes);
    let status = uefi.device.status();
    let found = status["selector_problem"].as_str().unwrap_or_default();
    assert!(found.contains(problem), "{status}");
    assert!(status["default"].is_null());
    for command in [&TRY[..], &["rollback", "--no-reboot"], &["commit"]] {
        uefi.device.refused(command, "`bootsel repair` makes it the default");
    }
    uefi.device.done(&["deadline"]);
    assert!(!uefi.device.done(&["log"]).out.contains("trial-failed"));
    uefi.device.done(&["repair"]);
    uefi.says(&format!("{A}{kept}"));
    uefi.device.done(&["repair"]);
    slots(&uefi.device, "a", "a", false, false);
}

#[test]
fn damaged_blocks() {
    mended(&[0; 1024], "its first line is not GRUB's", "");
    mended(&block(""), "has no pivot_default", "");
    mended(&block(&format!("x=1\n{A}pivot_trial=b\n")), "has pivot_trial more than once", "x=1\n");
    mended(
        &block("pivot_default=c\npivot_trial=\n"),
        "pivot_default is not the name of a slot",
        "",
    );
    let long = format!("{A}long={}\n", "x".repeat(500));
    mended(&block(&format!("x=1\n{long}")), "more variables than its first 512 bytes", "x=1\n");
    let mut second = block(A);
    second[800..804].copy_from_slice(b"\ny=1");
    mended(&second, "damaged behind its last line", "");
}

/// The variable in the second sector counts, and is gone before the first sector is written.
#[test]
fn a_default_behind_the_first_sector() {
    let mut uefi = Uefi::new();
    uefi.overwrite(&block(&format!("{A}# {}\npivot_default=b\n", "x".repeat(600))));
    assert_eq!(uefi.boot(), (Slot::B, false));
    uefi.device.done(&["repair"]);
    uefi.says(B);
    assert_eq!(uefi.boot(), (Slot::B, false));
}

/// As GRUB's script takes it: what was to be tried is not what was good.
#[test]
fn a_default_that_is_none_beside_a_trial() {
    let mut uefi = Uefi::new();
    uefi.overwrite(&block("pivot_default=x\npivot_trial=a\n"));
    assert_eq!(uefi.boot(), (Slot::B, false));
    uefi.device.done(&["repair"]);
    uefi.says(B);
}

#[test]
fn a_trial_with_a_damaged_block_is_ended() {
    let mut uefi = Uefi::new();
    uefi.device.done(&TRY);
    assert_eq!(uefi.boot(), (Slot::B, true));
    uefi.overwrite(&[0; 1024]);
    uefi.device.done(&["deadline"]);
    assert!(uefi.device.done(&["log"]).out.contains("trial-failed"));
    assert_eq!(uefi.boot(), (Slot::A, false));
}

#[test]
fn partition_1_without_grub() {
    let uefi = Uefi::with("boot\n", Vec::new());
    let why = "grub.cfg on partition 1 does not know pivot_trial: GRUB is not shown";
    uefi.device.refused(&TRY, why);
    let bundle = uefi.device.bundle(&revision("2", 2));
    uefi.device.refused(&["install", bundle.to_str().unwrap()], why);
    uefi.device.done(&["try", "--no-reboot", "--force"]);
    // no file can be made: partition 1 is never mounted to be written
    let uefi = Uefi::new();
    let (start, bytes) = PARTITIONS[0];
    let volume = uefi.device.peek(start, bytes);
    let name = volume.windows(11).position(|window| window == b"GRUBENV    ").unwrap();
    uefi.device.poke(start + name as u64, b"X");
    let outcome = uefi.device.run(&["repair"]);
    assert!(outcome.code == 3 && outcome.err.contains("partition 1 has no grubenv"), "{outcome:?}");
    assert_eq!(uefi.device.status()["selector_problem"], "there is no grubenv");
    // nor one of another length
    let uefi = Uefi::new();
    uefi.device.poke(start + name as u64 + 28, &512_u32.to_le_bytes());
    let outcome = uefi.device.run(&["repair"]);
    let why = "grubenv has 512 bytes of 1024";
    assert!(outcome.code == 3 && outcome.err.contains(why), "{outcome:?}");
}

/// A revision in whose boot volume a text is another of the same length.
fn changed(id: &str, from: &str, to: &str) -> Made {
    let mut made = revision(id, 2);
    let at = made.boot.windows(from.len()).position(|text| text == from.as_bytes()).unwrap();
    made.boot[at..at + from.len()].copy_from_slice(to.as_bytes());
    let mut manifest = Manifest::parse(&made.manifest).unwrap();
    let boot = manifest.files.iter_mut().find(|file| file.name == manifest::BOOT).unwrap();
    boot.sha256 = device::sha256(&made.boot);
    made.manifest = manifest.to_string().into_bytes();
    made
}

#[test]
fn what_grub_loads() {
    for (made, why) in [
        (revision_for("2", 2, "", "grub.cfg"), "GRUB would not boot it: grub.cfg is missing"),
        (changed("2", "/kernel8.img", "/kernel9.img"), "/kernel9.img is missing or empty"),
        (changed("2", " /early.img", " /other.img"), "/other.img is missing or empty"),
        (changed("2", "\"pivot.revision=2", "\"pivot.revision=1"), "the slot is one of 2"),
        (changed("2", "set pivot_initrd", "set another_one_"), "grub.cfg: line 2: expected"),
    ] {
        for uefi in [Uefi::new(), Uefi::both()] {
            let bundle = uefi.device.bundle(&made);
            let outcome = uefi.device.run(&["install", bundle.to_str().unwrap()]);
            assert!(outcome.code == 3 && outcome.err.contains(why), "{outcome:?}");
            uefi.device.refused(&TRY, "slot b cannot be tried");
        }
    }
}

#[test]
fn a_damaged_table() {
    let uefi = Uefi::new();
    uefi.device.poke(512, b"x");
    assert_eq!(uefi.device.status()["default"], "a");
    let end = fs::metadata(&uefi.device.disk).unwrap().len();
    uefi.device.poke(end - 512, b"x");
    let outcome = uefi.device.run(&["status"]);
    assert!(outcome.code == 3 && outcome.err.contains("gpt: no header"), "{outcome:?}");
}

#[test]
fn sectors_of_4096_bytes() {
    let mut uefi = Uefi::new();
    uefi.device.poke(0, &[0; 1 << 16]);
    let (first, second) = tables(&uefi.device, 4096);
    uefi.device.poke(0, &first);
    let end = fs::metadata(&uefi.device.disk).unwrap().len();
    uefi.device.poke(end - second.len() as u64, &second);
    uefi.device.done(&TRY);
    assert_eq!(uefi.boot(), (Slot::B, true));
    uefi.device.done(&["commit"]);
    uefi.says(B);
}

#[test]
fn a_pi_with_a_gpt() {
    let uefi = Uefi::new();
    let _ = fs::remove_dir_all(uefi.device.path("sys/firmware/efi"));
    uefi.device.put("proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0");
    let built = "proc/device-tree/chosen/bootloader/build-timestamp";
    uefi.device.put(built, 1_700_000_000_u32.to_be_bytes());
    let status = uefi.device.status();
    assert_eq!(status["selector"], "tryboot");
    assert_eq!(status["firmware"]["knows_tryboot_a_b"], false);
}
