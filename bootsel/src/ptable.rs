// SPDX-License-Identifier: MIT OR Apache-2.0

//! Partition tables: MBR and GPT, reading and writing. Reading takes what Linux takes
//! (`block/partitions/{msdos,efi}.c`): a table that the kernel made partitions of is not refused
//! here. Writing refuses whatever a later reader could doubt.

pub mod gpt;
pub mod grow;
pub mod mbr;

use core::{fmt, str::FromStr};

/// A GUID in the byte order of the disk: the first three fields are little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guid([u8; 16]);

/// Where each byte of the text stands on the disk.
const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// All zero: no type, an unused entry.
    pub const NIL: Self = Self([0; 16]);

    /// From the bytes on the disk.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes on the disk.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// In the order of the digits of its text.
    pub fn in_text_order(self) -> [u8; 16] {
        ORDER.map(|disk| self.0.get(disk).copied().unwrap_or(0))
    }
}

impl FromStr for Guid {
    type Err = BadGuid;

    fn from_str(text: &str) -> Result<Self, BadGuid> {
        let mut bytes = [0; 16];
        let mut digits = text.chars();
        for (position, disk) in ORDER.into_iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) && digits.next() != Some('-') {
                return Err(BadGuid);
            }
            for _ in 0..2 {
                let digit = digits.next().and_then(|digit| digit.to_digit(16)).ok_or(BadGuid)?;
                let byte = bytes.get_mut(disk).ok_or(BadGuid)?;
                *byte = *byte << 4 | u8::try_from(digit).map_err(|_| BadGuid)?;
            }
        }
        if digits.next().is_none() { Ok(Self(bytes)) } else { Err(BadGuid) }
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.in_text_order().into_iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Text that is no GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadGuid;

impl fmt::Display for BadGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a guid: hex digits as 8-4-4-4-12")
    }
}

impl core::error::Error for BadGuid {}

/// CRC-32 as GPT, zlib and Ethernet have it (reflected polynomial 0xedb88320).
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32_on(0, bytes)
}

/// The checksum of bytes whose beginning has the checksum `before`.
#[inline(never)]
fn crc32_on(before: u32, bytes: &[u8]) -> u32 {
    let (mut crc, mut blanks) = (!before, 0_u32);
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for block in blocks {
        if block.as_chunks().0.iter().all(|word| u128::from_ne_bytes(*word) == 0) {
            blanks += 1;
        } else {
            crc = feed(after_blanks(crc, blanks), block);
            blanks = 0;
        }
    }
    !feed(after_blanks(crc, blanks), rest)
}

#[inline(never)]
fn feed(mut crc: u32, bytes: &[u8]) -> u32 {
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..2 {
            crc = crc >> 4 ^ NIBBLES.get((crc & 15) as usize).copied().unwrap_or_default();
        }
    }
    crc
}

/// A table of partitions is nearly all zeros: blocks of so many are not fed but skipped in one step.
const BLOCK: usize = 64;

/// The register after so many blocks of zeros: each multiplies it by x^512, as polynomials modulo the CRC's.
fn after_blanks(mut crc: u32, blocks: u32) -> u32 {
    let (mut factor, mut left) = (BLANK, blocks);
    loop {
        if left & 1 == 1 {
            crc = multiply(crc, factor);
        }
        left >>= 1;
        if left == 0 {
            return crc;
        }
        factor = multiply(factor, factor);
    }
}

/// x^(8 * BLOCK). The highest bit is x^0.
const BLANK: u32 = {
    let (mut power, mut exponent) = (1 << 30, 1);
    while exponent < 8 * BLOCK {
        power = multiply(power, power);
        exponent *= 2;
    }
    power
};

#[inline(never)]
const fn multiply(a: u32, b: u32) -> u32 {
    let (mut product, mut power, mut bits) = (0, a, b);
    while bits != 0 {
        if bits >> 31 == 1 {
            product ^= power;
        }
        power = times_x(power);
        bits <<= 1;
    }
    product
}

const fn times_x(power: u32) -> u32 {
    power >> 1 ^ if power & 1 == 1 { POLYNOMIAL } else { 0 }
}

const POLYNOMIAL: u32 = 0xedb8_8320;

/// What four bits that leave the register change in it. Four bits at a time are a quarter of the work of one, for 64 bytes;
/// eight would be 1 KB of PID 1.
const NIBBLES: [u32; 16] = {
    let (mut table, mut number) = ([0; 16], 0_u32);
    while number < 16 {
        #[expect(
            clippy::indexing_slicing,
            reason = "a constant expression, judged by the compiler"
        )]
        {
            table[number as usize] = times_x(times_x(times_x(times_x(number))));
        }
        number += 1;
    }
    table
};

/// How a disk is read: it fills the buffer from an offset on, or says that it cannot.
pub type ReadAt<'a> = &'a dyn Fn(u64, &mut [u8]) -> Option<()>;

/// Why bytes are no partition table, or why one cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Logical sectors have 512, 1024, 2048 or 4096 bytes.
    SectorSize(usize),
    /// No `EFI PART` where the header should be.
    NoHeader,
    /// A size of the header that is too small or does not fit the sector.
    HeaderSize,
    /// The header's checksum does not match.
    HeaderCrc,
    /// The header says that it lies somewhere else.
    Misplaced(u64),
    /// First and last usable sector.
    Usable(u64, u64),
    /// Number and size of the entries.
    Entries(u32, u32),
    /// The entries lie over a header or past the last sector that can be numbered.
    EntriesPlace(u64),
    /// Fewer bytes than the entries have.
    EntriesShort,
    /// The entries' checksum does not match.
    EntriesCrc,
    /// Too few sectors for the two tables.
    DiskTooSmall(u64),
    /// A partition number that the table has no entry for, or that is there twice.
    Number(u32),
    /// A partition that is empty, without a type, or not inside the usable sectors.
    Range(u32),
    /// Two partitions that share sectors.
    Overlap(u32, u32),
    /// A partition without a GUID, or with that of another one.
    PartitionGuid(u32),
    /// A name longer than 36 UTF-16 units or with a NUL.
    Name(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SectorSize(bytes) => write!(f, "gpt: no disk has sectors of {bytes} bytes"),
            Self::NoHeader => f.write_str("gpt: no header"),
            Self::HeaderSize => f.write_str("gpt: the header's size is wrong"),
            Self::HeaderCrc => f.write_str("gpt: checksum of the header does not match"),
            Self::Misplaced(lba) => write!(f, "gpt: header belongs to sector {lba}"),
            Self::Usable(first, last) => write!(f, "gpt: usable sectors {first} to {last}"),
            Self::Entries(number, size) => write!(f, "gpt: {number} entries of {size} bytes"),
            Self::EntriesPlace(lba) => write!(f, "gpt: entries cannot lie at sector {lba}"),
            Self::EntriesShort => f.write_str("gpt: entries are cut off"),
            Self::EntriesCrc => f.write_str("gpt: checksum of the entries does not match"),
            Self::DiskTooSmall(sectors) => {
                write!(f, "a disk of {sectors} sectors has no room for the partition tables")
            }
            Self::Number(number) => write!(f, "partition {number}: no such number, or twice"),
            Self::Range(number) => {
                write!(f, "partition {number}: empty, without a type, or outside of the disk")
            }
            Self::Overlap(one, other) => write!(f, "partitions {one} and {other} overlap"),
            Self::PartitionGuid(number) => {
                write!(f, "partition {number}: guid is nil or not unique")
            }
            Self::Name(number) => write!(f, "partition {number}: name is too long or has a nul"),
        }
    }
}

impl core::error::Error for Error {}

/// The bytes at an offset, `None` where there are not so many.
fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes_at(bytes, offset).map(u32::from_le_bytes)
}

fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes_at(bytes, offset).map(u64::from_le_bytes)
}

/// Overwrites from an offset on; what would lie past the end is left out.
pub(crate) fn put(bytes: &mut [u8], offset: usize, new: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(offset).zip(new) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests;
