// SPDX-License-Identifier: MIT OR Apache-2.0
//! An update by way of a mounted file system, for a partition 1 that has no files for one. The order is
//! rpi-eeprom-update's: what an earlier one left is taken away, recovery.bin first; image and signature are written and are on
//! the disk; recovery.bin comes last, under its name only when it is whole. It is no single write: what a cut of power can
//! leave is an update without recovery.bin, which the ROM does not look at.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use bootsel::eeprom::Chip;
use bootsel::eeprom::decide::Shipped;
use bootsel::eeprom::image::Image;
use bootsel::eeprom::stage::State;

use super::look::Look;
use crate::area::Partition;
use crate::error::{Error, Result, failed, refused};
use crate::root::names;
use crate::slot::uncached;

const IMAGE: &str = "pieeprom.upd";
const SIGNATURE: &str = "pieeprom.sig";
const RECOVERY: &str = "recovery.bin";
/// recovery.bin while it is written.
const TEMPORARY: &str = "recovery.tmp";
/// The largest image, and more than any recovery.bin.
const MOST: u64 = 2 << 20;

/// Where the files come from, and where they go.
#[derive(Debug)]
pub(super) struct Classic {
    to: PathBuf,
    /// Name and content of the image, and recovery.bin.
    image: (String, Vec<u8>),
    recovery: Vec<u8>,
}

/// Refuses a directory that is not the mounted partition 1: on a slot a Raspberry Pi stops at such files. (rpi-eeprom, issue
/// 499)
fn is_partition(to: &Path, partition: &Partition) -> Result<()> {
    let cannot = |path: &Path| format!("cannot read {}", path.display());
    let mounted = fs::metadata(to).map_err(failed(cannot(to)))?;
    let node = fs::metadata(&partition.path).map_err(failed(cannot(&partition.path)))?;
    if mounted.is_dir() && (!node.file_type().is_block_device() || node.rdev() == mounted.dev()) {
        return Ok(());
    }
    let (to, path) = (to.display(), partition.path.display());
    refused(format!("{to} is not {path}: mount that there, writable"))
}

/// What somebody staged, and what recovery.bin left, is taken away.
pub(super) fn clear(to: &Path, partition: &Partition) -> Result<bool> {
    is_partition(to, partition)?;
    let is_left = |name: &String| {
        let name = name.to_ascii_lowercase();
        let number = name.strip_prefix("recovery.").unwrap_or_default();
        let is_number = number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number || [IMAGE, SIGNATURE, "pieeprom.bin", TEMPORARY].contains(&name.as_str())
    };
    let (first, others): (Vec<_>, Vec<_>) =
        names(to).into_iter().partition(|name| name.eq_ignore_ascii_case(RECOVERY));
    let others: Vec<_> = others.into_iter().filter(is_left).collect();
    for group in [&first, &others] {
        for name in group {
            let path = to.join(name);
            fs::remove_file(&path).map_err(failed(format!("cannot remove {}", path.display())))?;
        }
        sync(to)?;
    }
    Ok(!first.is_empty() || !others.is_empty())
}

/// The whole file system: FAT's table and directories are no part of a file.
fn sync(to: &Path) -> Result<()> {
    let synced = File::open(to).and_then(|directory| Ok(rustix::fs::syncfs(directory)?));
    synced.map_err(failed(format!("cannot sync {}", to.display())))
}

fn content(path: &Path) -> Result<Vec<u8>> {
    let cannot = format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    uncached(path)?.take(MOST + 1).read_to_end(&mut bytes).map_err(failed(&cannot))?;
    if bytes.is_empty() || bytes.len() as u64 > MOST {
        return Err(Error::Failed(format!("{cannot}: no file for an EEPROM")));
    }
    Ok(bytes)
}

impl Classic {
    pub(super) fn new(from: &Path, to: &Path, partition: &Partition) -> Result<Self> {
        is_partition(to, partition)?;
        let is_image = |name: &String| name.starts_with("pieeprom") && name.ends_with(".bin");
        let name = names(from).into_iter().rfind(is_image);
        let none = || Error::Refused(format!("{} has no pieeprom-*.bin", from.display()));
        let name = name.ok_or_else(none)?;
        let image = content(&from.join(&name))?;
        let recovery = content(&from.join(RECOVERY))?;
        Ok(Self { to: to.to_owned(), image: (name, image), recovery })
    }

    /// Makes these files those that are decided about.
    pub(super) fn show_to(&self, look: &mut Look, chip: Chip) -> Result<()> {
        if look.has_files {
            return refused("partition 1 has files for an update: leave --from and --to out");
        }
        let (name, bytes) = &self.image;
        let image = Image::parse(bytes).map_err(failed(name))?;
        let Image { build_timestamp: version, manufacture, .. } = image;
        look.shipped = (image.chip == chip).then_some(Shipped { version, manufacture });
        look.files = Ok(self.state(chip));
        Ok(())
    }

    fn state(&self, chip: Chip) -> State {
        let there = names(&self.to);
        let has = |name: &str| there.iter().any(|found| found.eq_ignore_ascii_case(name));
        match has(RECOVERY) {
            true => State::Staged(chip),
            false if has("recovery.000") => State::Recovered(chip),
            false => State::AtRest,
        }
    }

    /// See [`clear`].
    pub(super) fn clear(&self, partition: &Partition) -> Result<bool> {
        clear(&self.to, partition)
    }

    /// Name and content of the image.
    pub(super) fn image(&self) -> (&str, &[u8]) {
        (&self.image.0, &self.image.1)
    }

    pub(super) fn put_image(&self, image: &[u8], signature: &[u8]) -> Result<()> {
        self.put(IMAGE, image)?;
        self.put(SIGNATURE, signature)
    }

    /// The last step: without it the other files are nothing.
    pub(super) fn put_recovery(&self) -> Result<()> {
        self.put(TEMPORARY, &self.recovery)?;
        let path = self.to.join(RECOVERY);
        let renamed = fs::rename(self.to.join(TEMPORARY), &path);
        renamed.map_err(failed(format!("cannot make {}", path.display())))?;
        sync(&self.to)
    }

    /// It is on the disk and was read back when this returns.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.to.join(name);
        let written = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        written().map_err(failed(format!("cannot write {}", path.display())))?;
        sync(&self.to)?;
        if content(&path)? == bytes {
            return Ok(());
        }
        Err(Error::Failed(format!("{} reads back differently: the disk fails", path.display())))
    }
}
