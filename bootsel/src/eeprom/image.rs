// SPDX-License-Identifier: MIT OR Apache-2.0

//! An image of the EEPROM, `pieeprom.bin`: sections one after the other, each at a multiple of 8 bytes, with a magic
//! number and a length in front of it, big-endian. (rpi-eeprom-config; every image in rpi-eeprom's `firmware-2711` and
//! `firmware-2712` up to 2026-08 is one in the sense of this file.)

use core::{fmt, ops::Range};

use super::{Chip, lz4};
use alloc::vec::Vec;

/// Bits of a magic number that all of them have. (rpi-eeprom-config: `MAGIC_MASK`, `MAGIC`)
const MASK: u32 = 0xffff_f00f;
const MAGIC: u32 = 0x55aa_f00f;
/// What an image begins with: the code that the ROM runs.
const BOOTCODE: u32 = 0x55aa_f00f;
const PADDING: u32 = 0x55aa_feef;
/// Twelve bytes of name, four more, then the content.
const FILE: u32 = 0x55aa_f11f;
/// Sixteen bytes of name, then the content: of the second as a frame of LZ4 and its SHA-256 when it is unpacked.
const PART: [u32; 2] = [0x55aa_f22f, 0x55aa_f33f];
const PART_LZ4: u32 = 0x55aa_f44f;
/// A section's magic number and length.
const HEADER: usize = 8;
/// Bytes before the content of files and parts.
const NAME: usize = 16;
const FILE_NAME: usize = 12;
/// Where sections begin.
const ALIGN: usize = 8;
/// At the end, for the bootloader itself.
const RESERVED: usize = 4096;
/// Where the first of two copies of the bootloader lies on BCM2712, behind what is read-only; the second is empty so far.
/// (rpi-eeprom-config since 2026-02: `READ_ONLY_SIZE`, `PARTITION_SIZE`)
const FIRST_COPY: Range<usize> = 0x1_0000..0x10_7000;
/// What the flash erases at once, less a file's header. (rpi-eeprom-config: `MAX_FILE_SIZE`)
pub const MAX_FILE_BYTES: usize = 4096 - 20;
/// Up to here the version of an image is looked for before all of it is read: in 2026-08 BCM2711's stands at 0xcbe9,
/// BCM2712's at 0x1fc49 in a file that ends at 0x2322c.
pub const BEGINNING: u32 = 0x4_0000;
/// No part of an image has more bytes, unpacked; up to 2026 the largest has 560,000.
const MAX_PART_BYTES: usize = 2 << 20;

const BOOTCONF: &str = "bootconf.txt";
/// The bootloader that says which version it is, where there is room for two copies.
const BOOTSYS: &str = "bootsys";

/// An image that was understood.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    /// The chip that it is for, by its length.
    pub chip: Chip,
    /// When it was built, in seconds since 1970: its version.
    pub build_timestamp: u32,
    /// The commit that it was built from, eight hex digits.
    pub commit: Option<&'a str>,
    /// `2026/05/17`, before 2022 `Mar  4 2020`; not in the oldest.
    pub date: Option<&'a str>,
    /// What boards of later make ask for: zero before 2026.
    pub manufacture: u32,
    bootconf: Bootconf<'a>,
}

/// Where the configuration is.
#[derive(Clone, Copy, Debug)]
struct Bootconf<'a> {
    content: &'a [u8],
    /// Its section, and where it has to end: with the padding behind it, the last with all that can be used.
    at: usize,
    end: usize,
    is_last: bool,
}

/// A part of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Offset of its header.
    pub at: usize,
    /// What it is.
    pub kind: Kind<'a>,
    /// What is in it, without name.
    pub content: &'a [u8],
}

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// What the ROM runs.
    Bootcode,
    /// Nothing.
    Padding,
    /// A file that can be replaced, with its name.
    File(&'a str),
    /// A part in a form that is not known here, with its name.
    Part(&'a str),
    /// A frame of LZ4 and the SHA-256 of what is in it, with its name.
    Lz4(&'a str),
    /// Something newer.
    Other(u32),
}

impl<'a> Image<'a> {
    /// Understands an image.
    ///
    /// # Errors
    /// Where the length is that of no EEPROM, a section is damaged, or the configuration or the version is not there
    /// exactly once.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let chip = Chip::from_image_bytes(bytes.len()).ok_or(Error::Length(bytes.len()))?;
        let bootconf = find_bootconf(bytes)?;
        let (build_timestamp, manufacture) = version(bytes)?;
        let is_commit =
            |text: &&str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(Self {
            bytes,
            chip,
            build_timestamp,
            commit: texts(bytes, "VERSION:").find(is_commit),
            date: texts(bytes, "DATE: ").next(),
            manufacture,
            bootconf,
        })
    }

    /// The configuration that it comes with.
    pub fn bootconf(&self) -> &'a [u8] {
        self.bootconf.content
    }

    /// The image with another configuration. All other sections stay as they are.
    ///
    /// # Errors
    /// Where there is no room for it, or it has a NUL in it.
    pub fn replace_bootconf(&self, bootconf: &[u8]) -> Result<Vec<u8>, Error> {
        let Bootconf { at, end, is_last, .. } = self.bootconf;
        let content = at.saturating_add(HEADER + NAME);
        let after = content.saturating_add(bootconf.len());
        let padding = after.next_multiple_of(ALIGN);
        if bootconf.len() > MAX_FILE_BYTES || padding > end || bootconf.contains(&0) {
            return Err(Error::Bootconf(bootconf.len()));
        }
        let mut image = self.bytes.to_vec();
        let length = bootconf.len().saturating_add(NAME);
        put_word(&mut image, at.saturating_add(4), length);
        put(&mut image, content, bootconf.iter().copied());
        put(&mut image, after, core::iter::repeat_n(0xff, end.saturating_sub(after)));
        // the last one needs none: erased flash ends the image
        let rest = end.saturating_sub(padding);
        if rest >= HEADER && !is_last {
            put(&mut image, padding, PADDING.to_be_bytes());
            put_word(&mut image, padding.saturating_add(4), rest.saturating_sub(HEADER));
        }
        Ok(image)
    }

    /// All sections, in their order.
    pub fn sections(&self) -> impl Iterator<Item = Section<'a>> {
        // none is damaged: they were looked at
        Sections { image: self.bytes, at: 0 }.map_while(Result::ok)
    }

    /// Unpacks the parts that have a hash and compares it. How many there are.
    ///
    /// # Errors
    /// Where one is damaged.
    pub fn verify_parts(&self, sha256: impl Fn(&[u8]) -> [u8; 32]) -> Result<usize, Error> {
        let mut count = 0_usize;
        for section in self.sections().filter(|section| matches!(section.kind, Kind::Lz4(_))) {
            let unpacked = lz4::unpack(section.content, MAX_PART_BYTES);
            let (content, hash) = unpacked.map_err(|why| Error::Part(section.at, why))?;
            if sha256(&content) != hash {
                return Err(Error::Section(section.at, "has not the content that its hash is of"));
            }
            count = count.saturating_add(1);
        }
        Ok(count)
    }
}

/// `build_timestamp` and `manufacture` of an image, or of a beginning of one with the whole section that tells them.
///
/// # Errors
/// Where the version is not there exactly once.
pub fn version(image: &[u8]) -> Result<(u32, u32), Error> {
    let mut times = texts(image, "BUILD_TIMESTAMP=");
    let (Some(time), None) = (times.next(), times.next()) else { return Err(Error::Version) };
    let digits = time.len() == 10 && time.bytes().all(|byte| byte.is_ascii_digit());
    let time = digits.then(|| time.parse().ok()).flatten();
    let manufacture = texts(image, "MFG_VER: ").next().map_or(Ok(0), str::parse);
    Ok((time.ok_or(Error::Version)?, manufacture.map_err(|_| Error::Version)?))
}

/// Where in an image the bootloader lies that an update is for.
fn copy(image: &[u8]) -> Range<usize> {
    let is_bootsys = |one: Section<'_>| one.kind == Kind::File(BOOTSYS);
    let mut sections = Sections { image, at: 0 }.map_while(Result::ok);
    if sections.any(is_bootsys) { FIRST_COPY } else { 0..usize::MAX }
}

/// The configuration, which has to be there once. All sections are looked at.
fn find_bootconf(bytes: &[u8]) -> Result<Bootconf<'_>, Error> {
    let (mut found, copy) = (None, copy(bytes));
    let mut sections = Sections { image: bytes, at: 0 };
    while let Some(section) = sections.next() {
        let Section { at, kind, content } = section?;
        if (at == 0) != (kind == Kind::Bootcode) {
            return Err(Error::Section(at, "is boot code in another place than the start"));
        }
        let twice = kind == Kind::File(BOOTCONF)
            && copy.contains(&at)
            && found.replace((at, content, sections.clone())).is_some();
        if twice {
            return Err(Error::Section(at, "is a second bootconf.txt"));
        }
    }
    let (at, content, mut behind) = found.ok_or(Error::NoBootconf)?;
    let (end, is_last) = match behind.next() {
        // up to the next header: what padding comes after that belongs to something else
        Some(Ok(Section { kind: Kind::Padding, .. })) => (behind.at, false),
        Some(Ok(next)) => (next.at, false),
        _ => (bytes.len().saturating_sub(RESERVED), true),
    };
    Ok(Bootconf { content, at, end, is_last })
}

/// What follows the key in the bootloader's texts. They lie between NULs in its code: on BCM2711 in the boot code, on
/// BCM2712 in the file [`BOOTSYS`]. A configuration is not the bootloader's, and a frame of LZ4 is no text.
fn texts<'a>(image: &'a [u8], key: &'static str) -> impl Iterator<Item = &'a str> {
    let copy = copy(image);
    let sections = Sections { image, at: 0 }.map_while(Result::ok).filter(move |section| {
        copy.contains(&section.at)
            && !matches!(section.kind, Kind::Padding | Kind::Lz4(_) | Kind::File(BOOTCONF))
    });
    let texts = sections.flat_map(|section| section.content.split(|byte| *byte == 0));
    texts.filter_map(move |text| core::str::from_utf8(text.strip_prefix(key.as_bytes())?).ok())
}

/// The sections, from an offset on.
#[derive(Clone, Debug)]
struct Sections<'a> {
    image: &'a [u8],
    at: usize,
}

impl<'a> Sections<'a> {
    /// The section here and the place of the next; `None` at the end: erased flash, or where the rest is reserved.
    fn section(&self) -> Result<Option<(Section<'a>, usize)>, Error> {
        let at = self.at;
        let usable = self.image.len().saturating_sub(RESERVED);
        let rest = self.image.get(at..usable).unwrap_or_default();
        let Some((header, rest)) = rest.split_at_checked(HEADER) else { return Ok(None) };
        let (magic, length) = (word(header), word(header.get(4..).unwrap_or_default()));
        if [0, u32::MAX].contains(&magic) {
            return Ok(None);
        }
        if magic & MASK != MAGIC {
            return Err(Error::Section(at, "has no header"));
        }
        let content = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let content = content.ok_or(Error::Section(at, "is longer than the image"))?;
        let named = |length| {
            let (name, content) = content.split_at_checked(NAME)?;
            let name = name.get(..length)?.split(|byte| *byte == 0).next()?;
            let name = core::str::from_utf8(name).ok()?;
            name.bytes().all(|byte| byte.is_ascii_graphic()).then_some((name, content))
        };
        let no_name = Error::Section(at, "has no name");
        let (kind, content) = match magic {
            BOOTCODE => (Kind::Bootcode, content),
            PADDING => (Kind::Padding, content),
            FILE => named(FILE_NAME).map(|(name, rest)| (Kind::File(name), rest)).ok_or(no_name)?,
            _ if PART.contains(&magic) => {
                named(NAME).map(|(name, rest)| (Kind::Part(name), rest)).ok_or(no_name)?
            }
            PART_LZ4 => named(NAME).map(|(name, rest)| (Kind::Lz4(name), rest)).ok_or(no_name)?,
            _ => (Kind::Other(magic), content),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let next = at.saturating_add(HEADER).saturating_add(length).next_multiple_of(ALIGN);
        Ok(Some((Section { at, kind, content }, next)))
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let section = self.section().transpose()?;
        // nothing after one that is damaged
        self.at = section.as_ref().map_or(self.image.len(), |(_, next)| *next);
        Some(section.map(|(section, _)| section))
    }
}

/// Big-endian; zero, which ends an image, where there are not so many bytes.
fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn put_word(image: &mut [u8], at: usize, value: usize) {
    let value = u32::try_from(value).unwrap_or(0);
    put(image, at, value.to_be_bytes());
}

fn put(image: &mut [u8], at: usize, bytes: impl IntoIterator<Item = u8>) {
    for (to, from) in image.iter_mut().skip(at).zip(bytes) {
        *to = from;
    }
}

/// Why bytes are no image, or another configuration does not go into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not as long as an EEPROM.
    Length(usize),
    /// Offset of a section, and what is wrong with it.
    Section(usize, &'static str),
    /// Offset of a part, and what is wrong with its frame.
    Part(usize, lz4::Error),
    /// No bootconf.txt.
    NoBootconf,
    /// The build time is not there once, or `MFG_VER` is no number.
    Version,
    /// Bytes of a configuration that is too long or has a NUL.
    Bootconf(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("eeprom image: ")?;
        match self {
            Self::Length(bytes) => write!(f, "{bytes} bytes, no eeprom has so many"),
            Self::Section(at, what) => write!(f, "section at {at:#x} {what}"),
            Self::Part(at, why) => write!(f, "part at {at:#x}: {why}"),
            Self::NoBootconf => f.write_str("no bootconf.txt in it"),
            Self::Version => f.write_str("it does not say once which version it is"),
            Self::Bootconf(bytes) => {
                write!(f, "no room for a bootconf.txt of {bytes} bytes, or it has a nul")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
