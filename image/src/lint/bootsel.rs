// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on what chooses the slot, and on the firmware's own files.

use std::collections::BTreeMap;

use bootsel::autoboot::{self, Autoboot};
use rpifw::partition::{BOOTCODE, CONFIG};
use rpifw::{BOARDS, Start, Volume};

use super::{Fault, file, place};
use crate::boards::subject::{SLOTS, Subject};

/// What the firmware takes for its EEPROM's update: on a slot it ends the boot (raspberrypi/rpi-eeprom, issue 499).
const EEPROM: [&str; 3] = ["recovery.bin", "pieeprom.", "vl805."];

/// Boards up to the Pi 3 do not look at autoboot.txt without it.
pub(super) fn config(subject: &Subject<'_>) -> Vec<Fault> {
    let missing = subject.disk.fat(1).is_some_and(|volume| !volume.exists(CONFIG));
    let what =
        "is missing: boards up to the Pi 3 then do not read autoboot.txt; an empty one will do";
    missing.then(|| (file(1, CONFIG), what.to_owned())).into_iter().collect()
}

/// Without it partition 1 is what boots.
pub(super) fn missing(subject: &Subject<'_>) -> Vec<Fault> {
    let missing = subject.disk.fat(1).is_some_and(|volume| !volume.exists(autoboot::NAME));
    missing.then(|| (file(1, autoboot::NAME), "is missing".to_owned())).into_iter().collect()
}

fn text(subject: &Subject<'_>) -> Option<Vec<u8>> {
    subject.disk.fat(1)?.read(autoboot::NAME).ok()?
}

/// A commit overwrites one sector.
pub(super) fn size(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(length) = text(subject).map(|text| text.len()) else { return Vec::new() };
    let what = match length {
        autoboot::BYTES => return Vec::new(),
        _ if length > autoboot::BYTES => format!("has {length} bytes, the firmware reads 512"),
        _ => format!("has {length} bytes, expected 512: a commit overwrites one sector"),
    };
    vec![(file(1, autoboot::NAME), what)]
}

/// Default and trial are the two slots.
pub(super) fn target(subject: &Subject<'_>) -> Vec<Fault> {
    let at = || file(1, autoboot::NAME);
    let found = match text(subject).map(|text| Autoboot::parse(&text)) {
        // said by the rule on its size
        None | Some(Err(autoboot::Error::TooLong(_))) => return Vec::new(),
        Some(Err(error)) => return vec![(at(), error.to_string())],
        Some(Ok(found)) => found,
    };
    let (default, trial) = (found.target(false), found.target(true));
    let mut faults = Vec::new();
    for (name, target) in [("[all]", default), ("[tryboot]", trial)] {
        if !SLOTS.contains(&u32::from(target)) {
            faults.push((at(), format!("{name} leads to partition {target}, which is no slot")));
        }
    }
    if default == trial {
        let what = format!("[all] and [tryboot] both lead to partition {default}: no way back");
        faults.push((at(), what));
    }
    if !found.tryboot_a_b() {
        faults
            .push((at(), "no tryboot_a_b=1: a trial reads tryboot.txt of the default".to_owned()));
    }
    faults
}

/// EEPROM files outside of partition 1.
pub(super) fn eeprom(subject: &Subject<'_>) -> Vec<Fault> {
    let staged = |name: &str| {
        let name = name.to_ascii_lowercase();
        EEPROM.iter().any(|start| name.starts_with(start))
            || crate::eeprom::is_any(|known| name.eq_ignore_ascii_case(known))
    };
    let what = "is for the EEPROM: it belongs on partition 1, and on a slot it may stop the board";
    let mut faults = Vec::new();
    for (number, volume) in subject.slots() {
        let found = volume.files().filter(|found| staged(&found.path));
        faults.extend(found.map(|found| (file(number, &found.path), what.to_owned())));
    }
    faults
}

/// "bootcode.bin must be present on partition 1 and only on that partition." (a Raspberry Pi engineer on
/// forums.raspberrypi.com, 2025-11)
pub(super) fn bootcode(subject: &Subject<'_>) -> Vec<Fault> {
    let found = subject.slots().filter(|(_, volume)| volume.exists(BOOTCODE));
    let what = "belongs on partition 1 alone";
    found.map(|(number, _)| (file(number, BOOTCODE), what.to_owned())).collect()
}

/// The words by which the firmware shows that it can try a slot.
pub(super) fn token(subject: &Subject<'_>) -> Vec<Fault> {
    let volumes = [1, SLOTS[0], SLOTS[1]];
    let volumes = volumes.into_iter().filter_map(|n| Some((n, subject.disk.fat(n)?)));
    let mut faults = Vec::new();
    for (number, volume) in volumes {
        for found in volume.files() {
            let name = found.path.to_ascii_lowercase();
            let token = match () {
                () if name == BOOTCODE => autoboot::IN_BOOTCODE,
                () if name.starts_with("start") && name.ends_with(".elf") => autoboot::IN_START,
                () => continue,
            };
            let known = match volume.read(&found.path) {
                Ok(bytes) => autoboot::has_word(&bytes.unwrap_or_default(), token),
                Err(_) => continue,
            };
            if !known {
                let what = format!("does not know {token}: too old for a trial of a slot");
                faults.push((file(number, &found.path), what));
            }
        }
    }
    faults
}

/// Files of the firmware that the boards which boot would miss.
pub(super) fn firmware(subject: &Subject<'_>) -> Vec<Fault> {
    let mut missing: BTreeMap<(u32, String), Vec<&str>> = BTreeMap::new();
    for board in BOARDS {
        for tryboot in [false, true] {
            let start = Start { tryboot, arm_64bit: None };
            let Ok(boot) = rpifw::boot(board, &subject.disk, &start) else { continue };
            for stop in boot.missing {
                let key = (stop.partition.unwrap_or(0), stop.file);
                let boards = missing.entry(key).or_default();
                if boards.last() != Some(&board.name) {
                    boards.push(board.name);
                }
            }
        }
    }
    let fault = |((number, name), boards): ((u32, String), Vec<&str>)| {
        let at = if name.is_empty() { place(number) } else { file(number, &name) };
        (at, format!("is missing: for {} the image is for emulation only", boards.join(" ")))
    };
    missing.into_iter().map(fault).collect()
}
