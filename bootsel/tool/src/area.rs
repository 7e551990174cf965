// SPDX-License-Identifier: MIT OR Apache-2.0
//! A partition as bytes, around the page cache: what is read is what the disk has, what was written is there. It stays
//! there over a cut of power once [`Area::sync`] has returned, and nothing else is a barrier here.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

use bootsel::fat;
use rustix::fs::OFlags;

use crate::error::{Error, Result, failed};

/// Bytes that are read or written at once; every logical block and every direct transfer fits it.
pub(crate) const CHUNK: usize = 1 << 20;
/// Direct transfers with files of a file system are aligned to its block.
const FILE_BLOCK: usize = 4096;
/// What a disk writes wholly or not at all, whatever its logical block is.
pub(crate) const SECTOR: usize = 512;

/// A partition, or the part of an image file that is one.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// Device node or image file.
    pub(crate) path: PathBuf,
    /// Where it begins in `path`, in bytes.
    pub(crate) start: u64,
    /// Its length.
    pub(crate) bytes: u64,
}

/// An open partition.
#[derive(Debug)]
pub(crate) struct Area {
    file: File,
    partition: Partition,
    block: usize,
    /// Read in place of the first sector.
    beginning: Option<[u8; SECTOR]>,
}

/// Memory for direct transfers.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Aligned {
    fn new(bytes: usize) -> Self {
        let memory = vec![0; bytes + FILE_BLOCK];
        let start = memory.as_ptr().align_offset(FILE_BLOCK).min(FILE_BLOCK);
        Self { memory, start, bytes }
    }

    fn get(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..).and_then(|m| m.get_mut(..self.bytes)).unwrap_or_default()
    }
}

impl Partition {
    /// For reading alone.
    pub(crate) fn open(&self) -> Result<Area> {
        self.open_as(false, OFlags::DIRECT)
    }

    /// For writing. Of a block device that is in use nothing is opened.
    pub(crate) fn open_to_write(&self) -> Result<Area> {
        self.open_as(true, OFlags::DIRECT | OFlags::EXCL)
    }

    fn open_as(&self, write: bool, flags: OFlags) -> Result<Area> {
        let name = self.path.display();
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        let device = std::fs::metadata(&self.path)
            .map_err(failed(format!("cannot open {name}")))?
            .file_type()
            .is_block_device();
        // without O_CREAT it has a meaning for block devices only
        let flags = if device { flags } else { flags - OFlags::EXCL };
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = options.custom_flags(flags).open(&self.path).map_err(|why| {
            let busy = why.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error());
            let hint = if busy { "; it is mounted or in use: see findmnt" } else { "" };
            Error::Failed(format!("cannot open {name}: {why}{hint}"))
        })?;
        let block = match device {
            true => rustix::fs::ioctl_blksszget(&file)
                .map_err(failed(format!("cannot ask {name} for its block size")))?
                as usize,
            false => FILE_BLOCK,
        };
        Ok(Area { file, partition: self.clone(), block, beginning: None })
    }
}

impl Area {
    /// Length of the partition.
    pub(crate) fn bytes(&self) -> u64 {
        self.partition.bytes
    }

    /// The partition as it will be when its first sector is this one.
    pub(crate) fn beginning_with(self, sector: [u8; SECTOR]) -> Self {
        Self { beginning: Some(sector), ..self }
    }

    /// Any bytes of the partition.
    pub(crate) fn read(&self, at: u64, out: &mut [u8]) -> Result<()> {
        let (mut at, mut out) = (at, out);
        while !out.is_empty() {
            let (mut buffer, first) = self.covering(at, out.len());
            let skip = usize::try_from(self.partition.start + at - first).unwrap_or(usize::MAX);
            self.fill(first, buffer.get())?;
            self.pretend(first, buffer.get());
            let have = buffer.get().get(skip..).unwrap_or_default();
            let count = have.len().min(out.len());
            for (to, from) in out.iter_mut().zip(have) {
                *to = *from;
            }
            out = out.get_mut(count..).unwrap_or_default();
            at += count as u64;
        }
        Ok(())
    }

    /// Memory for the whole blocks around so many bytes (at most a chunk), and where they begin in the file.
    fn covering(&self, at: u64, bytes: usize) -> (Aligned, u64) {
        let block = self.block as u64;
        let begin = self.partition.start + at;
        let first = begin - begin % block;
        let end = (begin + bytes as u64).next_multiple_of(block);
        let bytes = usize::try_from(end - first).unwrap_or(CHUNK).min(CHUNK);
        (Aligned::new(bytes), first)
    }

    fn fill(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        let cannot = format!("cannot read {} at byte {at}", self.partition.path.display());
        self.file.read_exact_at(buffer, at).map_err(failed(cannot))
    }

    /// Puts the beginning that is not written yet into what was read from `first` on.
    fn pretend(&self, first: u64, buffer: &mut [u8]) {
        let Some(sector) = &self.beginning else { return };
        let skip =
            self.partition.start.checked_sub(first).and_then(|skip| usize::try_from(skip).ok());
        let place = skip.and_then(|skip| buffer.get_mut(skip..)).unwrap_or_default();
        for (to, from) in place.iter_mut().zip(sector) {
            *to = *from;
        }
    }

    /// Overwrites bytes, with the rest of their blocks as it is. What is written lies within one block where it is one
    /// sector, so that it is there wholly or not at all.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let end = at.checked_add(bytes.len() as u64);
        let path = self.partition.path.display();
        if end.is_none_or(|end| end > self.partition.bytes) {
            return Err(Error::Failed(format!("{path}: a write past the end of the partition")));
        }
        let (mut at, mut left) = (at, bytes);
        while !left.is_empty() {
            // so much that it fits a chunk with the blocks that are not written wholly
            let skip =
                usize::try_from((self.partition.start + at) % self.block as u64).unwrap_or(0);
            let (part, rest) = left.split_at(left.len().min(CHUNK - skip));
            let (mut buffer, first) = self.covering(at, part.len());
            if buffer.bytes != part.len() {
                self.fill(first, buffer.get())?;
            }
            for (to, from) in buffer.get().iter_mut().skip(skip).zip(part) {
                *to = *from;
            }
            let cannot = format!("cannot write {path} at byte {first}");
            self.file.write_all_at(buffer.get(), first).map_err(failed(cannot))?;
            (at, left) = (at + part.len() as u64, rest);
        }
        Ok(())
    }

    /// The barrier: what was written to the disk before is on the medium before anything that is written after. It
    /// empties the cache of the whole disk, other partitions' writes included.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(failed(format!("cannot sync {}", self.partition.path.display())))
    }

    /// Overwrites one sector, makes it durable, and reads it back.
    pub(crate) fn put(&self, at: u64, sector: &[u8; SECTOR]) -> Result<()> {
        self.write(at, sector)?;
        self.sync()?;
        let mut back = [0; SECTOR];
        self.read(at, &mut back)?;
        if back == *sector {
            return Ok(());
        }
        let path = self.partition.path.display();
        Err(Error::Failed(format!(
            "{path}: what was written at byte {at} reads back differently: the disk fails"
        )))
    }

    /// The FAT volume in it.
    pub(crate) fn volume(&self) -> Result<fat::Volume> {
        let read = &mut |at: u64, block: &mut [u8; fat::BLOCK]| self.read(at, block);
        let path = self.partition.path.display();
        fat::Volume::open(0, self.partition.bytes, read).map_err(failed(format!("{path}")))
    }

    /// A file of the root directory.
    pub(crate) fn find(&self, volume: &fat::Volume, name: &str) -> Result<Option<fat::File>> {
        let read = &mut |at: u64, block: &mut [u8; fat::BLOCK]| self.read(at, block);
        volume.find(name, read).map_err(failed(name))
    }

    /// Its content, which must not be longer than `most` bytes.
    pub(crate) fn content(
        &self,
        volume: &fat::Volume,
        name: &str,
        most: u32,
    ) -> Result<Option<Vec<u8>>> {
        match self.beginning(volume, name, most)? {
            Some((bytes, _)) if bytes > most => {
                Err(Error::Failed(format!("{name} has {bytes} bytes")))
            }
            found => Ok(found.map(|(_, content)| content)),
        }
    }

    /// Its length and its content up to `most` bytes.
    pub(crate) fn beginning(
        &self,
        volume: &fat::Volume,
        name: &str,
        most: u32,
    ) -> Result<Option<(u32, Vec<u8>)>> {
        let Some(file) = self.find(volume, name)? else { return Ok(None) };
        let read = &mut |at: u64, block: &mut [u8; fat::BLOCK]| self.read(at, block);
        let (mut content, mut left) = (Vec::new(), u64::from(most));
        for extent in volume.extents(&file, read).map_err(failed(name))? {
            let bytes = extent.bytes.min(left);
            left -= bytes;
            let mut part = vec![0; usize::try_from(bytes).unwrap_or_default()];
            self.read(extent.at, &mut part)?;
            content.append(&mut part);
        }
        Ok(Some((file.bytes, content)))
    }

    /// Where in the partition the one sector of a file lies that has exactly so many bytes.
    pub(crate) fn one_sector(&self, volume: &fat::Volume, name: &str, bytes: usize) -> Result<u64> {
        let file = self.find(volume, name)?;
        let file = file.ok_or_else(|| Error::Failed(format!("partition 1 has no {name}")))?;
        let read = &mut |at: u64, block: &mut [u8; fat::BLOCK]| self.read(at, block);
        volume.one_sector(&file, bytes, read).map_err(failed(name))
    }

    /// Where in the partition each sector of a file lies that has exactly so many bytes.
    pub(crate) fn sectors(
        &self,
        volume: &fat::Volume,
        name: &str,
        bytes: usize,
    ) -> Result<Vec<u64>> {
        let file = self.find(volume, name)?;
        let file = file.ok_or_else(|| Error::Failed(format!("partition 1 has no {name}")))?;
        if u64::from(file.bytes) != bytes as u64 {
            return Err(Error::Failed(format!("{name} has {} bytes of {bytes}", file.bytes)));
        }
        let read = &mut |at: u64, block: &mut [u8; fat::BLOCK]| self.read(at, block);
        let extents = volume.extents(&file, read).map_err(failed(name))?;
        Ok(extents
            .iter()
            .flat_map(|part| (part.at..part.at + part.bytes).step_by(SECTOR))
            .collect())
    }
}
