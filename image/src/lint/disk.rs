// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on the partition table and the file systems.

use bootsel::manifest;
use bootsel::slot::PLACEHOLDER;
use rpifw::{Fat, Table, Volume};

use super::{Fault, place, volumes};
use crate::boards::subject::{SLOTS, Subject};

/// Slots never grow in the field, and the next kernel is larger.
const FULL: u64 = 75;
/// With as many sectors of clusters a FAT16 was seen to boot a Pi 3; smaller volumes were not.
/// (forums.raspberrypi.com, 2025-11)
const BOOTSEL: u64 = 4160;

/// raspberrypi/rpi-eeprom, issues 654, 668, 818 and 854.
pub(super) fn gpt(subject: &Subject<'_>) -> Vec<Fault> {
    let text = "boards ignore autoboot.txt on a GPT, or fail to go back; an MBR is needed";
    let gpt = subject.disk.table == Table::Gpt;
    gpt.then(|| ("partition table".to_owned(), text.to_owned())).into_iter().collect()
}

/// The four partitions.
pub(super) fn partitions(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for number in [1, SLOTS[0], SLOTS[1]] {
        if subject.disk.fat(number).is_none() {
            faults.push((place(number), "no FAT file system".to_owned()));
        }
    }
    if subject.data.is_none() {
        faults.push((place(4), "no ext4 file system for the data".to_owned()));
    }
    faults
}

/// raspberrypi/firmware, issue 1711: the ROM of a Pi 3 passes by others than 0b and 0c.
pub(super) fn types(subject: &Subject<'_>) -> Vec<Fault> {
    let fault = |partition: &crate::rpidisk::Partition| {
        let (number, kind) = (partition.number, partition.kind?);
        let expected: &[u8] = if number == 4 { &[0x83] } else { &[0x0c, 0x0b] };
        let what = || format!("has type {kind:02x}, expected {:02x}", expected[0]);
        (number <= 4 && !expected.contains(&kind)).then(|| (place(number), what()))
    };
    subject.disk.partitions.iter().filter_map(fault).collect()
}

/// Directories that cannot be read.
pub(super) fn damaged(subject: &Subject<'_>) -> Vec<Fault> {
    let numbers = subject.disk.partitions.iter().map(|partition| partition.number);
    let fault = |number| {
        let problem = subject.disk.fat(number)?.problem()?;
        Some((place(number), problem.to_owned()))
    };
    numbers.filter_map(fault).collect()
}

/// The ROM of boards up to the Pi 3 was seen not to start from it.
pub(super) fn fat12(subject: &Subject<'_>) -> Vec<Fault> {
    volumes(subject)
        .filter(|(_, volume)| volume.fat() == Fat::Fat12)
        .map(|(number, _)| (place(number), "is FAT12, which not every board reads".to_owned()))
        .collect()
}

/// Partition 1: FAT16, and not a tiny one.
pub(super) fn bootsel(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(volume) = subject.disk.fat(1) else { return Vec::new() };
    let sectors = volume.usage().1 / crate::fat::SECTOR;
    let what = match volume.fat() {
        Fat::Fat32 => {
            "is FAT32, expected FAT16: a small FAT32 was seen not to start a Pi 3".to_owned()
        }
        Fat::Fat16 if sectors < BOOTSEL => {
            format!("has {sectors} sectors in clusters, expected {BOOTSEL}")
        }
        _ => return Vec::new(),
    };
    vec![(place(1), what)]
}

/// Slots: FAT32.
pub(super) fn slot(subject: &Subject<'_>) -> Vec<Fault> {
    let wrong = subject.slots().filter(|(_, volume)| volume.fat() == Fat::Fat16);
    wrong.map(|(number, _)| (place(number), "is FAT16, expected FAT32".to_owned())).collect()
}

/// How full the slots are.
pub(super) fn full(subject: &Subject<'_>) -> Vec<Fault> {
    let fault = |(number, volume): (u32, &crate::rpidisk::ImageVolume<'_>)| {
        let (used, room) = volume.usage();
        let percent = used * 100 / room.max(1);
        let what = format!("{percent} % full, and a slot never grows: larger kernels may not fit");
        (percent > FULL).then(|| (place(number), what))
    };
    subject.slots().filter_map(fault).collect()
}

/// The slots of one revision are one image but for a letter: a trial then tells of the other slot, too.
pub(super) fn differ(subject: &Subject<'_>) -> Vec<Fault> {
    let [a, b] = SLOTS.map(|number| subject.word(number, "pivot.revision"));
    if a.is_none() || a != b || subject.differences == Some(1) {
        return Vec::new();
    }
    let what = match subject.differences {
        Some(0) => "are equal: each names its own letter in pivot.slot=",
        Some(_) => "name the same revision and differ in more than the letter of the slot",
        None => "name the same revision and are of different length",
    };
    vec![("partitions 2 and 3".to_owned(), what.to_owned())]
}

/// `pivot.slot=` says a on partition 2, b on partition 3.
pub(super) fn letter(subject: &Subject<'_>) -> Vec<Fault> {
    let fault = |(number, letter): (u32, &str)| {
        subject.disk.fat(number)?;
        let found = subject.word(number, "pivot.slot");
        let what = match found.as_deref() {
            Some(found) if found == letter => return None,
            Some(found) => format!("pivot.slot={found}, expected {letter}"),
            None => format!("no pivot.slot={letter}"),
        };
        Some((super::file(number, crate::slot::CMDLINE), what))
    };
    SLOTS.into_iter().zip(["a", "b"]).filter_map(fault).collect()
}

/// A slot is what its manifest says, but for its letter: else the device refuses to try it, and to go back to it.
pub(super) fn content(subject: &Subject<'_>) -> Vec<Fault> {
    let fault = |number| {
        let id = subject.word(number, "pivot.revision")?;
        let read = subject.revision(&id);
        let manifest = read.as_ref().as_ref().ok()?.as_ref()?.manifest.as_ref().ok()?;
        let boot = manifest.file(manifest::BOOT)?;
        let differs = |what: String| Some((place(number), what));
        let Some(letter) = manifest.slot_letter() else {
            return differs(format!("revision {id} does not say where the letter of the slot is"));
        };
        match subject.hash_slot(number, boot.bytes, letter, PLACEHOLDER.as_bytes()[0]) {
            Ok(hash) if hash == boot.sha256 => None,
            Ok(_) => differs(format!("is not the {} of revision {id}", manifest::BOOT)),
            Err(why) => differs(format!("{why:#}")),
        }
    };
    SLOTS.into_iter().filter_map(fault).collect()
}
