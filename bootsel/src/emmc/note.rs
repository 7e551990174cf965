// SPDX-License-Identifier: MIT OR Apache-2.0

//! What was written to a boot partition last: `/pivot/state/emmc` on DATA, one line.
//!
//! ```text
//! partition=boot1 bytes=1048576 sha256=3d1f... slot=b revision=12
//! ```
//!
//! It says what `switch` has to find there, and with whose commit that becomes active, if it waits for one. It decides
//! nothing else: which partition is active the eMMC says, and what a partition holds is read.

use core::fmt;
use core::str::FromStr;

use super::Boot;
use crate::Slot;
use crate::manifest::RevisionId;
use crate::text::{hex_digit, pop, split_once};

/// Name of the file.
pub const NAME: &str = "emmc";

/// SHA-256 of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

/// A text that is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHash;

impl fmt::Display for NoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not 64 hexadecimal digits")
    }
}

impl core::error::Error for NoHash {}

impl FromStr for Hash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(NoHash);
        }
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut hash = [0; 32];
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high).ok_or(NoHash)? << 4 | digit(*low).ok_or(NoHash)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            for digit in [byte >> 4, byte] {
                fmt::Write::write_char(f, char::from(hex_digit(digit.into())))?;
            }
        }
        Ok(())
    }
}

/// The revision that brought it, and the slot that this was installed to: when that is committed, it becomes active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct With {
    /// The slot.
    pub slot: Slot,
    /// What it holds.
    pub revision: RevisionId,
}

/// What was written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The partition.
    pub partition: Boot,
    /// Bytes of the image.
    pub bytes: u64,
    /// Its hash.
    pub sha256: Hash,
    /// What it waits for; `None` where somebody wrote it by hand, or where it is done.
    pub with: Option<With>,
}

impl Note {
    /// `None` for what is no such line.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_suffix('\n')?;
        let partition = field(&mut rest, "partition")?.parse().ok()?;
        let bytes = field(&mut rest, "bytes")?.parse().ok().filter(|bytes| *bytes > 0)?;
        let sha256 = field(&mut rest, "sha256")?.parse().ok()?;
        let with = match rest {
            "" => None,
            _ => Some(With {
                slot: field(&mut rest, "slot")?.parse().ok()?,
                revision: field(&mut rest, "revision")?.parse().ok()?,
            }),
        };
        rest.is_empty().then_some(Self { partition, bytes, sha256, with })
    }
}

/// The value of the next word, which has to be this key's.
fn field<'a>(rest: &mut &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = split_once(pop(rest, b' ')?, b'=')?;
    (name == key).then_some(value)
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, bytes, sha256, with } = self;
        write!(f, "partition={partition} bytes={bytes} sha256={sha256}")?;
        if let Some(With { slot, revision }) = with {
            write!(f, " slot={slot} revision={revision}")?;
        }
        writeln!(f)
    }
}
