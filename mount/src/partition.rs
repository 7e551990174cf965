// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the partition tables say of the partitions that the kernel found.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bootsel::ptable::{gpt, mbr};
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;

use crate::block::{self, Entry, Roots};
use crate::file;

enum Table {
    /// Disk signature.
    Mbr(u32),
    Gpt(Vec<gpt::Entry>),
}

/// Fills in PARTUUID and PARTLABEL of the partitions among `entries`, each disk's table read once.
pub(crate) fn identify(roots: &Roots<'_>, entries: &mut [Entry]) {
    let mut disks: Vec<String> = Vec::new();
    for (_, disk) in entries.iter().filter_map(|entry| entry.partition.as_ref()) {
        if !disks.contains(disk) {
            disks.push(disk.clone());
        }
    }
    for disk in disks {
        let Some(table) = read(roots, &disk) else { continue };
        for entry in entries.iter_mut() {
            if let Some((number, on)) = &entry.partition
                && *on == disk
            {
                let (uuid, label) = table.partition(*number);
                entry.uuid = uuid.or(entry.uuid.take());
                entry.label = label.or(entry.label.take());
            }
        }
    }
}

impl Table {
    fn partition(&self, number: u32) -> (Option<String>, Option<String>) {
        match self {
            Table::Mbr(signature) => (Some(format!("{signature:08x}-{number:02x}")), None),
            Table::Gpt(entries) => {
                let entry = entries.iter().find(|entry| entry.number == number);
                let name = entry.map(|entry| entry.name.clone());
                (entry.map(|e| e.guid.to_string()), name.filter(|name| !name.is_empty()))
            }
        }
    }
}

fn read(roots: &Roots<'_>, disk: &str) -> Option<Table> {
    let node = format!("{}/{}", roots.dev, disk.replace('!', "/"));
    let file = file::open_with(&node, OFlags::RDONLY).ok()?;
    if let Some(signature) = mbr::disk_signature(&file::bytes_at(&file, 0, 512)?) {
        return Some(Table::Mbr(signature));
    }
    // GPT counts in logical blocks: 512 bytes on nearly everything, 4096 on some NVMe and UFS.
    let queue = format!("{}/queue/logical_block_size", block::directory(roots, disk));
    let block: u32 = file::attribute(&queue).and_then(|text| text.parse().ok()).unwrap_or(512);
    let blocks = block::size(roots, disk).checked_mul(512)?.checked_div(u64::from(block))?;
    gpt_at(&file, block, 1).or_else(|| gpt_at(&file, block, blocks.checked_sub(1)?)).map(Table::Gpt)
}

// The entries of the GPT whose header is in block `lba`: both checksums are right.
fn gpt_at(file: &OwnedFd, block: u32, lba: u64) -> Option<Vec<gpt::Entry>> {
    // The largest block that a GPT can be on; it bounds what is read, too.
    let length = usize::try_from(block.min(4096)).ok()?;
    let header = file::bytes_at(file, lba.checked_mul(u64::from(block))?, length)?;
    let header = gpt::Header::parse(&header, lba).ok()?;
    let length = usize::try_from(header.entries_bytes()).ok()?;
    let entries = file::bytes_at(file, header.entries_offset(), length)?;
    gpt::parse_entries(&header, &entries).ok()
}
