// SPDX-License-Identifier: MIT OR Apache-2.0
//! The EEPROM's files that an image ships: from a checkout of rpi-eeprom, a directory laid out like one, or the package
//! rpi-eeprom of the Raspberry Pi's makers. They go to partition 1, under names that nothing but `bootsel` looks for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bootsel::eeprom::Chip;
use bootsel::eeprom::image::Image;
use bootsel::eeprom::stage::{File, shipped};

use crate::config::Channel;
use crate::deb;
use crate::eeprom::{self, Version};
use crate::fat::Content;

/// Where the package has the directories of both chips, before and since the merge of /usr.
const IN_PACKAGE: [&str; 2] = ["usr/lib/firmware/raspberrypi", "lib/firmware/raspberrypi"];
/// The terms under which the files may be passed on want to be passed on with them: in a checkout, and in the package.
const LICENCES: [&str; 2] = ["LICENSE", "usr/share/doc/rpi-eeprom/copyright"];
/// Their name on partition 1: a short one, which takes one entry of the directory.
const LICENCE: &str = "eeprom.lic";
const RECOVERY: &str = "recovery.bin";

/// What is shipped.
#[derive(Debug)]
pub struct Eeprom {
    chips: Vec<Files>,
    licence: Option<Vec<u8>>,
    /// Directories with images for single revisions of a board.
    special: Vec<String>,
}

/// For one chip.
#[derive(Debug)]
struct Files {
    chip: Chip,
    version: Version,
    /// The image's path below the directory or in the package.
    path: String,
    image: Vec<u8>,
    recovery: Vec<u8>,
}

/// A path below the directory or in the package, and what is there.
type Found = (String, Vec<u8>);

fn bases(chip: Chip) -> [String; 3] {
    ["firmware-", "bootloader-", ""].map(|base| format!("{base}{}", chip.number()))
}

/// The directory of a path, if it is one that rpi-eeprom-update prefers to the channel's for one revision of a board:
/// `firmware-2711/default-c03111`.
fn special(path: &str, channel: Channel) -> Option<&str> {
    let mut bases = Chip::ALL.into_iter().flat_map(bases);
    let inside = bases.find_map(|base| path.strip_prefix(&base)?.strip_prefix('/'))?;
    let name = inside.split('/').next()?;
    let code = name.strip_prefix(channel.as_str())?.strip_prefix('-')?;
    let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_code { path.get(..path.len() - inside.len() + name.len()) } else { None }
}

/// Where the files for a chip can be, the first being taken that has any: a checkout, what is installed of the
/// package, plain directories; each with directories for the channels, or without.
fn places(chip: Chip, channel: Channel) -> Vec<String> {
    let bases = bases(chip);
    let of_channel = bases.clone().map(|base| format!("{base}/{}", channel.as_str()));
    [of_channel, bases].concat()
}

fn is_image(name: &str) -> bool {
    name.starts_with("pieeprom") && name.ends_with(".bin")
}

/// The name of a file that lies in that place, if it is one of those that are looked for.
fn name<'a>(path: &'a str, place: &str) -> Option<&'a str> {
    let name = path.strip_prefix(place)?.strip_prefix('/')?;
    (name == RECOVERY || is_image(name)).then_some(name)
}

impl Eeprom {
    /// Reads the newest image for each chip and its recovery.bin, and looks at both.
    ///
    /// # Errors
    /// Names the file that is missing, damaged, too old or another chip's.
    pub fn read(path: &Path, channel: Channel) -> Result<Self> {
        let read = || -> Result<Self> {
            let (found, special) = if path.is_dir() {
                in_directory(path, channel)?
            } else {
                in_package(path, channel)?
            };
            Ok(Self { special, ..Self::of(found, channel)? })
        };
        read().with_context(|| format!("rpi.eeprom {}", path.display()))
    }

    fn of(mut found: Vec<Found>, channel: Channel) -> Result<Self> {
        let licence = found.iter().position(|(path, _)| LICENCES.contains(&path.as_str()));
        let licence = licence.map(|at| found.remove(at).1);
        let mut chips = Vec::new();
        for chip in Chip::ALL {
            chips.extend(Files::of(chip, &found, channel)?);
        }
        let channel = channel.as_str();
        ensure!(
            !chips.is_empty(),
            "expected firmware-2711/{channel}/ or firmware-2712/{channel}/ with pieeprom-*.bin and {RECOVERY}, as in a \
             checkout of rpi-eeprom, or its package"
        );
        Ok(Self { chips, licence, special: Vec::new() })
    }

    /// What partition 1 gets, each name once: their entries lie in the directory as they are here.
    ///
    /// # Errors
    /// Where an image cannot be signed.
    pub fn files(&self) -> Result<Vec<(String, Content)>> {
        let mut out = Vec::new();
        for Files { chip, version, image, recovery, .. } in &self.chips {
            let mut push = |name: &str, bytes: &[u8]| {
                out.push((name.to_owned(), Content::Bytes(bytes.to_vec())));
            };
            push(shipped(*chip), image);
            // so that it has its place on the disk; the device writes it anew
            push(File::Image.at_rest(*chip), image);
            push(File::Signature.at_rest(*chip), &eeprom::sign(*chip, image, version)?);
            push(File::Recovery.at_rest(*chip), recovery);
        }
        let licence = self.licence.clone().map(|text| (LICENCE.to_owned(), Content::Bytes(text)));
        Ok(out.into_iter().chain(licence).collect())
    }

    /// A line for each chip, and what is left out.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let line = |chip: Chip| match self.chips.iter().find(|files| files.chip == chip) {
            Some(Files { version, path, .. }) => {
                format!("bootloader for the eeprom: {version}, {path}")
            }
            None => format!("bootloader for the eeprom: none for {chip}"),
        };
        let special = (!self.special.is_empty()).then(|| {
            let list = self.special.join(" ");
            format!("warning: rpi.eeprom: images for single revisions of a board are not looked at: {list}")
        });
        Chip::ALL.into_iter().map(line).chain(special)
    }
}

impl Files {
    /// None where there is nothing for that chip.
    fn of(chip: Chip, found: &[Found], channel: Channel) -> Result<Option<Self>> {
        let has_any = |place: &String| found.iter().any(|(path, _)| name(path, place).is_some());
        let Some(place) = places(chip, channel).into_iter().find(has_any) else { return Ok(None) };
        // by what each says of itself, and not by its name
        let mut newest: Option<(u32, &Found)> = None;
        for one in found.iter().filter(|(path, _)| name(path, &place).is_some_and(is_image)) {
            let built = Image::parse(&one.1).with_context(|| one.0.clone())?.build_timestamp;
            if newest.is_none_or(|(newest, _)| built > newest) {
                newest = Some((built, one));
            }
        }
        let (_, (path, image)) =
            newest.with_context(|| format!("no pieeprom-*.bin beside {place}/{RECOVERY}"))?;
        let version = eeprom::image(chip, image).with_context(|| path.clone())?;
        let recovery = found.iter().find(|(path, _)| name(path, &place) == Some(RECOVERY));
        let (_, recovery) = recovery
            .with_context(|| format!("no {RECOVERY}, which would write {path}, beside it"))?;
        eeprom::recovery(chip, recovery).with_context(|| format!("{place}/{RECOVERY}"))?;
        let (path, image, recovery) = (path.clone(), image.clone(), recovery.clone());
        Ok(Some(Self { chip, version, path, image, recovery }))
    }
}

/// What is found, and the directories that are passed by.
type Looked = (Vec<Found>, Vec<String>);

fn in_directory(path: &Path, channel: Channel) -> Result<Looked> {
    let mut found = Vec::new();
    let mut read = |name: &str| -> Result<()> {
        let file = path.join(name);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        found.push((name.to_owned(), bytes));
        Ok(())
    };
    for place in Chip::ALL.into_iter().flat_map(|chip| places(chip, channel)) {
        let Ok(entries) = fs::read_dir(path.join(&place)) else { continue };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(format!("{place}/{}", entry?.file_name().to_string_lossy()));
        }
        paths.sort();
        paths.iter().filter(|path| name(path, &place).is_some()).try_for_each(|path| read(path))?;
    }
    if path.join(LICENCES[0]).is_file() {
        read(LICENCES[0])?;
    }
    let mut passed = Vec::new();
    for base in Chip::ALL.into_iter().flat_map(bases) {
        let Ok(entries) = fs::read_dir(path.join(&base)) else { continue };
        let paths = entries.flatten().filter(|entry| entry.path().is_dir());
        let paths = paths.map(|entry| format!("{base}/{}", entry.file_name().to_string_lossy()));
        passed.extend(paths.filter(|path| special(path, channel).is_some()));
    }
    passed.sort();
    Ok((found, passed))
}

fn in_package(package: &Path, channel: Channel) -> Result<Looked> {
    let places: Vec<_> = Chip::ALL.into_iter().flat_map(|chip| places(chip, channel)).collect();
    let (mut found, mut passed) = (Vec::new(), BTreeSet::new());
    deb::look(package, |path, data| {
        let inside = IN_PACKAGE.iter().find_map(|base| path.strip_prefix(base).ok()?.to_str());
        passed.extend(inside.and_then(|inside| special(inside, channel)).map(str::to_owned));
        let path = match inside {
            Some(inside) if places.iter().any(|place| name(inside, place).is_some()) => inside,
            _ if path == Path::new(LICENCES[1]) => LICENCES[1],
            _ => return Ok(true),
        };
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        found.push((path.to_owned(), bytes));
        Ok(true)
    })?;
    Ok((found, passed.into_iter().collect()))
}

#[cfg(test)]
mod tests;
