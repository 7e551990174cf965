// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is compressed and no initramfs: a disk image for a card, a boot partition for a bundle.

use std::fs::File;
use std::io::{Read, Seek};

use anyhow::{Context, Result};
use bootsel::ptable::mbr;
use serde::Serialize;

use super::archive;
use crate::compress;
use crate::kernel::image::Kind;

/// A compressed file.
#[derive(Debug, Serialize)]
pub struct Packed {
    /// `zstd`, `gzip` or `xz`.
    pub compression: &'static str,
    /// Length of the file.
    pub bytes: u64,
    /// Length of what it unpacks to, where its beginning says so.
    pub unpacked: Option<u64>,
    /// What that is, by its own beginning.
    pub content: &'static str,
}

impl Packed {
    /// None of an initramfs, or of what may be a damaged one.
    pub(super) fn look(file: &File, head: &[u8]) -> Result<Option<Self>> {
        let Some(compression) = archive::compression(head) else { return Ok(None) };
        let name = match compression {
            "zstd" => "x.zst",
            "gzip" => "x.gz",
            "xz" => "x.xz",
            _ => return Ok(None),
        };
        let bytes = file.metadata()?.len();
        let mut file = file.try_clone()?;
        file.rewind()?;
        let mut plain = Vec::new();
        // behind the archive of an initramfs there is padding, which is no stream
        let _ = compress::reader(name, file)?.take(4096).read_to_end(&mut plain);
        if archive::is_cpio(&plain) {
            return Ok(None);
        }
        let content = content(&plain).with_context(|| {
            format!("packed with {compression}, and not an initramfs: unpack it first")
        })?;
        let zstd = (compression == "zstd").then(|| zstd::zstd_safe::get_frame_content_size(head));
        let unpacked = zstd.and_then(|said| said.ok().flatten());
        Ok(Some(Self { compression, bytes, unpacked, content }))
    }
}

/// What begins like this.
fn content(plain: &[u8]) -> Option<&'static str> {
    let at = |place: usize, magic: &[u8]| plain.get(place..).is_some_and(|p| p.starts_with(magic));
    // a FAT has the signature of a partition table, too
    Some(if at(82, b"FAT32   ") || at(54, b"FAT1") {
        "a boot partition"
    } else if mbr::parse(plain).is_some_and(|all| all.iter().any(|entry| entry.sectors > 0)) {
        "a disk image"
    } else if at(super::MAGIC.start, b"ustar") {
        "a tar archive"
    } else if at(0, b"hsqs") {
        "a squashfs image"
    } else if Kind::of(plain).is_some() {
        "a kernel"
    } else {
        return None;
    })
}
