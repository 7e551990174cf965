// SPDX-License-Identifier: MIT OR Apache-2.0

//! Disks larger than memory, with a table of four partitions, for the tests of growing.

use super::{DISK, fat32, four, guid};
use crate::ptable::grow::{Disk, Refusal, Room, plan};
use crate::ptable::{gpt, mbr};
use std::{vec, vec::Vec};

/// A disk in memory: its head, its tail, and zeros between.
#[derive(Clone)]
pub(super) struct Sparse {
    pub(super) block: u32,
    pub(super) bytes: u64,
    pub(super) pieces: Vec<(u64, Vec<u8>)>,
}

/// A plan that outlives its room.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) length: u64,
    pub(super) writes: Vec<(u64, Vec<u8>)>,
}

impl Sparse {
    pub(super) fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(u64::try_from(length).unwrap())?;
        if end > self.bytes {
            return None;
        }
        let mut bytes = vec![0; length];
        for (start, piece) in &self.pieces {
            let piece_end = start + u64::try_from(piece.len()).unwrap();
            let (from, to) = (offset.max(*start), end.min(piece_end));
            if from < to {
                let at = |place, base| usize::try_from(place - base).unwrap();
                let new = &piece[at(from, *start)..at(to, *start)];
                bytes[at(from, offset)..at(to, offset)].copy_from_slice(new);
            }
        }
        Some(bytes)
    }

    pub(super) fn plan(&self, number: u32, start: u64) -> Result<Option<Plan>, Refusal> {
        let read = |offset, buffer: &mut [u8]| {
            self.read(offset, buffer.len()).map(|bytes| buffer.copy_from_slice(&bytes))
        };
        let disk = Disk { block: self.block, bytes: self.bytes, read: &read };
        let mut room = Room::EMPTY;
        let plan = plan(&disk, number, start, &mut room)?.map(|plan| {
            let writes = plan.writes.iter().filter(|(_, bytes)| !bytes.is_empty());
            let writes = writes.map(|(at, bytes)| (*at, bytes.to_vec())).collect();
            Plan { length: plan.length, writes }
        });
        Ok(plan)
    }

    /// Partition 4's first and last block as Linux sees them: the second table where the first is damaged.
    pub(super) fn seen(&self) -> Option<(u64, u64)> {
        let block = usize::try_from(self.block).unwrap();
        let first = self.read(0, block).unwrap();
        if !mbr::is_protective(&first) {
            let data = mbr::parse(&first)?[3];
            return Some((data.start.into(), u64::from(data.start + data.sectors) - 1));
        }
        self.table(1).or_else(|| self.table(self.bytes / u64::from(self.block) - 1))
    }

    fn table(&self, lba: u64) -> Option<(u64, u64)> {
        let block = usize::try_from(self.block).unwrap();
        let sector = self.read(lba * u64::from(self.block), block)?;
        let header = gpt::Header::parse(&sector, lba).ok()?;
        let length = usize::try_from(header.entries_bytes()).unwrap();
        let entries = self.read(header.entries_offset(), length)?;
        let found = gpt::parse_entries(&header, &entries).ok()?;
        let data = found.iter().find(|entry| entry.number == 4)?;
        Some((data.first, data.last))
    }

    pub(super) fn write(&mut self, write: &(u64, Vec<u8>)) {
        self.pieces.push(write.clone());
    }
}

pub(super) const MIB: u64 = 1 << 20;
/// Where DATA begins in the tables below, in blocks.
pub(super) const START: u64 = 30_720;

/// An image with `image` blocks on a disk of `disk` bytes, whatever lay on that before.
pub(super) fn on_gpt(block: u32, image: u64, disk: u64) -> Sparse {
    let mut entries = four();
    entries[3].last = image - 1 - u64::from(16_384_u32.div_ceil(block)) - 1;
    let (head, tail) = gpt::build(block, image, guid(DISK), &entries).unwrap();
    let tail_at = image * u64::from(block) - u64::try_from(tail.len()).unwrap();
    let old = vec![0xa5; 64 << 10];
    let pieces = vec![(disk - (64 << 10), old), (0, head), (tail_at, tail)];
    Sparse { block, bytes: disk, pieces }
}

pub(super) fn on_mbr(image: u32, disk: u64) -> Sparse {
    let start = u32::try_from(START).unwrap();
    let data = mbr::Entry { kind: 0x83, ..fat32(start, image - start) };
    let entries = [fat32(2048, 8192), fat32(10_240, 10_240), fat32(20_480, 10_240), data];
    let mut head = mbr::write(0x1a2b_3c4d, &entries).unwrap().to_vec();
    head[..3].copy_from_slice(b"boo");
    Sparse { block: 512, bytes: disk, pieces: vec![(0, head)] }
}
