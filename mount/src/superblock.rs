// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which filesystem is on a device, its UUID and its label.

use core::fmt;
use core::ops::Deref;

use bootsel::pattern;
use bootsel::ptable::ReadAt;
use bootsel::text::{fill, hex_digit, of};
use rustix::fs::OFlags;
use rustix::io::Errno;

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

/// A short text that is kept where it is used: what is read over and over in a wait allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Short {
    bytes: [u8; 256],
    length: usize,
}

impl Short {
    pub(crate) const EMPTY: Short = Short { bytes: [0; 256], length: 0 };
}

impl From<&str> for Short {
    fn from(text: &str) -> Short {
        let mut short = Short::EMPTY;
        short.length = fill(&mut short.bytes, pattern!("{}"), &[text]).len();
        short
    }
}

impl Deref for Short {
    type Target = str;

    fn deref(&self) -> &str {
        of(self.bytes.get(..self.length).unwrap_or_default())
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The filesystem.
    pub kind: Kind,
    /// Its UUID as blkid(8) writes it: `ABCD-1234` for vfat; empty where it has none, as every squashfs.
    pub uuid: Short,
    /// Its label, or nothing.
    pub label: Short,
    /// ext4 found errors in itself earlier and wants e2fsck.
    pub errors: bool,
    /// The blocks of an ext4, which may be fewer than the device has room for; 0 of another kind.
    pub blocks: u64,
    /// Bytes in each of them.
    pub block_size: u64,
}

/// The superblock of a device or image file; nothing when there is none that is known.
pub fn read(node: &str) -> Result<Option<Superblock>, Error> {
    look(node).map_err(|errno| Error::call("open", node, errno))
}

/// The same with the bare error number.
#[inline(never)]
pub(crate) fn look(node: &str) -> Result<Option<Superblock>, Errno> {
    let file = file::open_raw(node, OFlags::RDONLY)?;
    Ok(probe(&|offset, buffer| file::fill_at(&file, offset, buffer)))
}

/// The superblock in the first bytes of a device. 68 KiB are enough for every kind; a vfat label may lie further on.
pub fn identify(bytes: &[u8]) -> Option<Superblock> {
    probe(&|offset, buffer| {
        let start = usize::try_from(offset).ok()?;
        buffer.copy_from_slice(bytes.get(start..start.checked_add(buffer.len())?)?);
        Some(())
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
    let mut found = [0; LENGTH];
    at(start, &mut found)?;
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
    let mut boot = [0; 512];
    at(0, &mut boot)?;
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
    let mut serial: [u8; 4] = array(&boot, serial)?;
    serial.reverse();
    let mut uuid = hex(&serial, &[2]);
    uuid.bytes.make_ascii_uppercase();
    let label = volume_label(at, start * sector, length).unwrap_or(Short::EMPTY);
    Some(Superblock { kind: Kind::Vfat, uuid, label, errors: false, blocks: 0, block_size: 0 })
}

// The label is the first directory entry that is a volume id: the copy in the boot sector is not kept up to date
// by every system, and blkid does not take it either.
fn volume_label(at: ReadAt<'_>, offset: u64, length: u64) -> Option<Short> {
    // 512 entries: the usual size of a FAT16 root, and more than the label's place needs.
    let mut room = [0; 16384];
    let directory = room.get_mut(..usize::try_from(length.min(16384)).ok()?)?;
    at(offset, directory)?;
    for entry in directory.as_chunks::<32>().0 {
        // 0 is the end, 0xe5 is deleted; volume id (0x08) without directory (0x10); long names have 0x0f.
        match (entry[0], entry[11]) {
            (0, _) => break,
            (0xe5, _) => {}
            (_, kind) if kind & 0x18 == 0x08 && kind & 0x0f != 0x0f => {
                return Some(label(entry, 0, 11));
            }
            _ => {}
        }
    }
    None
}

// Empty where it is no text.
fn label(bytes: &[u8], at: usize, length: usize) -> Short {
    let field = bytes.get(at..).and_then(|rest| rest.get(..length)).unwrap_or_default();
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    of(text).trim_ascii_end().into()
}

fn uuid(bytes: &[u8], at: usize) -> Short {
    let field: [u8; 16] = array(bytes, at).unwrap_or_default();
    if field == [0; 16] { Short::EMPTY } else { hex(&field, &GUID) }
}

/// Before which bytes of a GUID its text has a hyphen; also of MBR's disk signature and partition number.
const GUID: [usize; 4] = [4, 6, 8, 10];

/// Hex digits, a hyphen before some bytes.
fn hex(bytes: &[u8], hyphens: &[usize]) -> Short {
    let mut text = Short::EMPTY;
    let mut put = |byte| {
        if let Some(place) = text.bytes.get_mut(text.length) {
            *place = byte;
            text.length += 1;
        }
    };
    for (at, byte) in bytes.iter().enumerate() {
        if hyphens.contains(&at) {
            put(b'-');
        }
        put(hex_digit((byte >> 4).into()));
        put(hex_digit((*byte).into()));
    }
    text
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
