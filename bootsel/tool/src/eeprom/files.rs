// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of an update on partition 1, which is never mounted to be written: their content is overwritten in its
//! place, their names by one sector. See [`bootsel::eeprom::stage`].

use bootsel::eeprom::Chip;
use bootsel::eeprom::stage::{self, File, State, locate, restore, shipped, state};
use bootsel::fat::{self, BLOCK, Volume};

use crate::area::{Area, Partition};
use crate::error::{Error, Result, failed};

/// A partition 1 that has them.
#[derive(Debug)]
pub(super) struct Files {
    area: Area,
    volume: Volume,
    /// Where the block with their entries is, and what it says.
    at: u64,
    block: [u8; BLOCK],
}

/// Whether the next reset runs recovery.bin, be it ours or not.
pub(super) fn has_recovery(partition: &Partition) -> Result<bool> {
    let area = partition.open()?;
    Ok(area.find(&area.volume()?, File::Recovery.staged())?.is_some())
}

impl Files {
    /// To look at; `None` where the partition has no such files. What somebody else put there to be written is not ours.
    pub(super) fn read(partition: &Partition) -> Result<Option<Self>> {
        Self::find(partition.open()?)
    }

    /// To change.
    pub(super) fn write(partition: &Partition) -> Result<Option<Self>> {
        Self::find(partition.open_to_write()?)
    }

    fn find(area: Area) -> Result<Option<Self>> {
        let volume = area.volume()?;
        let read = &mut |at: u64, block: &mut [u8; BLOCK]| area.read(at, block);
        let mut ours = false;
        for chip in Chip::ALL {
            ours |= volume.find(shipped(chip), read).map_err(failed("partition 1"))?.is_some();
        }
        if !ours {
            return Ok(None);
        }
        let Some(at) = locate(&volume, read).map_err(failed("partition 1"))? else {
            return Ok(None);
        };
        let mut block = [0; BLOCK];
        area.read(at, &mut block)?;
        Ok(Some(Self { area, volume, at, block }))
    }

    pub(super) fn state(&self) -> std::result::Result<State, stage::Error> {
        state(&self.block)
    }

    pub(super) fn is_staged(&self) -> bool {
        matches!(self.state(), Ok(State::Staged(_)))
    }

    /// A whole file.
    pub(super) fn content(&self, name: &str, most: u32) -> Result<Option<Vec<u8>>> {
        self.area.content(&self.volume, name, most)
    }

    /// The length of a file and its first bytes.
    pub(super) fn beginning(&self, name: &str, most: u32) -> Result<Option<(u32, Vec<u8>)>> {
        self.area.beginning(&self.volume, name, most)
    }

    /// Gives a file another content of the same length. What is on the disk when this returns was read back.
    pub(super) fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let most = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let content = || self.content(name, most).map(Option::unwrap_or_default);
        let before = content()?;
        if before.len() != bytes.len() {
            let wrong = format!("{name} is missing or has another length");
            return Err(Error::Failed(wrong));
        }
        if before == bytes {
            return Ok(());
        }
        let mut left = bytes;
        for extent in self.extents(name)? {
            let length = usize::try_from(extent.bytes).unwrap_or(usize::MAX);
            let (part, rest) = left.split_at_checked(length).unwrap_or((left, &[]));
            self.area.write(extent.at, part)?;
            left = rest;
        }
        // the barrier: it is on the medium before it gets another name
        self.area.sync()?;
        if content()? == bytes {
            return Ok(());
        }
        Err(Error::Failed(format!("{name} reads back differently: the disk fails")))
    }

    fn extents(&self, name: &str) -> Result<Vec<fat::Extent>> {
        let file = self.area.find(&self.volume, name)?;
        let file = file.ok_or_else(|| Error::Failed(format!("partition 1 has no {name}")))?;
        let read = &mut |at: u64, block: &mut [u8; BLOCK]| self.area.read(at, block);
        self.volume.extents(&file, read).map_err(failed(name))
    }

    /// The block with the chip's files staged, not yet written.
    pub(super) fn staged(&self, chip: Chip) -> Result<[u8; BLOCK]> {
        stage::stage(&self.block, chip).map_err(failed("partition 1"))
    }

    /// The one sector write.
    pub(super) fn rename(&mut self, block: &[u8; BLOCK]) -> Result<()> {
        self.area.put(self.at, block)?;
        self.block = *block;
        Ok(())
    }

    /// Gives all files their names at rest.
    pub(super) fn restore(&mut self) -> Result<()> {
        let block = restore(&self.block).map_err(failed("partition 1"))?;
        if block == self.block {
            return Ok(());
        }
        self.rename(&block)
    }
}
