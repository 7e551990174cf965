// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a file of a FAT volume's root directory lies, in bytes of the disk: so that its one sector can be
//! overwritten without mounting the volume. FAT12, FAT16 and FAT32, read only.
//! (Microsoft: FAT: General Overview of On-Disk Format, 1.03.)
//!
//! Whatever the volume says, the work is bounded: a chain of clusters has to end exactly where the file's length
//! says, so that one which runs in a circle is refused.

mod name;

use alloc::vec::Vec;
use core::fmt;

/// Every read is of this many bytes at a multiple of it, counted from the start of the volume.
pub const BLOCK: usize = 512;
/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// A root directory of FAT32 is followed this far: 65,536 entries, all that a directory may have.
const ROOT_BYTES: u64 = 2 << 20;

const DIRECTORY: u8 = 0x10;
const LABEL: u8 = 0x08;
/// The attributes of an entry that holds a part of a long name.
const LONG: u8 = 0x0f;

/// Reads [`BLOCK`] bytes at an offset of the disk.
pub trait Read<E>: FnMut(u64, &mut [u8; BLOCK]) -> Result<(), E> {}
impl<E, F: FnMut(u64, &mut [u8; BLOCK]) -> Result<(), E>> Read<E> for F {}

/// A volume at its place on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    start: u64,
    /// Bits of an entry in the file allocation table.
    bits: u32,
    sector: u64,
    cluster: u64,
    clusters: u32,
    table: u64,
    root: u64,
    root_bytes: u64,
    root_cluster: u32,
    data: u64,
}

/// A file in the root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its length.
    pub bytes: u32,
    /// Offset on the disk of the block of the directory that says so.
    pub entry: u64,
    first: u32,
}

/// Bytes of a file that lie one after the other on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset on the disk.
    pub at: u64,
    /// How many.
    pub bytes: u64,
}

impl Volume {
    /// Understands the boot sector of the volume that begins at byte `start` of the disk and has `bytes`.
    ///
    /// # Errors
    /// Where there is no FAT volume, or one that is larger than its place.
    pub fn open<E>(start: u64, bytes: u64, read: &mut impl Read<E>) -> Result<Self, Error<E>> {
        let mut boot = [0; BLOCK];
        read(start, &mut boot).map_err(Error::Read)?;
        Self::parse(start, bytes, &boot).ok_or(Error::Volume("no FAT volume"))
    }

    fn parse(start: u64, bytes: u64, boot: &[u8; BLOCK]) -> Option<Self> {
        let byte = |at: usize| boot.get(at).copied().map(u64::from);
        let half = |at: usize| Some(byte(at)? | byte(at.checked_add(1)?)? << 8);
        let word = |at: usize| Some(half(at)? | half(at.checked_add(2)?)? << 16);
        let sector = half(11)?;
        let cluster = sector.checked_mul(byte(13)?)?;
        let whole = sector.is_power_of_two() && cluster.is_power_of_two();
        if half(510)? != 0xaa55 || !whole || !(512..=4096).contains(&sector) {
            return None;
        }
        let either = |small: u64, large: u64| if small == 0 { large } else { small };
        let sectors = either(half(19)?, word(32)?);
        let table_sectors = either(half(22)?, word(36)?);
        let table = half(14)?.checked_mul(sector).filter(|table| *table > 0)?;
        let tables = table_sectors.checked_mul(byte(16)?).filter(|tables| *tables > 0)?;
        let root = tables.checked_mul(sector)?.checked_add(table)?;
        let root_bytes = half(17)?.checked_mul(ENTRY as u64)?.next_multiple_of(sector);
        let data = root.checked_add(root_bytes)?;
        let volume = sectors.checked_mul(sector).filter(|volume| *volume <= bytes)?;
        start.checked_add(volume)?;
        let clusters = u32::try_from(volume.checked_sub(data)?.checked_div(cluster)?).ok()?;
        let (bits, root_cluster) = match clusters {
            0 => return None,
            1..4_085 => (12, 0),
            4_085..65_525 => (16, 0),
            _ => (32, u32::try_from(word(44)?).ok()?),
        };
        let entries =
            table_sectors.checked_mul(sector)?.checked_mul(8)?.checked_div(bits.into())?;
        // the two numbers that no cluster has stand in the table, too
        let fits =
            u64::from(clusters).checked_add(2)? <= entries && (bits == 32) == (root_bytes == 0);
        fits.then_some(Self {
            start,
            bits,
            sector,
            cluster,
            clusters,
            table,
            root,
            root_bytes,
            root_cluster,
            data,
        })
    }

    /// 12, 16 or 32.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The file of that name in the root directory; upper and lower case are the same. The first of several.
    ///
    /// # Errors
    /// Where the directory cannot be read or does not end.
    pub fn find<E>(&self, name: &str, read: &mut impl Read<E>) -> Result<Option<File>, Error<E>> {
        let mut search = name::Search::new(name);
        let (mut place, mut left) = (self.root, self.root_bytes);
        let mut cluster = self.root_cluster;
        let mut seen = 0_u64;
        if self.bits == 32 {
            (place, left) = (self.place(cluster)?, self.cluster);
        }
        loop {
            let mut block = [0; BLOCK];
            let at = self.start.saturating_add(place);
            read(at, &mut block).map_err(Error::Read)?;
            for entry in block.as_chunks::<ENTRY>().0 {
                match search.look(entry) {
                    name::Found::No => {}
                    name::Found::End => return Ok(None),
                    name::Found::File(file) => return Ok(Some(File { entry: at, ..file })),
                }
            }
            seen = seen.saturating_add(BLOCK as u64);
            (place, left) = (place.saturating_add(BLOCK as u64), left.saturating_sub(BLOCK as u64));
            if left > 0 {
                continue;
            }
            if self.bits != 32 {
                return Ok(None);
            }
            if seen >= ROOT_BYTES {
                return Err(Error::Volume("the root directory does not end"));
            }
            match self.next(cluster, &mut Table::default(), read)? {
                Some(next) => (cluster, place, left) = (next, self.place(next)?, self.cluster),
                None => return Ok(None),
            }
        }
    }

    /// Where the file's bytes lie, in their order. What lies together is one piece.
    ///
    /// # Errors
    /// Where the chain of clusters does not end with the file, or leads out of the volume.
    pub fn extents<E>(
        &self,
        file: &File,
        read: &mut impl Read<E>,
    ) -> Result<Vec<Extent>, Error<E>> {
        let mut extents: Vec<Extent> = Vec::new();
        let (mut left, mut cluster) = (u64::from(file.bytes), Some(file.first));
        let mut table = Table::default();
        while left > 0 {
            let Some(here) = cluster else { return Err(Error::Chain("ends before the file does")) };
            let at = self.start.saturating_add(self.place(here)?);
            let bytes = left.min(self.cluster);
            match extents.last_mut() {
                Some(last) if last.at.saturating_add(last.bytes) == at => {
                    last.bytes = last.bytes.saturating_add(bytes);
                }
                _ => extents.push(Extent { at, bytes }),
            }
            left = left.saturating_sub(bytes);
            cluster = self.next(here, &mut table, read)?;
        }
        // a circle never ends: it is found here, after as many steps as the file has clusters
        if file.bytes > 0 && cluster.is_some() {
            return Err(Error::Chain("does not end where the file does"));
        }
        Ok(extents)
    }

    /// The file's one sector: the offset on the disk of a file that is `bytes` long, at most a sector.
    ///
    /// # Errors
    /// Where the file has another length, or as [`Volume::extents`].
    pub fn one_sector<E>(
        &self,
        file: &File,
        bytes: usize,
        read: &mut impl Read<E>,
    ) -> Result<u64, Error<E>> {
        if u64::from(file.bytes) != bytes as u64 || bytes as u64 > self.sector {
            return Err(Error::Chain(
                "has not the length that lets it be overwritten in its place",
            ));
        }
        match *self.extents(file, read)? {
            [Extent { at, .. }] => Ok(at),
            _ => Err(Error::Chain("does not lie in one piece")),
        }
    }

    /// Where a cluster is in the volume.
    fn place<E>(&self, cluster: u32) -> Result<u64, Error<E>> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.clusters);
        let index =
            index.ok_or(Error::Chain("leads to a cluster that the volume does not have"))?;
        Ok(self.data.saturating_add(u64::from(index).saturating_mul(self.cluster)))
    }

    /// The cluster that follows, `None` at the end.
    fn next<E>(
        &self,
        cluster: u32,
        table: &mut Table,
        read: &mut impl Read<E>,
    ) -> Result<Option<u32>, Error<E>> {
        let bit = u64::from(cluster).saturating_mul(self.bits.into());
        let first = self.table.saturating_add(bit / 8);
        let mut entry = [0; 4];
        let width = if self.bits == 32 { 4 } else { 2 };
        for (byte, at) in entry.iter_mut().take(width).zip(first..) {
            *byte = table.byte(self.start, at, read)?;
        }
        // an odd entry of FAT12 begins in the middle of a byte; the upper four bits of FAT32's are reserved
        let mask = u32::MAX >> (32 - self.bits.min(28));
        let next = u32::from_le_bytes(entry) >> (bit % 8) & mask;
        match mask - next {
            0..=7 => Ok(None),
            8 => Err(Error::Chain("leads to a bad cluster")),
            _ => Ok(Some(next)),
        }
    }
}

/// The block of the file allocation table that was read last.
#[derive(Debug)]
struct Table {
    at: Option<u64>,
    block: [u8; BLOCK],
}

impl Default for Table {
    fn default() -> Self {
        Self { at: None, block: [0; BLOCK] }
    }
}

impl Table {
    fn byte<E>(&mut self, start: u64, at: u64, read: &mut impl Read<E>) -> Result<u8, Error<E>> {
        let inside = at % BLOCK as u64;
        let block = start.saturating_add(at.saturating_sub(inside));
        if self.at != Some(block) {
            self.at = None;
            read(block, &mut self.block).map_err(Error::Read)?;
            self.at = Some(block);
        }
        let inside = usize::try_from(inside).unwrap_or(BLOCK);
        self.block.get(inside).copied().ok_or(Error::Volume("no FAT volume"))
    }
}

/// Why a file cannot be found on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The disk cannot be read.
    Read(E),
    /// What is wrong with the volume.
    Volume(&'static str),
    /// What the file's chain of clusters does.
    Chain(&'static str),
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(why) => why.fmt(f),
            Self::Volume(what) => f.write_str(what),
            Self::Chain(what) => write!(f, "its chain of clusters {what}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for Error<E> {}

#[cfg(test)]
mod tests;
