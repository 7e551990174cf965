// SPDX-License-Identifier: MIT OR Apache-2.0
//! `grubenv`: GRUB chooses by it, and by the variable beside the default starts a trial.

use bootsel::Slot;
use bootsel::grubenv::{self, BYTES, Grubenv, NAME, SCRIPT, SECTOR, TRIAL};
use bootsel::state::Selector;

use crate::area::Area;
use crate::disk::Disk;
use crate::error::{Error, Result};

/// What is read of a file that is longer: enough to say how long it is.
const MOST: u32 = 1 << 16;

/// What it says, and whether the next boot is a trial; `None` where that is not known.
pub(super) fn read(disk: &Disk) -> (Selector, Option<bool>) {
    match parse(disk) {
        Ok(found) => {
            let default = found.default();
            (Selector::Set { default, trial: Some(default.other()) }, Some(found.is_armed()))
        }
        Err(why) => (Selector::Broken(why.to_string()), None),
    }
}

fn parse(disk: &Disk) -> Result<Grubenv> {
    let area = disk.bootsel.open()?;
    let volume = area.volume()?;
    let bytes = area.content(&volume, NAME, MOST)?;
    let bytes = bytes.ok_or_else(|| Error::Failed(format!("there is no {NAME}")))?;
    Grubenv::parse(&bytes).map_err(|why| Error::Failed(why.to_string()))
}

/// Makes `default` the slot that boots, and calls a trial off: one sector. A block that cannot be used is replaced.
pub(super) fn select(disk: &Disk, default: Slot) -> Result<()> {
    let file = File::open(disk)?;
    match Grubenv::parse(&file.bytes) {
        Ok(mut found) => {
            found.select(default);
            file.put(&found)
        }
        Err(_) => file.replace(default),
    }
}

/// Asks for a trial of the slot that is not the default, or calls it off.
pub(super) fn arm(disk: &Disk, trial: bool) -> Result<()> {
    let file = File::open(disk)?;
    let found = Grubenv::parse(&file.bytes).map_err(|why| Error::Failed(why.to_string()))?;
    if found.is_armed() == trial {
        return Ok(());
    }
    let mut new = found;
    new.arm(trial);
    file.put(&new)
}

/// Whether the script of partition 1 starts trials, or why that is not known.
pub(super) fn knows_trials(disk: &Disk) -> std::result::Result<(), String> {
    let read = || {
        let area = disk.bootsel.open()?;
        area.content(&area.volume()?, SCRIPT, MOST)
    };
    match read().map_err(|why| why.to_string())? {
        Some(script) if String::from_utf8_lossy(&script).contains(TRIAL) => Ok(()),
        Some(_) => Err(format!("{SCRIPT} on partition 1 does not know {TRIAL}")),
        None => Err(format!("there is no {SCRIPT} on partition 1")),
    }
}

/// The file in its place.
struct File {
    area: Area,
    first: u64,
    second: u64,
    bytes: Vec<u8>,
}

impl File {
    fn open(disk: &Disk) -> Result<Self> {
        let area = disk.bootsel.open_to_write()?;
        let places = area.sectors(&area.volume()?, NAME, BYTES)?;
        let [first, second] = *places else {
            return Err(Error::Failed(format!("{NAME} is not two sectors")));
        };
        let mut bytes = vec![0; BYTES];
        for (place, sector) in places.iter().zip(bytes.chunks_mut(SECTOR)) {
            area.read(*place, sector)?;
        }
        Ok(Self { area, first, second, bytes })
    }

    /// Only the first sector: the second of what could be parsed holds nothing.
    fn put(&self, found: &Grubenv) -> Result<()> {
        self.area.put(self.first, &found.to_sector())
    }

    /// The second sector first: what stands there would be read behind what the first one says.
    fn replace(&self, default: Slot) -> Result<()> {
        let filler = grubenv::filler();
        if self.bytes.get(SECTOR..) != Some(&filler) {
            self.area.put(self.second, &filler)?;
        }
        self.put(&Grubenv::salvage(&self.bytes, default))
    }
}
