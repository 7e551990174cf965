// SPDX-License-Identifier: MIT OR Apache-2.0

//! The files of an update on the first partition, and the one sector that makes them one.
//!
//! For each chip three files lie in the root directory under names that neither ROM, recovery.bin nor rpi-eeprom-update
//! looks for, and their entries lie in one block of it. Writing that block renames all three, in one step or not at all,
//! and writing it again takes the names away. What is in the files was written and read back before: the image with the
//! configuration carried over, and its signature. A fourth, the image as it was shipped, is never renamed nor written, so
//! that what is cut off while the others are written is written again from it.
//!
//! | while nothing is staged | staged | |
//! |---|---|---|
//! | `EEPR2711.IMG` | | the image as it was shipped |
//! | `EEPR2711.UPD` | `PIEEPROM.UPD` | the image to write |
//! | `EEPR2711.SIG` | `PIEEPROM.SIG` | its signature |
//! | `EEPR2711.REC` | `RECOVERY.BIN` | what the ROM runs; `RECOVERY.000` afterwards |
//!
//! recovery.bin renames itself in its place since 2021-09-27. (rpi-eeprom, issue 367 and
//! `firmware-2711/release-notes.md`; the name `RECOVERY.%03d` stands in every recovery.bin.) An image that is called
//! `pieeprom.bin` instead makes it stop with a green screen.

use core::fmt;

use super::{Chip, signature};
use crate::fat::{self, BLOCK, Volume};

/// Bytes of a directory entry, and of the name that it begins with.
const ENTRY: usize = 32;
const NAME: usize = 11;
/// The one attribute that the files may have.
const ARCHIVE: u8 = 0x20;
/// Attributes of entries that are no files: parts of long names, labels, directories.
const LONG: u8 = 0x0f;
const LABEL: u8 = 0x08;
const DELETED: u8 = 0xe5;
/// No recovery.bin is larger; in 2026 they have 105,000 bytes.
const MAX_RECOVERY_BYTES: u32 = 1 << 20;

/// One of the files that are renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The image to write.
    Image,
    /// Its signature.
    Signature,
    /// The program that writes it.
    Recovery,
}

impl File {
    const ALL: [Self; 3] = [Self::Image, Self::Signature, Self::Recovery];

    /// Its name while nothing is staged.
    pub fn at_rest(self, chip: Chip) -> &'static str {
        match (chip, self) {
            (Chip::Bcm2711, Self::Image) => "EEPR2711.UPD",
            (Chip::Bcm2711, Self::Signature) => "EEPR2711.SIG",
            (Chip::Bcm2711, Self::Recovery) => "EEPR2711.REC",
            (Chip::Bcm2712, Self::Image) => "EEPR2712.UPD",
            (Chip::Bcm2712, Self::Signature) => "EEPR2712.SIG",
            (Chip::Bcm2712, Self::Recovery) => "EEPR2712.REC",
        }
    }

    /// Its name while it is staged.
    pub fn staged(self) -> &'static str {
        match self {
            Self::Image => "PIEEPROM.UPD",
            Self::Signature => "PIEEPROM.SIG",
            Self::Recovery => "RECOVERY.BIN",
        }
    }

    /// Whether a file of that kind can have so many bytes.
    fn can_have(self, chip: Chip, bytes: u32) -> bool {
        match self {
            Self::Image => bytes == chip.image_bytes(),
            Self::Signature => usize::try_from(bytes) == Ok(signature::BYTES),
            Self::Recovery => (1..=MAX_RECOVERY_BYTES).contains(&bytes),
        }
    }
}

/// The image as it was shipped.
pub fn shipped(chip: Chip) -> &'static str {
    match chip {
        Chip::Bcm2711 => "EEPR2711.IMG",
        Chip::Bcm2712 => "EEPR2712.IMG",
    }
}

/// What recovery.bin makes of its own name; the first time it is 000.
const RECOVERED: &str = "RECOVERY.000";

/// What the names say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is staged.
    AtRest,
    /// The next reset runs recovery.bin, on boards with this chip.
    Staged(Chip),
    /// recovery.bin ran, and renamed itself.
    Recovered(Chip),
}

/// Offset on the disk of the block that has the files' entries; `None` where there are no such files.
///
/// # Errors
/// Where the directory cannot be read, or they are not in the same block.
pub fn locate<E>(
    volume: &Volume,
    read: &mut impl fat::Read<E>,
) -> Result<Option<u64>, fat::Error<E>> {
    let at_rest = Chip::ALL.into_iter().flat_map(|chip| File::ALL.map(|file| file.at_rest(chip)));
    let names = File::ALL.map(File::staged).into_iter().chain([RECOVERED]).chain(at_rest);
    let mut place = None;
    for name in names {
        let Some(file) = volume.find(name, read)? else { continue };
        if place.replace(file.entry).is_some_and(|place| place != file.entry) {
            return Err(fat::Error::Volume("the eeprom files' entries are not in one sector"));
        }
    }
    Ok(place)
}

/// What is staged.
///
/// # Errors
/// Where the names are not all there, are there twice, or something else has them.
pub fn state(block: &[u8; BLOCK]) -> Result<State, Error> {
    let [image, signature, recovery] = File::ALL.map(|file| find(block, file.staged()));
    let (image, signature, recovery) = (image?, signature?, recovery?);
    let recovered = find_recovered(block)?;
    let (state, chip, program) = match (image, signature, recovery, recovered) {
        (None, None, None, None) => return Ok(State::AtRest),
        (Some(image), Some(_), Some(program), None) => {
            let chip = owner(&image)?;
            (State::Staged(chip), chip, program)
        }
        (Some(image), Some(_), None, Some(program)) => {
            let chip = owner(&image)?;
            (State::Recovered(chip), chip, program)
        }
        _ => return Err(Error::Mixed),
    };
    for (file, entry) in File::ALL.into_iter().zip([image, signature, Some(program)]) {
        let fits = entry.is_some_and(|entry| file.can_have(chip, entry.bytes));
        if !fits {
            return Err(Error::Size(file.staged()));
        }
        if find(block, file.at_rest(chip))?.is_some() {
            return Err(Error::Twice(file.at_rest(chip)));
        }
    }
    Ok(state)
}

/// The chip whose image it is.
fn owner(image: &Entry) -> Result<Chip, Error> {
    let chip = usize::try_from(image.bytes).ok().and_then(Chip::from_image_bytes);
    chip.ok_or(Error::Size(File::Image.staged()))
}

/// The block with the chip's files staged.
///
/// # Errors
/// Where something is staged already, or a file is not there as it should be.
pub fn stage(block: &[u8; BLOCK], chip: Chip) -> Result<[u8; BLOCK], Error> {
    if state(block)? != State::AtRest {
        return Err(Error::Mixed);
    }
    let mut new = *block;
    for file in File::ALL {
        let name = file.at_rest(chip);
        let entry = find(block, name)?.ok_or(Error::Missing(name))?;
        if !file.can_have(chip, entry.bytes) {
            return Err(Error::Size(name));
        }
        rename(&mut new, entry, file.staged());
    }
    Ok(new)
}

/// The block with nothing staged: as it was, where nothing is. It calls an update off, and it clears up after one.
///
/// # Errors
/// As [`state`].
pub fn restore(block: &[u8; BLOCK]) -> Result<[u8; BLOCK], Error> {
    let (State::Staged(chip) | State::Recovered(chip)) = state(block)? else { return Ok(*block) };
    let mut new = *block;
    for file in File::ALL {
        let entry = match find(block, file.staged())? {
            None if file == File::Recovery => find_recovered(block)?,
            found => found,
        };
        rename(&mut new, entry.ok_or(Error::Mixed)?, file.at_rest(chip));
    }
    Ok(new)
}

/// An entry of the block.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its offset in the block.
    at: usize,
    bytes: u32,
}

/// The eleven bytes of a name that has eight and three.
fn short(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(|byte| *byte != b'.')
}

fn find(block: &[u8; BLOCK], name: &'static str) -> Result<Option<Entry>, Error> {
    search(block, name, |entry| entry.iter().copied().take(NAME).eq(short(name)))
}

fn find_recovered(block: &[u8; BLOCK]) -> Result<Option<Entry>, Error> {
    search(block, RECOVERED, |entry| {
        let number = entry.get(8..NAME).unwrap_or_default();
        entry.starts_with(b"RECOVERY") && number.iter().all(u8::is_ascii_digit)
    })
}

/// The one entry that matches, which has to be a plain file's.
fn search(
    block: &[u8; BLOCK],
    name: &'static str,
    matches: impl Fn(&[u8; ENTRY]) -> bool,
) -> Result<Option<Entry>, Error> {
    let mut found = None;
    let mut after_long = false;
    for (entry, at) in block.as_chunks::<ENTRY>().0.iter().zip((0..).step_by(ENTRY)) {
        let [first, .., b0, b1, b2, b3] = *entry;
        let attributes = entry.get(NAME).copied().unwrap_or(LABEL);
        let is_long = attributes & 0x3f == LONG && first != DELETED;
        // nothing after the end, of which no part of a name begins
        if first == 0 {
            break;
        }
        if !is_long && attributes & LABEL == 0 && matches(entry) {
            if attributes & !ARCHIVE != 0 || after_long {
                return Err(Error::Kind(name));
            }
            let bytes = u32::from_le_bytes([b0, b1, b2, b3]);
            if found.replace(Entry { at, bytes }).is_some() {
                return Err(Error::Twice(name));
            }
        }
        after_long = is_long;
    }
    Ok(found)
}

fn rename(block: &mut [u8; BLOCK], entry: Entry, name: &str) {
    for (to, from) in block.iter_mut().skip(entry.at).zip(short(name)) {
        *to = from;
    }
}

/// Why a block of the directory is not touched; each with the name of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not there.
    Missing(&'static str),
    /// It has an attribute or a long name, or is no file.
    Kind(&'static str),
    /// It has a length that such a file cannot have.
    Size(&'static str),
    /// It is there twice, or under both of its names.
    Twice(&'static str),
    /// Some of the names are there and some are not: these are not ours.
    Mixed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("eeprom files: ")?;
        match self {
            Self::Missing(name) => write!(f, "no {name}"),
            Self::Kind(name) => write!(f, "{name} has attributes or a long name"),
            Self::Size(name) => write!(f, "{name} has a length that such a file cannot have"),
            Self::Twice(name) => write!(f, "{name} is there twice"),
            Self::Mixed => {
                f.write_str("pieeprom.upd, pieeprom.sig and recovery.bin are not all there, or not staged by this tool")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
