// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bootsel emmc` on a device with an eMMC: what it shows, writes and makes active, what it refuses, and what it says
//! where the card, its driver or the kernel is wrong.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod card;
mod device;
mod traced;

use std::fs;

use card::{BYTES, Emmc, Fault, PARTITION_CONFIG, image, old};
use device::sha256;

fn hex(bytes: &[u8]) -> String {
    sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn status() {
    let mut emmc = Emmc::new();
    let json = emmc.json();
    let fields = ["active", "ack", "access", "version", "boot_bytes", "rst_n", "problem"];
    let expected = serde_json::json!(["boot0", true, 0, "5.1", BYTES, "disabled", null]);
    assert_eq!(serde_json::json!(fields.map(|field| &json[field])), expected);
    let partition = serde_json::json!({
        "name": "mmcblk0boot0", "bytes": BYTES, "active": true, "force_ro": true, "write_protection": "none",
    });
    assert_eq!(json["boot0"], partition);
    assert_eq!(
        (&json["boot1"]["active"], &json["partition_config"]),
        (&false.into(), &0x48.into())
    );
    let none = serde_json::json!([null, []]);
    assert_eq!(serde_json::json!([&json["written"], &json["warnings"]]), none);
    assert!(json["device"].as_str().unwrap().ends_with("dev/mmcblk0"));

    emmc.set(PARTITION_CONFIG, 0x38);
    emmc.set(174, 0x04);
    emmc.set(226, 16);
    let json = emmc.json();
    assert_eq!((&json["active"], &json["ack"]), (&"user".into(), &false.into()));
    assert_eq!(json["boot1"]["write_protection"], "power-on");
    assert!(json["problem"].as_str().unwrap().starts_with("the user area is active"), "{json}");
    assert_eq!(json["warnings"].as_array().map(Vec::len), Some(2), "{json}");
    let said = emmc.done(&["status"]).out;
    assert!(
        said.contains("active: the user area, without boot acknowledge (PARTITION_CONFIG 0x38)")
    );
    assert!(
        said.contains("boot1: 1048576 bytes, force_ro, protected until power is off"),
        "{said}"
    );
    emmc.set(PARTITION_CONFIG, 0);
    assert_eq!(emmc.json()["active"], "none");
    emmc.set(226, 0);
    assert_eq!(emmc.json()["problem"], "this eMMC has no boot partitions");
}

/// Twice around; what lies behind the image in the partition, as some bootloaders' variables do, is kept.
#[test]
fn life() {
    let mut emmc = Emmc::new();
    let new = image(33 << 10, 300_001, "one");
    let file = emmc.file("one.img", &new);
    let said = emmc.done(&["write", &file]).err;
    assert!(said.contains(&format!(
        "mmcblk0boot1 holds the image now, 300001 bytes, sha256 {}",
        hex(&new)
    )));
    let whole = [&new[..], &old(1)[new.len()..]].concat();
    assert!(emmc.holds(1) == whole && emmc.holds(0) == old(0));
    assert_eq!(emmc.config(), 0x48);
    let written = &emmc.json()["written"];
    assert_eq!((&written["partition"], &written["sha256"]), (&"boot1".into(), &hex(&new).into()));
    let said = emmc.done(&["switch"]).err;
    assert!(said.contains("mmcblk0boot1 is active"), "{said}");
    assert_eq!((emmc.config(), &emmc.card.switches[..]), (0x50, &[0x03b3_5001][..]));
    for again in [&["switch"][..], &["update", &file]] {
        let said = emmc.done(again).err;
        assert!(said.contains("nothing to do") && emmc.config() == 0x50, "{said}");
    }
    let two = image(0, BYTES, "two");
    let file = emmc.file("two.img", &two);
    emmc.done(&["update", &file]);
    assert!(emmc.holds(0) == two && emmc.holds(1) == whole);
    assert_eq!(emmc.config(), 0x48);
    // and back, to what still is there
    emmc.done(&["switch", "--sha256", &hex(&new), "--bytes", "300001"]);
    assert_eq!((emmc.config(), emmc.card.switches.len()), (0x50, 3));
}

/// Without an acknowledge there is none afterwards; the device can be named.
#[test]
fn acknowledge() {
    let mut emmc = Emmc::new();
    emmc.set(PARTITION_CONFIG, 0x10);
    fs::remove_file(emmc.device.path("proc/self/mountinfo")).unwrap();
    let file = emmc.file("new.img", &image(0, 5000, "new"));
    emmc.not_done(&["update", &file], 3, "nothing is mounted on /run/pivot/data");
    let device = emmc.device.path("dev/mmcblk0").to_str().unwrap().to_owned();
    emmc.done(&["update", &file, "--device", &device]);
    assert_eq!((emmc.config(), emmc.holds(0).starts_with(b"new is an image")), (0x08, true));
}

#[test]
fn refusals() {
    let mut emmc = Emmc::new();
    let file = &emmc.file("new.img", &image(0, 5000, "new"));
    let [write, switch, update] = [&["write", file][..], &["switch"], &["update", file]];
    emmc.not_done(switch, 1, "it is not known what the other boot partition has to hold");
    let active = [
        (0x00, "no partition is enabled for boot"),
        (0x40, "no partition is enabled for boot"),
        (0x38, "the user area is active"),
        (0x60, "BOOT_PARTITION_ENABLE is 4, which is reserved"),
    ];
    for (config, why) in active {
        emmc.set(PARTITION_CONFIG, config);
        emmc.not_done(write, 1, why);
        emmc.not_done(update, 1, why);
        emmc.not_done(&["switch", "--sha256", &hex(b"")], 1, why);
    }
    emmc.reset();
    for (status, why) in [(0x04, "until its power is off"), (0x08, "for good")] {
        emmc.set(174, status);
        emmc.not_done(write, 1, &format!("mmcblk0: boot1 is write-protected {why}"));
        emmc.not_done(update, 1, &format!("mmcblk0: boot1 is write-protected {why}"));
    }
    emmc.set(174, 0x03);
    emmc.set(178, 0x01);
    emmc.not_done(update, 1, "PARTITION_CONFIG is protected until its power is off");
    // boot0 is protected, and not the one that is written
    emmc.done(write);
    emmc.not_done(switch, 1, "PARTITION_CONFIG is protected until its power is off");
    emmc.set(178, 0);
    emmc.not_done(&["switch", "--sha256", &hex(b"else")], 1, "boot1 does not verify");
    emmc.not_done(&["switch", "--sha256", &hex(b"else"), "--bytes", "1048577"], 1, "not 1048577");
    // its content was changed after it was written
    let place = emmc.device.path("dev/mmcblk0boot1");
    let whole = emmc.holds(1);
    let mut other = whole.clone();
    other[4999] ^= 1;
    fs::write(&place, other).unwrap();
    emmc.not_done(switch, 1, "boot1 does not verify");
    fs::write(&place, whole).unwrap();
    emmc.device.done(&["try", "--no-reboot", "--force"]);
    for command in [write, switch, update] {
        emmc.not_done(command, 1, "a trial is armed");
    }
    emmc.device.boot();
    for command in [write, switch, update] {
        emmc.not_done(command, 1, "this is a trial");
    }
    emmc.device.done(&["commit"]);
    emmc.done(switch);
}

#[test]
fn images_and_devices() {
    let mut emmc = Emmc::new();
    let large = emmc.file("large.img", &image(0, BYTES + 1, "large"));
    for command in ["write", "update"] {
        emmc.not_done(
            &[command, &large],
            1,
            "the image has 1048577 bytes or more, boot1 has 1048576",
        );
        emmc.not_done(&[command, "-"], 1, "- is empty, or zeros to its end");
        emmc.not_done(&[command, "/nothing"], 3, "cannot read /nothing");
    }
    let zeros = emmc.file("zeros.img", &[0; 70_000]);
    emmc.not_done(&["write", &zeros], 1, "is empty, or zeros to its end");
    for wrong in ["", "12", &hex(b"").replace('a', "g")] {
        assert_eq!(emmc.run(&["switch", "--sha256", wrong]).code, 2, "{wrong}");
    }
    assert_eq!(emmc.run(&["switch", "--bytes", "7"]).code, 2);
    // some eMMCs have larger ones than the kernel shows, some kernels show none
    emmc.device.put("sys/block/mmcblk0boot1/size", "8\n");
    let file = emmc.file("new.img", &image(0, 5000, "new"));
    emmc.not_done(&["write", &file], 1, "boot1 has 4096");
    fs::remove_file(emmc.device.path("sys/block/mmcblk0boot1/size")).unwrap();
    emmc.not_done(&["write", &file], 3, "the kernel shows no mmcblk0boot1");
    emmc.reset();
    let part = emmc.device.path("dev/mmcblk0boot1").to_str().unwrap().to_owned();
    emmc.not_done(&["status", "--device", &part], 1, "mmcblk0boot1 is no eMMC: --device names");
    emmc.device.put("sys/block/mmcblk0/device/type", "SD\n");
    emmc.not_done(&["status"], 1, "is no eMMC (SD)");
    emmc.device.put("sys/block/mmcblk0/device/type", "MMC\n");
    fs::create_dir_all(emmc.device.path("run/pivot/data/pivot/state")).unwrap();
    fs::write(emmc.note(), "partition=boot1 bytes=\n").unwrap();
    emmc.not_done(&["switch"], 3, "state/emmc is damaged");
    assert_eq!(emmc.json()["warnings"].as_array().map(Vec::len), Some(1));
    emmc.done(&["update", &file]);
    assert_eq!(emmc.config(), 0x50);
}

/// What is refused by card or kernel is told, and the active partition is what it was.
#[test]
fn commands_fail() {
    let mut emmc = Emmc::new();
    let file = &emmc.file("new.img", &image(0, 5000, "new"));
    let faults = [
        (Fault::Call(8, 1), "CMD8: Operation not permitted"),
        (Fault::Call(8, 25), "CMD8: Inappropriate ioctl for device"),
        (Fault::Status(8, 0x40_0900), "CMD8: the card answers with an error, status 0x00400900"),
        (Fault::Dropped(8), "CMD8: the kernel says that it was done, and no data came"),
    ];
    for (fault, why) in faults {
        emmc.card.fault = Some(fault);
        for command in [&["status"][..], &["write", file], &["update", file]] {
            emmc.not_done(command, 3, why);
        }
    }
    emmc.card.fault = None;
    emmc.done(&["write", file]);
    let faults = [
        (Fault::Call(6, 110), "CMD6: Connection timed out"),
        (Fault::Status(6, 0x980), "CMD6: the card answers with an error, status 0x00000980"),
        (Fault::Dropped(6), "PARTITION_CONFIG was set to 0x50 and reads 0x48: boot0 is active"),
        (Fault::PutsBack, "PARTITION_CONFIG was set to 0x50 and reads 0x48: boot0 is active"),
    ];
    for (fault, why) in faults {
        emmc.card.fault = Some(fault);
        emmc.not_done(&["switch"], 3, why);
        emmc.card.switches.clear();
    }
    emmc.card.fault = None;
    emmc.done(&["switch"]);
}

/// The partition is closed again, is no image, and is never made active; the next attempt succeeds.
#[test]
fn writes_fail() {
    let mut emmc = Emmc::new();
    let new = image(1024, 300_000, "new");
    let file = &emmc.file("new.img", &new);
    let faults = [
        (Fault::Write(1), "cannot write"),
        (Fault::Write(2), "cannot write"),
        (Fault::Flips, "what was written from byte 1536 on reads back differently"),
    ];
    for (fault, why) in faults {
        emmc.reset();
        emmc.card.fault = Some(fault);
        let outcome = emmc.run(&["update", file]);
        assert!(outcome.code == 3 && outcome.err.contains(why), "{fault:?}: {outcome:?}");
        assert!(emmc.force_ro(0) && emmc.force_ro(1) && emmc.holds(0) == old(0));
        assert_eq!((emmc.config(), emmc.note().exists()), (0x48, false));
        assert!(fault == Fault::Write(1) || emmc.holds(1)[1024..1536] == [0; 512]);
        emmc.card.fault = None;
        emmc.not_done(
            &["switch", "--sha256", &hex(&new), "--bytes", "300000"],
            1,
            "does not verify",
        );
        emmc.done(&["update", file]);
        assert_eq!(emmc.config(), 0x50);
    }
    // force_ro cannot be cleared: nothing is written
    emmc.reset();
    fs::remove_file(emmc.device.path("sys/block/mmcblk0boot1/force_ro")).unwrap();
    let outcome = emmc.run(&["update", file]);
    assert!(outcome.code == 3 && outcome.err.contains("force_ro"), "{outcome:?}");
    assert!(emmc.holds(1) == old(1));
}
