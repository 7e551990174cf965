// SPDX-License-Identifier: MIT OR Apache-2.0

//! GPT: a header in sector 1 and its entries, and both again at the end of the disk
//! (UEFI specification 2.10, section 5.3).

mod disk;

use super::{Error, Guid, bytes_at, crc32, crc32_on, le32, le64, mbr, put};
use alloc::{string::String, vec, vec::Vec};

pub use disk::{Numbers, RawEntry, find, guid, is_named};

const MAGIC: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER_SIZE: usize = 92;
const CRC_AT: usize = 16;
/// What every tool writes, and the only size of an entry that Linux reads.
const ENTRY_SIZE: u32 = 128;
/// What every tool writes: 16 KiB of entries, the minimum that the specification reserves.
const ENTRIES: u32 = 128;
/// The place for the name, in UTF-16 units.
const NAME_UNITS: usize = 36;

/// A header whose checksum and bounds are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes in a logical sector.
    pub sector_size: u32,
    /// The sector that this header lies in.
    pub lba: u64,
    /// The sector of the other header.
    pub alternate: u64,
    /// First sector that a partition may have.
    pub first_usable: u64,
    /// Last sector that a partition may have.
    pub last_usable: u64,
    /// GUID of the disk.
    pub disk_guid: Guid,
    /// First sector of the entries.
    pub entries_lba: u64,
    /// Number of entries, used or not: 1 to 1024.
    pub entries: u32,
    /// Bytes in an entry: 128, 256, .. 4096.
    pub entry_size: u32,
    /// Checksum over the entries.
    pub entries_crc: u32,
}

impl Header {
    /// Reads the header in the logical sector `lba`, the length of which is that of the slice: 1 for
    /// the first header, the last sector of the disk for the second.
    ///
    /// # Errors
    /// Where there is none, its checksum is wrong, or a value is out of bounds.
    pub fn parse(sector: &[u8], lba: u64) -> Result<Self, Error> {
        let sector_size = sector_size(sector.len())?;
        if !sector.starts_with(MAGIC) {
            return Err(Error::NoHeader);
        }
        let crc = checksum(sector).ok_or(Error::HeaderSize)?;
        if le32(sector, CRC_AT) != Some(crc) {
            return Err(Error::HeaderCrc);
        }
        Self::fields(sector, sector_size).ok_or(Error::HeaderSize)?.check(lba)
    }

    fn fields(sector: &[u8], sector_size: u32) -> Option<Self> {
        let sector: &[u8; HEADER_SIZE] = sector.first_chunk()?;
        Some(Self {
            sector_size,
            lba: le64(sector, 24)?,
            alternate: le64(sector, 32)?,
            first_usable: le64(sector, 40)?,
            last_usable: le64(sector, 48)?,
            disk_guid: Guid(bytes_at(sector, 56)?),
            entries_lba: le64(sector, 72)?,
            entries: le32(sector, 80)?,
            entry_size: le32(sector, 84)?,
            entries_crc: le32(sector, 88)?,
        })
    }

    fn check(self, lba: u64) -> Result<Self, Error> {
        if self.lba != lba {
            return Err(Error::Misplaced(self.lba));
        }
        if self.first_usable > self.last_usable {
            return Err(Error::Usable(self.first_usable, self.last_usable));
        }
        let size = (128..=4096).contains(&self.entry_size) && self.entry_size.is_power_of_two();
        if !size || !(1..=1024).contains(&self.entries) {
            return Err(Error::Entries(self.entries, self.entry_size));
        }
        let place = Error::EntriesPlace(self.entries_lba);
        let sectors = u64::from(self.entries_bytes().div_ceil(self.sector_size));
        let end = self.entries_lba.checked_add(sectors).ok_or(place)?;
        // So that `entries_offset` need not think of an overflow.
        end.checked_mul(u64::from(self.sector_size)).ok_or(place)?;
        let covers_header = (self.entries_lba..end).contains(&lba);
        if self.entries_lba <= 1 || covers_header { Err(place) } else { Ok(self) }
    }

    /// Where on the disk the entries begin, in bytes.
    pub fn entries_offset(&self) -> u64 {
        self.entries_lba.saturating_mul(u64::from(self.sector_size))
    }

    /// How many bytes [`parse_entries`] needs: 4 MiB at most, 16 KiB on nearly every disk.
    pub fn entries_bytes(&self) -> u32 {
        self.entries.saturating_mul(self.entry_size)
    }

    fn to_sector(self) -> Result<Vec<u8>, Error> {
        let mut header = Vec::with_capacity(HEADER_SIZE);
        header.extend(MAGIC);
        for value in [REVISION, 92, 0, 0] {
            header.extend(value.to_le_bytes());
        }
        for value in [self.lba, self.alternate, self.first_usable, self.last_usable] {
            header.extend(value.to_le_bytes());
        }
        header.extend(self.disk_guid.0);
        header.extend(self.entries_lba.to_le_bytes());
        for value in [self.entries, self.entry_size, self.entries_crc] {
            header.extend(value.to_le_bytes());
        }
        let crc = crc32(&header);
        put(&mut header, CRC_AT, &crc.to_le_bytes());
        let size = usize::try_from(self.sector_size).map_err(|_| Error::HeaderSize)?;
        header.resize(size, 0);
        Ok(header)
    }
}

/// Writes into a sector with a right header where it and its entries lie, and both checksums. What else it says
/// stays, its reserved part too.
pub(super) fn put_places(sector: &mut [u8], lba: u64, alternate: u64, entries: u64, crc: u32) {
    for (at, value) in [(24, lba), (32, alternate), (72, entries)] {
        put(sector, at, &value.to_le_bytes());
    }
    put(sector, 88, &crc.to_le_bytes());
    let crc = checksum(sector).unwrap_or_default();
    put(sector, CRC_AT, &crc.to_le_bytes());
}

/// The header's checksum as it should be; `None` for a size that no header has.
fn checksum(sector: &[u8]) -> Option<u32> {
    let size = usize::try_from(le32(sector, 12)?).ok().filter(|size| *size >= HEADER_SIZE)?;
    let (before, rest) = sector.get(..size)?.split_at_checked(CRC_AT)?;
    // Its own place counts as zeros.
    Some(crc32_on(crc32_on(crc32(before), &[0; 4]), rest.get(4..)?))
}

fn units(entry: &[u8]) -> impl Iterator<Item = u16> {
    let units = entry.get(56..128).unwrap_or_default().as_chunks().0;
    units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0)
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Partition number, from 1: the place in the table.
    pub number: u32,
    /// What it is for.
    pub type_guid: Guid,
    /// Its own GUID, the kernel's `PARTUUID=`.
    pub guid: Guid,
    /// First sector.
    pub first: u64,
    /// Last sector, which is its own, too.
    pub last: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// The kernel's `PARTLABEL=`.
    pub name: String,
}

impl Entry {
    /// `None` for an unused entry.
    fn parse(bytes: &[u8], number: u32) -> Option<Self> {
        let type_guid = Guid(bytes_at(bytes, 0)?);
        if type_guid == Guid::NIL {
            return None;
        }
        let mut name = String::new();
        for char in char::decode_utf16(units(bytes.get(..128)?)) {
            name.push(char.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Some(Self {
            number,
            type_guid,
            guid: Guid(bytes_at(bytes, 16)?),
            first: le64(bytes, 32)?,
            last: le64(bytes, 40)?,
            attributes: le64(bytes, 48)?,
            name,
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(self.type_guid.0);
        bytes.extend(self.guid.0);
        for value in [self.first, self.last, self.attributes] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(self.name.encode_utf16().flat_map(u16::to_le_bytes));
        bytes
    }

    fn check(&self, header: &Header, before: &[Self]) -> Result<(), Error> {
        let usable = header.first_usable <= self.first && self.last <= header.last_usable;
        if !(1..=ENTRIES).contains(&self.number) {
            return Err(Error::Number(self.number));
        }
        if !usable || self.first > self.last || self.type_guid == Guid::NIL {
            return Err(Error::Range(self.number));
        }
        if self.guid == Guid::NIL || before.iter().any(|other| other.guid == self.guid) {
            return Err(Error::PartitionGuid(self.number));
        }
        if self.name.encode_utf16().count() > NAME_UNITS || self.name.contains('\0') {
            return Err(Error::Name(self.number));
        }
        for other in before {
            if other.number == self.number {
                return Err(Error::Number(self.number));
            }
            if other.first <= self.last && self.first <= other.last {
                return Err(Error::Overlap(other.number, self.number));
            }
        }
        Ok(())
    }
}

/// The partitions, in the order of their numbers. `bytes` is what lies at
/// [`Header::entries_offset`]; more than [`Header::entries_bytes`] does no harm. As in the kernel,
/// overlapping partitions are not looked for.
///
/// # Errors
/// Where bytes are missing or the checksum is wrong.
pub fn parse_entries(header: &Header, bytes: &[u8]) -> Result<Vec<Entry>, Error> {
    check_entries(header, bytes)?;
    Ok((1..=header.entries).filter_map(|number| entry(header, bytes, number)).collect())
}

/// Whether these are the bytes of the header's entries.
fn check_entries(header: &Header, bytes: &[u8]) -> Result<(), Error> {
    let length = usize::try_from(header.entries_bytes()).map_err(|_| Error::EntriesShort)?;
    let bytes = bytes.get(..length).ok_or(Error::EntriesShort)?;
    if crc32(bytes) == header.entries_crc { Ok(()) } else { Err(Error::EntriesCrc) }
}

/// The partition of that number among the header's entries.
fn entry(header: &Header, bytes: &[u8], number: u32) -> Option<Entry> {
    let place = number.checked_sub(1).filter(|place| *place < header.entries)?;
    let start = usize::try_from(place.checked_mul(header.entry_size)?).ok()?;
    Entry::parse(bytes.get(start..)?, number)
}

/// The two tables of a disk: what lies at its first sector (protective MBR, header, entries: 34
/// sectors of 512 bytes or 6 of 4096), and what ends with its last (entries, header: one less).
///
/// # Errors
/// Where the disk is too small or an entry is not right, see [`Error`].
pub fn build(
    sector_size: u32,
    disk_sectors: u64,
    disk_guid: Guid,
    entries: &[Entry],
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let bytes = usize::try_from(sector_size).unwrap_or(usize::MAX);
    let header = layout(self::sector_size(bytes)?, disk_sectors, disk_guid)?;
    let mut table = vec![0; usize::try_from(header.entries_bytes()).unwrap_or(0)];
    for (index, entry) in entries.iter().enumerate() {
        entry.check(&header, entries.get(..index).unwrap_or(&[]))?;
        let place = usize::try_from(entry.number - 1).unwrap_or(usize::MAX);
        put(&mut table, place.saturating_mul(128), &entry.to_bytes());
    }
    let primary = Header { entries_crc: crc32(&table), ..header };
    let backup = Header {
        lba: primary.alternate,
        alternate: primary.lba,
        entries_lba: primary.last_usable + 1,
        ..primary
    };
    let mut first = protective_mbr(disk_sectors)?.to_vec();
    first.resize(bytes, 0);
    first.append(&mut primary.to_sector()?);
    first.extend(&table);
    table.append(&mut backup.to_sector()?);
    Ok((first, table))
}

/// The primary header of a disk of this size.
fn layout(sector_size: u32, disk_sectors: u64, disk_guid: Guid) -> Result<Header, Error> {
    let table = u64::from((ENTRIES * ENTRY_SIZE).div_ceil(sector_size));
    let first_usable = 2 + table;
    let too_small = Error::DiskTooSmall(disk_sectors);
    let last_usable = disk_sectors.checked_sub(table + 2).ok_or(too_small)?;
    if last_usable < first_usable {
        return Err(too_small);
    }
    Ok(Header {
        sector_size,
        lba: 1,
        alternate: disk_sectors.saturating_sub(1),
        first_usable,
        last_usable,
        disk_guid,
        entries_lba: 2,
        entries: ENTRIES,
        entry_size: ENTRY_SIZE,
        entries_crc: 0,
    })
}

fn protective_mbr(disk_sectors: u64) -> Result<[u8; 512], Error> {
    let sectors = u32::try_from(disk_sectors.saturating_sub(1)).unwrap_or(u32::MAX);
    let whole = mbr::Entry { boot: false, kind: mbr::PROTECTIVE, start: 1, sectors };
    let unused = mbr::Entry::default();
    mbr::write(0, &[whole, unused, unused, unused])
}

fn sector_size(bytes: usize) -> Result<u32, Error> {
    match u32::try_from(bytes) {
        Ok(size @ (512 | 1024 | 2048 | 4096)) => Ok(size),
        _ => Err(Error::SectorSize(bytes)),
    }
}
