// SPDX-License-Identifier: MIT OR Apache-2.0

//! `revisions/<id>/manifest`: what a revision is and which files it consists of.
//!
//! ```text
//! format=1
//! revision=2026.11-3
//! version=42
//! any_other_key=value
//!
//! <sha256, 64 lower-case hex digits>  <bytes>  <name>
//! ```
//!
//! There is one way to write a manifest, so that what was signed and what was parsed are the same:
//! `Display` of what `parse` accepted gives back the very bytes.

mod view;

use crate::text;
use alloc::{borrow::ToOwned, format, string::String, vec::Vec};
use core::{fmt, str::FromStr};

pub use view::{Listed, View};

/// File name of the manifest in a revision's directory.
pub const NAME: &str = "manifest";
/// File name of its minisign signature.
pub const SIGNATURE: &str = "manifest.minisig";
/// File name of the root file system image.
pub const ROOT: &str = "root.squashfs";
/// File name of the image of `/lib/firmware`.
pub const FIRMWARE: &str = "firmware.squashfs";
/// Name of the boot slot's volume, the letter of the slot `_`. It lies in a slot and not in the revision's directory.
pub const BOOT: &str = "boot.img";
/// Key: which byte of [`BOOT`] is the letter of the slot.
pub const SLOT_LETTER: &str = "slot_letter";
/// Key: the generation of the files on partition 1 that the slot needs there. No install writes them.
pub const REQUIRES_BOOTSEL: &str = "requires_bootsel";
/// The one that there is.
pub const BOOTSEL_FILES: u64 = 1;

/// A manifest is at most this long: some 90 bytes for each of [`MAX_FILES`] files, and keys.
pub const MAX_BYTES: usize = 64 * 1024;
/// More files than any revision has; names are compared with each other, so the number is bounded.
pub const MAX_FILES: usize = 256;
/// Likewise for the keys.
pub const MAX_KEYS: usize = 128;

const FORMAT: &str = "1";
/// `format`, `revision` and `version`, in this order.
const REQUIRED_KEYS: usize = 3;

/// Name of a revision and of its directory: `[A-Za-z0-9][A-Za-z0-9._+-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RevisionId(String);

impl RevisionId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RevisionId {
    type Err = BadRevisionId;

    fn from_str(text: &str) -> Result<Self, BadRevisionId> {
        if is_revision(text) { Ok(Self(text.to_owned())) } else { Err(BadRevisionId) }
    }
}

/// Whether the text can name a revision.
pub fn is_revision(text: &str) -> bool {
    let first = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    first && text.len() <= 64 && text.bytes().all(is_name_byte)
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that cannot name a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRevisionId;

impl BadRevisionId {
    /// Why it cannot.
    pub const TEXT: &str =
        "not a revision: 1 to 64 of A-Z a-z 0-9 . _ + -, first a letter or digit";
}

impl fmt::Display for BadRevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::TEXT)
    }
}

impl core::error::Error for BadRevisionId {}

/// One file of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Hash of the content.
    pub sha256: [u8; 32],
    /// Length of the content.
    pub bytes: u64,
    /// `[A-Za-z0-9._+-]{1,128}`, no leading dot: never a path.
    pub name: String,
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.sha256 {
            write!(f, "{byte:02x}")?;
        }
        write!(f, "  {}  {}", self.bytes, self.name)
    }
}

/// A parsed manifest. Whoever fills one by hand parses its text once before using it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// In the order of the file: `format`, `revision`, `version`, then others, known or not.
    pub keys: Vec<(String, String)>,
    /// In the order of the file.
    pub files: Vec<File>,
}

impl Manifest {
    /// A manifest without files.
    pub fn new(revision: &RevisionId, version: u64) -> Self {
        let version = format!("{version}");
        let keys = [("format", FORMAT), ("revision", revision.as_str()), ("version", &version)];
        let keys = keys.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self { keys: Vec::from(keys), files: Vec::new() }
    }

    /// Reads a whole manifest.
    ///
    /// # Errors
    /// At the first thing that is not exactly as the format says.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let view = View::parse(bytes)?;
        let keys = view.keys().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let files = view.files().map(|file| {
            let Listed { sha256, bytes, name } = file;
            File { sha256: hash(sha256), bytes, name: name.to_owned() }
        });
        Ok(Self { keys: keys.collect(), files: files.collect() })
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The files that lie in the revision's directory: all but [`BOOT`].
    pub fn images(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.name != BOOT)
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.keys.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The revision: there in every manifest that was parsed.
    pub fn revision(&self) -> Option<RevisionId> {
        self.get("revision")?.parse().ok()
    }

    /// The version: there in every manifest that was parsed. The higher one is newer.
    pub fn version(&self) -> Option<u64> {
        number(self.get("version")?)
    }

    /// Which byte of [`BOOT`] is the letter of the slot.
    pub fn slot_letter(&self) -> Option<u64> {
        number(self.get(SLOT_LETTER)?)
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.keys {
            writeln!(f, "{key}={value}")?;
        }
        writeln!(f)?;
        self.files.iter().try_for_each(|file| writeln!(f, "{file}"))
    }
}

/// File name of the image with the modules of that kernel release (`uname -r`). `None` where the
/// release cannot be part of a file name.
pub fn modules_image(release: &str) -> Option<String> {
    let name = format!("{MODULES}{release}{IMAGE}");
    (!release.is_empty() && file_name(&name).is_some()).then_some(name)
}

/// The release is between these two.
const MODULES: &str = "modules_";
const IMAGE: &str = ".squashfs";

/// Whether a file of a revision is the image with the modules of that kernel release.
pub fn is_modules_image(name: &str, release: &str) -> bool {
    let found = name.strip_prefix(MODULES).and_then(|rest| rest.strip_suffix(IMAGE));
    !release.is_empty() && found == Some(release)
}

pub(crate) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-')
}

/// The manifest and its signature are no files of a revision: nothing it lists may replace them.
fn file_name(name: &str) -> Option<&str> {
    let fits = (1..=128).contains(&name.len()) && name.bytes().all(is_name_byte);
    let taken = name.starts_with('.') || name == NAME || name == SIGNATURE;
    (fits && !taken).then_some(name)
}

/// A number in the one way it is written: no leading zero.
fn number(text: &str) -> Option<u64> {
    if text == "0" || !text.starts_with('0') { text::number(text) } else { None }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| nibble(digit).is_some())
}

/// Of 64 digits.
fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    for (byte, [high, low]) in hash.iter_mut().zip(text.as_bytes().as_chunks().0) {
        let (high, low) = (nibble(*high).unwrap_or(0), nibble(*low).unwrap_or(0));
        *byte = high << 4 | low;
    }
    hash
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Number of the line, from 1, that the byte at this offset is on.
fn line_at(bytes: &[u8], offset: usize) -> usize {
    1 + bytes.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// Why bytes are not a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Longer than [`MAX_BYTES`].
    TooLong,
    /// The number of the line, from 1, and what is wrong there.
    Line(usize, &'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "manifest is longer than {MAX_BYTES} bytes")
            }
            Self::Line(number, problem) => {
                write!(f, "manifest line {number}: {problem}")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
