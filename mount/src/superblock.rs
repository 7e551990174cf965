// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which filesystem is on a device, its UUID and its label.

use alloc::string::String;
use alloc::vec::Vec;

use rustix::fs::OFlags;

use crate::{Error, file};

/// A kind of filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// btrfs
    Btrfs,
    /// erofs
    Erofs,
    /// ext2, ext3 or ext4: the ext4 driver mounts them all.
    Ext4,
    /// squashfs 4.0
    Squashfs,
    /// FAT12, FAT16 or FAT32
    Vfat,
    /// xfs
    Xfs,
}

impl Kind {
    /// The type that mount(2) wants.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Btrfs => "btrfs",
            Kind::Erofs => "erofs",
            Kind::Ext4 => "ext4",
            Kind::Squashfs => "squashfs",
            Kind::Vfat => "vfat",
            Kind::Xfs => "xfs",
        }
    }
}

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The filesystem.
    pub kind: Kind,
    /// Its UUID as blkid(8) writes it: `ABCD-1234` for vfat. Squashfs has none.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// ext4 found errors in itself earlier and wants e2fsck.
    pub errors: bool,
    /// The blocks of an ext4, which may be fewer than the device has room for; 0 of another kind.
    pub blocks: u64,
    /// Bytes in each of them.
    pub block_size: u64,
}

/// How a superblock is read: so many bytes at an offset, or nothing.
type ReadAt<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

/// The superblock of a device or image file; nothing when there is none that is known.
pub fn read(node: &str) -> Result<Option<Superblock>, Error> {
    let file = file::open_with(node, OFlags::RDONLY)?;
    Ok(probe(&|offset, length| file::bytes_at(&file, offset, length)))
}

/// The superblock in the first bytes of a device. 68 KiB are enough for every kind; a vfat label may lie further on.
pub fn identify(bytes: &[u8]) -> Option<Superblock> {
    probe(&|offset, length| {
        let start = usize::try_from(offset).ok()?;
        bytes.get(start..start.checked_add(length)?).map(Vec::from)
    })
}

fn probe(at: ReadAt<'_>) -> Option<Superblock> {
    for layout in &LAYOUTS {
        let found = by_layout(at, layout);
        if found.is_some() {
            return found;
        }
    }
    vfat(at)
}

// Where a superblock begins, and what it has where, counted from there: the magic, the UUID, the label and its length.
// From linux/squashfs_fs.h, xfs_format.h, ext4.h, erofs_fs.h, btrfs_tree.h.
type Layout = (Kind, u64, (usize, &'static [u8]), usize, (usize, usize));
const LAYOUTS: [Layout; 5] = [
    (Kind::Squashfs, 0, (0, b"hsqs"), NONE, (NONE, 0)),
    (Kind::Xfs, 0, (0, b"XFSB"), 32, (108, 12)),
    (Kind::Ext4, 1024, (56, b"\x53\xef"), 104, (120, 16)),
    (Kind::Erofs, 1024, (0, b"\xe2\xe1\xf5\xe0"), 48, (64, 16)),
    (Kind::Btrfs, 65536, (64, b"_BHRfS_M"), 32, (299, 256)),
];
// The end of the longest, btrfs with its label; and a place past it.
const LENGTH: usize = 555;
const NONE: usize = LENGTH;

fn by_layout(at: ReadAt<'_>, layout: &Layout) -> Option<Superblock> {
    let (kind, start, (place, magic), uuid_at, (label_at, length)) = *layout;
    let found = at(start, LENGTH)?;
    if !found.get(place..)?.starts_with(magic) {
        return None;
    }
    let is_ext4 = kind == Kind::Ext4;
    // EXT4_FEATURE_INCOMPAT_JOURNAL_DEV: an external journal is nothing to mount.
    if is_ext4 && number(&found, 0x60, 4)? & 0x8 != 0 {
        return None;
    }
    // EXT2_ERROR_FS in s_state
    let errors = is_ext4 && number(&found, 0x3a, 2)? & 0x2 != 0;
    let label = label(&found, label_at, length);
    let (mut blocks, mut block_size) = (0, 0);
    if is_ext4 {
        // s_blocks_count_hi is 0 without EXT4_FEATURE_INCOMPAT_64BIT.
        blocks = number(&found, 0x150, 4)? << 32 | number(&found, 0x4, 4)?;
        block_size = 1024 << (number(&found, 0x18, 4)? & 0xf);
    }
    Some(Superblock { kind, uuid: uuid(&found, uuid_at), label, errors, blocks, block_size })
}

fn vfat(at: ReadAt<'_>) -> Option<Superblock> {
    let boot = at(0, 512)?;
    let field = |place, length| number(&boot, place, length);
    let (sector, cluster) = (field(11, 2)?, field(13, 1)?);
    let (reserved, tables) = (field(14, 2)?, field(16, 1)?);
    let sane = (512..=4096).contains(&sector)
        && sector.is_power_of_two()
        && cluster.is_power_of_two()
        && reserved != 0
        && (1..=2).contains(&tables)
        && field(21, 1)? >= 0xf0
        && field(510, 2)? == 0xaa55;
    if !sane {
        return None;
    }
    let small = field(22, 2)?;
    // FAT12 and FAT16 have a root directory of fixed size behind the tables, FAT32 has one in clusters.
    let (serial, start, length) = if small != 0 {
        (0x27, reserved + tables * small, field(17, 2)? * 32)
    } else {
        let data = reserved + tables * field(36, 4)?;
        (0x43, data + field(44, 4)?.checked_sub(2)? * cluster, cluster * sector)
    };
    let serial: [u8; 4] = array(&boot, serial)?;
    let [a, b, c, d] = serial;
    let mut uuid = hex(&[d, c, b, a], &[2]);
    uuid.make_ascii_uppercase();
    let label = volume_label(at, start * sector, length);
    let uuid = Some(uuid);
    Some(Superblock { kind: Kind::Vfat, uuid, label, errors: false, blocks: 0, block_size: 0 })
}

// The label is the first directory entry that is a volume id: the copy in the boot sector is not kept up to date
// by every system, and blkid does not take it either.
fn volume_label(at: ReadAt<'_>, offset: u64, length: u64) -> Option<String> {
    // 512 entries: the usual size of a FAT16 root, and more than the label's place needs.
    let directory = at(offset, usize::try_from(length.min(16384)).ok()?)?;
    for entry in directory.as_chunks::<32>().0 {
        // 0 is the end, 0xe5 is deleted; volume id (0x08) without directory (0x10); long names have 0x0f.
        match (entry[0], entry[11]) {
            (0, _) => break,
            (0xe5, _) => {}
            (_, kind) if kind & 0x18 == 0x08 && kind & 0x0f != 0x0f => return label(entry, 0, 11),
            _ => {}
        }
    }
    None
}

fn label(bytes: &[u8], at: usize, length: usize) -> Option<String> {
    let field = bytes.get(at..)?.get(..length)?;
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(length);
    let text = core::str::from_utf8(field.get(..end)?).ok()?.trim_ascii_end();
    (!text.is_empty()).then(|| text.into())
}

fn uuid(bytes: &[u8], at: usize) -> Option<String> {
    let field: [u8; 16] = array(bytes, at)?;
    (field != [0; 16]).then(|| hex(&field, &GUID))
}

/// Before which bytes of a GUID its text has a hyphen; also of MBR's disk signature and partition number.
pub(crate) const GUID: [usize; 4] = [4, 6, 8, 10];

/// Hex digits, a hyphen before some bytes.
pub(crate) fn hex(bytes: &[u8], hyphens: &[usize]) -> String {
    let mut text = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if hyphens.contains(&at) {
            text.push(b'-');
        }
        for digit in [byte >> 4, byte & 0xf] {
            text.push(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit });
        }
    }
    String::from_utf8(text).unwrap_or_default()
}

/// A little-endian number of so many bytes.
pub(crate) fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..)?.get(..length)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
