// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bundle with a bootloader on a device with an eMMC: written with the install, active with the commit and never in a
//! trial, refused where it is not for the device; and ended before each call that changes something.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod card;
mod device;
mod traced;

use card::{BYTES, Emmc, Fault, PARTITION_CONFIG, image, old};
use device::{Made, revision};
use serde_json::json;
use traced::End;

const SOC: &str = "imx8mm";
const TRY: [&str; 3] = ["try", "--no-reboot", "--force"];
const BOOTLOADER: &str = "run/pivot/data/pivot/revisions/2/bootloader.img";

fn new() -> Vec<u8> {
    image(33 << 10, 120_003, "new")
}

fn second() -> Made {
    revision("2", 2).with_bootloader(Some(SOC), Some(&new()))
}

fn device() -> Emmc {
    let emmc = Emmc::new();
    emmc.is_a(SOC);
    emmc
}

/// A bundle of it.
fn bundle(emmc: &Emmc, made: &Made) -> String {
    emmc.device.bundle(made).to_str().unwrap().to_owned()
}

#[track_caller]
fn done(emmc: &mut Emmc, arguments: &[&str]) -> String {
    let outcome = emmc.tool(arguments, None).outcome();
    assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
    assert!(emmc.force_ro(0) && emmc.force_ro(1));
    outcome.err
}

/// What waits, as the status has it.
fn waits(emmc: &mut Emmc) -> serde_json::Value {
    emmc.json()["written"]["waits_for_commit"].clone()
}

#[test]
fn life() {
    let mut emmc = device();
    let second = bundle(&emmc, &second());
    let said = done(&mut emmc, &["install", &second]);
    assert!(said.contains("mmcblk0boot1 becomes active with the commit of slot b"), "{said}");
    assert!(emmc.holds(1).starts_with(&new()) && emmc.holds(0) == old(0));
    assert_eq!(emmc.config(), 0x48);
    assert_eq!(waits(&mut emmc), json!({ "slot": "b", "revision": "2", "due": false }));
    let said = emmc.done(&["status"]).out;
    assert!(said.contains("of revision 2: becomes active with the commit of slot b"), "{said}");
    // nothing that is no commit makes it active
    done(&mut emmc, &["collect"]);
    done(&mut emmc, &["commit"]);
    done(&mut emmc, &TRY);
    done(&mut emmc, &["collect"]);
    emmc.not_done(&["switch"], 1, "a trial is armed");
    assert_eq!(emmc.boot(), 3);
    done(&mut emmc, &["collect"]);
    emmc.not_done(&["switch"], 1, "this is a trial");
    assert_eq!((emmc.config(), emmc.card.switches.len()), (0x48, 0));
    let said = done(&mut emmc, &["commit"]);
    assert!(said.contains("mmcblk0boot1 is active: the next start is from there"), "{said}");
    assert_eq!((emmc.config(), waits(&mut emmc)), (0x50, json!(null)));
    let said = done(&mut emmc, &["commit"]);
    assert!(said.contains("nothing to do"), "{said}");
    let log = emmc.device.done(&["log"]).out;
    let lines = ["slot=b revision=2 emmc mmcblk0boot1: written", "emmc mmcblk0boot1: active"];
    assert!(lines.iter().all(|line| log.contains(line)), "{log}");
    assert_eq!(emmc.device.status()["attempt"]["outcome"], "committed");

    // the next revision brings the same: nothing is written for it, and nothing follows
    assert_eq!(emmc.boot(), 3);
    let third = revision("3", 3).with_bootloader(Some(SOC), Some(&new()));
    let third = bundle(&emmc, &third);
    let said = done(&mut emmc, &["install", &third]);
    assert!(said.contains("mmcblk0boot1, which is active, has this bootloader"), "{said}");
    done(&mut emmc, &TRY);
    assert_eq!(emmc.boot(), 2);
    done(&mut emmc, &["commit"]);
    assert!(emmc.holds(0) == old(0) && emmc.holds(1).starts_with(&new()));
    assert_eq!((emmc.config(), emmc.card.switches.len()), (0x50, 1));
    // and leaving the slot again leaves the bootloader
    done(&mut emmc, &["rollback", "--no-reboot"]);
    assert_eq!((emmc.boot(), emmc.config()), (3, 0x50));
    done(&mut emmc, &["collect"]);
    assert_eq!(emmc.config(), 0x50);
}

/// A trial that fails leaves nothing that becomes active later, whatever comes into the slot then.
#[test]
fn trial_that_fails() {
    let mut emmc = device();
    let second = bundle(&emmc, &second());
    done(&mut emmc, &["install", &second]);
    done(&mut emmc, &TRY);
    assert_eq!(emmc.boot(), 3);
    done(&mut emmc, &["rollback", "--no-reboot"]);
    assert_eq!(emmc.boot(), 2);
    done(&mut emmc, &["collect"]);
    assert_eq!(emmc.config(), 0x48);
    // the same name again, with no bootloader at all
    let other = revision("2", 2).with_bootloader(Some(SOC), None);
    let other = bundle(&emmc, &other);
    done(&mut emmc, &["install", &other]);
    assert_eq!(waits(&mut emmc), json!(null));
    done(&mut emmc, &TRY);
    assert_eq!(emmc.boot(), 3);
    done(&mut emmc, &["commit"]);
    assert_eq!((emmc.config(), emmc.card.switches.len()), (0x48, 0));
}

/// Written by hand in between: the last one who wrote is right, and is told.
#[test]
fn written_by_hand() {
    let mut emmc = device();
    let second = bundle(&emmc, &second());
    done(&mut emmc, &["install", &second]);
    let file = emmc.file("own.img", &image(0, 5000, "own"));
    let said = emmc.done(&["write", &file]).err;
    assert!(said.contains("it takes the place of the bootloader of revision 2"), "{said}");
    done(&mut emmc, &TRY);
    assert_eq!(emmc.boot(), 3);
    done(&mut emmc, &["commit"]);
    assert_eq!(emmc.config(), 0x48);
    // what the revision brought is still there
    let own = emmc.device.path(BOOTLOADER).to_str().unwrap().to_owned();
    emmc.done(&["update", &own]);
    assert!(emmc.config() == 0x50 && emmc.holds(1).starts_with(&new()));
}

#[test]
fn refusals() {
    let mut emmc = device();
    let refused = |emmc: &mut Emmc, soc: Option<&str>, image: Option<&[u8]>, why: &str| {
        let made = revision("2", 2).with_bootloader(soc, image);
        let bundle = bundle(emmc, &made);
        let before = (emmc.device.state(), emmc.holds(0), emmc.holds(1), emmc.card.ext_csd);
        let outcome = emmc.tool(&["install", &bundle], None).outcome();
        assert!(outcome.code == 1 && outcome.err.contains(why), "{why}: {outcome:?}");
        let after = (emmc.device.state(), emmc.holds(0), emmc.holds(1), emmc.card.ext_csd);
        assert!(before == after, "{why}: something was changed");
    };
    let new = new();
    let image = Some(&new[..]);
    let why = "it is for soc=imx8mp, and this device is soc=imx8mm";
    refused(&mut emmc, Some("imx8mp"), image, why);
    refused(&mut emmc, Some("imx8mp"), None, why);
    refused(&mut emmc, None, image, "its manifest does not say for which soc");
    emmc.set(PARTITION_CONFIG, 0x38);
    refused(&mut emmc, Some(SOC), image, "mmcblk0: the user area is active");
    emmc.set(PARTITION_CONFIG, 0);
    refused(&mut emmc, Some(SOC), image, "no partition is enabled for boot");
    emmc.set(PARTITION_CONFIG, 0x48);
    emmc.set(174, 4);
    refused(&mut emmc, Some(SOC), image, "boot1 is write-protected until its power is off");
    emmc.set(174, 0);
    emmc.set(178, 1);
    refused(&mut emmc, Some(SOC), image, "PARTITION_CONFIG is protected");
    emmc.set(178, 0);
    let large = card::image(0, BYTES + 1, "large");
    refused(&mut emmc, Some(SOC), Some(&large), "the image has 1048577 bytes or more");
    emmc.set(226, 0);
    refused(&mut emmc, Some(SOC), image, "mmcblk0: this eMMC has no boot partitions");
    emmc.set(226, 8);
    emmc.device.put("sys/block/mmcblk0/device/type", "SD\n");
    let why = "it brings a bootloader, and ";
    refused(&mut emmc, Some(SOC), image, why);
    emmc.device.put("sys/block/mmcblk0/device/type", "MMC\n");
    // a device that does not know what it is learns it from a revision without one
    let plain = revision("1", 1);
    emmc.device.put("run/pivot/data/pivot/revisions/1/manifest", plain.manifest);
    refused(&mut emmc, Some(SOC), image, "does not say what this device is");
    let made = revision("2", 2).with_bootloader(Some(SOC), None);
    let bundle = bundle(&emmc, &made);
    done(&mut emmc, &["install", &bundle]);
}

/// The selector is committed, and the eMMC does not do it: that is told, and made good later.
#[test]
fn switch_fails() {
    let mut emmc = device();
    let second = bundle(&emmc, &second());
    done(&mut emmc, &["install", &second]);
    done(&mut emmc, &TRY);
    assert_eq!(emmc.boot(), 3);
    emmc.card.fault = Some(Fault::Call(6, 110));
    let outcome = emmc.tool(&["commit"], None).outcome();
    assert!(outcome.code == 3 && outcome.err.contains("CMD6: Connection timed out"), "{outcome:?}");
    let status = emmc.device.status();
    assert_eq!((&status["default"], &status["trial"]), (&"b".into(), &false.into()));
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("the bootloader of revision 2, which is committed"), "{warnings}");
    assert_eq!(waits(&mut emmc)["due"], true);
    // an install would overwrite it
    let third = revision("3", 3).with_bootloader(Some(SOC), Some(&image(0, 7000, "third")));
    let third = bundle(&emmc, &third);
    let outcome = emmc.tool(&["install", &third], None).outcome();
    assert!(outcome.code == 3 && emmc.holds(1).starts_with(&new()), "{outcome:?}");
    emmc.card.fault = None;
    assert_eq!(emmc.boot(), 3);
    done(&mut emmc, &["install", &third]);
    assert_eq!((emmc.config(), emmc.card.switches.len()), (0x50, 1));
    assert!(emmc.holds(0).starts_with(b"third is an image"));
    assert_eq!(waits(&mut emmc), json!({ "slot": "a", "revision": "3", "due": false }));
}

/// The active partition is a whole image, and the new one only where its slot is committed. A slot that can be read has
/// its bootloader waiting, or it is active already.
#[track_caller]
fn judge(emmc: &mut Emmc) {
    let other = emmc.holds(1);
    assert!(emmc.holds(0) == old(0) && emmc.force_ro(0));
    let whole = other.starts_with(&new());
    assert!(whole || other == old(1) || other[33 << 10..][..512] == [0; 512]);
    let status = emmc.device.status();
    let b = &status["slots"]["b"];
    let installed = b["revision"] == "2" && b["complete"] == true;
    let committed = status["default"] == "b";
    match emmc.card.active() {
        Some(0) if installed => {
            assert!(whole);
            let waits = waits(emmc);
            assert_eq!((&waits["slot"], &waits["revision"]), (&"b".into(), &"2".into()));
        }
        Some(0) => assert!(!committed),
        Some(1) => assert!(whole && committed),
        other => assert_eq!(other, Some(0), "{status}"),
    }
}

/// From an install to its commit, ended before each call that changes something, and started anew: the next boot has an
/// active partition that is whole, and the update comes to its end.
#[test]
fn ended_anywhere() {
    for (step, least) in [("install", 40), ("commit", 8)] {
        let mut points = 0;
        for until in 1.. {
            if !ended_before(step, until) {
                break;
            }
            points += 1;
        }
        assert!(points >= least, "{step}: {points}");
    }
}

/// One of them; whether it was ended.
fn ended_before(step: &str, until: usize) -> bool {
    let mut emmc = device();
    let second = bundle(&emmc, &second());
    let install = ["install", &second];
    let tries = |emmc: &mut Emmc| {
        done(emmc, &TRY);
        assert_eq!(emmc.boot(), 3);
    };
    if step == "commit" {
        done(&mut emmc, &install);
        tries(&mut emmc);
    }
    let words = if step == "commit" { &["commit"][..] } else { &install[..] };
    let ended = matches!(emmc.tool(words, Some(until)), End::Killed(_));
    judge(&mut emmc);
    // what it left: a boot, and what a system does at its start
    emmc.boot();
    done(&mut emmc, &["collect"]);
    judge(&mut emmc);
    if emmc.device.status()["default"] == "a" {
        if step == "install" {
            done(&mut emmc, &install);
        }
        tries(&mut emmc);
        done(&mut emmc, &["commit"]);
        judge(&mut emmc);
    }
    assert_eq!((emmc.config(), emmc.card.switches.len()), (0x50, 1), "{step} {until}");
    assert_eq!(waits(&mut emmc), json!(null));
    ended
}
