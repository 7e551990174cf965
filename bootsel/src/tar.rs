// SPDX-License-Identifier: MIT OR Apache-2.0

//! Headers of a ustar archive (POSIX.1-1988), as far as a bundle has them: regular files with plain names.
//!
//! Everything else that tar can say (directories, links, long names, sparse files, pax records, sizes in base 256) is
//! refused: two readers could understand it differently.

use core::{fmt, ops::Range};

use crate::manifest::is_name_byte;

/// Bytes of a header, and what content is padded to with zeros. Two blocks of zeros end an archive.
pub const BLOCK: usize = 512;
/// Bytes of the longest name.
pub const NAME_MAX: usize = 100;

const NAME: Range<usize> = 0..NAME_MAX;
const SIZE: Range<usize> = 124..136;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const PREFIX: Range<usize> = 345..500;

/// What a header says of the file that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// `[A-Za-z0-9._+-]{1,100}`, no leading dot: never a path.
    pub name: &'a str,
    /// Length of the content; below 2^36.
    pub bytes: u64,
}

/// Reads a header; `None` is a block of zeros, which belongs to the end of an archive.
///
/// # Errors
/// Where it is no header, or of something that a bundle cannot hold.
pub fn header(block: &[u8; BLOCK]) -> Result<Option<Header<'_>>, Error> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let field = |range: Range<usize>| block.get(range).unwrap_or_default();
    if field(MAGIC) != b"ustar\x0000" {
        return Err(Error("not a ustar archive"));
    }
    if octal(field(CHECKSUM)) != Some(checksum(block)) {
        return Err(Error("wrong checksum"));
    }
    if block.get(KIND) != Some(&b'0') {
        return Err(Error("not a regular file"));
    }
    if [LINK, PREFIX].into_iter().any(|range| field(range).iter().any(|byte| *byte != 0)) {
        return Err(Error("a link target or the first half of a long name"));
    }
    let name = name(field(NAME)).ok_or(Error("not a plain file name"))?;
    let bytes = octal(field(SIZE)).ok_or(Error("the size is not an octal number"))?;
    Ok(Some(Header { name, bytes }))
}

/// How many zeros follow content of that length.
pub fn padding(bytes: u64) -> usize {
    let block = BLOCK as u64;
    // below 512
    usize::try_from((block - bytes % block) % block).unwrap_or_default()
}

/// The name up to the first NUL; nothing may hide behind that.
fn name(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (name, rest) = field.split_at_checked(end)?;
    let plain =
        name.iter().copied().all(is_name_byte) && !matches!(name.first(), None | Some(b'.'));
    let clean = rest.iter().all(|byte| *byte == 0);
    if plain && clean { core::str::from_utf8(name).ok() } else { None }
}

/// Octal digits, and then NUL or blanks; at most twelve digits: 36 bits.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| !(b'0'..=b'7').contains(byte)).unwrap_or(field.len());
    let (digits, rest) = field.split_at_checked(end)?;
    let clean = rest.iter().all(|byte| matches!(byte, 0 | b' '));
    let number = digits.iter().fold(0, |number, digit| number << 3 | u64::from(digit & 7));
    (clean && !digits.is_empty()).then_some(number)
}

/// The sum of all bytes, those of the checksum itself taken for blanks.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let byte = |(at, byte): (usize, &u8)| if CHECKSUM.contains(&at) { b' ' } else { *byte };
    block.iter().enumerate().map(byte).map(u64::from).sum()
}

/// Why a block is not a header of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(&'static str);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
