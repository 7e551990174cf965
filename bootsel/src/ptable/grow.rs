// SPDX-License-Identifier: MIT OR Apache-2.0

//! Growing the last partition of a disk to its end: what is written where, and in which order.
//!
//! Power may be cut before, in and after each write. An MBR is one sector of which four bytes change.
//! Of a GPT first the second table is written whole, at the new end of the disk, where nothing looks
//! as long as the first table is right; then the protective MBR, then the first table, and while that is
//! written the second one is right. Linux looks for the second one only with `gpt` on its command line
//! (`block/partitions/efi.c`). The place where a partition begins never changes.

use super::{ReadAt, crc32, gpt, le64, mbr, put};
use core::fmt;

const MIB: u64 = 1 << 20;
/// Less than this is not worth a write. More than two MiB, which stay free at the end of the disk, and
/// than what ext4 leaves behind its last block group.
pub const WORTH: u64 = 8 * MIB;
/// A GPT has 128 entries of 128 bytes; other tables exist and are left alone.
const ENTRIES: u32 = 128;
const ENTRY: usize = 128;
const TABLE: usize = 128 * ENTRY;
/// The largest logical block.
const BLOCK: usize = 4096;
/// The longest write in bytes: a header and the entries.
pub const LONGEST: usize = BLOCK + TABLE;

/// What the table is read from.
#[derive(Clone, Copy)]
pub struct Disk<'a> {
    /// Bytes in a logical block, in which both tables count: 512 on nearly everything, 4096 on some
    /// NVMe and UFS.
    pub block: u32,
    /// Length of the disk in bytes.
    pub bytes: u64,
    /// Its bytes.
    pub read: ReadAt<'a>,
}

impl fmt::Debug for Disk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk of {} bytes in blocks of {}", self.bytes, self.block)
    }
}

/// Where the tables are put together.
#[derive(Clone, Debug)]
pub struct Room {
    /// Sector 0.
    first: [u8; BLOCK],
    /// The first table as it is to be, header and entries; the second one, entries and header; that as it is.
    tables: [[u8; LONGEST]; 3],
}

impl Room {
    /// Nothing yet.
    pub const EMPTY: Self = Self { first: [0; BLOCK], tables: [[0; LONGEST]; 3] };
}

/// Offset on the disk and content, whole logical blocks; none where that is empty.
pub type Write<'a> = (u64, &'a [u8]);

/// What makes the partition longer.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The partition's new length in bytes.
    pub length: u64,
    /// Each is to be on the disk before the next begins.
    pub writes: [Write<'a>; 3],
}

/// Why a partition cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk gives no bytes.
    Unreadable,
    /// No table, or none whose checksums are right.
    Damaged,
    /// A GPT that has not 128 entries right behind its header, or before it for the second one, or whose usable sectors
    /// do not hold the partition.
    Unusual,
    /// The table has no such partition, or it begins where the kernel's does not.
    Another,
    /// A partition follows.
    NotLast,
    /// A partition lies over it.
    Overlap,
}

impl Refusal {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "the partition table cannot be read",
            Self::Damaged => "the partition table is damaged",
            Self::Unusual => "the partition table is of an unusual shape",
            Self::Another => "the partition table has another partition of this number",
            Self::NotLast => "another partition follows",
            Self::Overlap => "another partition overlaps",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Refusal {}

/// How the partition of that number, which begins at byte `start` of the disk, becomes as long as the
/// disk allows: to a whole MiB, with one MiB left. `None` where that is not worth a write.
///
/// A growth that was cut is finished: what is right already is not written again, and of a GPT whose
/// first table is damaged the first table alone is made anew.
///
/// # Errors
/// See [`Refusal`].
pub fn plan<'a>(
    disk: &Disk<'_>,
    number: u32,
    start: u64,
    room: &'a mut Room,
) -> Result<Option<Plan<'a>>, Refusal> {
    let block = u64::from(disk.block);
    if !(512..=4096).contains(&block) || !block.is_power_of_two() {
        return Err(Refusal::Unreadable);
    }
    let wanted = Wanted {
        number,
        start: start / block,
        end: disk.bytes.saturating_sub(MIB) / MIB * MIB / block,
        worth: WORTH / block,
        last: (disk.bytes / block).saturating_sub(1),
        block: usize::try_from(block).unwrap_or(0),
        disk,
    };
    let first = room.first.get_mut(..wanted.block).ok_or(Refusal::Unreadable)?;
    (disk.read)(0, first).ok_or(Refusal::Unreadable)?;
    let grown = if mbr::is_protective(first) {
        wanted.gpt(first, &mut room.tables)?
    } else {
        wanted.mbr(first)?
    };
    Ok(grown.map(|(end, writes)| {
        let length = end.saturating_sub(wanted.start).saturating_mul(block);
        Plan { length, writes }
    }))
}

/// Places and lengths in logical blocks.
struct Wanted<'a> {
    number: u32,
    start: u64,
    /// The block after the last one that the partition may have.
    end: u64,
    /// Less is not worth a write.
    worth: u64,
    /// The last block of the disk.
    last: u64,
    /// Bytes in a block.
    block: usize,
    disk: &'a Disk<'a>,
}

/// What a table says of our partition and of those that are not before it.
#[derive(Default)]
struct Found {
    end: Option<u64>,
    /// Where one of the others begins.
    other: Option<u64>,
}

/// The block after the partition's last one, and the writes; `None` where there is nothing to do.
type Grown<'a> = Option<(u64, [Write<'a>; 3])>;

impl Wanted<'_> {
    /// Where the block is on the disk, in bytes.
    fn offset(&self, lba: u64) -> u64 {
        lba.saturating_mul(self.disk.block.into())
    }

    // Out of line: it is called for every entry of either table.
    #[inline(never)]
    fn look(&self, found: &mut Found, number: u32, start: u64, end: u64) {
        if number == self.number {
            found.end = Some(end).filter(|end| start == self.start && start < *end);
        } else if end > self.start && end > start {
            found.other = Some(start);
        }
    }

    /// Whether the partition gains enough up to the block `end`; how far it goes now.
    fn gains(&self, found: &Found, end: u64) -> Result<(bool, u64), Refusal> {
        let own = found.end.ok_or(Refusal::Another)?;
        let gains = end >= own.saturating_add(self.worth);
        match found.other {
            Some(start) if gains && start < own => Err(Refusal::Overlap),
            Some(_) if gains => Err(Refusal::NotLast),
            _ => Ok((gains, own)),
        }
    }

    fn mbr<'a>(&self, first: &'a mut [u8]) -> Result<Grown<'a>, Refusal> {
        let mut found = Found::default();
        for (number, entry) in (1..).zip(mbr::parse(first).ok_or(Refusal::Damaged)?) {
            let start = u64::from(entry.start);
            self.look(&mut found, number, start, start + u64::from(entry.sectors));
        }
        // 32 bits number no more blocks: 2 TiB.
        let end = self.end.min(1 << 32);
        if !self.gains(&found, end)?.0 {
            return Ok(None);
        }
        let sectors = u32::try_from(end - self.start).unwrap_or(u32::MAX);
        mbr::put_sectors(first, self.number, sectors);
        Ok(Some((end, [(0, first), (0, &[]), (0, &[])])))
    }

    // Out of line, as the next: a frame of 80 KiB makes longer code of what else is in it.
    #[inline(never)]
    fn gpt<'a>(
        &self,
        first: &'a mut [u8],
        tables: &'a mut [[u8; LONGEST]; 3],
    ) -> Result<Grown<'a>, Refusal> {
        let [table, second, found] = tables;
        let length = self.block + TABLE;
        let damaged = Refusal::Damaged;
        let table = table.get_mut(..length).ok_or(damaged)?;
        let (sector, entries) = table.split_at_mut_checked(self.block).ok_or(damaged)?;
        let second_at = self.last.saturating_sub((TABLE / self.block.max(1)) as u64);
        let none = &mut gpt::Numbers::new(0);
        let header = gpt::find(self.disk.read, sector, self.last, none, &|_| false);
        let header = header.ok_or(damaged)?;
        let whole = header.lba == 1;
        let usual = (ENTRIES, 128, if whole { 2 } else { second_at });
        let shape = (header.entries, header.entry_size, header.entries_lba);
        // The last usable sector is changed, and must not come to lie before the first one.
        if shape != usual || self.start < header.first_usable {
            return Err(Refusal::Unusual);
        }
        (self.disk.read)(header.entries_offset(), entries).ok_or(damaged)?;
        let mut end = self.end;
        let gains = self.gains(&self.found(entries), if whole { end } else { 0 })?;
        if whole {
            if !gains.0 {
                return Ok(None);
            }
            let place = usize::try_from(self.number).unwrap_or(1).saturating_sub(1) * ENTRY;
            put(entries, place + 40, &(end - 1).to_le_bytes());
            put(sector, 48, &(second_at - 1).to_le_bytes());
        } else {
            // The second table is the only right one: it stays as it is.
            end = gains.1;
        }
        let crc = crc32(entries);
        let second = second.get_mut(..length).ok_or(damaged)?;
        gpt::put_places(sector, self.last, 1, second_at, crc);
        put(second, 0, entries);
        put(second, TABLE, sector);
        let found = found.get_mut(..length).ok_or(damaged)?;
        let second_at = self.offset(second_at);
        let is_there = (self.disk.read)(second_at, found).is_some() && found == second;
        let second: &[u8] = if whole && !is_there { second } else { &[] };
        gpt::put_places(sector, 1, self.last, 2, crc);
        mbr::protect(first, self.last);
        Ok(Some((end, [(second_at, second), (0, first), (self.offset(1), table)])))
    }

    fn found(&self, entries: &[u8]) -> Found {
        let mut found = Found::default();
        for (number, entry) in (1..).zip(entries.as_chunks::<ENTRY>().0) {
            let lba = |at| le64(entry, at).unwrap_or_default();
            if !entry.starts_with(&[0; 16]) {
                self.look(&mut found, number, lba(32), lba(40).saturating_add(1));
            }
        }
        found
    }
}
