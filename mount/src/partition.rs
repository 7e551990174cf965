// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the partition tables say of the partitions that the kernel found.

use bootsel::ptable::gpt::{self, Numbers, RawEntry};
use bootsel::ptable::mbr;
use bootsel::text::split_once;
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, SeekFrom, ioctl_blksszget, seek};

use crate::device::{By, digit, hexadecimal};
use crate::file;

/// The partitions of a disk that its table gives this PARTLABEL, or the one `offset` numbers behind that with this PARTUUID.
/// The table is read once, whatever is on the disk.
pub(crate) fn numbers(node: &str, by: By<'_>) -> Numbers {
    let mut found = look(node, by).unwrap_or(Numbers::new(0));
    if let By::PartUuid(_, offset) = by {
        for number in found.iter_mut() {
            // 0 is the number of no partition.
            *number = number.checked_add_signed(offset).unwrap_or_default();
        }
    }
    found
}

fn look(node: &str, by: By<'_>) -> Option<Numbers> {
    let mut found = Numbers::new(0);
    let file = file::open_raw(node, OFlags::RDONLY).ok()?;
    let read = |offset, buffer: &mut [u8]| file::fill_at(&file, offset, buffer);
    // The largest block that a GPT can be on.
    let mut sector = [0; 4096];
    let block = block(&file);
    let sector = sector.get_mut(..usize::try_from(block).ok()?)?;
    read(0, sector)?;
    if let Some(signature) = mbr::disk_signature(sector) {
        let By::PartUuid(uuid, _) = by else { return None };
        let (signed, number) = split_once(uuid, b'-')?;
        if hexadecimal(signed) == Some(signature) {
            found.push(hexadecimal(number)?);
        }
        return Some(found);
    }
    let wanted = if let By::PartUuid(uuid, _) = by { guid(uuid) } else { None };
    let is = |entry: &RawEntry| match by {
        By::PartUuid(..) => Some(u128::from_be_bytes(gpt::guid(entry).in_text_order())) == wanted,
        By::PartLabel(label) => gpt::is_named(entry, label),
        _ => false,
    };
    let blocks = length(&file)?.checked_div(block.into())?;
    gpt::find(&read, sector, blocks.checked_sub(1)?, &mut found, &is)?;
    Some(found)
}

/// The number that the digits of a GUID are; `None` of MBR's form, which is shorter.
fn guid(uuid: &str) -> Option<u128> {
    let digits = uuid.bytes().filter_map(digit);
    let number = digits.fold(0, |number, digit| number << 4 | u128::from(digit));
    (uuid.len() == 36).then_some(number)
}

/// Bytes in a logical block of a disk. GPT counts in them: 512 on nearly everything, 4096 on some NVMe and UFS.
pub fn block(disk: &OwnedFd) -> u32 {
    ioctl_blksszget(disk).unwrap_or(512)
}

/// The length of a block device or file in bytes, as it is now.
pub fn length(file: &OwnedFd) -> Option<u64> {
    seek(file, SeekFrom::End(0)).ok()
}
