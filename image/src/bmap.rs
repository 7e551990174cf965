// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block maps: a file `NAME.img.bmap` says which blocks of an image must be written, and their checksums. What it
//! leaves out keeps whatever the card held before. (Format 2.0, as bmaptool 3 writes and reads it.)
//!
//! The blocks come from what laid out the disk, never from holes in the file: a block of zeros in a file
//! allocation table, an inode table or a journal means something, and is a hole all the same.

mod read;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::tree::hex;

/// Bytes of a block: what bmaptool takes, and the block size of the data partition.
pub const BLOCK: u64 = 4096;
/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;
/// The checksum of the map's own text is made with this in its place.
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Blocks that lie one after the other, and what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Bytes of the image; the first is that of a block, the end that of a block or of the image.
    pub bytes: Range<u64>,
    /// SHA-256 of them.
    pub sha256: [u8; 32],
}

/// The map of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmap {
    /// Length of the image.
    pub bytes: u64,
    /// In ascending order, without overlaps.
    pub ranges: Vec<Mapped>,
}

impl Bmap {
    /// Maps `parts` of an image of `bytes`; `advance` hears of each piece.
    ///
    /// # Errors
    /// Where the image cannot be read, or a part lies outside of it.
    pub fn of(
        image: &File,
        bytes: u64,
        parts: &[Range<u64>],
        advance: impl Fn(u64),
    ) -> Result<Self> {
        let one = |bytes: Range<u64>| -> Result<Mapped> {
            let sha256 = hash(image, &bytes, &advance).context("cannot read the image")?;
            Ok(Mapped { bytes, sha256 })
        };
        let ranges = blocks(parts, bytes)?.into_iter().map(one).collect::<Result<_>>()?;
        Ok(Self { bytes, ranges })
    }

    /// Bytes that the map wants written.
    #[must_use]
    pub fn mapped(&self) -> u64 {
        self.ranges.iter().map(|range| range.bytes.end - range.bytes.start).sum()
    }

    /// The text of the file.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let text = self.with_checksum(NO_CHECKSUM);
        self.with_checksum(&hex(&Sha256::digest(text)))
    }

    fn with_checksum(&self, checksum: &str) -> String {
        let blocks = |bytes: u64| bytes.div_ceil(BLOCK);
        let mapped: u64 =
            self.ranges.iter().map(|r| blocks(r.bytes.end) - r.bytes.start / BLOCK).sum();
        let range = |range: &Mapped| {
            let (first, last) = (range.bytes.start / BLOCK, blocks(range.bytes.end) - 1);
            format!("    <Range chksum=\"{}\">{first}-{last}</Range>\n", hex(&range.sha256))
        };
        let ranges: String = self.ranges.iter().map(range).collect();
        format!(
            "<?xml version=\"1.0\" ?>\n\
             <!-- What of the image must be written: pivot-image flash, or bmaptool copy. -->\n\
             <bmap version=\"2.0\">\n  \
             <ImageSize>{}</ImageSize>\n  \
             <BlockSize>{BLOCK}</BlockSize>\n  \
             <BlocksCount>{}</BlocksCount>\n  \
             <MappedBlocksCount>{mapped}</MappedBlocksCount>\n  \
             <ChecksumType>sha256</ChecksumType>\n  \
             <BmapFileChecksum>{checksum}</BmapFileChecksum>\n  \
             <BlockMap>\n{ranges}  </BlockMap>\n\
             </bmap>\n",
            self.bytes,
            blocks(self.bytes),
        )
    }
}

/// The parts as whole blocks, in order, with those that touch made one.
fn blocks(parts: &[Range<u64>], bytes: u64) -> Result<Vec<Range<u64>>> {
    let mut parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).collect();
    parts.sort_by_key(|part| part.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for part in parts {
        ensure!(part.end <= bytes, "bytes {} to {} are outside of the image", part.start, part.end);
        let start = part.start / BLOCK * BLOCK;
        let end = part.end.next_multiple_of(BLOCK).min(bytes);
        match out.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => out.push(start..end),
        }
    }
    Ok(out)
}

fn hash(image: &File, bytes: &Range<u64>, advance: impl Fn(u64)) -> Result<[u8; 32]> {
    let (mut buffer, mut hash, mut place) = (vec![0; PIECE], Sha256::new(), bytes.start);
    while place < bytes.end {
        let count = usize::try_from(bytes.end - place).unwrap_or(PIECE).min(PIECE);
        image.read_exact_at(&mut buffer[..count], place)?;
        hash.update(&buffer[..count]);
        place += count as u64;
        advance(count as u64);
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(parts: &[Range<u64>], expected: &[Range<u64>]) {
        assert_eq!(blocks(parts, 100_000).unwrap(), expected);
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "it is a list of ranges")]
    fn whole_blocks_in_order() {
        check(&[0..512], &[0..4096]);
        check(&[8192..8193, 0..1], &[0..4096, 8192..12_288]);
        check(&[0..4096, 4096..4097], &[0..8192]);
        check(&[5000..5001, 4100..20_000, 6000..6001], &[4096..20_480]);
        check(&[99_999..100_000], &[98_304..100_000]);
        check(&[7..7], &[]);
        assert!(blocks(&[0..100_001], 100_000).is_err());
    }

    /// The map of an image of two and a half blocks, the first and the last of them mapped.
    fn sample() -> Bmap {
        let image = tempfile::tempfile().unwrap();
        image.write_all_at(&[7; 10_240], 0).unwrap();
        Bmap::of(&image, 10_240, &[0..1, 9_000..9_001], |_| ()).unwrap()
    }

    #[test]
    fn text_of_a_map() {
        let text = sample().to_xml();
        for line in [
            "<bmap version=\"2.0\">",
            "  <ImageSize>10240</ImageSize>",
            "  <BlockSize>4096</BlockSize>",
            "  <BlocksCount>3</BlocksCount>",
            "  <MappedBlocksCount>2</MappedBlocksCount>",
            // sha256sum of 4096 and of 2048 bytes of 07
            "    <Range chksum=\"c9ac7b0624824f844f6c7f3d50fab9741a8914e878467e8daaedca143a34d90b\">0-0</Range>",
            "    <Range chksum=\"e4fde89f39bc53b90e9935a8015b80dd6e4135485e894094a3517fa250e344ae\">2-2</Range>",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn read_back() {
        let map = sample();
        assert_eq!(map.mapped(), 4096 + 2048);
        assert_eq!(Bmap::parse(map.to_xml().as_bytes()).unwrap(), map);
    }
}
