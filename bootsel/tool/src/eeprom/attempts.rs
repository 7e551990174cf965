// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/pivot/state/eeprom`: replaced as a whole, and on the disk when a function here returns.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use bootsel::eeprom::attempts::{Attempts, NAME};

use super::look::Look;
use crate::error::{Error, Result, failed};
use crate::root::{Root, read as read_file};

fn directory(root: &Root) -> PathBuf {
    root.pivot("state")
}

/// The line; none where nothing was tried. `Err` where it cannot be read.
pub(super) fn read(root: &Root) -> Result<Option<String>> {
    let path = directory(root).join(NAME);
    match fs::symlink_metadata(&path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(Error::Failed(format!("cannot read {}: {why}", path.display()))),
        Ok(_) => {}
    }
    let text = String::from_utf8(read_file(&path)?).ok();
    let line = text.filter(|text| Attempts::parse(text).is_some());
    line.map(Some).ok_or_else(|| Error::Failed(format!("{} is damaged", path.display())))
}

pub(super) fn write(root: &Root, attempts: &Attempts<'_>) -> Result<()> {
    let directory = directory(root);
    let cannot = || format!("cannot write {}", directory.join(NAME).display());
    let written = || -> std::io::Result<()> {
        fs::create_dir_all(&directory)?;
        let new = directory.join(format!(".{NAME}.new"));
        let mut file = File::create(&new)?;
        file.write_all(attempts.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(new, directory.join(NAME))?;
        File::open(&directory)?.sync_all()
    };
    written().map_err(failed(cannot()))
}

pub(super) fn remove(root: &Root) -> Result<()> {
    let directory = directory(root);
    let path = directory.join(NAME);
    let removed = fs::remove_file(&path).and_then(|()| File::open(&directory)?.sync_all());
    removed.map_err(failed(format!("cannot remove {}", path.display())))
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
