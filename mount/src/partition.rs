// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the partition tables say of the partitions that the kernel found.

use alloc::string::String;
use alloc::vec::Vec;

use bootsel::format;
use bootsel::ptable::{gpt, mbr};
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, SeekFrom, ioctl_blksszget, seek};

use crate::block::{Entry, Roots};
use crate::device::By;
use crate::file;
use crate::superblock::{GUID, hex};

/// The table that was read last: the partitions of a disk are looked at one after the other.
pub(crate) struct Tables<'a> {
    roots: &'a Roots<'a>,
    disk: String,
    table: Option<Table>,
}

enum Table {
    /// Disk signature.
    Mbr(u32),
    /// The entries are whole.
    Gpt(gpt::Header, Vec<u8>),
}

impl<'a> Tables<'a> {
    pub(crate) fn new(roots: &'a Roots<'a>) -> Tables<'a> {
        Tables { roots, disk: String::new(), table: None }
    }

    /// Whether the table of its disk says that `entry` has that PARTLABEL, or the partition `offset` numbers before it
    /// that PARTUUID.
    pub(crate) fn say(&mut self, entry: &Entry<'_>, by: &By) -> bool {
        let Some((number, disk)) = entry.partition() else { return false };
        if self.disk != disk {
            self.table = read(&format!("{}/{disk}", self.roots.dev));
            self.disk = disk;
        }
        let Some(table) = &self.table else { return false };
        match by {
            By::PartUuid(uuid, offset) => number
                .checked_sub_signed(*offset)
                .and_then(|number| table.uuid(number))
                .is_some_and(|found| found.eq_ignore_ascii_case(uuid)),
            By::PartLabel(label) => {
                matches!(table.entry(number), Some(entry) if entry.name == *label)
            }
            _ => false,
        }
    }
}

impl Table {
    fn entry(&self, number: u32) -> Option<gpt::Entry> {
        match self {
            Table::Mbr(_) => None,
            Table::Gpt(header, entries) => gpt::entry(header, entries, number),
        }
    }

    fn uuid(&self, number: u32) -> Option<String> {
        match self {
            Table::Mbr(signature) => {
                let [a, b, c, d] = signature.to_be_bytes();
                Some(hex(&[a, b, c, d, u8::try_from(number).ok()?], &GUID))
            }
            Table::Gpt(..) => Some(hex(&self.entry(number)?.guid.in_text_order(), &GUID)),
        }
    }
}

fn read(node: &str) -> Option<Table> {
    let file = file::open_raw(node, OFlags::RDONLY).ok()?;
    if let Some(signature) = mbr::disk_signature(&file::bytes_at(&file, 0, 512)?) {
        return Some(Table::Mbr(signature));
    }
    let block = block(&file);
    let blocks = length(&file)?.checked_div(block.into())?;
    gpt_at(&file, block, 1).or_else(|| gpt_at(&file, block, blocks.checked_sub(1)?))
}

// The GPT whose header is in block `lba`: both checksums are right.
fn gpt_at(file: &OwnedFd, block: u32, lba: u64) -> Option<Table> {
    // The largest block that a GPT can be on; it bounds what is read, too.
    let length = usize::try_from(block.min(4096)).ok()?;
    let header = file::bytes_at(file, lba.checked_mul(block.into())?, length)?;
    let header = gpt::Header::parse(&header, lba).ok()?;
    let length = usize::try_from(header.entries_bytes()).ok()?;
    let entries = file::bytes_at(file, header.entries_offset(), length)?;
    gpt::check_entries(&header, &entries).ok()?;
    Some(Table::Gpt(header, entries))
}

/// Bytes in a logical block of a disk. GPT counts in them: 512 on nearly everything, 4096 on some NVMe and UFS.
pub fn block(disk: &OwnedFd) -> u32 {
    ioctl_blksszget(disk).unwrap_or(512)
}

/// The length of a block device or file in bytes, as it is now.
pub fn length(file: &OwnedFd) -> Option<u64> {
    seek(file, SeekFrom::End(0)).ok()
}
