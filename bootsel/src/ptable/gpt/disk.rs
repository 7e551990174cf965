// SPDX-License-Identifier: MIT OR Apache-2.0

//! A GPT where it lies: read as far as it is needed, with nothing allocated.

use super::{ENTRY_SIZE, Header, units};
use crate::list::List;
use crate::ptable::{Guid, ReadAt, bytes_at, crc32_on};

/// An entry as it is on the disk.
pub type RawEntry = [u8; ENTRY_SIZE as usize];

/// The numbers of the first two partitions that were looked for: one is wanted, and a second one makes that one doubtful.
pub type Numbers = List<u32, 2>;

/// The header that counts: the first one, or that in the last block of the disk where the first one or its entries are not
/// right. Its block is left in `sector`, whose length is a block's, and the partitions that `is` says in `found`.
pub fn find(
    disk: ReadAt<'_>,
    sector: &mut [u8],
    last: u64,
    found: &mut Numbers,
    is: &dyn Fn(&RawEntry) -> bool,
) -> Option<Header> {
    [1, last].into_iter().find_map(|lba| read(disk, sector, lba, found, is))
}

#[inline(never)]
fn read(
    disk: ReadAt<'_>,
    sector: &mut [u8],
    lba: u64,
    found: &mut Numbers,
    is: &dyn Fn(&RawEntry) -> bool,
) -> Option<Header> {
    *found = Numbers::new(0);
    disk(lba.checked_mul(sector.len() as u64)?, sector)?;
    // Entries of another size are none for Linux (is_gpt_valid in block/partitions/efi.c).
    let header =
        Header::parse(sector, lba).ok().filter(|header| header.entry_size == ENTRY_SIZE)?;
    // Piece by piece, each with whole entries.
    let (mut crc, mut place, mut piece) = (0, header.entries_offset(), [0; 4096]);
    let (mut left, mut number) = (header.entries_bytes(), 0);
    while left > 0 {
        let length = left.min(4096);
        let piece = piece.get_mut(..usize::try_from(length).ok()?)?;
        disk(place, piece)?;
        crc = crc32_on(crc, piece);
        (place, left) = (place.checked_add(length.into())?, left - length);
        for entry in piece.as_chunks().0 {
            number += 1;
            // An unused one has no type.
            let kind = entry.first_chunk().copied().map(u128::from_ne_bytes);
            if kind != Some(0) && is(entry) {
                found.push(number);
            }
        }
    }
    (crc == header.entries_crc).then_some(header)
}

/// The GUID of a partition, the kernel's `PARTUUID=`.
pub fn guid(entry: &RawEntry) -> Guid {
    Guid(bytes_at(entry, 16).unwrap_or_default())
}

/// Whether this is the partition's name, the kernel's `PARTLABEL=`.
pub fn is_named(entry: &RawEntry, name: &str) -> bool {
    name.encode_utf16().eq(units(entry))
}
