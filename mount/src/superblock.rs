// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which filesystem is on a device, its UUID and its label.

use alloc::format;
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
    LAYOUTS.iter().find_map(|layout| by_layout(at, layout)).or_else(|| vfat(at))
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
    let is_ext4 = kind == Kind::Ext4;
    // EXT4_FEATURE_INCOMPAT_JOURNAL_DEV: an external journal is nothing to mount.
    let is_journal = is_ext4 && le32(&found, 0x60)? & 0x8 != 0;
    if !found.get(place..)?.starts_with(magic) || is_journal {
        return None;
    }
    // EXT2_ERROR_FS in s_state
    let errors = is_ext4 && le16(&found, 0x3a)? & 0x2 != 0;
    let label = label(&found, label_at, length);
    Some(Superblock { kind, uuid: uuid(&found, uuid_at), label, errors })
}

fn vfat(at: ReadAt<'_>) -> Option<Superblock> {
    let boot = at(0, 512)?;
    let sector = u64::from(le16(&boot, 11)?);
    let cluster = u64::from(*boot.get(13)?);
    let reserved = u64::from(le16(&boot, 14)?);
    let tables = u64::from(*boot.get(16)?);
    let sane = sector.is_power_of_two()
        && (512..=4096).contains(&sector)
        && cluster.is_power_of_two()
        && reserved != 0
        && (1..=2).contains(&tables)
        && *boot.get(21)? >= 0xf0
        && boot.get(510..512)? == [0x55, 0xaa];
    if !sane {
        return None;
    }
    let small = u64::from(le16(&boot, 22)?);
    // FAT12 and FAT16 have a root directory of fixed size behind the tables, FAT32 has one in clusters.
    let (serial, start, length) = if small != 0 {
        (0x27, reserved + tables * small, u64::from(le16(&boot, 17)?) * 32)
    } else {
        let data = reserved + tables * u64::from(le32(&boot, 36)?);
        let first = u64::from(le32(&boot, 44)?).checked_sub(2)?;
        (0x43, data + first * cluster, cluster * sector)
    };
    let serial = le32(&boot, serial)?;
    Some(Superblock {
        kind: Kind::Vfat,
        uuid: Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        label: volume_label(at, start * sector, length),
        errors: false,
    })
}

// The label is the first directory entry that is a volume id: the copy in the boot sector is not kept up to date
// by every system, and blkid does not take it either.
fn volume_label(at: ReadAt<'_>, offset: u64, length: u64) -> Option<String> {
    // 512 entries: the usual size of a FAT16 root, and more than the label's place needs.
    let directory = at(offset, usize::try_from(length.min(16384)).ok()?)?;
    let (entries, _) = directory.as_chunks::<32>();
    let used = entries.iter().take_while(|entry| entry[0] != 0);
    // Volume id (0x08) without directory (0x10); long names have 0x0f. 0xe5 is deleted.
    let found =
        used.into_iter().find(|e| e[0] != 0xe5 && e[11] & 0x18 == 0x08 && e[11] & 0x0f != 0x0f)?;
    label(found, 0, 11)
}

fn label(bytes: &[u8], at: usize, length: usize) -> Option<String> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    let text = field.split(|byte| *byte == 0).next()?;
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.into())
}

fn uuid(bytes: &[u8], at: usize) -> Option<String> {
    let field: [u8; 16] = array(bytes, at)?;
    let hex = format!("{:032x}", u128::from_be_bytes(field));
    let group = |start, end| hex.get(start..end).unwrap_or_default();
    let groups = [group(0, 8), group(8, 12), group(12, 16), group(16, 20), group(20, 32)];
    (field != [0; 16]).then(|| groups.join("-"))
}

pub(crate) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
