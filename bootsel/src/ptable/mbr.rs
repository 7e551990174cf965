// SPDX-License-Identifier: MIT OR Apache-2.0

//! The MBR: sector 0, four entries. Extended partitions are one entry here and not followed.

use super::{Error, bytes_at, le32, put};

const SIGNATURE_AT: usize = 440;
const ENTRIES_AT: usize = 446;
const ENTRY_SIZE: usize = 16;
/// The partition type that covers the disk where GPT is the table.
pub const PROTECTIVE: u8 = 0xee;

/// One of the four entries; the default is an unused one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The active flag (0x80).
    pub boot: bool,
    /// Partition type, 0x0c for FAT32 with LBA, 0x83 for Linux.
    pub kind: u8,
    /// First sector, in logical sectors.
    pub start: u32,
    /// Number of logical sectors; 0 is an unused entry.
    pub sectors: u32,
}

impl Entry {
    fn parse(bytes: &[u8; ENTRY_SIZE]) -> Option<Self> {
        let [flag, _, _, _, kind, ..] = *bytes;
        // Any other flag: this is the boot sector of a file system, which ends in 55 aa, too.
        let boot = match flag {
            0 => false,
            0x80 => true,
            _ => return None,
        };
        Some(Self { boot, kind, start: le32(bytes, 8)?, sectors: le32(bytes, 12)? })
    }

    fn to_bytes(self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        if self.sectors > 0 {
            put(&mut bytes, 0, &[if self.boot { 0x80 } else { 0 }]);
            put(&mut bytes, 1, &chs(self.start));
            put(&mut bytes, 4, &[self.kind]);
            put(&mut bytes, 5, &chs(self.start.saturating_add(self.sectors - 1)));
            put(&mut bytes, 8, &self.start.to_le_bytes());
            put(&mut bytes, 12, &self.sectors.to_le_bytes());
        }
        bytes
    }
}

/// The disk's signature, the `SIG` of `PARTUUID=SIG-NN`. None without an MBR, and none where GPT is
/// the table: its partitions have GUIDs.
pub fn disk_signature(sector0: &[u8]) -> Option<u32> {
    let entries = parse(sector0)?;
    let gpt = entries.iter().any(|entry| entry.kind == PROTECTIVE);
    if gpt { None } else { le32(sector0, SIGNATURE_AT) }
}

/// Whether sector 0 says that the table is a GPT: a protective entry from sector 1 on, as the kernel
/// asks for.
pub fn is_protective(sector0: &[u8]) -> bool {
    let protects = |entry: &Entry| entry.kind == PROTECTIVE && entry.start == 1;
    parse(sector0).is_some_and(|entries| entries.iter().any(protects))
}

/// Changes the length of the partition of that number, 1 to 4, and nothing else: everybody goes by it and not by the
/// cylinders.
pub(super) fn put_sectors(sector0: &mut [u8], number: u32, sectors: u32) {
    let place = usize::try_from(number).unwrap_or(0).saturating_sub(1) * ENTRY_SIZE;
    put(sector0, ENTRIES_AT + place + 12, &sectors.to_le_bytes());
}

/// Lets the protective entry cover a disk with this last sector, as far as 32 bits can say.
pub(super) fn protect(sector0: &mut [u8], last: u64) {
    let kinds = (ENTRIES_AT + 4..).step_by(ENTRY_SIZE);
    for (number, place) in (1..=4).zip(kinds) {
        if sector0.get(place) == Some(&PROTECTIVE) {
            put_sectors(sector0, number, u32::try_from(last).unwrap_or(u32::MAX));
        }
    }
}

/// The four entries, `None` where there is no MBR.
pub fn parse(sector0: &[u8]) -> Option<[Entry; 4]> {
    if bytes_at(sector0, 510)? != [0x55, 0xaa] {
        return None;
    }
    let mut entries = [Entry::default(); 4];
    let places = (ENTRIES_AT..).step_by(ENTRY_SIZE);
    for (entry, place) in entries.iter_mut().zip(places) {
        *entry = Entry::parse(&bytes_at(sector0, place)?)?;
    }
    Some(entries)
}

/// Sector 0 with these entries and no boot code.
///
/// # Errors
/// Where partitions overlap, cover sector 0, have no type, or end past the last sector that 32 bits
/// can number.
pub fn write(signature: u32, entries: &[Entry; 4]) -> Result<[u8; 512], Error> {
    let mut sector = [0; 512];
    put(&mut sector, SIGNATURE_AT, &signature.to_le_bytes());
    put(&mut sector, 510, &[0x55, 0xaa]);
    let places = (ENTRIES_AT..).step_by(ENTRY_SIZE);
    for ((entry, number), place) in entries.iter().zip(1..).zip(places) {
        check(entry, number, entries)?;
        put(&mut sector, place, &entry.to_bytes());
    }
    Ok(sector)
}

fn check(entry: &Entry, number: u32, entries: &[Entry; 4]) -> Result<(), Error> {
    let end = |entry: &Entry| u64::from(entry.start) + u64::from(entry.sectors);
    if *entry == Entry::default() {
        return Ok(());
    }
    if entry.kind == 0 || entry.start == 0 || entry.sectors == 0 || end(entry) > 1 << 32 {
        return Err(Error::Range(number));
    }
    let overlaps =
        |other: &Entry| u64::from(other.start) < end(entry) && u64::from(entry.start) < end(other);
    match entries.iter().zip(1..number).find(|(other, _)| other.sectors > 0 && overlaps(other)) {
        Some((_, other)) => Err(Error::Overlap(other, number)),
        None => Ok(()),
    }
}

/// Cylinder, head and sector of a disk with 255 heads and 63 sectors, which is what every tool since
/// LBA assumes. Past cylinder 1023 it is 1023/254/63: look at the LBA fields.
fn chs(lba: u32) -> [u8; 3] {
    let (cylinder, head, sector) = (lba / (255 * 63), lba / 63 % 255, lba % 63 + 1);
    if cylinder > 1023 {
        return [0xfe, 0xff, 0xff];
    }
    let low = |value: u32| value.to_le_bytes()[0];
    [low(head), low(sector | cylinder >> 2 & 0xc0), low(cylinder)]
}
