// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the partition tables say of the partitions that the kernel found.

use bootsel::ptable::{gpt, mbr};
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, SeekFrom, ioctl_blksszget, seek};

use crate::device::By;
use crate::file;
use crate::superblock::{GUID, hex};

/// Whether the table of a disk says that its partition of that number has this PARTLABEL, or the partition `offset`
/// numbers before it this PARTUUID.
pub(crate) fn says(node: &str, number: u32, by: By<'_>) -> bool {
    let said = match by {
        By::PartUuid(uuid, offset) => number
            .checked_sub_signed(offset)
            .and_then(|number| look(node, number, &|found| found.is_uuid(uuid))),
        By::PartLabel(label) => look(node, number, &|found| found.is_named(label)),
        _ => None,
    };
    said.unwrap_or(false)
}

enum Found<'a> {
    /// Disk signature and partition number.
    Mbr([u8; 5]),
    Gpt(&'a gpt::RawEntry),
}

impl Found<'_> {
    fn is_uuid(&self, uuid: &str) -> bool {
        let found = match self {
            Found::Mbr(bytes) => hex(bytes, &GUID),
            Found::Gpt(entry) => hex(&gpt::guid(entry).in_text_order(), &GUID),
        };
        found.eq_ignore_ascii_case(uuid)
    }

    fn is_named(&self, label: &str) -> bool {
        matches!(self, Found::Gpt(entry) if gpt::is_named(entry, label))
    }
}

fn look(node: &str, number: u32, is: &dyn Fn(&Found<'_>) -> bool) -> Option<bool> {
    let file = file::open_raw(node, OFlags::RDONLY).ok()?;
    let read = |offset, buffer: &mut [u8]| file::fill_at(&file, offset, buffer);
    let mut sector = [0; 512];
    read(0, &mut sector)?;
    if let Some(signature) = mbr::disk_signature(&sector) {
        let [a, b, c, d] = signature.to_be_bytes();
        return Some(is(&Found::Mbr([a, b, c, d, u8::try_from(number).ok()?])));
    }
    // The largest block that a GPT can be on.
    let mut sector = [0; 4096];
    let block = block(&file);
    let sector = sector.get_mut(..usize::try_from(block).ok()?)?;
    let blocks = length(&file)?.checked_div(block.into())?;
    let header = gpt::find(&read, sector, blocks.checked_sub(1)?)?;
    Some(is(&Found::Gpt(&gpt::read_entry(&read, &header, number)?)))
}

/// Bytes in a logical block of a disk. GPT counts in them: 512 on nearly everything, 4096 on some NVMe and UFS.
pub fn block(disk: &OwnedFd) -> u32 {
    ioctl_blksszget(disk).unwrap_or(512)
}

/// The length of a block device or file in bytes, as it is now.
pub fn length(file: &OwnedFd) -> Option<u64> {
    seek(file, SeekFrom::End(0)).ok()
}
