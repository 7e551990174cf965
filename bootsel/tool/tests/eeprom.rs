// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bootloader of an old board, brought up to date: the real tool over the files of a device and a mailbox that is
//! played. What ROM and recovery.bin do between two boots is played here, too.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod board;
mod device;
mod traced;

use std::fs;

use board::{CHOSEN, NEW, OLD, Pi, Rom};
use device::Outcome;
use rpieeprom::Section;
use traced::firmware::Fault;

#[test]
fn an_old_board_is_brought_up_to_date_once() {
    let mut pi = Pi::new(OLD);
    let before = pi.json();
    assert_eq!((&before["decision"], &before["files"]), (&"update".into(), &"at-rest".into()));
    assert_eq!((&before["bootconf"], &before["frozen"]), (&"mailbox".into(), &false.into()));
    let outcome = pi.boot(4);
    assert!(outcome.err.contains("attempt 1"), "{outcome:?}");
    let now = pi.json();
    assert_eq!((&now["decision"], &now["files"]), (&"staged".into(), &"staged".into()));
    assert_eq!(now["attempts"]["count"], 1);
    let image = pi.staged();
    assert_eq!(image.bootconf, CHOSEN);
    assert!(image.signed_at > NEW, "by the clock of this machine");
    pi.device.refused(&["try", "--no-reboot", "--force"], "an update of the bootloader is staged");
    // asked once more in the same boot: it still wants its restart
    pi.boot(4);

    assert_eq!(pi.reset(Rom::Writes), Some(NEW));
    assert_eq!(pi.json()["files"], "recovered");
    pi.boot(0);
    let after = pi.json();
    assert_eq!((&after["decision"], &after["files"]), (&"current".into(), &"at-rest".into()));
    assert_eq!(after["attempts"]["count"], 0);
    let log = pi.device.done(&["log"]).out;
    assert!(log.contains("eeprom update of the BCM2711's bootloader"), "{log}");
    assert!(log.contains(&format!("eeprom the bootloader of {NEW} runs")), "{log}");
    pi.unchanged(&["eeprom", "boot"], 0);
    assert_eq!(pi.reset(Rom::Writes), None);
    pi.unchanged(&["eeprom", "boot"], 0);
    let status = pi.device.status();
    assert_eq!(status["eeprom"]["decision"], "current");
    pi.device.done(&["try", "--no-reboot", "--force"]);
}

/// Two attempts, whatever ROM and recovery.bin do, and never one more.
#[test]
fn attempts_come_to_their_end() {
    for rom in [Rom::PassesOver, Rom::Refuses, Rom::CutWhileWriting] {
        let mut pi = Pi::new(OLD);
        for _ in 0..2 {
            pi.boot(4);
            pi.reset(rom);
        }
        for _ in 0..3 {
            let said = pi.boot(1).err;
            assert!(said.contains("was tried 2 times and does not run: never again"), "{said}");
            let now = pi.json();
            assert_eq!((&now["decision"], &now["files"]), (&"refused".into(), &"at-rest".into()));
            pi.reset(rom);
        }
        let log = pi.device.done(&["log"]).out;
        assert_eq!(log.matches("did not take").count(), 2, "{log}");
        let text = pi.device.done(&["status"]).out;
        assert!(text.contains("eeprom: no update of the bootloader: "), "{text}");
        // another version begins anew
        pi.ship(NEW + 1);
        pi.boot(4);
        assert_eq!(pi.reset(Rom::Writes), Some(NEW + 1));
        pi.boot(0);
    }
}

/// Where there is nothing to do, as at every boot of a board that was given up, no more of the image is read than its
/// version is in; before it is staged, all of it.
#[test]
fn a_boot_looks_at_the_version_alone() {
    let mut pi = Pi::with(OLD, |files| {
        let image = files.image.as_mut().unwrap();
        let name = image.windows(12).position(|name| name == b"bootconf.txt").unwrap();
        image[name - 8] ^= 1;
    });
    let said = pi.unchanged(&["eeprom", "boot"], 3).err;
    assert!(said.contains("EEPR2711.IMG: eeprom image: section at "), "{said}");
    pi.device
        .put("run/pivot/data/pivot/state/eeprom", format!("version={NEW} attempts=2 boot_id=x\n"));
    let said = pi.unchanged(&["eeprom", "boot"], 1).err;
    assert!(said.contains("was tried 2 times"), "{said}");
    let said = pi.device.done(&["eeprom"]).out;
    assert!(said.contains("EEPR2711.IMG is damaged"), "{said}");
}

/// The version moves backwards in the image from release to release.
#[test]
fn a_version_far_behind_is_found() {
    let texts = format!("\0BUILD_TIMESTAMP={NEW}\0");
    let bootsys = [vec![0; 0x4_0000], texts.into_bytes()].concat();
    let sections = [
        Section::bootcode(b"code"),
        Section::padding(0x1_0000 - 24),
        Section::file("bootsys", &bootsys),
        Section::file("bootconf.txt", b"[all]\n"),
    ];
    let bytes = rpieeprom::Chip::Bcm2711.image_bytes();
    let mut pi = Pi::with(OLD, |files| files.image = Some(rpieeprom::build(bytes, &sections)));
    pi.boot(4);
    assert_eq!(pi.staged().bootconf, CHOSEN);
}

#[track_caller]
fn refused(pi: &mut Pi, why: &str) {
    let Outcome { err, .. } = pi.unchanged(&["eeprom", "boot"], 1);
    assert!(err.contains(why), "{err}");
    assert_eq!(pi.json()["decision"], "refused");
}

#[test]
fn boards_and_owners_that_forbid_it() {
    let tree = |name: &str| format!("proc/device-tree/{name}");
    let put = |name: &str, value: u32, why: &str| {
        let mut pi = Pi::new(OLD);
        pi.device.put(&tree(name), value.to_be_bytes());
        refused(&mut pi, why);
    };
    // CM4 and CM4S
    put("system/linux,revision", 0x00c0_3140, "use rpiboot");
    put("system/linux,revision", 0x00a0_3150, "use rpiboot");
    put("chosen/bootloader/boot-mode", 4, "only from an sd card or emmc");
    put("chosen/bootloader/boot-mode", 6, "only from an sd card or emmc");
    put("chosen/bootloader/signed", 1, "signed systems only");
    put("chosen/rpi-min-boot-ver", 2, "MFG_VER 0, the board needs 2");

    let mut pi = Pi::new(OLD);
    pi.firmware.config += "FREEZE_VERSION=1\n";
    refused(&mut pi, "FREEZE_VERSION=1");
    assert_eq!(pi.json()["frozen"], true);
    pi.unchanged(&["eeprom", "stage"], 1);

    let mut pi = Pi::new(OLD);
    let line = fs::read_to_string(pi.device.path("proc/cmdline")).unwrap();
    pi.device.put("proc/cmdline", format!("{line} pivot.eeprom=off"));
    refused(&mut pi, "pivot.eeprom=off");

    let mut pi = Pi::with(OLD, |files| files.config = "eeprom_write_protect=1\n");
    refused(&mut pi, "protected from writing");
}

#[test]
fn files_that_are_not_as_they_should_be() {
    let mut pi = Pi::with(OLD, |files| files.image = None);
    refused(&mut pi, "no image for this chip");
    let mut pi = Pi::with(OLD, |files| files.image.as_mut().unwrap()[8] ^= 1);
    pi.device.put("unused", "");
    // the bootloader's own code has no hash: a part that has one is damaged next
    pi.boot(4);
    let mut pi = Pi::with(OLD, |files| {
        let image = files.image.as_mut().unwrap();
        let part = image.windows(8).position(|name| name == b"bootmain").unwrap();
        image[part + 60] ^= 1;
    });
    let said = pi.unchanged(&["eeprom", "boot"], 3).err;
    assert!(said.contains("EEPR2711.IMG: eeprom image: "), "{said}");
    let mut pi = Pi::with(OLD, |files| files.version = 1_650_000_000);
    refused(&mut pi, "older than what is wanted");
    // a Pi 5's card in a Pi 4
    let mut pi = Pi::with(OLD, |files| files.chip = rpieeprom::Chip::Bcm2712);
    refused(&mut pi, "no image for this chip");
    let mut pi = Pi::with(OLD, |files| files.recovery = Vec::new());
    let said = pi.unchanged(&["eeprom", "boot"], 3).err;
    assert!(said.contains("EEPR2711.REC has a length"), "{said}");
}

#[test]
fn what_is_not_known() {
    let mut pi = Pi::new(OLD);
    pi.device.put("run/pivot/data/pivot/state/eeprom", "version=1779045198 attempts=");
    refused(&mut pi, "how often it was tried cannot be read");
    let said = pi.device.done(&["eeprom"]).out;
    assert!(said.contains("warning: ") && said.contains("state/eeprom is damaged"), "{said}");

    let mut pi = Pi::new(OLD);
    fs::remove_file(pi.device.path("proc/device-tree/chosen/bootloader/build-timestamp")).unwrap();
    pi.firmware.fault = Some(Fault::Unknown);
    refused(&mut pi, "neither device tree nor mailbox");

    // an attempt that cannot be counted is not made
    let mut pi = Pi::new(OLD);
    pi.device.put("run/pivot/data/pivot/log/init.log", "short");
    let before = pi.directory();
    assert_eq!(pi.run(&["eeprom", "boot"]).code, 3);
    assert!(before == pi.directory());
}

#[test]
fn a_trial_is_left_alone() {
    let mut pi = Pi::new(OLD);
    // the tool knows of trials only where the bootloader does, or where it is told to
    pi.device.done(&["try", "--no-reboot", "--force"]);
    refused(&mut pi, "a slot is tried or armed");
    pi.device.boot();
    refused(&mut pi, "a slot is tried or armed");
    pi.device.boot();
    pi.boot(4);
}

#[test]
fn new_boards_and_others() {
    let mut pi = Pi::new(NEW);
    pi.unchanged(&["eeprom", "boot"], 0);
    pi.unchanged(&["eeprom", "stage"], 0);
    // a Pi 3
    pi.device.put("proc/device-tree/system/linux,revision", 0x00a0_2082_u32.to_be_bytes());
    assert_eq!(pi.json()["decision"], "no-eeprom");
    assert_eq!(pi.device.status()["eeprom"], serde_json::Value::Null);
    pi.unchanged(&["eeprom", "boot"], 0);
    // no Raspberry Pi, and no mailbox that could be one's
    fs::remove_dir_all(pi.device.path("proc/device-tree")).unwrap();
    fs::remove_file(pi.device.path("dev/vcio")).unwrap();
    assert_eq!(pi.json()["board"], serde_json::Value::Null);
    pi.unchanged(&["eeprom", "boot"], 0);
}

/// Good enough for trials, and a newer one was shipped.
#[test]
fn on_request() {
    let enough = 1_700_000_000;
    let mut pi = Pi::new(enough);
    pi.unchanged(&["eeprom", "boot"], 0);
    let json = pi.json();
    assert_eq!(json["decision"], "current");
    assert_eq!(json["on_request"]["decision"], "update");
    let before = pi.directory();
    pi.done(&["eeprom", "stage"]);
    assert_eq!(pi.json()["decision"], "staged");
    pi.done(&["eeprom", "stage"]);
    assert_eq!(pi.json()["attempts"]["count"], 1);
    pi.done(&["eeprom", "cancel"]);
    assert!(before == pi.directory(), "the names are as they were");
    assert_eq!(pi.json()["attempts"]["count"], 0);
    pi.unchanged(&["eeprom", "cancel"], 0);
    // what was called off leaves both attempts
    for _ in 0..2 {
        pi.done(&["eeprom", "stage"]);
        pi.reset(Rom::PassesOver);
        // init's check clears up and stages nothing: nobody asked it to
        pi.boot(0);
        assert_eq!(pi.json()["files"], "at-rest");
    }
    let said = pi.unchanged(&["eeprom", "stage"], 1).err;
    assert!(said.contains("never again"), "{said}");
    let mut pi = Pi::new(enough);
    pi.done(&["eeprom", "stage"]);
    assert_eq!(pi.reset(Rom::Writes), Some(NEW));
    pi.boot(0);
    assert_eq!(pi.json()["decision"], "current");
}

/// The device tree is believed first, and both are shown.
#[test]
fn two_bootloaders() {
    let mut pi = Pi::new(NEW);
    let tree = "proc/device-tree/chosen/bootloader/build-timestamp";
    pi.device.put(tree, OLD.to_be_bytes());
    let json = pi.json();
    assert_eq!((&json["running"]["timestamp"], &json["decision"]), (&OLD.into(), &"update".into()));
    let warnings = json["warnings"].to_string();
    assert!(warnings.contains("in the device tree") && warnings.contains("by the mailbox"));
    fs::remove_file(pi.device.path(tree)).unwrap();
    assert_eq!(pi.json()["decision"], "current");
}

/// Whatever a mailbox answers, the configuration comes from where it can be read, or nothing is written.
#[test]
fn a_mailbox_that_is_wrong() {
    use Fault::{Call, Code, Cut, Silent, Status, Tag, Unknown};
    let faults = [
        Call(22),
        Call(5),
        Call(25),
        Status(0x8000_0001),
        Status(0),
        Status(7),
        Tag,
        Silent,
        Code(1),
        Unknown,
        Cut,
    ];
    for fault in faults {
        let mut pi = Pi::new(OLD);
        pi.firmware.fault = Some(fault);
        refused(&mut pi, "its configuration cannot be read");
        let json = pi.json();
        assert_eq!(json["running"]["mailbox"], serde_json::Value::Null, "{fault:?}");
        assert_eq!(json["bootconf"], serde_json::Value::Null, "{fault:?}");
        pi.nvmem("[all]\nBOOT_ORDER=0xf14\n");
        assert_eq!(pi.json()["bootconf"], "nvmem", "{fault:?}");
        pi.boot(4);
        assert_eq!(pi.staged().bootconf, "[all]\nBOOT_ORDER=0xf14\n");
    }
}

/// The configuration of another bootloader would be lost with it, the one that boards were sold with is nobody's.
#[test]
fn configurations() {
    let mut pi = Pi::new(OLD);
    pi.firmware.config = "BOOT_UART=0\nWAKE_ON_GPIO=0\n".into();
    pi.boot(4);
    assert_eq!(
        pi.staged().bootconf,
        rpieeprom::Release::new(rpieeprom::Chip::Bcm2711, NEW).bootconf
    );
    let mut pi = Pi::new(OLD);
    // as long as it can be, with text that is no UTF-8 left as it is
    pi.firmware.config = format!("[all]\n# {}\nBOOT_ORDER=0x1\n", "x".repeat(4000));
    let config = pi.firmware.config.clone();
    pi.boot(4);
    assert_eq!(pi.staged().bootconf, config);
    // no kernel of Raspberry Pi's: no mailbox
    let mut pi = Pi::new(OLD);
    fs::remove_file(pi.device.path("dev/vcio")).unwrap();
    refused(&mut pi, "its configuration cannot be read");
    pi.nvmem(CHOSEN);
    pi.boot(4);
    assert_eq!(pi.staged().bootconf, CHOSEN);
}

/// A bootloader that was given a later time than it is now would pass over an update.
#[test]
fn the_time_of_the_update() {
    let mut pi = Pi::new(OLD);
    let late = 4_000_000_000_u32;
    pi.device.put("proc/device-tree/chosen/bootloader/update-timestamp", late.to_be_bytes());
    pi.boot(4);
    assert_eq!(pi.staged().signed_at, late + 1);
}
