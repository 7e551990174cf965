// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lies beside a disk image: its block map, and compressed copies of it. Equal images give equal files, on
//! however many processors.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use xz2::stream::{Check, MtStreamBuilder};

use crate::bmap::Bmap;
use crate::progress::{Progress, Step, size};
use crate::scratch;

/// Each thread of xz takes some 150 MB at level 6.
const THREADS: usize = 8;
/// Bytes that xz packs by themselves, so that readers unpack them side by side: its own choice for level 6.
const XZ_BLOCK: u64 = 24 << 20;
/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// A compression of images, called by the ending of its files.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// zstd: quick to unpack.
    Zst,
    /// xz: smaller, and read by every version of Raspberry Pi Imager.
    Xz,
}

impl Packing {
    /// The ending of a file.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Zst => "zst",
            Self::Xz => "xz",
        }
    }
}

/// `[output]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Compressed copies to make of the disk image.
    pub compress: Vec<Packing>,
    /// Level of zstd, 1 to 19.
    pub zst_level: u32,
    /// Level of xz, 0 to 9.
    pub xz_level: u32,
}

impl Default for Output {
    fn default() -> Self {
        Self { compress: Vec::new(), zst_level: 9, xz_level: 6 }
    }
}

impl Output {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// Names the key and what was expected.
    pub fn check(&self) -> Result<()> {
        // above 19 the reader needs more memory than it takes without being told
        ensure!((1..=19).contains(&self.zst_level), "output.zst_level: expected 1 to 19");
        ensure!(self.xz_level <= 9, "output.xz_level: expected 0 to 9");
        let twice =
            (1..self.compress.len()).any(|i| self.compress[..i].contains(&self.compress[i]));
        ensure!(!twice, "output.compress: something is there twice");
        Ok(())
    }
}

/// Makes the block map and the compressed copies of an image whose `parts` have a meaning. The paths of what
/// was made.
///
/// # Errors
/// Where the image cannot be read or a file cannot be written.
pub fn make(
    image: &Path,
    parts: &[Range<u64>],
    output: &Output,
    progress: Progress,
) -> Result<Vec<PathBuf>> {
    let mut made = vec![map(image, parts, progress)?];
    for packing in [Packing::Zst, Packing::Xz] {
        if output.compress.contains(&packing) {
            let out = beside(image, packing.ending());
            pack(image, &out, packing, output, threads(), progress)?;
            made.push(out);
        }
    }
    Ok(made)
}

/// Packs a file with zstd.
///
/// # Errors
/// As [`make`].
pub fn zstd(image: &Path, out: &Path, output: &Output, progress: Progress) -> Result<()> {
    pack(image, out, Packing::Zst, output, threads(), progress)
}

/// The path with one more ending.
#[must_use]
pub fn beside(image: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(image);
    name.push(".");
    name.push(ending);
    name.into()
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(THREADS)
}

fn open(image: &Path) -> Result<(File, u64)> {
    let cannot = || format!("cannot read {}", image.display());
    let file = File::open(image).with_context(cannot)?;
    let bytes = file.metadata().with_context(cannot)?.len();
    Ok((file, bytes))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn map(image: &Path, parts: &[Range<u64>], progress: Progress) -> Result<PathBuf> {
    let (file, bytes) = open(image)?;
    let out = beside(image, "bmap");
    let step = progress.step(&name(&out), parts.iter().map(|part| part.end - part.start).sum());
    let map = Bmap::of(&file, bytes, parts, |bytes| step.advance(bytes))?;
    scratch::write(&out, map.to_xml())?;
    step.done(&format!("{} of {} are to be written", size(map.mapped()), size(bytes)));
    Ok(out)
}

fn pack(
    image: &Path,
    out: &Path,
    packing: Packing,
    output: &Output,
    threads: usize,
    progress: Progress,
) -> Result<()> {
    let cannot = || format!("cannot write {}", out.display());
    let (file, bytes) = open(image)?;
    let step = progress.step(&name(out), bytes);
    let write = |to: &Path| -> Result<u64> {
        let to = BufWriter::new(File::create(to)?);
        let mut to = match packing {
            Packing::Zst => zst(file, bytes, to, output.zst_level, threads, &step),
            Packing::Xz => xz(file, to, output.xz_level, threads, &step),
        }?;
        to.flush()?;
        Ok(to.get_ref().metadata()?.len())
    };
    let packed = scratch::whole(out, |to| write(to).with_context(cannot))?;
    step.done(&format!("{} of {}", size(packed), size(bytes)));
    Ok(())
}

/// With at least one thread of its own zstd makes the same bytes for any number of them.
fn zst<W: Write>(
    from: impl Read,
    bytes: u64,
    to: W,
    level: u32,
    threads: usize,
    step: &Step,
) -> Result<W> {
    let mut encoder = zstd::stream::write::Encoder::new(to, i32::try_from(level)?)?;
    encoder.include_checksum(true)?;
    // so that whoever unpacks it knows the length at the beginning
    encoder.set_pledged_src_size(Some(bytes))?;
    encoder.multithread(u32::try_from(threads)?)?;
    copy(from, &mut encoder, step)?;
    Ok(encoder.finish()?)
}

fn xz<W: Write>(from: impl Read, to: W, level: u32, threads: usize, step: &Step) -> Result<W> {
    let stream = MtStreamBuilder::new()
        .preset(level)
        .check(Check::Crc64)
        .block_size(XZ_BLOCK)
        .threads(u32::try_from(threads)?)
        .encoder()?;
    let mut encoder = xz2::write::XzEncoder::new_stream(to, stream);
    copy(from, &mut encoder, step)?;
    Ok(encoder.finish()?)
}

fn copy(mut from: impl Read, to: &mut impl Write, step: &Step) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count])?;
        step.advance(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress;

    /// 30 MB: more than one block of xz and one job of zstd.
    fn sample() -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..30_000_000).map(&mut next).collect()
    }

    #[test]
    fn equal_for_any_number_of_threads() {
        let plain = sample();
        let step = Progress::Silent.step("", 0);
        let zst =
            |threads| zst(&plain[..], plain.len() as u64, Vec::new(), 1, threads, &step).unwrap();
        let xz = |threads| xz(&plain[..], Vec::new(), 0, threads, &step).unwrap();
        for (ending, one, three) in [("a.zst", zst(1), zst(3)), ("a.xz", xz(1), xz(3))] {
            assert!(one == three, "{ending}");
            assert!(compress::unpack(ending, &one).unwrap() == plain, "{ending}");
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let output: Result<Output, _> = toml::from_str(text);
        let error = match output {
            Ok(output) => output.check().err().map_or_else(String::new, |error| error.to_string()),
            Err(error) => error.message().to_owned(),
        };
        assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{error}");
    }

    #[test]
    fn configuration() {
        check("", "");
        check("compress = [\"zst\", \"xz\"]\nzst_level = 19\nxz_level = 9", "");
        check("compress = [\"gz\"]", "unknown variant `gz`, expected `zst` or `xz`");
        check("compress = [\"xz\", \"xz\"]", "output.compress: something is there twice");
        check("zst_level = 20", "output.zst_level: expected 1 to 19");
        check("xz_level = 10", "output.xz_level: expected 0 to 9");
        check("level = 1", "unknown field `level`");
    }

    #[test]
    fn endings_are_added() {
        assert_eq!(beside(Path::new("out/a.img"), "bmap"), Path::new("out/a.img.bmap"));
    }
}
