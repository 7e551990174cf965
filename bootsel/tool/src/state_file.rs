// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of one line in `/pivot/state` on DATA: replaced as a whole, and on the disk when a function here returns.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use crate::error::{Error, Result, failed};
use crate::root::{Root, read as read_file};

fn path(root: &Root, name: &str) -> PathBuf {
    root.pivot("state").join(name)
}

/// Its text, if that is one that it may have; none where there is no such file.
pub(crate) fn read(
    root: &Root,
    name: &str,
    is_right: impl FnOnce(&str) -> bool,
) -> Result<Option<String>> {
    let path = path(root, name);
    match fs::symlink_metadata(&path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(Error::Failed(format!("cannot read {}: {why}", path.display()))),
        Ok(_) => {}
    }
    let text = String::from_utf8(read_file(&path)?).ok();
    let text = text.filter(|text| is_right(text));
    text.map(Some).ok_or_else(|| Error::Failed(format!("{} is damaged", path.display())))
}

pub(crate) fn write(root: &Root, name: &str, text: &str) -> Result<()> {
    let directory = root.pivot("state");
    let written = || -> io::Result<()> {
        // not more than one: where DATA is not mounted there is nothing to keep it
        fs::create_dir(&directory).or_else(|why| match why.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(why),
        })?;
        let new = directory.join(format!(".{name}.new"));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, directory.join(name))?;
        File::open(&directory)?.sync_all()
    };
    written().map_err(failed(format!("cannot write {}", path(root, name).display())))
}

pub(crate) fn remove(root: &Root, name: &str) -> Result<()> {
    let path = path(root, name);
    let removed = fs::remove_file(&path).and_then(|()| File::open(root.pivot("state"))?.sync_all());
    removed.map_err(failed(format!("cannot remove {}", path.display())))
}
