// SPDX-License-Identifier: MIT OR Apache-2.0

//! LZ4 frames, as images since 2025 hold their parts in. Checksums of the format are passed over: each part has a
//! SHA-256 behind its frame. (lz4: `doc/lz4_Frame_format.md` 1.6, `doc/lz4_Block_format.md`.)

use alloc::vec::Vec;
use core::fmt;

/// How a frame begins.
const MAGIC: u32 = 0x184d_2204;
/// A block that is stored as it is.
const STORED: u32 = 1 << 31;
/// The shortest match.
const SHORTEST: usize = 4;

/// Bits of a frame's first byte.
mod flag {
    pub(super) const VERSION: u8 = 0xc0;
    pub(super) const VERSION_1: u8 = 0x40;
    pub(super) const BLOCK_CHECKSUM: u8 = 1 << 4;
    pub(super) const SIZE: u8 = 1 << 3;
    pub(super) const CHECKSUM: u8 = 1 << 2;
    pub(super) const DICTIONARY: u8 = 1;
}

/// Unpacks the frame that the bytes begin with. The content, at most `most` bytes, and what follows the frame.
///
/// # Errors
/// Where it is no frame, is cut off, refers to what is not there or holds more.
pub fn unpack(bytes: &[u8], most: usize) -> Result<(Vec<u8>, &[u8]), Error> {
    let mut input = Input(bytes);
    if input.word()? != MAGIC {
        return Err(Error("does not begin as a frame does"));
    }
    let [flags, _block_size] = input.take::<2>()?;
    if flags & flag::VERSION != flag::VERSION_1 || flags & flag::DICTIONARY != 0 {
        return Err(Error("is of another version, or needs a dictionary"));
    }
    let size = match flags & flag::SIZE {
        0 => None,
        _ => Some(u64::from_le_bytes(input.take()?)),
    };
    let [_header_checksum] = input.take()?;
    let mut out = Vec::new();
    loop {
        let length = input.word()?;
        if length == 0 {
            break;
        }
        let block = input.bytes(length & !STORED)?;
        if length & STORED == 0 {
            unpack_block(block, &mut out, most)?;
        } else {
            append(&mut out, block, most)?;
        }
        if flags & flag::BLOCK_CHECKSUM != 0 {
            input.word()?;
        }
    }
    if flags & flag::CHECKSUM != 0 {
        input.word()?;
    }
    if size.is_some_and(|size| usize::try_from(size) != Ok(out.len())) {
        return Err(Error("has another length than it says"));
    }
    Ok((out, input.0))
}

/// Literals and copies of what is there already, in turn; literals are the last.
fn unpack_block(block: &[u8], out: &mut Vec<u8>, most: usize) -> Result<(), Error> {
    let mut input = Input(block);
    loop {
        let [token] = input.take()?;
        let literals = input.length(token >> 4)?;
        append(out, input.bytes(literals)?, most)?;
        if input.0.is_empty() {
            return Ok(());
        }
        let offset = usize::from(u16::from_le_bytes(input.take()?));
        let length = usize::try_from(input.length(token & 15)?).map_err(|_| TOO_LONG)?;
        copy(out, offset, length.saturating_add(SHORTEST), most)?;
    }
}

/// Byte by byte: what is copied can be what this very copy wrote.
fn copy(out: &mut Vec<u8>, offset: usize, length: usize, most: usize) -> Result<(), Error> {
    let missing = Error("refers to what is before its start");
    let mut from = out.len().checked_sub(offset).filter(|_| offset > 0).ok_or(missing)?;
    if out.len().saturating_add(length) > most {
        return Err(TOO_LONG);
    }
    for _ in 0..length {
        let byte = out.get(from).copied().ok_or(missing)?;
        out.push(byte);
        from = from.saturating_add(1);
    }
    Ok(())
}

fn append(out: &mut Vec<u8>, bytes: &[u8], most: usize) -> Result<(), Error> {
    if out.len().saturating_add(bytes.len()) > most {
        return Err(TOO_LONG);
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (first, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(*first)
    }

    fn word(&mut self) -> Result<u32, Error> {
        self.take().map(u32::from_le_bytes)
    }

    fn bytes(&mut self, count: u32) -> Result<&'a [u8], Error> {
        let count = usize::try_from(count).map_err(|_| CUT_OFF)?;
        let (first, rest) = self.0.split_at_checked(count).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(first)
    }

    /// Of 15 in its four bits bytes follow to be added, up to one that is not 255.
    fn length(&mut self, nibble: u8) -> Result<u32, Error> {
        let mut length = u32::from(nibble);
        if nibble == 15 {
            loop {
                let [more] = self.take()?;
                length = length.checked_add(more.into()).ok_or(TOO_LONG)?;
                if more != 255 {
                    break;
                }
            }
        }
        Ok(length)
    }
}

const CUT_OFF: Error = Error("is cut off");
const TOO_LONG: Error = Error("is longer than any part of an image");

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(&'static str);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lz4 {}", self.0)
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
