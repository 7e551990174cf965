// SPDX-License-Identifier: MIT OR Apache-2.0
//! How cpio archives are compressed, and how modules and packages are unpacked.

use std::fmt;
use std::io::Read;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Each cpio file ends on a multiple of this. Boot loaders put several of them one after the other; the Pi
/// firmware rounds each to 4 bytes only, and what reads whole sectors must not meet the next one halfway.
pub const PADDING: usize = 512;

/// "LZ4 legacy frame", the form of `lz4 -l`: the only one that the kernel's unlz4 knows.
pub const LZ4_MAGIC: u32 = 0x184C_2102;
/// Blocks of that form are 8 MiB before compression (kernel: lib/decompress_unlz4.c).
const LZ4_BLOCK: usize = 8 << 20;
/// First bytes of a zstd frame.
pub const ZSTD_MAGIC: u32 = 0xFD2F_B528;

/// Compression of a cpio archive. Never xz: it costs a Pi Zero a hundred times the decompression of lz4.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// The smallest of the quick ones.
    #[default]
    Zstd,
    /// The quickest.
    Lz4,
    /// As it is.
    None,
}

impl Compression {
    /// The kernel option that reads it; none is needed for a plain archive.
    #[must_use]
    pub fn kernel_option(self) -> Option<&'static str> {
        match self {
            Self::Zstd => Some("CONFIG_RD_ZSTD"),
            Self::Lz4 => Some("CONFIG_RD_LZ4"),
            Self::None => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::None => "none",
        })
    }
}

/// Compresses the archive and pads it with zero bytes to [`PADDING`].
///
/// # Errors
/// Where zstd refuses.
pub fn archive(compression: Compression, plain: &[u8]) -> Result<Vec<u8>> {
    let mut out = match compression {
        // 19 is the best level that keeps to the 8 MiB window, which every kernel has memory for
        Compression::Zstd => zstd::bulk::compress(plain, 19).context("zstd failed")?,
        Compression::Lz4 => lz4_legacy(plain),
        Compression::None => plain.to_vec(),
    };
    out.resize(out.len().next_multiple_of(PADDING), 0);
    Ok(out)
}

fn lz4_legacy(plain: &[u8]) -> Vec<u8> {
    let mut out = LZ4_MAGIC.to_le_bytes().to_vec();
    for block in plain.chunks(LZ4_BLOCK) {
        let packed = lz4_flex::block::compress(block);
        // 8 MiB grow by half a percent at most: this always fits
        let length = u32::try_from(packed.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&packed);
    }
    out
}

/// Unpacks a legacy frame and says how many bytes of the input it took.
///
/// # Errors
/// Where a block is cut short or broken.
pub fn unpack_lz4_legacy(bytes: &[u8]) -> Result<(Vec<u8>, usize)> {
    let (mut out, mut position) = (Vec::new(), 4);
    while let Some(length) = le32(bytes, position).filter(|length| *length != 0) {
        let end = position + 4 + usize::try_from(length)?;
        let block = bytes.get(position + 4..end).context("LZ4 block is cut short")?;
        out.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).context("LZ4 block is broken")?);
        position = end;
    }
    Ok((out, position))
}

/// The little-endian number at this place.
#[must_use]
pub fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A reader of the plain bytes of a file called `name`: its ending (.xz, .zst, .gz or none of them) decides.
///
/// # Errors
/// Where the decompressor cannot start.
pub fn reader<'a>(name: &str, packed: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    Ok(match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("xz" | "txz") => Box::new(xz2::read::XzDecoder::new_multi_decoder(packed)),
        Some("zst") => Box::new(zstd::stream::read::Decoder::new(packed).context("zstd failed")?),
        Some("gz" | "tgz") => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        Some("bz2" | "lzma") => bail!("{name}: this compression is not known here"),
        _ => Box::new(packed),
    })
}

/// Unpacks all of `packed` as [`reader`] does.
///
/// # Errors
/// Where the data are broken.
pub fn unpack(name: &str, packed: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    reader(name, packed)?.read_to_end(&mut out).with_context(|| format!("cannot unpack {name}"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..40_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect()
    }

    #[test]
    fn padded_to_sectors() {
        for compression in [Compression::Zstd, Compression::Lz4, Compression::None] {
            assert_eq!(
                archive(compression, &sample()).unwrap().len() % PADDING,
                0,
                "{compression}"
            );
        }
    }

    #[test]
    fn zstd_round_trip() {
        let packed = archive(Compression::Zstd, &sample()).unwrap();
        let length = zstd::zstd_safe::find_frame_compressed_size(&packed).unwrap();
        assert_eq!(unpack("x.zst", &packed[..length]).unwrap(), sample());
        assert_eq!(le32(&packed, 0), Some(ZSTD_MAGIC));
    }

    #[test]
    fn lz4_blocks_of_8_mib() {
        let plain = vec![7; LZ4_BLOCK + 1];
        let packed = archive(Compression::Lz4, &plain).unwrap();
        assert_eq!(&packed[..4], b"\x02\x21\x4c\x18");
        let (out, used) = unpack_lz4_legacy(&packed).unwrap();
        assert_eq!(out, plain);
        assert!(packed[used..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn lz4_cut_short_is_an_error() {
        let packed = lz4_legacy(&sample());
        assert!(unpack_lz4_legacy(&packed[..packed.len() - 1]).is_err());
    }

    #[test]
    fn gz_and_plain() {
        let mut gz = Vec::new();
        flate2::read::GzEncoder::new(&b"abc"[..], flate2::Compression::best())
            .read_to_end(&mut gz)
            .unwrap();
        assert_eq!(unpack("m.ko.gz", &gz).unwrap(), b"abc");
        assert_eq!(unpack("m.ko", b"abc").unwrap(), b"abc");
        assert!(unpack("m.ko.xz", b"abc").unwrap_err().to_string().contains("m.ko.xz"));
    }
}
