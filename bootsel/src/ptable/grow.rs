// SPDX-License-Identifier: MIT OR Apache-2.0

//! Growing the last partition of a disk to its end: what is written where, and in which order.
//!
//! Power may be cut before, in and after each write. An MBR is one sector of which four bytes change.
//! Of a GPT first the second table is written whole, at the new end of the disk, where nothing looks
//! as long as the first table is right; then the protective MBR, then the first table, and while that is
//! written the second one is right. Linux looks for the second one only with `gpt` on its command line
//! (`block/partitions/efi.c`). The place where a partition begins never changes.

use super::{crc32, gpt, le64, mbr, put};
use alloc::vec::Vec;
use core::fmt;

const MIB: u64 = 1 << 20;
/// Less than this is not worth a write. More than two MiB, which stay free at the end of the disk, and
/// than what ext4 leaves behind its last block group.
pub const WORTH: u64 = 8 * MIB;
/// A GPT has 128 entries of 128 bytes; other tables exist and are left alone.
const ENTRIES: u32 = 128;
const ENTRY: usize = 128;
const TABLE: usize = 128 * ENTRY;
/// The longest write in bytes: a header of the largest logical block, and the entries.
pub const LONGEST: usize = 4096 + TABLE;

/// What the table is read from.
#[derive(Clone, Copy)]
pub struct Disk<'a> {
    /// Bytes in a logical block, in which both tables count: 512 on nearly everything, 4096 on some
    /// NVMe and UFS.
    pub block: u32,
    /// Length of the disk in bytes.
    pub bytes: u64,
    /// So many bytes at an offset, or nothing.
    pub read: &'a dyn Fn(u64, usize) -> Option<Vec<u8>>,
}

impl fmt::Debug for Disk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Disk of {} bytes in blocks of {}", self.bytes, self.block)
    }
}

/// What makes the partition longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The partition's new length in bytes.
    pub length: u64,
    /// Offset on the disk and content, whole logical blocks. Each is to be on the disk before the next begins.
    pub writes: Vec<(u64, Vec<u8>)>,
}

/// Why a partition cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The disk gives no bytes.
    Unreadable,
    /// No table, or none whose checksums are right.
    Damaged,
    /// A GPT that has not 128 entries right behind its header, or before it for the second one.
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
pub fn plan(disk: &Disk<'_>, number: u32, start: u64) -> Result<Option<Plan>, Refusal> {
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
    let first = wanted.read(0, wanted.block).ok_or(Refusal::Unreadable)?;
    let (end, writes) =
        if mbr::is_protective(&first) { wanted.gpt(first)? } else { wanted.mbr(first)? };
    let length = end.saturating_sub(wanted.start).saturating_mul(block);
    Ok((!writes.is_empty()).then_some(Plan { length, writes }))
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

/// The block after the partition's last one, and the writes.
type Grown = (u64, Vec<(u64, Vec<u8>)>);

impl Wanted<'_> {
    fn read(&self, lba: u64, length: usize) -> Option<Vec<u8>> {
        (self.disk.read)(lba.saturating_mul(self.disk.block.into()), length)
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

    fn mbr(&self, mut first: Vec<u8>) -> Result<Grown, Refusal> {
        let mut found = Found::default();
        for (number, entry) in (1..).zip(mbr::parse(&first).ok_or(Refusal::Damaged)?) {
            let start = u64::from(entry.start);
            self.look(&mut found, number, start, start + u64::from(entry.sectors));
        }
        // 32 bits number no more blocks: 2 TiB.
        let end = self.end.min(1 << 32);
        let mut writes = Vec::new();
        if self.gains(&found, end)?.0 {
            let sectors = u32::try_from(end - self.start).unwrap_or(u32::MAX);
            mbr::put_sectors(&mut first, self.number, sectors);
            writes.push((0, first));
        }
        Ok((end, writes))
    }

    /// The table whose header is in block `lba`, as Linux takes it: sector and entries, and where those lie; block 0 where
    /// they are others than every tool makes.
    fn table(&self, lba: u64) -> Option<(Vec<u8>, Vec<u8>, u64)> {
        let sector = self.read(lba, self.block)?;
        let header = gpt::Header::parse(&sector, lba).ok()?;
        let length = usize::try_from(header.entries_bytes()).ok()?;
        let entries = self.read(header.entries_lba, length)?;
        gpt::check_entries(&header, &entries).ok()?;
        let usual = (header.entries, header.entry_size) == (ENTRIES, 128);
        Some((sector, entries, if usual { header.entries_lba } else { 0 }))
    }

    fn gpt(&self, mut first: Vec<u8>) -> Result<Grown, Refusal> {
        let second_at = self.last.saturating_sub((TABLE / self.block.max(1)) as u64);
        let table = self.table(1);
        let whole = table.is_some();
        let table = table.or_else(|| self.table(self.last)).ok_or(Refusal::Damaged)?;
        let (mut sector, mut entries, entries_lba) = table;
        if entries_lba != if whole { 2 } else { second_at } {
            return Err(Refusal::Unusual);
        }
        let mut found = Found::default();
        for (number, entry) in (1..).zip(entries.as_chunks::<ENTRY>().0) {
            let lba = |at| le64(entry, at).unwrap_or_default();
            if !entry.starts_with(&[0; 16]) {
                self.look(&mut found, number, lba(32), lba(40).saturating_add(1));
            }
        }
        let mut end = self.end;
        if whole {
            if !self.gains(&found, end)?.0 {
                return Ok((end, Vec::new()));
            }
            let place = usize::try_from(self.number).unwrap_or(1).saturating_sub(1) * ENTRY;
            put(&mut entries, place + 40, &(end - 1).to_le_bytes());
            put(&mut sector, 48, &(second_at - 1).to_le_bytes());
        } else {
            // The second table is the only right one: it stays as it is.
            end = self.gains(&found, 0)?.1;
        }
        let mut writes = Vec::new();
        let crc = crc32(&entries);
        let mut second = entries.clone();
        gpt::put_places(&mut sector, self.last, 1, second_at, crc);
        second.extend_from_slice(&sector);
        if whole && self.read(second_at, second.len()).as_ref() != Some(&second) {
            writes.push((second_at * u64::from(self.disk.block), second));
        }
        gpt::put_places(&mut sector, 1, self.last, 2, crc);
        mbr::protect(&mut first, self.last);
        writes.push((0, first));
        sector.append(&mut entries);
        writes.push((self.disk.block.into(), sector));
        Ok((end, writes))
    }
}
