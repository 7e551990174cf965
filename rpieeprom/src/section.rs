// SPDX-License-Identifier: MIT OR Apache-2.0

//! The form of an image: sections at multiples of 8 bytes, each a magic number and a length, big-endian, a name where
//! its kind has one, and content; erased flash behind the last.

/// At the end of an image, for the bootloader itself: what it erases at once.
pub const RESERVED: usize = 4096;
/// Where sections begin.
const ALIGN: usize = 8;
/// Magic number and length.
const HEADER: usize = 8;
/// Room for a name.
const NAME: usize = 16;

const BOOTCODE: u32 = 0x55aa_f00f;
const FILE: u32 = 0x55aa_f11f;
const PARTS: [u32; 2] = [0x55aa_f22f, 0x55aa_f33f];
const LZ4: u32 = 0x55aa_f44f;
const PADDING: u32 = 0x55aa_feef;

/// A section that is still to be laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub magic: u32,
    /// Empty for kinds that have none; at most 16 bytes.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

impl Section {
    /// One of any kind.
    #[must_use]
    pub fn new(magic: u32, name: &str, content: &[u8]) -> Self {
        Self { magic, name: name.into(), content: content.into() }
    }

    /// What the ROM runs.
    #[must_use]
    pub fn bootcode(content: &[u8]) -> Self {
        Self::new(BOOTCODE, "", content)
    }

    /// A file.
    #[must_use]
    pub fn file(name: &str, content: &[u8]) -> Self {
        Self::new(FILE, name, content)
    }

    /// A part as a frame of LZ4, with the hash of what is in it.
    #[must_use]
    pub fn part(name: &str, content: &[u8]) -> Self {
        let hash: [u8; 32] = sha2::Sha256::digest(content).into();
        Self::new(LZ4, name, &[crate::lz4::frame(content), hash.to_vec()].concat())
    }

    /// Padding of so many bytes, its header not counted.
    #[must_use]
    pub fn padding(bytes: usize) -> Self {
        Self::new(PADDING, "", &vec![0xff; bytes])
    }

    /// As it lies in an image: up to where the next one begins.
    ///
    /// # Panics
    /// Where the name has no room.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let named = [FILE, LZ4].contains(&self.magic) || PARTS.contains(&self.magic);
        let mut name = self.name.clone().into_bytes();
        assert!(name.len() <= NAME, "{} is too long for a name", self.name);
        name.resize(if named { NAME } else { 0 }, 0);
        let length = u32::try_from(name.len() + self.content.len()).unwrap_or(u32::MAX);
        let mut bytes = [self.magic.to_be_bytes(), length.to_be_bytes()].concat();
        bytes.extend(name);
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0xff);
        bytes
    }
}

use sha2::Digest;

/// An image of that many bytes.
///
/// # Panics
/// Where the sections have no room.
#[must_use]
pub fn build(bytes: usize, sections: &[Section]) -> Vec<u8> {
    let mut image: Vec<u8> = sections.iter().flat_map(Section::bytes).collect();
    assert!(image.len() <= bytes - RESERVED, "too many sections");
    image.resize(bytes, 0xff);
    image
}

/// The sections with padding behind them, so that the next one begins at that offset.
///
/// # Panics
/// Where they end behind it, or so closely before it that padding has no room.
pub(crate) fn pad_to(sections: &mut Vec<Section>, offset: usize) {
    let end: usize = sections.iter().map(|section| section.bytes().len()).sum();
    assert!(end + HEADER <= offset && offset.is_multiple_of(ALIGN), "no padding up to {offset:#x}");
    sections.push(Section::padding(offset - end - HEADER));
}
