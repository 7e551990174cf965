// SPDX-License-Identifier: MIT OR Apache-2.0

//! `pieeprom.sig`, against files that were damaged and not against anybody: recovery.bin writes an image only where
//! its hash is this one.
//!
//! ```text
//! <sha256, 64 hex digits>
//! ts: <seconds since 1970>
//! target-soc: 2711
//! ```
//!
//! More fields may follow. (rpi-eeprom-digest; Raspberry Pi documentation, `raspberry-pi/boot-eeprom.adoc`.) What is
//! written here always has [`BYTES`] bytes, so that the file can be overwritten in its place.

use core::fmt;

use super::Chip;
use crate::text::split_once;
use alloc::format;

/// Bytes of a signature that is written here.
pub const BYTES: usize = 97;
/// A signature is at most this long: with one of RSA it has some 620 bytes.
const MOST: usize = 4096;
/// The smallest time of ten digits, 2001-09-09. No bootloader is older.
pub const FIRST_TIME: u32 = 1_000_000_000;

/// What `pieeprom.sig` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Of the image.
    pub sha256: [u8; 32],
    /// The time of the update, in seconds since 1970. The bootloader keeps it, and takes an update by itself only where
    /// it is newer.
    pub timestamp: Option<u32>,
    /// The chip that the image is for.
    pub chip: Option<Chip>,
}

impl Signature {
    /// Reads a signature; fields that are not known are passed over.
    ///
    /// # Errors
    /// Where it is none, or has a field twice.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = core::str::from_utf8(bytes).ok().filter(|text| text.len() <= MOST);
        let (first, rest) =
            text.map(|text| split_once(text, b'\n').unwrap_or((text, ""))).ok_or(Error::Text)?;
        let sha256 = hash(first.trim_end()).ok_or(Error::Hash)?;
        let (mut timestamp, mut chip) = (None, None);
        for line in rest.lines() {
            let Some((key, value)) = split_once(line, b':') else { continue };
            let value = value.trim();
            let twice = match key {
                "ts" => timestamp.replace(value.parse().map_err(|_| Error::Time)?).is_some(),
                "target-soc" => {
                    let number = value.parse().ok().and_then(Chip::from_number);
                    chip.replace(number.ok_or(Error::Chip)?).is_some()
                }
                _ => false,
            };
            if twice {
                return Err(Error::Twice);
            }
        }
        Ok(Self { sha256, timestamp, chip })
    }
}

fn hash(text: &str) -> Option<[u8; 32]> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut sha256 = [0; 32];
    if pairs.len() != sha256.len() {
        return None;
    }
    for (byte, [high, low]) in sha256.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(sha256)
}

/// The signature for an image. `None` for a time before [`FIRST_TIME`]: it has not ten digits.
pub fn write(sha256: &[u8; 32], timestamp: u32, chip: Chip) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let digits = sha256.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
    let rest = format!("\nts: {timestamp}\ntarget-soc: {}\n", chip.number());
    for (to, from) in bytes.iter_mut().zip(digits.chain(rest.chars())) {
        *to = u8::try_from(from).ok()?;
    }
    (timestamp >= FIRST_TIME).then_some(bytes)
}

/// The time to write into a signature: there may be no clock, and a bootloader that was given a later time would pass
/// over this update.
pub fn time(now: u32, updated: Option<u32>, build_timestamp: u32) -> u32 {
    now.max(updated.map_or(0, |updated| updated.saturating_add(1))).max(build_timestamp)
}

/// Why bytes are no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No text, or too long.
    Text,
    /// The first line is no hash.
    Hash,
    /// `ts` is no number of 32 bits.
    Time,
    /// `target-soc` is no chip with an EEPROM.
    Chip,
    /// A field stands there twice.
    Twice,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "eeprom signature: no text, or too long",
            Self::Hash => "eeprom signature: the first line is no sha256",
            Self::Time => "eeprom signature: ts is no time",
            Self::Chip => "eeprom signature: target-soc is neither 2711 nor 2712",
            Self::Twice => "eeprom signature: a field stands there twice",
        })
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
