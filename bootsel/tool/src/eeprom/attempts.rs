// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/pivot/state/eeprom`: the attempts of an update.

use bootsel::eeprom::attempts::{Attempts, NAME};

use super::look::Look;
use crate::error::Result;
use crate::root::Root;
use crate::state_file;

/// The line; none where nothing was tried. `Err` where it cannot be read.
pub(super) fn read(root: &Root) -> Result<Option<String>> {
    state_file::read(root, NAME, |text| Attempts::parse(text).is_some())
}

pub(super) fn write(root: &Root, attempts: &Attempts<'_>) -> Result<()> {
    state_file::write(root, NAME, &attempts.to_string())
}

pub(super) fn remove(root: &Root) -> Result<()> {
    state_file::remove(root, NAME)
}

/// Takes back what was counted in this boot, which no reset followed.
pub(super) fn uncount(look: &Look) -> Result<()> {
    let Some(last) = look.attempts().filter(|last| last.boot_id == look.boot.boot_id) else {
        return Ok(());
    };
    match last.count {
        0 => Ok(()),
        1 => remove(&look.root),
        count => write(&look.root, &Attempts { count: count.saturating_sub(1), ..last }),
    }
}
