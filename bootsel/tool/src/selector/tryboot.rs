// SPDX-License-Identifier: MIT OR Apache-2.0
//! `autoboot.txt`: the firmware of a Raspberry Pi chooses by it.

use bootsel::Slot;
use bootsel::autoboot::{self, Autoboot};
use bootsel::state;

use crate::disk::{Disk, number, slot_of};
use crate::error::{Error, Result, failed};

/// What it says.
pub(super) fn read(disk: &Disk) -> state::Selector {
    let file = match parse(disk) {
        Ok(file) => file,
        Err(why) => return state::Selector::Broken(why.to_string()),
    };
    let trial = Some(file.target(true)).filter(|_| file.tryboot_a_b()).and_then(slot_of);
    match slot_of(file.default()) {
        Some(default) => {
            state::Selector::Set { default, trial: trial.filter(|trial| *trial != default) }
        }
        None => state::Selector::Broken(format!(
            "{}: boot_partition={} is no slot",
            autoboot::NAME,
            file.default()
        )),
    }
}

fn parse(disk: &Disk) -> Result<Autoboot> {
    let area = disk.bootsel.open()?;
    let volume = area.volume()?;
    let bytes = area.content(&volume, autoboot::NAME, 4096)?;
    let bytes = bytes.ok_or_else(|| Error::Failed(format!("there is no {}", autoboot::NAME)))?;
    Autoboot::parse(&bytes).map_err(|why| Error::Failed(why.to_string()))
}

/// Makes `default` the slot that boots, and the other one that of a trial.
pub(super) fn select(disk: &Disk, default: Slot) -> Result<()> {
    let [default, trial] = [default, default.other()].map(number);
    // what somebody else wrote into it is kept; a file that cannot be understood is replaced
    let file = match parse(disk) {
        Ok(mut file) => file.set(default, trial).map(|()| file),
        Err(_) => Autoboot::new(default, trial),
    };
    let bytes = file.and_then(|file| file.to_bytes()).map_err(failed("cannot choose"))?;
    let area = disk.bootsel.open_to_write()?;
    let volume = area.volume()?;
    let at = area.one_sector(&volume, autoboot::NAME, autoboot::BYTES)?;
    area.put(at, &bytes)
}
