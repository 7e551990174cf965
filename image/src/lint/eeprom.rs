// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on the EEPROM's files on partition 1.

use bootsel::eeprom::stage::{self, State};
use bootsel::fat::{BLOCK, Volume as Fat};
use rpifw::Volume;

use super::{Fault, file, place};
use crate::boards::subject::Subject;
use crate::eeprom;

/// Whether partition 1 has any of them.
pub(super) fn is_any(subject: &Subject<'_>) -> bool {
    subject.disk.fat(1).is_some_and(|volume| eeprom::is_any(|name| volume.exists(name)))
}

/// All files for a chip, each as it has to be.
pub(super) fn files(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(volume) = subject.disk.fat(1) else { return Vec::new() };
    let found = eeprom::find(|name| volume.read(name)).into_iter();
    let problems = found.flat_map(|(_, shipped)| shipped.problems);
    problems.map(|(name, what)| (file(1, name), what)).collect()
}

/// Their names can be changed with one write, and nothing is staged: no start but one that `bootsel` counted writes an
/// EEPROM.
pub(super) fn sector(subject: &Subject<'_>) -> Vec<Fault> {
    let what = match state(subject) {
        _ if !is_any(subject) => return Vec::new(),
        Ok(None | Some(State::AtRest)) => return Vec::new(),
        Ok(Some(State::Staged(chip))) => format!("the next start writes the eeprom of {chip}"),
        Ok(Some(State::Recovered(chip))) => {
            format!("the eeprom of {chip} was written, and the names were not put back")
        }
        Err(what) => what,
    };
    vec![(place(1), what)]
}

/// As the device sees it.
fn state(subject: &Subject<'_>) -> Result<Option<State>, String> {
    let partition = subject.disk.partition(1).ok_or("no such partition")?;
    let mut read = |at, block: &mut [u8; BLOCK]| subject.block(at, block);
    let text = |why: bootsel::fat::Error<_>| why.to_string();
    let volume = Fat::open(partition.start, partition.bytes, &mut read).map_err(text)?;
    let Some(place) = stage::locate(&volume, &mut read).map_err(text)? else { return Ok(None) };
    let mut block = [0; BLOCK];
    subject.block(place, &mut block).map_err(|why| why.to_string())?;
    stage::state(&block).map(Some).map_err(|why| why.to_string())
}
