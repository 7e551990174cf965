// SPDX-License-Identifier: MIT OR Apache-2.0
//! The EEPROM's files on partition 1 of an image for the Raspberry Pi 4 and 5, and what is asked of each of them: by
//! the builder before it ships them, by `lint`, `inspect` and `boards` when they find them.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use bootsel::autoboot::has_word;
use bootsel::board::Board;
use bootsel::date::date;
use bootsel::eeprom::image::Image;
use bootsel::eeprom::signature::{self, Signature};
use bootsel::eeprom::stage::{self, File};
use bootsel::eeprom::{Chip, stage::shipped};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The files of an update, by their purpose.
pub const FILES: [File; 3] = [File::Image, File::Signature, File::Recovery];
/// What recovery.bin looks for and what it makes of its own name, as it is in each of them: words between zero bytes.
const WORDS: [&str; 3] = ["pieeprom.upd", "pieeprom.sig", "RECOVERY.%03d"];
/// It begins with as many zeros.
const ZEROS: usize = 512;
const BUILD_TIMESTAMP: &[u8] = b"BUILD_TIMESTAMP=";
/// 2021-09-27: since then it renames itself in its place. (rpi-eeprom, `firmware-2711/release-notes.md`)
const RENAMES: u32 = 1_632_700_800;

/// Which release an image is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// `BCM2711` or `BCM2712`.
    pub chip: String,
    /// When it was built, in seconds since 1970.
    pub build_timestamp: u32,
    /// The same as `2026-05-17`.
    pub date: String,
    /// Its `MFG_VER`; zero before 2026.
    pub manufacture: u32,
}

/// `BCM2711 of 2026-05-17 (1779045198)`
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chip, build_timestamp, date, .. } = self;
        write!(f, "{chip} of {date} ({build_timestamp})")
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Looks at an image of the EEPROM: whole, for that chip, and not too old to try slots with.
///
/// # Errors
/// What is wrong with it.
pub fn image(chip: Chip, bytes: &[u8]) -> Result<Version> {
    let image = Image::parse(bytes)?;
    ensure!(image.chip == chip, "is for {}, by its length, and not for {chip}", image.chip);
    image.verify_parts(sha256)?;
    let (time, least) = (image.build_timestamp, chip.least());
    ensure!(
        time >= least,
        "was built on {} ({time}): slots can be tried with one of {} ({least}) or later",
        date(time),
        date(least)
    );
    let (chip, manufacture) = (chip.to_string(), image.manufacture);
    Ok(Version { chip, build_timestamp: time, date: date(time), manufacture })
}

/// Looks at a recovery.bin.
///
/// # Errors
/// What is wrong with it.
pub fn recovery(chip: Chip, bytes: &[u8]) -> Result<()> {
    let begins = bytes.len() > ZEROS && bytes[..ZEROS].iter().all(|byte| *byte == 0);
    ensure!(begins, "is no recovery.bin: it does not begin with {ZEROS} zeros");
    if let Some(word) = WORDS.into_iter().find(|word| !has_word(bytes, word)) {
        bail!("is no recovery.bin: there is no {word} in it");
    }
    let says = |chip: Chip| {
        let number = chip.number().to_string();
        bytes.windows(number.len()).any(|window| window == number.as_bytes())
    };
    // up to 2026-08 some say for which chip they are, and none says the other's number
    if let Some(other) = Chip::ALL.into_iter().find(|other| says(*other) && !says(chip)) {
        bail!("is for {other}, and not for {chip}");
    }
    let time = built(bytes).context("is no recovery.bin: it does not say when it was built")?;
    ensure!(
        time >= RENAMES,
        "was built on {}: it does not rename itself, as those since {} do",
        date(time),
        date(RENAMES)
    );
    Ok(())
}

fn built(bytes: &[u8]) -> Option<u32> {
    let texts = bytes.split(|byte| *byte == 0);
    let time = texts.filter_map(|text| text.strip_prefix(BUILD_TIMESTAMP)).next()?;
    std::str::from_utf8(time).ok()?.parse().ok()
}

/// The signature that is shipped with an image: its time is the image's own, so that equal input gives equal bytes.
///
/// # Errors
/// Where the image is older than any.
pub fn sign(chip: Chip, image: &[u8], version: &Version) -> Result<Vec<u8>> {
    let time = signature::time(0, None, version.build_timestamp);
    let bytes = signature::write(&sha256(image), time, chip);
    Ok(bytes.context("was built before there were such boards")?.to_vec())
}

/// What partition 1 has for a chip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shipped {
    /// `BCM2711` or `BCM2712`.
    pub chip: String,
    /// The release; none where its image is missing or damaged.
    pub version: Option<Version>,
    /// Files, and what is wrong with them.
    pub problems: Vec<(&'static str, String)>,
}

impl fmt::Display for Shipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => version.fmt(f),
            None => write!(f, "{}, damaged", self.chip),
        }
    }
}

/// The files for each chip that there are any for; `read` has none where there is no such file.
pub fn find(read: impl Fn(&str) -> Result<Option<Vec<u8>>, String>) -> Vec<(Chip, Shipped)> {
    Chip::ALL.into_iter().filter_map(|chip| Some((chip, of(chip, &read)?))).collect()
}

fn of(chip: Chip, read: impl Fn(&str) -> Result<Option<Vec<u8>>, String>) -> Option<Shipped> {
    let mut problems = Vec::new();
    let names = FILES.map(|file| file.at_rest(chip));
    let mut get = |name: &'static str| match read(name) {
        Ok(Some(bytes)) => Some(bytes),
        Ok(None) => {
            problems.push((name, "is missing".to_owned()));
            None
        }
        Err(why) => {
            problems.push((name, why));
            None
        }
    };
    let first = get(shipped(chip));
    let [update, signature, program] = names.map(&mut get);
    if [&first, &update, &signature, &program].iter().all(|file| file.is_none()) {
        return None;
    }
    let mut judge = |name, result: Result<()>| {
        problems.extend(result.err().map(|why| (name, format!("{why:#}"))));
    };
    let mut version = None;
    if let Some(bytes) = &first {
        let result = image(chip, bytes).map(|found| version = Some(found));
        judge(shipped(chip), result);
    }
    if let Some(bytes) = &update {
        judge(names[0], same_release(chip, bytes, version.as_ref()));
        if let Some(signature) = &signature {
            judge(names[1], signs(chip, signature, bytes, version.as_ref()));
        }
    }
    if let Some(bytes) = &program {
        judge(names[2], recovery(chip, bytes));
    }
    Some(Shipped { chip: chip.to_string(), version, problems })
}

/// The image that is written may have another configuration than the one that was shipped.
fn same_release(chip: Chip, bytes: &[u8], shipped: Option<&Version>) -> Result<()> {
    let version = image(chip, bytes)?;
    let differs = shipped.filter(|shipped| **shipped != version);
    if let Some(shipped) = differs {
        bail!("is of {}, and what was shipped of {}", version.date, shipped.date);
    }
    Ok(())
}

fn signs(chip: Chip, bytes: &[u8], image: &[u8], version: Option<&Version>) -> Result<()> {
    let expected = signature::BYTES;
    ensure!(bytes.len() == expected, "has {} bytes, expected {expected}", bytes.len());
    let signature = Signature::parse(bytes)?;
    ensure!(signature.chip == Some(chip), "does not say target-soc: {}", chip.number());
    ensure!(
        signature.sha256 == sha256(image),
        "has not the sha256 of {}",
        File::Image.at_rest(chip)
    );
    let built = version.map_or(0, |version| version.build_timestamp);
    ensure!(signature.timestamp >= Some(built), "has a ts before the image was built");
    Ok(())
}

/// What `bootsel` knows of a board that `rpifw` knows, by the revision code that both stand for.
#[must_use]
pub fn board(board: &rpifw::Board) -> Option<Board> {
    let chip = match board.chip {
        rpifw::Chip::Bcm2835 => 0,
        rpifw::Chip::Bcm2836 => 1,
        rpifw::Chip::Bcm2837 => 2,
        rpifw::Chip::Bcm2711 => 3,
        rpifw::Chip::Bcm2712 => 4,
    };
    // Raspberry Pi documentation, raspberry-pi/revision-codes.adoc: new style, processor, type
    Board::from_code(1 << 23 | chip << 12 | board.type_code << 4)
}

/// The boards whose EEPROM can be written from partition 1.
pub fn boards(chip: Chip) -> impl Iterator<Item = &'static str> {
    let is_written = move |found: &&rpifw::Board| {
        board(found).is_some_and(|known| known.runs_recovery() && known.eeprom() == Some(chip))
    };
    rpifw::BOARDS.iter().filter(is_written).map(|board| board.name)
}

/// Whether there is any file of an update, staged or not.
pub fn is_any(exists: impl Fn(&str) -> bool) -> bool {
    let at_rest = |chip| FILES.map(|file| file.at_rest(chip)).into_iter().chain([shipped(chip)]);
    let staged = FILES.into_iter().map(stage::File::staged);
    Chip::ALL.into_iter().flat_map(at_rest).chain(staged).any(exists)
}

#[cfg(test)]
mod tests;
