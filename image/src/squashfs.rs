// SPDX-License-Identifier: MIT OR Apache-2.0
//! squashfs images. Those of modules and firmware are written in this process by backhand, or by mksquashfs
//! where that is asked for; a root file system always by mksquashfs, since backhand drops extended attributes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use backhand::compression::{CompressionOptions, Compressor, Gzip, Lz4, Zstd};
use backhand::{BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader};
use serde::Deserialize;

use crate::cache::Cache;
use crate::compress::le32;
use crate::kconfig::Kconfig;
use crate::mksquashfs;
use crate::progress::{Progress, Step, size};
use crate::scratch;
use crate::tree::{Node, Tree, hex};

/// Level of zstd where none is configured, also mksquashfs's own choice. Measured for the 366 MB of modules of
/// Debian's 6.12 (arm64), one processor: 3 takes 3 s and makes 102.7 MB, 9: 8 s and 94.5 MB, 15: 45 s and 87.1 MB.
/// It is done once, the result is cached; every download and every card would pay for a larger one.
pub const ZSTD_LEVEL: u32 = 15;

/// Compression of a squashfs image.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Nearly as small as xz, unpacked five times as fast.
    Zstd,
    /// The smallest.
    Xz,
    /// The quickest and the largest.
    Lz4,
    /// What every kernel with squashfs reads.
    Gzip,
}

impl Codec {
    /// From the best to the last resort: speed at boot, then size.
    pub const ALL: [Self; 4] = [Self::Zstd, Self::Xz, Self::Lz4, Self::Gzip];

    /// The kernel option without which it cannot be read.
    #[must_use]
    pub fn kernel_option(self) -> &'static str {
        match self {
            Self::Zstd => "CONFIG_SQUASHFS_ZSTD",
            Self::Xz => "CONFIG_SQUASHFS_XZ",
            Self::Lz4 => "CONFIG_SQUASHFS_LZ4",
            Self::Gzip => "CONFIG_SQUASHFS_ZLIB",
        }
    }

    /// The one that a squashfs file uses, by its superblock.
    #[must_use]
    pub fn of(superblock: &[u8]) -> Option<Self> {
        let id = superblock.starts_with(b"hsqs").then(|| le32(superblock, 20))?? & 0xffff;
        Some(match id {
            1 => Self::Gzip,
            4 => Self::Xz,
            5 => Self::Lz4,
            6 => Self::Zstd,
            _ => return None,
        })
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Gzip => "gzip",
        })
    }
}

/// What writes the image.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Writer {
    /// The library, in this process.
    #[default]
    Backhand,
    /// The program of squashfs-tools.
    Mksquashfs,
}

/// How to write an image.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Compression.
    pub codec: Codec,
    /// For zstd.
    pub level: u32,
    /// With what.
    pub writer: Writer,
}

/// Refuses a level that zstd does not have.
///
/// # Errors
/// Says which it has.
pub fn check_level(level: Option<u32>) -> Result<()> {
    let level = level.unwrap_or(ZSTD_LEVEL);
    ensure!((1..=22).contains(&level), "{level}: expected 1 to 22");
    Ok(())
}

/// The codec asked for, or the best one, that all these kernels read.
///
/// # Errors
/// Names the image, the codec, and the kernel release that does not read it.
pub fn choose(image: &str, asked: Option<Codec>, kernels: &[(&str, &Kconfig)]) -> Result<Codec> {
    let blind = |codec: Codec| kernels.iter().find(|(_, config)| !config.reads(codec));
    let Some(codec) = asked else {
        let best = Codec::ALL.into_iter().find(|codec| blind(*codec).is_none());
        return best.with_context(|| {
            let releases: Vec<_> = kernels.iter().map(|(release, _)| *release).collect();
            format!("{image}: no squashfs compression is known to all of {}", releases.join(", "))
        });
    };
    if let Some((release, _)) = blind(codec) {
        let option = codec.kernel_option();
        anyhow::bail!("{image}: kernel {release} cannot read {codec} (it is without {option})");
    }
    Ok(codec)
}

/// Writes the image of `tree`, from the cache where it was written before. Every owner is root, every
/// time 0, files are 0644 or 0755. Returns its length.
///
/// # Errors
/// Where a file cannot be read or written.
pub fn write(
    tree: &Tree,
    options: Options,
    out: &Path,
    cache: &Cache,
    progress: Progress,
) -> Result<u64> {
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let step = progress.step(&name, tree.bytes());
    let Options { codec, level, writer } = options;
    let key = format!("squashfs-1-{writer:?}-{codec}-{level}-{}", hex(&tree.hash()?));
    let make = |to: &Path| -> Result<(u64, &str)> {
        if let Some(length) = cache.copy_to(&key.to_lowercase(), to)? {
            return Ok((length, "unchanged"));
        }
        let length = match writer {
            Writer::Backhand => backhand(tree, options, to, &step)?,
            Writer::Mksquashfs => mksquashfs::tree(tree, options, to)?,
        };
        cache.store(&key.to_lowercase(), to)?;
        Ok((length, "written"))
    };
    let cannot = || format!("cannot write {}", out.display());
    let (length, how) = scratch::whole(out, |to| make(to).with_context(cannot))?;
    step.done(&format!("{how}, {} of {}, {codec}", size(length), size(tree.bytes())));
    Ok(length)
}

fn compressor(options: Options) -> Result<FilesystemCompressor> {
    let level = options.level;
    let (id, options) = match options.codec {
        Codec::Zstd => {
            (Compressor::Zstd, Some(CompressionOptions::Zstd(Zstd { compression_level: level })))
        }
        Codec::Xz => (Compressor::Xz, None),
        // without these it refuses: version 1 is the legacy block format, the only one there is
        Codec::Lz4 => {
            (Compressor::Lz4, Some(CompressionOptions::Lz4(Lz4 { version: 1, flags: 0 })))
        }
        Codec::Gzip => (
            Compressor::Gzip,
            Some(CompressionOptions::Gzip(Gzip {
                compression_level: 9,
                window_size: 15,
                strategies: 0,
            })),
        ),
    };
    FilesystemCompressor::new(id, options).map_err(cause).context("backhand refuses the compressor")
}

fn backhand(tree: &Tree, options: Options, out: &Path, step: &Step) -> Result<u64> {
    let mut writer = FilesystemWriter::default();
    writer.set_time(0);
    writer.set_root_mode(0o755);
    writer.set_only_root_id();
    writer.set_compressor(compressor(options)?);
    for (path, node) in tree.iter() {
        let header = |permissions| NodeHeader { permissions, ..NodeHeader::default() };
        match node {
            Node::Directory => writer.push_dir(path, header(0o755)),
            Node::Link(target) => writer.push_symlink(target, path, header(0o777)),
            Node::File(source, _, executable) => {
                let permissions = if *executable { 0o755 } else { 0o644 };
                writer.push_file(Source::new(source, step), path, header(permissions))
            }
        }
        .map_err(cause)
        .with_context(|| format!("cannot add {} to the image", path.display()))?;
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out)?);
    let (_, length) = writer.write(&mut file).map_err(cause)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    // Where it finds a duplicate it seeks back, and what it had written stays behind the end of the image.
    file.set_len(length)?;
    Ok(length)
}

/// backhand has no words for its errors unless it brings more crates.
pub(crate) fn cause(error: BackhandError) -> anyhow::Error {
    match error {
        BackhandError::StdIo(error) => error.into(),
        _ => anyhow!("it is damaged, or of a kind that is not known here"),
    }
}

/// A file that is open only while it is read (a tree has more files than a process may open), and that
/// tells the progress bar.
struct Source<'a> {
    path: PathBuf,
    file: Option<File>,
    // it is read again after its end
    ended: bool,
    step: &'a Step,
}

impl<'a> Source<'a> {
    fn new(path: &Path, step: &'a Step) -> Self {
        Self { path: path.to_owned(), file: None, ended: false, step }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot read {}: {error}", self.path.display()))
        };
        if self.ended {
            return Ok(0);
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path).map_err(named)?),
        };
        let count = file.read(buffer).map_err(named)?;
        self.step.advance(count as u64);
        if count == 0 {
            self.file = None;
            self.ended = true;
        }
        Ok(count)
    }
}

/// The codec of a squashfs file that is there already.
///
/// # Errors
/// Where it cannot be read, or is no squashfs of a codec known here.
pub fn codec_of(path: &Path) -> Result<Codec> {
    let mut head = [0; 96];
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    file.read_exact(&mut head)
        .ok()
        .and_then(|()| Codec::of(&head))
        .with_context(|| format!("{}: not a squashfs of zstd, xz, lz4 or gzip", path.display()))
}

/// Length that the superblock gives, for noticing a file that was cut short.
#[must_use]
pub fn bytes_used(superblock: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(superblock.get(40..48)?.try_into().ok()?))
}

/// Copies a finished image and returns its length.
///
/// # Errors
/// Where the source is no squashfs or is shorter than its superblock says.
pub fn take(source: &Path, out: &Path) -> Result<u64> {
    codec_of(source)?;
    let length =
        fs::copy(source, out).with_context(|| format!("cannot copy {}", source.display()))?;
    let mut head = [0; 96];
    File::open(source)?.read_exact(&mut head)?;
    let used = bytes_used(&head).unwrap_or(u64::MAX);
    ensure!(used <= length, "{} is cut short: {length} of {used} bytes", source.display());
    Ok(length)
}

#[cfg(test)]
mod tests;
