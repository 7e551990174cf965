// SPDX-License-Identifier: MIT OR Apache-2.0

use super::super::Boot;
use super::super::note::{Hash, Note, With};
use super::super::shipped::{Follow, NAME, SOC, bootloader, follow};
use crate::Slot::{self, A, B};
use crate::manifest::{File, Manifest};
use crate::state::ThisBoot;
use std::string::ToString as _;

fn manifest(soc: &str, brings: bool) -> Manifest {
    let mut manifest = Manifest::new(&"2".parse().unwrap(), 2);
    if !soc.is_empty() {
        manifest.keys.push((SOC.into(), soc.into()));
    }
    if brings {
        manifest.files.push(File { sha256: [7; 32], bytes: 4096, name: NAME.into() });
    }
    manifest
}

/// Whether it brings a bootloader that may be installed where this runs; empty: nothing is said, `none`: no manifest.
#[track_caller]
fn check(soc: &str, brings: bool, running: &str, expected: Result<bool, &str>) {
    let new = manifest(soc, brings);
    let here = (running != "none").then(|| manifest(running, true));
    match (bootloader(&new, here.as_ref()), expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found.is_some(), expected),
        (Err(why), Err(part)) => assert!(why.to_string().contains(part), "{why}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[test]
fn for_this_device() {
    for running in ["", "none", "imx8mm"] {
        check("", false, running, Ok(false));
        check("", true, running, Err("its manifest does not say for which soc"));
    }
    check("imx8mm", true, "imx8mm", Ok(true));
    check("imx8mm", false, "imx8mm", Ok(false));
    for running in ["", "none"] {
        // that is how a device comes to know it
        check("imx8mm", false, running, Ok(false));
        check("imx8mm", true, running, Err("does not say what this device is"));
    }
    let why = "it is for soc=imx8mp, and this device is soc=imx8mm";
    check("imx8mp", true, "imx8mm", Err(why));
    check("imx8mp", false, "imx8mm", Err(why));
    check("imx8m", true, "imx8mm", Err("it is for soc=imx8m, and"));
}

#[test]
fn what_follows() {
    let waits = |slot| Some(With { slot, revision: "2".parse().unwrap() });
    let check = |with, default: Option<Slot>, booted, revision: &str, armed, expected| {
        let (bytes, sha256) = (4096, Hash([7; 32]));
        let note = Note { partition: Boot::Boot1, bytes, sha256, with };
        let (tryboot, pending, boot_id) = (Some(default != booted), false, "now");
        let boot = ThisBoot { default, booted, tryboot, pending, boot_id, log: &[] };
        assert_eq!(follow(&note, &boot, revision, armed), expected, "{note} {boot:?}");
    };
    let (a, b) = (Some(A), Some(B));
    check(None, b, b, "2", false, Follow::Nothing);
    check(waits(B), b, b, "2", false, Follow::Due);
    check(waits(A), a, a, "2", false, Follow::Due);
    // installed, on trial, left again, fallen back to
    check(waits(B), a, a, "1", false, Follow::Waits);
    check(waits(B), a, b, "2", false, Follow::Waits);
    check(waits(B), a, a, "1", true, Follow::Waits);
    check(waits(B), None, b, "2", false, Follow::Waits);
    // committed, and a trial of the other one is ahead, or runs
    check(waits(B), b, b, "2", true, Follow::Waits);
    check(waits(B), b, a, "1", false, Follow::Waits);
    // the slot has another one by now
    check(waits(B), b, b, "3", false, Follow::Nothing);
    check(waits(B), a, b, "3", false, Follow::Nothing);
    check(waits(B), b, None, "", false, Follow::Waits);
}
