// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which partition boots. (DOC config_txt/autoboot.adoc, raspberry-pi/bootflow-eeprom.adoc; raspberrypi/rpi-eeprom,
//! firmware-2711/release-notes.md.)

use bootsel::autoboot::{self, Autoboot};

use crate::{Board, Disk, Start, Stop, Volume};

/// The configuration, and what is read in its place in a trial without `tryboot_a_b`.
pub const CONFIG: &str = "config.txt";
/// See [`CONFIG`].
pub const TRYBOOT: &str = "tryboot.txt";
/// First half of the firmware of boards without an EEPROM.
pub const BOOTCODE: &str = "bootcode.bin";

/// What was decided before config.txt is read.
pub(crate) struct Chosen<'a> {
    pub(crate) number: u32,
    pub(crate) volume: &'a dyn Volume,
    /// Name of the configuration.
    pub(crate) config: &'static str,
    pub(crate) firmware: Vec<String>,
    pub(crate) missing: Vec<Stop>,
    pub(crate) notes: Vec<String>,
}

/// Every FAT volume that a partition number of the firmware can name.
pub(crate) fn volumes(disk: &dyn Disk) -> impl Iterator<Item = (u32, &dyn Volume)> {
    (1..=u32::from(autoboot::MAX_PARTITION))
        .filter_map(|number| Some((number, disk.volume(number)?)))
}

pub(crate) fn choose<'a>(
    board: &Board,
    disk: &'a dyn Disk,
    start: &Start,
) -> Result<Chosen<'a>, Stop> {
    let Some((first, volume)) = volumes(disk).next() else {
        let reason = "no partition has a FAT file system".to_owned();
        return Err(Stop { partition: None, file: String::new(), reason });
    };
    let stop = |file: &str, reason| Stop { partition: Some(first), file: file.to_owned(), reason };
    let mut chosen = Chosen {
        number: first,
        volume,
        config: if start.tryboot { TRYBOOT } else { CONFIG },
        firmware: Vec::new(),
        missing: Vec::new(),
        notes: Vec::new(),
    };
    if !board.chip.has_eeprom() {
        // The ROM of these chips takes the first FAT partition.
        match volume.exists(BOOTCODE) {
            true => chosen.firmware.push(BOOTCODE.to_owned()),
            false => chosen.missing.push(stop(BOOTCODE, format!("{BOOTCODE} is missing"))),
        }
    }
    let text = volume.read(autoboot::NAME).map_err(|error| stop(autoboot::NAME, error))?;
    let Some(text) = text else {
        return default(board, disk, chosen);
    };
    // Seen on a Pi 3 (forums.raspberrypi.com, 2025-11): without a config.txt beside it, empty or not, bootcode.bin
    // does not look at autoboot.txt.
    if !board.chip.has_eeprom() && !volume.exists(CONFIG) {
        let reason = format!("{CONFIG} is missing: {} is not read without it", autoboot::NAME);
        return Err(stop(CONFIG, reason));
    }
    let file = Autoboot::parse(&text).map_err(|error| stop(autoboot::NAME, error.to_string()))?;
    if file.tryboot_a_b() {
        chosen.config = CONFIG;
    }
    match u32::from(file.target(start.tryboot)) {
        0 => default(board, disk, chosen),
        target => named(board, disk, target, chosen),
    }
}

/// "Specifying partition 0 means boot from the default partition which is the first bootable FAT partition."
fn default<'a>(board: &Board, disk: &'a dyn Disk, chosen: Chosen<'a>) -> Result<Chosen<'a>, Stop> {
    let found = volumes(disk).find(|(_, volume)| lacks(board, disk, *volume).is_none());
    let Some((number, volume)) = found else {
        let (partition, file) = (Some(chosen.number), lacks(board, disk, chosen.volume));
        let file = file.unwrap_or_default();
        let reason = format!("{file} is missing, and no other partition can be booted");
        return Err(Stop { partition, file, reason });
    };
    Ok(Chosen { number, volume, ..chosen })
}

/// The partition that autoboot.txt names.
fn named<'a>(
    board: &Board,
    disk: &'a dyn Disk,
    target: u32,
    mut chosen: Chosen<'a>,
) -> Result<Chosen<'a>, Stop> {
    let volume = disk.volume(target);
    let lacking = volume.map(|volume| lacks(board, disk, volume));
    let (file, reason) = match (volume, lacking) {
        (Some(volume), Some(None)) => return Ok(Chosen { number: target, volume, ..chosen }),
        (_, Some(Some(file))) => (file.clone(), format!("{file} is missing")),
        _ => (String::new(), "no FAT file system".to_owned()),
    };
    // Release notes of the EEPROM: 2022-10-18 partition 1, 2025-08-13 the first that can be booted. Nothing is
    // written of the boards without an EEPROM.
    let other = volumes(disk).find(|(_, volume)| lacks(board, disk, *volume).is_none());
    let Some((number, volume)) = other.filter(|_| board.chip.has_eeprom()) else {
        return Err(Stop { partition: Some(target), file, reason });
    };
    let since = if number == 1 { "2022-10-18" } else { "2025-08-13" };
    chosen.notes.push(format!(
        "partition {target} cannot be booted ({reason}): partition {number} instead, with an EEPROM of {since} or newer"
    ));
    Ok(Chosen { number, volume, ..chosen })
}

/// The file for want of which a partition is not "bootable": the second half of the firmware, or on a Pi 5 config.txt
/// and a device tree. Where no partition has the firmware, config.txt stands for it: such a disk is for emulation.
fn lacks(board: &Board, disk: &dyn Disk, volume: &dyn Volume) -> Option<String> {
    match board.chip.firmware() {
        Some((start, _)) if volumes(disk).any(|(_, other)| other.exists(start)) => {
            (!volume.exists(start)).then(|| start.to_owned())
        }
        Some(_) => (!volume.exists(CONFIG)).then(|| CONFIG.to_owned()),
        None if !volume.exists(CONFIG) => Some(CONFIG.to_owned()),
        None => {
            let mut trees = board.dtb.iter().chain(board.upstream_dtb);
            let any = trees.any(|name| volume.exists(name));
            board.dtb.first().filter(|_| !any).map(|name| (*name).to_owned())
        }
    }
}
