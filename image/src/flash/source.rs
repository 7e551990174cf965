// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image that is to be written: plain or packed, read from its beginning to its end.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::compress;

/// First bytes of the formats that a file can have, and what [`compress::reader`] calls them.
const MAGIC: [(&[u8], &str); 6] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "image.zst"),
    (b"\xfd7zXZ\0", "image.xz"),
    (&[0x1f, 0x8b], "image.gz"),
    (b"BZh", "image.bz2"),
    (b"PK\x03\x04", "image.zip"),
    (b"7z\xbc\xaf", "image.7z"),
];
/// Bytes that are read at a time; a piece never crosses a multiple of it.
pub(super) const PIECE: usize = 1 << 20;

/// An image file.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    /// A name with the ending of its format; none for a plain image.
    packing: Option<&'static str>,
    length: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        ensure!(
            path != Path::new("-"),
            "standard input cannot be flashed: the image is read twice, give a file"
        );
        let cannot = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(cannot)?;
        ensure!(file.metadata()?.is_file(), "{} is no file", path.display());
        let mut head = Vec::new();
        file.by_ref().take(8).read_to_end(&mut head).with_context(cannot)?;
        let packing =
            MAGIC.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
        if let Some(name @ ("image.bz2" | "image.zip" | "image.7z")) = packing {
            let ending = name.trim_start_matches("image.");
            bail!("{} is a {ending} file: unpack it first", path.display());
        }
        Ok(Self { path: path.to_owned(), packing, length: file.metadata()?.len() })
    }

    /// Refuses a target that is the image itself, by whatever name: its beginning is zeroed before it is read.
    pub(super) fn differs_from(&self, target: &Path) -> Result<()> {
        let number = |path: &Path| {
            fs::metadata(path)
                .map(|facts| (facts.dev(), facts.ino()))
                .with_context(|| format!("cannot look at {}", path.display()))
        };
        let (image, target_is) = (self.path.display(), target.display());
        ensure!(
            number(&self.path)? != number(target)?,
            "{image} and {target_is} are the same file: an image is not written onto itself"
        );
        Ok(())
    }

    /// Length of the image; none where it must be unpacked to know.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.packing.is_none().then_some(self.length)
    }

    /// Length of the file.
    pub(super) fn packed_bytes(&self) -> u64 {
        self.length
    }

    pub(super) fn stream(&self) -> Result<Stream> {
        let file = File::open(&self.path)?;
        let reader = match self.packing {
            None => Reader::Plain(file),
            Some(name) => Reader::Packed(compress::reader(name, file)?),
        };
        Ok(Stream { reader, place: 0 })
    }
}

enum Reader {
    Plain(File),
    Packed(Box<dyn Read>),
}

/// The bytes of an image.
pub(super) struct Stream {
    reader: Reader,
    place: u64,
}

impl Stream {
    /// Reads ranges, which are in ascending order, hands each piece on with its place, and returns their SHA-256.
    pub(super) fn ranges<'a>(
        &mut self,
        ranges: impl Iterator<Item = &'a Range<u64>>,
        mut sink: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<Vec<[u8; 32]>> {
        let (mut hashes, mut buffer) = (Vec::new(), vec![0; PIECE]);
        for range in ranges {
            self.skip_to(range.start)?;
            let mut hash = Sha256::new();
            while self.place < range.end {
                let piece = &mut buffer[..piece_at(self.place, range.end)];
                self.read(piece)?;
                hash.update(&*piece);
                sink(self.place - piece.len() as u64, piece)?;
            }
            hashes.push(hash.finalize().into());
        }
        Ok(hashes)
    }

    /// Reads to the end; the length of the image. Checksums of the packed file are then known to be right.
    pub(super) fn finish(mut self) -> Result<u64> {
        let rest = match &mut self.reader {
            Reader::Plain(file) => file.seek(io::SeekFrom::End(0))? - self.place,
            Reader::Packed(reader) => {
                io::copy(reader, &mut io::sink()).context("the compressed image is damaged")?
            }
        };
        Ok(self.place + rest)
    }

    fn skip_to(&mut self, place: u64) -> Result<()> {
        let bytes = place - self.place;
        match &mut self.reader {
            Reader::Plain(file) => {
                file.seek(io::SeekFrom::Start(place))?;
            }
            Reader::Packed(reader) => {
                let skipped = io::copy(&mut reader.take(bytes), &mut io::sink());
                let skipped = skipped.context("the compressed image is damaged")?;
                ensure!(skipped == bytes, "the image ends at byte {}", self.place + skipped);
            }
        }
        self.place = place;
        Ok(())
    }

    fn read(&mut self, piece: &mut [u8]) -> Result<()> {
        let (result, what) = match &mut self.reader {
            Reader::Plain(file) => (file.read_exact(piece), "the image cannot be read"),
            Reader::Packed(reader) => (reader.read_exact(piece), "the compressed image is damaged"),
        };
        result.with_context(|| format!("{what} at byte {}", self.place))?;
        self.place += piece.len() as u64;
        Ok(())
    }
}

/// Bytes from `place` to the end, or to the next multiple of [`PIECE`].
pub(super) fn piece_at(place: u64, end: u64) -> usize {
    let piece = PIECE as u64;
    let stop = (place / piece + 1) * piece;
    usize::try_from(stop.min(end) - place).unwrap_or(PIECE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_at_whole_mib() {
        let cases = [(0, 3 << 20, 1 << 20), (4096, 3 << 20, (1 << 20) - 4096), (5, 9, 4)];
        for (place, end, expected) in cases {
            assert_eq!(piece_at(place, end), expected);
        }
    }
}
