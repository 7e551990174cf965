// SPDX-License-Identifier: MIT OR Apache-2.0

//! A GPT where it lies: read as far as it is needed, with nothing allocated.

use super::{ENTRY_SIZE, Header, units};
use crate::ptable::{Guid, ReadAt, bytes_at, crc32_on};

/// The header that counts: the first one, or that in the last block of the disk where the first one or its entries are not
/// right. Its block is left in `sector`, whose length is a block's.
pub fn find(disk: ReadAt<'_>, sector: &mut [u8], last: u64) -> Option<Header> {
    [1, last].into_iter().find_map(|lba| read(disk, sector, lba))
}

fn read(disk: ReadAt<'_>, sector: &mut [u8], lba: u64) -> Option<Header> {
    disk(lba.checked_mul(sector.len() as u64)?, sector)?;
    let header = Header::parse(sector, lba).ok()?;
    // Piece by piece: there may be 4 MiB of them.
    let (mut crc, mut place, mut piece) = (0, header.entries_offset(), [0; 4096]);
    let mut left = usize::try_from(header.entries_bytes()).ok()?;
    while left > 0 {
        let piece = piece.get_mut(..left.min(4096))?;
        disk(place, piece)?;
        crc = crc32_on(crc, piece);
        (place, left) = (place.checked_add(piece.len() as u64)?, left - piece.len());
    }
    (crc == header.entries_crc).then_some(header)
}

/// An entry as it is on the disk.
pub type RawEntry = [u8; ENTRY_SIZE as usize];

/// The partition of that number; `None` for an unused entry, too.
pub fn read_entry(disk: ReadAt<'_>, header: &Header, number: u32) -> Option<RawEntry> {
    let place = number.checked_sub(1).filter(|place| *place < header.entries)?;
    let place = u64::from(place).checked_mul(header.entry_size.into())?;
    let mut entry = [0; ENTRY_SIZE as usize];
    disk(header.entries_offset().checked_add(place)?, &mut entry)?;
    (!entry.starts_with(&[0; 16])).then_some(entry)
}

/// The GUID of a partition, the kernel's `PARTUUID=`.
pub fn guid(entry: &RawEntry) -> Guid {
    Guid(bytes_at(entry, 16).unwrap_or_default())
}

/// Whether this is the partition's name, the kernel's `PARTLABEL=`.
pub fn is_named(entry: &RawEntry, name: &str) -> bool {
    name.encode_utf16().eq(units(entry))
}
