// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel would unpack from an initramfs: each part, and the state after all of them.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::Program;
use crate::compress::{self, LZ4_MAGIC, ZSTD_MAGIC, le32};
use crate::cpio::{self, read::Entry};

/// No initramfs is larger: a hostile one must not fill the memory.
const MOST: u64 = 1 << 30;

/// The parts of an initramfs.
#[derive(Debug, Serialize)]
pub struct Initramfs {
    /// One per compressed stream or plain archive.
    pub parts: Vec<Part>,
}

/// One archive.
#[derive(Debug, Serialize)]
pub struct Part {
    /// Where it begins in the file.
    pub offset: usize,
    /// Its bytes in the file.
    pub bytes: usize,
    /// `zstd`, `lz4`, `gzip`, `xz` or `none`.
    pub compression: &'static str,
    /// Its bytes in memory.
    pub unpacked: usize,
    /// What is in it.
    pub entries: Vec<Listed>,
    /// Lists of early modules.
    pub early: Vec<Early>,
}

/// One entry.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// Type and permissions, octal.
    pub mode: String,
    /// Bytes of a file.
    pub bytes: usize,
    /// Major and minor number of a device node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Of a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
}

/// The modules that a kernel loads first.
#[derive(Debug, Serialize)]
pub struct Early {
    /// For which release.
    pub release: String,
    /// In their order; `-` before those that the others do without.
    pub modules: Vec<String>,
}

/// Whether this is the beginning of an archive, or of zeros before one.
pub(super) fn is_cpio(plain: &[u8]) -> bool {
    let first = plain.iter().position(|byte| *byte != 0);
    first.is_none_or(|at| plain[at..].starts_with(cpio::MAGIC))
}

pub(super) fn compression(head: &[u8]) -> Option<&'static str> {
    match le32(head, 0)? {
        ZSTD_MAGIC => Some("zstd"),
        LZ4_MAGIC => Some("lz4"),
        _ if head.starts_with(b"\x1f\x8b") => Some("gzip"),
        _ if head.starts_with(b"\xfd7zXZ\0") => Some("xz"),
        _ if head.starts_with(cpio::MAGIC) => Some("none"),
        _ => None,
    }
}

/// Reads all parts. Zero bytes between them are skipped, as the kernel does.
pub(crate) fn read(bytes: &[u8]) -> Result<Initramfs> {
    let (mut parts, mut position) = (Vec::new(), 0);
    while position < bytes.len() {
        if bytes[position] == 0 {
            position += 1;
            continue;
        }
        let part = part(bytes, position).with_context(|| format!("at byte {position}"))?;
        position += part.bytes;
        parts.push(part);
    }
    Ok(Initramfs { parts })
}

fn part(bytes: &[u8], offset: usize) -> Result<Part> {
    let rest = &bytes[offset..];
    let compression = compression(rest).context("neither an archive nor padding")?;
    let (plain, used) = match compression {
        "none" => {
            let (_, used) = cpio::read::archive(rest)?;
            (rest[..used].to_vec(), used)
        }
        packed => unpack(packed, rest)?,
    };
    let (mut entries, mut early, mut position) = (Vec::new(), Vec::new(), 0);
    while position < plain.len() {
        if plain[position] == 0 {
            position += 1;
            continue;
        }
        let (found, length) = cpio::read::archive(&plain[position..])?;
        position += length;
        early.extend(found.iter().filter_map(early_list));
        entries.extend(found.into_iter().map(listed));
    }
    Ok(Part { offset, bytes: used, compression, unpacked: plain.len(), entries, early })
}

/// The plain bytes of a stream, and its length.
fn unpack(compression: &str, bytes: &[u8]) -> Result<(Vec<u8>, usize)> {
    match compression {
        "zstd" => {
            let length = zstd::zstd_safe::find_frame_compressed_size(bytes).ok();
            let length = length.context("zstd frame is cut short")?;
            let frame = zstd::stream::read::Decoder::new(&bytes[..length])?;
            Ok((bounded(frame)?, length))
        }
        "lz4" => compress::unpack_lz4_legacy(bytes),
        "gzip" => {
            let mut stream = flate2::bufread::GzDecoder::new(bytes);
            let plain = bounded(&mut stream)?;
            Ok((plain, bytes.len() - stream.into_inner().len()))
        }
        _ => {
            let mut stream = xz2::bufread::XzDecoder::new(bytes);
            let plain = bounded(&mut stream)?;
            Ok((plain, bytes.len() - stream.into_inner().len()))
        }
    }
}

fn bounded(stream: impl Read) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    stream.take(MOST).read_to_end(&mut plain).context("compressed data are broken")?;
    ensure!((plain.len() as u64) < MOST, "larger than any initramfs");
    Ok(plain)
}

fn listed(entry: Entry) -> Listed {
    let node = entry.mode & 0o170_000 == 0o020_000;
    let program = entry.data.starts_with(b"\x7fELF") && !entry.path.starts_with("lib/modules/");
    Listed {
        mode: format!("{:06o}", entry.mode),
        bytes: entry.data.len(),
        device: node.then_some(entry.device),
        program: program.then(|| Program::read(&entry.data).ok()).flatten(),
        path: entry.path,
    }
}

fn early_list(entry: &Entry) -> Option<Early> {
    let release = entry.path.strip_prefix("lib/modules/")?.strip_suffix("/early")?;
    let text = String::from_utf8_lossy(&entry.data);
    let name = |line: modules::Listed<'_>| {
        format!("{}{}", if line.optional { "-" } else { "" }, line.path)
    };
    let modules = modules::list(&text).map(name).collect();
    Some(Early { release: release.to_owned(), modules })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Compression;

    fn cpio(name: &str) -> Vec<u8> {
        let mut archive = cpio::Archive::default();
        archive.file(name, 0o644, b"# first\nkernel/a.ko\n".to_vec());
        archive.to_bytes()
    }

    #[test]
    fn parts_one_after_the_other() {
        let mut bytes = Vec::new();
        for compression in [Compression::Zstd, Compression::None, Compression::Lz4] {
            bytes.extend(compress::archive(compression, &cpio("lib/modules/6.12/early")).unwrap());
        }
        let found = read(&bytes).unwrap();
        let kinds: Vec<_> =
            found.parts.iter().map(|part| (part.compression, part.offset)).collect();
        assert_eq!(kinds, [("zstd", 0), ("none", 512), ("lz4", 1536)]);
        for part in &found.parts {
            assert_eq!(part.early[0].release, "6.12");
            assert_eq!(part.early[0].modules, ["kernel/a.ko"]);
            assert_eq!(part.entries.last().unwrap().mode, "100644");
        }
    }

    #[test]
    fn cut_short_or_garbage() {
        let whole = compress::archive(Compression::Zstd, &cpio("init")).unwrap();
        assert!(read(&whole[..40]).is_err());
        let mut bytes = whole;
        bytes.extend(b"garbage");
        let error = format!("{:#}", read(&bytes).unwrap_err());
        assert!(error.contains("neither an archive nor padding"), "{error}");
    }
}
