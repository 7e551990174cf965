// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real tool over the files of a device.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use bootsel::Slot;
use bootsel::manifest::{self, Manifest};
use device::{Device, PARTITIONS, revision};

const FORCED: [&str; 3] = ["try", "--no-reboot", "--force"];

#[track_caller]
fn attempt(device: &Device, outcome: &str, reason: &str) {
    let status = device.status();
    let attempt = &status["attempt"];
    assert_eq!(attempt["outcome"], outcome, "{status}");
    assert!(attempt["reason"].as_str().unwrap_or_default().contains(reason), "{status}");
}

#[track_caller]
fn slots(device: &Device, default: &str, booted: &str, trial: bool) {
    let status = device.status();
    assert_eq!((&status["default"], &status["booted"]), (&default.into(), &booted.into()));
    assert_eq!(status["trial"], trial, "{status}");
}

#[test]
fn a_whole_life() {
    let mut device = Device::new();
    slots(&device, "a", "a", false);
    assert!(device.done(&["status"]).out.contains("slot a: revision 1, complete\n"));
    device.done(&["verify"]);

    let bundle = device.bundle(&revision("2", 2));
    device.done(&["install", bundle.to_str().unwrap()]);
    device.done(&["verify"]);
    assert_eq!(device.status()["slots"]["b"]["revision"], "2");
    let modules = "modules_6.12-test.squashfs";
    let inode = |id: &str| {
        let path = device.path(&format!("run/pivot/data/pivot/revisions/{id}/{modules}"));
        fs::metadata(path).unwrap().ino()
    };
    assert_eq!(inode("1"), inode("2"), "an equal file is linked");

    let said = device.done(&FORCED).err;
    assert!(said.contains("the reboot will have the argument \"0 tryboot\""), "{said}");
    attempt(&device, "armed", "");
    assert_eq!(device.status()["armed"], true);
    assert_eq!(device.boot(), 3);
    device.init_writes("trial", Slot::B, "");
    slots(&device, "a", "b", true);
    attempt(&device, "running", "");
    device.done(&["commit"]);
    slots(&device, "b", "b", false);
    attempt(&device, "committed", "");
    assert_eq!(device.boot(), 3);
    device.done(&["commit"]);
    slots(&device, "b", "b", false);

    // the next one fails
    let bundle = device.bundle(&revision("3", 3));
    let mut command = device.command(&["install", "-"]);
    command.stdin(Stdio::from(fs::File::open(bundle).unwrap()));
    assert!(command.status().unwrap().success());
    device.done(&FORCED);
    assert_eq!(device.boot(), 2);
    device.init_writes("trial", Slot::A, "");
    device.init_writes("trial-failed", Slot::A, "root.squashfs cannot be mounted");
    assert_eq!(device.boot(), 3);
    slots(&device, "b", "b", false);
    attempt(&device, "failed", "root.squashfs cannot be mounted");
    let log = device.done(&["log"]).out;
    assert!(log.contains("slot=a revision=3 armed") && log.contains("trial-failed root"), "{log}");
    device.refused(&["rollback", "--no-reboot"], "never committed");

    // revision 1 is named by no slot now
    device.done(&["gc"]);
    assert!(!device.path("run/pivot/data/pivot/revisions/1").exists());
    device.done(&["verify"]);
}

#[test]
fn a_cut_before_the_trial_is_no_failure() {
    let mut device = Device::new();
    device.done(&FORCED);
    fs::remove_file(device.path("run/systemd/reboot-param")).unwrap();
    assert_eq!(device.boot(), 2);
    attempt(&device, "never-started", "");
    device.done(&FORCED);
    device.done(&["cancel"]);
    attempt(&device, "cancelled", "");
    assert_eq!(device.boot(), 2);
}

#[test]
fn leaving_a_slot() {
    let mut device = Device::new();
    device.done(&FORCED);
    assert_eq!(device.boot(), 3);
    device.done(&["rollback", "--no-reboot"]);
    attempt(&device, "rolled-back", "");
    device.refused(&["commit"], "was not started as a trial");
    assert_eq!(device.boot(), 2);
    slots(&device, "a", "a", false);
    // both slots of a new device are good
    let mut device = Device::new();
    device.done(&["rollback", "--no-reboot"]);
    slots(&device, "b", "a", false);
    assert_eq!(device.boot(), 3);
}

#[test]
fn refusals_of_a_trial() {
    let mut device = Device::new();
    device.refused(
        &["try", "--no-reboot"],
        "nothing shows that this kernel passes the tryboot flag on",
    );
    device.put("proc/kallsyms", "0000 T other\n0000 t rpi_firmware_notify_reboot\n");
    device.done(&["try", "--no-reboot"]);
    device.refused(&["rollback", "--no-reboot"], "`bootsel cancel`");
    let bundle = device.bundle(&revision("2", 2));
    let install = ["install", bundle.to_str().unwrap()];
    device.refused(&install, "`bootsel cancel`");
    device.boot();
    for command in [&install[..], &["try", "--no-reboot"]] {
        device.refused(command, "runs for trial");
    }
    device.refused(&["cancel"], "`bootsel rollback`");
    device.refused(&["repair"], "runs for trial");

    let device = Device::new();
    device.put("proc/kallsyms", "0000 t rpi_firmware_notify_reboot\n");
    let tree = "proc/device-tree/chosen/bootloader/build-timestamp";
    device.put(tree, 1_666_090_663_u32.to_be_bytes());
    device.refused(&["try", "--no-reboot"], "was built at 1666090663, before 1666090664");
    // a board without an EEPROM: its files say it
    fs::remove_file(device.path(tree)).unwrap();
    device.refused(&["try", "--no-reboot"], "does not say when the bootloader was built");
    device.put(tree, [0; 4]);
    device.refused(&["try", "--no-reboot"], "does not say when the bootloader was built");
    device.put("proc/device-tree/compatible", "raspberrypi,3-model-b\0brcm,bcm2837\0");
    // whatever its start.elf puts there
    for built in [0_u32, 1_500_000_000] {
        device.put(tree, built.to_be_bytes());
        device.done(&["try", "--no-reboot"]);
        device.done(&["cancel"]);
    }
    fs::remove_dir(device.path("run/systemd/system")).unwrap();
    device.refused(&["try", "--no-reboot"], "leave --no-reboot out");
}

#[test]
fn a_slot_that_does_not_verify() {
    let device = Device::new();
    // the last byte of slot b, where no file is
    let (start, bytes) = PARTITIONS[2];
    device.poke(start + bytes - 1, b"x");
    device.refused(
        &FORCED,
        "slot b cannot be tried: the boot partition is not what its manifest says",
    );
    let outcome = device.run(&["verify"]);
    assert_eq!(outcome.code, 3);
    assert!(outcome.err.contains("slot b"), "{outcome:?}");
    device.put("run/pivot/data/pivot/revisions/1/root.squashfs", "short");
    device.refused(&FORCED, "root.squashfs has 5 bytes of");
    assert_eq!(device.status()["slots"]["a"]["complete"], false);
}

#[test]
fn repair() {
    let mut device = Device::new();
    device.done(&["repair"]);
    let (a, _) = PARTITIONS[1];
    device.put("proc/cmdline", "pivot.slot=b pivot.revision=1");
    device.refused(&["repair"], "slot a is the default and verifies");
    device.poke(a, &[0; 512]);
    device.done(&["repair"]);
    assert_eq!(device.boot(), 3);
    slots(&device, "b", "b", false);
}

#[test]
fn bundles_that_are_refused() {
    let device = Device::new();
    let good = revision("2", 2);
    let path = device.bundle(&good);
    let install = ["install", path.to_str().unwrap()];
    let bytes = fs::read(&path).unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    };
    damaged(&|bytes| bytes[512 + 30] ^= 1);
    device.refused(&install, "nothing was changed");
    damaged(&|bytes| bytes.truncate(600));
    device.refused(&install, "the bundle is cut short");
    fs::write(&path, &bytes).unwrap();
    let other = Device::new();
    let keys = other.path("etc/pivot/keys");
    device.refused(&[&install[..], &["--keys", keys.to_str().unwrap()]].concat(), "not known here");
    device.bundle(&revision("1", 3));
    let same = device.path("1.bundle");
    device.refused(&["install", same.to_str().unwrap()], "is the one that runs");
    let mut needs = revision("4", 4);
    let text = String::from_utf8(needs.manifest.clone()).unwrap();
    needs.manifest =
        text.replacen("\nversion=4\n", "\nversion=4\nrequires_bootsel=2\n", 1).into_bytes();
    let needs = device.bundle(&needs);
    device.refused(&["install", needs.to_str().unwrap()], "needs other files on partition 1");
    let old = device.bundle(&revision("0", 0));
    let old = ["install", old.to_str().unwrap()];
    device.refused(&old, "version 0 is older than 1");
    device.done(&[&old[..], &["--allow-downgrade"]].concat());
}

#[test]
fn an_install_that_breaks_off() {
    let device = Device::new();
    let made = revision("2", 2);
    let path = device.bundle(&made);
    let install = ["install", path.to_str().unwrap()];
    let bytes = fs::read(&path).unwrap();
    let until = "; slot b cannot be booted until an install succeeds\n";
    for cut in [5_000, bytes.len() - 60_000, bytes.len() - 1024] {
        fs::write(&path, &bytes[..cut]).unwrap();
        let outcome = device.run(&install);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        let why = format!("the bundle is cut short{until}");
        assert!(
            outcome.err.ends_with(&why) && outcome.err.matches("cut").count() == 1,
            "{outcome:?}"
        );
        slots(&device, "a", "a", false);
        assert_eq!(device.status()["slots"]["a"]["complete"], true);
        assert_eq!(device.status()["slots"]["b"]["complete"], false);
        device.refused(&FORCED, "slot b cannot be tried");
        assert!(!device.path("run/pivot/data/pivot/revisions/2").exists());
    }
    // an image that is not what the signed manifest says
    let mut wrong = bytes.clone();
    let at = wrong.windows(9).position(|window| window == b"root of 2").unwrap();
    wrong[at] ^= 1;
    fs::write(&path, &wrong).unwrap();
    let outcome = device.run(&install);
    assert!(outcome.code == 3 && outcome.err.contains("root.squashfs is not what"), "{outcome:?}");
    assert!(outcome.err.ends_with(until), "{outcome:?}");
    let directory = device.run(&["install", "--force", device.path("etc").to_str().unwrap()]);
    assert!(
        directory.err.contains("cannot read ") && directory.err.contains("/etc: Is a directory")
    );
    fs::write(&path, &bytes).unwrap();
    device.done(&install);
    device.done(&["verify"]);
    assert!(!device.path("run/pivot/data/pivot/revisions/2.new").exists());
}

/// A boot volume that names another revision starts that one's files: it is whole, and wrong all the same.
#[test]
fn a_boot_volume_of_another_revision() {
    let device = Device::new();
    let (mut made, other) = (revision("3", 3), revision("2", 2));
    let mut manifest = Manifest::parse(&made.manifest).unwrap();
    let boot = manifest.files.iter_mut().find(|file| file.name == manifest::BOOT).unwrap();
    (boot.sha256, boot.bytes) = (device::sha256(&other.boot), other.boot.len() as u64);
    made.manifest = manifest.to_string().into_bytes();
    made.boot = other.boot;
    let bundle = device.bundle(&made);
    let outcome = device.run(&["install", bundle.to_str().unwrap()]);
    let why = "boot.img is one for revision 2, the bundle is revision 3";
    assert!(outcome.code == 3 && outcome.err.contains(why), "{outcome:?}");
    let status = device.status();
    assert_eq!(status["slots"]["b"]["complete"], false, "{status}");
    let (start, _) = PARTITIONS[2];
    assert_eq!(device.peek(start, 512), [0; 512]);
}

#[test]
fn one_at_a_time() {
    let device = Device::new();
    let lock = fs::File::create(device.path("run/pivot/bootsel.lock")).unwrap();
    lock.lock().unwrap();
    device.refused(&["commit"], "another bootsel is at work");
    device.done(&["status"]);
}

#[test]
fn exit_codes() {
    let device = Device::new();
    assert_eq!(device.run(&["no-such-command"]).code, 2);
    fs::remove_file(&device.disk).unwrap();
    assert_eq!(device.run(&["status"]).code, 3);
}

#[test]
fn what_was_written_over_a_revision_goes_with_it() {
    let mut device = Device::new();
    let layer = |name: &str| format!("run/pivot/data/pivot/state/overlay/{name}");
    // the second one as a cut left it; the last is that of roots without a revision
    for name in ["1", ".removed", "gone", "2", "none"] {
        device.put(&format!("{}/upper/etc/deep/file", layer(name)), "x");
    }
    let left = |device: &Device| {
        ["1", ".removed", "gone", "2", "none"].map(|name| device.path(&layer(name)).exists())
    };
    device.done(&["install", device.bundle(&revision("2", 2)).to_str().unwrap()]);
    assert_eq!(left(&device), [true, false, false, false, true]);
    device.put(&format!("{}/upper/file", layer("2")), "x");
    device.done(&FORCED);
    assert_eq!(device.boot(), 3);
    device.done(&["commit"]);
    device.done(&["install", device.bundle(&revision("3", 3)).to_str().unwrap()]);
    assert_eq!(left(&device), [true, false, false, true, true]);
    // revision 1 is named by no slot now
    let said = device.done(&["gc"]);
    assert_eq!(left(&device), [false, false, false, true, true]);
    assert!(format!("{said:?}").contains("removed what was written over revision 1"), "{said:?}");
}
