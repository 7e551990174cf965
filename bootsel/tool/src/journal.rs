// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log on the data partition, which init writes, too.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use bootsel::Slot;
use bootsel::log::{self, Record};
use rustix::fs::OFlags;

use crate::error::{Error, Result, failed};
use crate::root::{Root, read};

/// The log as it was read.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Journal {
    /// An empty one where it cannot be read: it is a witness and decides nothing.
    pub(crate) fn read(root: &Root) -> Self {
        let path = root.pivot("log/init.log");
        let bytes = read(&path).unwrap_or_default();
        Self { path, bytes }
    }

    pub(crate) fn records(&self) -> Vec<Record<&str>> {
        log::parse(&self.bytes).to_vec()
    }

    /// Whether records can be written, as far as its length says.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes.len() >= log::BYTES
    }

    /// Writes a record; it is on the disk when this returns.
    pub(crate) fn write(
        &mut self,
        event: &str,
        slot: Slot,
        revision: &str,
        boot_id: &str,
        message: &str,
    ) -> Result<()> {
        let record = Record { counter: 0, boot_id, slot: Some(slot), revision, event, message };
        let path = self.path.display();
        let (at, bytes) = log::next(&self.bytes, record).ok_or_else(|| {
            Error::Failed(format!("{path} is missing or shorter than {} bytes", log::BYTES))
        })?;
        let cannot = format!("cannot write to {path}");
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = File::options().write(true).custom_flags(flags).open(&self.path);
        let file = file.map_err(failed(&cannot))?;
        // the barrier: what it announces comes after
        let written = file.write_all_at(&bytes, at).and_then(|()| file.sync_data());
        written.map_err(failed(&cannot))?;
        let place = usize::try_from(at).unwrap_or(usize::MAX);
        for (to, from) in self.bytes.iter_mut().skip(place).zip(bytes) {
            *to = from;
        }
        Ok(())
    }
}
