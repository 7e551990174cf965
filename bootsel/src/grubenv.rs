// SPDX-License-Identifier: MIT OR Apache-2.0

//! `grubenv` on partition 1: which slot GRUB boots, and which one once, for a trial. (GRUB: `grub-core/lib/envblk.c`;
//! what it makes of odd blocks was tried with grub-editenv 2.06.)
//!
//! ```text
//! # GRUB Environment Block
//! pivot_default=a
//! pivot_trial=
//! ##########..
//! ```
//!
//! Two sectors, of which only the first ever changes: what is written here is that one, and what GRUB writes back, with
//! the trial taken out, differs in that one alone. A block that GRUB would read or save in another way than is said
//! here is refused.

mod fragment;

use crate::Slot;
use alloc::vec::Vec;
use core::fmt;

pub use fragment::{BadFragment, Fragment};

/// Name of the file.
pub const NAME: &str = "grubenv";
/// Name of GRUB's script, on partition 1 and in each slot.
pub const SCRIPT: &str = "grub.cfg";
/// Bytes of the file. (GRUB: `DEFAULT_ENVBLK_SIZE`)
pub const BYTES: usize = 1024;
/// What is written at once, and holds all variables.
pub const SECTOR: usize = 512;
/// The variable with the slot that boots.
pub const DEFAULT: &str = "pivot_default";
/// The variable with the slot that boots once: GRUB empties it and saves that before it loads the kernel.
pub const TRIAL: &str = "pivot_trial";

const SIGNATURE: &[u8] = b"# GRUB Environment Block\n";
/// Our two lines with a trial, which is when they are longest.
const OWN: usize = DEFAULT.len() + TRIAL.len() + 2 * "=a\n".len();

/// What `grubenv` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grubenv {
    default: Slot,
    trial: bool,
    /// Comments and variables that are none of ours, each with the newline at its end.
    kept: Vec<Vec<u8>>,
}

impl Grubenv {
    /// A new block.
    pub fn new(default: Slot) -> Self {
        Self { default, trial: false, kept: Vec::new() }
    }

    /// Reads a block.
    ///
    /// # Errors
    /// Where GRUB would not read it, could not save into it, or would find something else in it later.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != BYTES {
            return Err(Error::Length(bytes.len()));
        }
        let rest = bytes.strip_prefix(SIGNATURE).ok_or(Error::Signature)?;
        let text = without_filler(rest);
        if !text.is_empty() && !text.ends_with(b"\n") {
            return Err(Error::Filler);
        }
        let mut items: Vec<_> = Items(text).collect();
        let default = take(&mut items, text, DEFAULT)?;
        let trial = take(&mut items, text, TRIAL)?;
        let default = slot(default).flatten().ok_or(Error::Value(DEFAULT))?;
        let trial = slot(trial).ok_or(Error::Value(TRIAL))?;
        if items.iter().map(|item| item.raw.len()).sum::<usize>() > room() {
            return Err(Error::Full);
        }
        let kept = items.iter().map(|item| item.raw.to_vec()).collect();
        Ok(Self { default, trial: trial == Some(default.other()), kept })
    }

    /// A new block with what can be kept of one that is refused: the variables that GRUB finds in it, as far as they
    /// fit.
    pub fn salvage(bytes: &[u8], default: Slot) -> Self {
        let bytes = bytes.get(..BYTES).unwrap_or(bytes);
        let text = without_filler(bytes.strip_prefix(SIGNATURE).unwrap_or(bytes));
        let (mut kept, mut left) = (Vec::new(), room());
        for item in Items(text) {
            // one line: GRUB's own search for a variable knows no others
            let named = item.name.is_some_and(is_plain) && !item.value.contains(&b'\n');
            if named && ![DEFAULT, TRIAL].map(|own| Some(own.as_bytes())).contains(&item.name) {
                let Some(less) = left.checked_sub(item.raw.len()) else { break };
                left = less;
                kept.push(item.raw.to_vec());
            }
        }
        Self { default, trial: false, kept }
    }

    /// The slot that boots.
    pub fn default(&self) -> Slot {
        self.default
    }

    /// Whether the next boot is a trial of the other slot.
    pub fn is_armed(&self) -> bool {
        self.trial
    }

    /// Makes a slot the default, and calls off a trial.
    pub fn select(&mut self, default: Slot) {
        (self.default, self.trial) = (default, false);
    }

    /// Asks for a trial of the slot that is not the default, or calls it off.
    pub fn arm(&mut self, trial: bool) {
        self.trial = trial;
    }

    /// The first sector. The second is [`filler`]: no block with more is taken.
    pub fn to_sector(&self) -> [u8; SECTOR] {
        let trial = if self.trial { self.default.other().as_str() } else { "" };
        let own = alloc::format!("{DEFAULT}={}\n{TRIAL}={trial}\n", self.default);
        let mut sector = filler();
        let text = [SIGNATURE, own.as_bytes()].into_iter();
        let text = text.chain(self.kept.iter().map(Vec::as_slice)).flatten();
        for (to, from) in sector.iter_mut().zip(text) {
            *to = *from;
        }
        sector
    }
}

/// The first sector of a block as it is written here and by GRUB, with a trial put in: for who has no room for the whole
/// of this. `None` where `sector` is anything else, another default's, or has a trial already.
pub fn armed(sector: &[u8; SECTOR], default: Slot) -> Option<[u8; SECTOR]> {
    let rest = sector.strip_prefix(SIGNATURE)?.strip_prefix(b"pivot_default=")?;
    let rest = rest.strip_prefix(default.as_str().as_bytes())?;
    let behind = rest.strip_prefix(b"\npivot_trial=")?;
    let kept = behind.strip_suffix(b"#").filter(|kept| kept.starts_with(b"\n"))?;
    let before = sector.get(..SECTOR.checked_sub(behind.len())?)?;
    let parts = [before, default.other().as_str().as_bytes(), kept];
    let mut armed = [0; SECTOR];
    armed.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    Some(armed)
}

/// The second sector of a block.
pub fn filler() -> [u8; SECTOR] {
    [b'#'; SECTOR]
}

/// Bytes for what is not ours.
fn room() -> usize {
    SECTOR - SIGNATURE.len() - OWN
}

/// Free space is what follows the last newline. (`grub_envblk_set`)
fn without_filler(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b'#').map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// A name as people and GRUB's script write it.
fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
}

/// Empty, or a slot; `None` where it is neither.
fn slot(value: &[u8]) -> Option<Option<Slot>> {
    match value {
        b"" => Some(None),
        b"a" => Some(Some(Slot::A)),
        b"b" => Some(Some(Slot::B)),
        _ => None,
    }
}

/// Takes a variable of ours out and gives its value. GRUB reads the last of several and changes what looks like the
/// first, which may be none: there has to be one, in every way of counting.
fn take<'a>(items: &mut Vec<Item<'a>>, text: &[u8], name: &'static str) -> Result<&'a [u8], Error> {
    let is_own =
        |line: &[u8]| line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    let place = items.iter().position(|item| item.name == Some(name.as_bytes()));
    let place = place.ok_or(Error::Missing(name))?;
    if text.split(|byte| *byte == b'\n').filter(|line| is_own(line)).count() != 1 {
        return Err(Error::Twice(name));
    }
    Ok(items.remove(place).value)
}

/// A comment, a variable, or at the end what GRUB stops at.
#[derive(Clone, Copy, Debug)]
struct Item<'a> {
    /// With the newline at its end.
    raw: &'a [u8],
    name: Option<&'a [u8]>,
    value: &'a [u8],
}

/// Cuts a block's text as GRUB does: a name goes to the next `=`, over newlines, too; what follows a backslash is part
/// of a line. (`grub_envblk_iterate`)
#[derive(Debug)]
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let text = self.0;
        let comment = *text.first()? == b'#';
        let equals = text.iter().position(|byte| *byte == b'=').filter(|_| !comment);
        let from = equals.map_or(0, |equals| equals + 1);
        let end = line_end(text, from).filter(|_| comment || equals.is_some());
        let (raw, rest) = text.split_at(end.map_or(text.len(), |end| end + 1));
        self.0 = rest;
        let name = equals.filter(|_| end.is_some()).and_then(|equals| raw.get(..equals));
        let value = raw.get(from..raw.len().saturating_sub(1)).unwrap_or_default();
        Some(Item { raw, name, value })
    }
}

/// Where the next newline without a backslash before it is.
fn line_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match text.get(at)? {
            b'\n' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Why a block is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Bytes of the file.
    Length(usize),
    /// The first line is another one.
    Signature,
    /// What follows the last line is not `#` to the end.
    Filler,
    /// A variable of ours that GRUB does not find.
    Missing(&'static str),
    /// One that is there more than once.
    Twice(&'static str),
    /// One that names no slot.
    Value(&'static str),
    /// More than the first sector has room for.
    Full,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "grubenv has {bytes} bytes, not {BYTES}"),
            Self::Signature => f.write_str("grubenv is no environment block: its first line is not GRUB's"),
            Self::Filler => f.write_str(
                "grubenv is damaged behind its last line: GRUB could not save into it, and would start no trial",
            ),
            Self::Missing(name) => write!(f, "grubenv has no {name}"),
            Self::Twice(name) => write!(f, "grubenv has {name} more than once"),
            Self::Value(name) => write!(f, "grubenv: {name} is not the name of a slot"),
            Self::Full => write!(
                f,
                "grubenv has more variables than its first {SECTOR} bytes hold: a change would not be one sector"
            ),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
