// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files for the EEPROM on partition 1.

use bootsel::eeprom::{Chip, signature};
use rpieeprom::Release;
use sha2::{Digest, Sha256};

use super::image::Image;
use super::{check, check_clean, lint};

/// 2026-05-17.
const TIME: u32 = 1_779_045_198;

fn release(chip: Chip, time: u32) -> Release {
    let [pi4, pi5] = rpieeprom::Chip::ALL;
    Release::new(if chip == Chip::Bcm2711 { pi4 } else { pi5 }, time)
}

fn signed(bytes: &[u8], time: u32, chip: Chip) -> [u8; 97] {
    signature::write(&Sha256::digest(bytes).into(), time, chip).unwrap()
}

/// Whole sets for these chips, and the word on the command line.
fn with(image: &mut Image, chips: &[Chip]) {
    for chip in chips {
        let (release, number) = (release(*chip, TIME), chip.number());
        let bytes = release.image();
        let mut add = |ending: &str, bytes: &[u8]| {
            image.bootsel_file(&format!("EEPR{number}.{ending}"), bytes);
        };
        add("IMG", &bytes);
        add("UPD", &bytes);
        add("SIG", &signed(&bytes, TIME, *chip));
        add("REC", &release.recovery());
    }
    image.cmdline = image.cmdline.replace("quiet", "watchdog.stop_on_reboot=0 quiet");
}

#[track_caller]
fn wrong(change: impl FnOnce(&mut Image), rules: &[&str], place: &str, what: &str) {
    let all = |image: &mut Image| {
        with(image, &Chip::ALL);
        change(image);
    };
    check(all, rules, place, what);
}

#[test]
fn whole() {
    check_clean(|i| with(i, &Chip::ALL));
    check_clean(|i| with(i, &[Chip::Bcm2711]));
    check_clean(|i| with(i, &[Chip::Bcm2712]));
    // as a device leaves it that has carried a configuration over
    check_clean(|i| {
        with(i, &Chip::ALL);
        let other = Release {
            bootconf: "[all]\nBOOT_ORDER=0xf1\n".to_owned(),
            ..release(Chip::Bcm2711, TIME)
        };
        i.bootsel_file("EEPR2711.UPD", &other.image());
        let signature = signed(&other.image(), TIME + 1, Chip::Bcm2711);
        i.bootsel_file("EEPR2711.SIG", &signature);
    });
}

#[test]
fn files() {
    let rule = &["eeprom-files"];
    let at = |name: &str| format!("partition 1, {name}");
    for name in ["EEPR2711.IMG", "EEPR2711.UPD", "EEPR2712.SIG", "EEPR2712.REC"] {
        wrong(|i| i.bootsel.retain(|(known, _)| known != name), rule, &at(name), "is missing");
    }
    let file =
        |name: &'static str, bytes: Vec<u8>| move |i: &mut Image| i.bootsel_file(name, &bytes);
    let (update, signature) = ("EEPR2711.UPD", "EEPR2711.SIG");
    wrong(file(update, vec![7; 5]), rule, &at(update), "5 bytes, no eeprom has so many");
    let five = release(Chip::Bcm2712, TIME).image();
    wrong(
        file(update, five),
        rule,
        &at(update),
        "is for BCM2712, by its length, and not for BCM2711",
    );
    let newer = release(Chip::Bcm2711, TIME + 1).image();
    wrong(file(update, newer), rule, &at(signature), "has not the sha256 of EEPR2711.UPD");
    wrong(file(signature, vec![7; 98]), rule, &at(signature), "has 98 bytes, expected 97");
    let program = "EEPR2712.REC";
    wrong(file(program, b"x".to_vec()), rule, &at(program), "is no recovery.bin");
    // all of one release, and that one too old
    let old = |i: &mut Image| {
        let old = release(Chip::Bcm2711, 1_600_000_000);
        i.bootsel_file("EEPR2711.IMG", &old.image());
        i.bootsel_file(update, &old.image());
        i.bootsel_file(signature, &signed(&old.image(), 1_600_000_000, Chip::Bcm2711));
    };
    wrong(
        old,
        rule,
        &at("EEPR2711.IMG"),
        "was built on 2020-09-13 (1600000000): slots can be tried",
    );
    let mut image = Image::new();
    with(&mut image, &[Chip::Bcm2711]);
    old(&mut image);
    // the two images, and not a signature that is right for them
    assert_eq!(lint(&image).len(), 2);
}

#[test]
fn names() {
    let rule = &["eeprom-sector"];
    // more than the block has entries: what comes last is in the next one
    wrong(
        |i| {
            for number in 0..6 {
                i.bootsel.insert(0, (format!("file{number}"), b"x".to_vec()));
            }
        },
        rule,
        "partition 1",
        "the eeprom files' entries are not in one sector",
    );
    let rename = |from: &'static str, to: &'static str| {
        move |i: &mut Image| {
            let (name, _) = i.bootsel.iter_mut().find(|(name, _)| name == from).unwrap();
            *name = to.to_owned();
        }
    };
    let both = &["eeprom-files", "eeprom-sector"];
    let one = rename("EEPR2711.REC", "RECOVERY.BIN");
    wrong(one, both, "partition 1, EEPR2711.REC", "is missing");
    let staged = |i: &mut Image| {
        rename("EEPR2711.UPD", "PIEEPROM.UPD")(i);
        rename("EEPR2711.SIG", "PIEEPROM.SIG")(i);
        rename("EEPR2711.REC", "RECOVERY.BIN")(i);
    };
    let mut image = Image::new();
    with(&mut image, &Chip::ALL);
    staged(&mut image);
    let findings = lint(&image);
    let last = findings.last().unwrap();
    assert_eq!((last.rule, findings.len()), ("eeprom-sector", 4));
    assert_eq!(last.what, "the next start writes the eeprom of BCM2711");
    check(
        |i| {
            i.bootsel_file("pieeprom.upd", b"x");
            i.cmdline = i.cmdline.replace("quiet", "watchdog.stop_on_reboot=0");
        },
        rule,
        "partition 1",
        "are not all there, or not staged by this tool",
    );
}

#[test]
fn command_line() {
    let rule = &["eeprom-reboot"];
    let at = "partition 2, cmdline.txt";
    let what = "no watchdog.stop_on_reboot=0";
    let line = |to: &'static str| {
        move |i: &mut Image| i.cmdline = i.cmdline.replace("watchdog.stop_on_reboot=0", to)
    };
    wrong(line(""), rule, at, what);
    wrong(line("watchdog.stop_on_reboot=1"), rule, at, what);
    wrong(line("watchdog.stop_on_reboot=0 watchdog.stop_on_reboot=1"), rule, at, what);
}

#[test]
fn in_a_slot() {
    for name in ["EEPR2711.IMG", "eepr2712.rec"] {
        let place = format!("partition 2, {name}");
        wrong(|i| i.both(name, b"x"), &["eeprom-in-slot"], &place, "it belongs on partition 1");
    }
}
