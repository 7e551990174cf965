// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk image: the same four partitions for every board.
//!
//! | # | name | holds |
//! |---|---|---|
//! | 1 | BOOTSEL | FAT16: what chooses the slot |
//! | 2, 3 | `BOOT_A`, `BOOT_B` | FAT32: kernels, initramfs, command line |
//! | 4 | DATA | ext4: revisions, state, log |

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use bootsel::Slot;
use bootsel::ptable::{gpt, mbr};

use crate::config::Table;
use crate::ext4;
use crate::fat::{Plan, SECTOR};
use crate::identity::Identity;

/// Partitions begin at multiples of this: erase blocks of SD cards.
pub const ALIGN: u64 = 1 << 20;
/// Names of the partitions on a GPT.
pub const NAMES: [&str; 4] = ["BOOTSEL", "BOOT_A", "BOOT_B", "DATA"];
/// FAT label of a slot: one for both, the volumes are equal but for one byte.
pub const SLOT_LABEL: &str = "PIVOT_BOOT";
/// Bytes that are copied at a time, and looked at for being zero.
const BLOCK: usize = 4096;

/// Types on a GPT. Partition 1 is the EFI system partition. Slots are basic data and no extended boot partitions: of
/// those a disk has one (Boot Loader Specification), whose files are shared, and each of these is a system of its own.
/// DATA is Linux data: it is neither a root nor /var.
const GPT_TYPES: [&str; 4] = [
    crate::uefi::ESP,
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
    "0fc63daf-8483-4772-8e79-3d69d8477de4",
];
/// Nobody mounts slots and data by their type: the device's init knows them, and a slot is written as a whole.
/// (Discoverable Partitions Specification, "no-auto"; of basic data "no drive letter", which is the same bit.)
const NO_AUTO: u64 = 1 << 63;
/// Types in an MBR. The boot ROM of a Pi up to 3 knows 0x0b and 0x0c, and not 0xef.
const MBR_TYPES: [u8; 4] = [0x0c, 0x0c, 0x0c, 0x83];

/// Where the partitions lie, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// First byte and length of each.
    pub partitions: [(u64, u64); 4],
    /// Length of the disk.
    pub bytes: u64,
}

impl Layout {
    /// One partition after the other; the last MiB is for the second GPT.
    #[must_use]
    pub fn new(sizes: [u64; 4]) -> Self {
        Self::beginning_at(ALIGN, sizes)
    }

    /// The same with the first one there: before it is a bootloader, or room for one.
    #[must_use]
    pub fn beginning_at(first: u64, sizes: [u64; 4]) -> Self {
        let mut start = first;
        let partitions = sizes.map(|bytes| {
            let here = start;
            start += bytes.next_multiple_of(ALIGN);
            (here, bytes)
        });
        Self { partitions, bytes: start + ALIGN }
    }
}

/// The kernel's name for partition 4.
#[must_use]
pub fn data_name(table: Table, identity: &Identity) -> String {
    match table {
        Table::Gpt => format!("PARTUUID={}", identity.partitions[3]),
        Table::Mbr => format!("PARTUUID={:08x}-04", identity.signature),
    }
}

/// What goes into the partitions.
#[derive(Debug)]
pub struct Disk<'a> {
    /// Kind of partition table.
    pub table: Table,
    /// Identifiers.
    pub identity: &'a Identity,
    /// Places.
    pub layout: Layout,
    /// Partition 1.
    pub bootsel: Plan<'a>,
    /// Partitions 2 and 3.
    pub slot: Plan<'a>,
    /// Byte of the slot's volume that is the slot's letter.
    pub letter: u64,
    /// A file with the content of partition 4.
    pub data: &'a Path,
    /// What lies before the first partition, and at which byte.
    pub bootloader: Option<(u64, &'a [u8])>,
}

impl Disk<'_> {
    /// Writes the image; `advance` hears of each piece.
    ///
    /// # Errors
    /// Where a part cannot be read or `out` cannot be written.
    pub fn write(&self, out: &Path, advance: impl Fn(u64)) -> Result<()> {
        let cannot = || format!("cannot write {}", out.display());
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(out)
            .with_context(cannot)?;
        file.set_len(self.layout.bytes).with_context(cannot)?;
        self.write_table(&file)?;
        if let Some((at, bytes)) = self.bootloader {
            file.write_all_at(bytes, at).with_context(cannot)?;
        }
        let [bootsel, a, b, data] = self.layout.partitions.map(|(start, _)| start);
        self.bootsel.write(&file, bootsel)?;
        for (slot, start) in [(Slot::A, a), (Slot::B, b)] {
            self.slot.write(&file, start)?;
            file.write_all_at(slot.to_string().as_bytes(), start + self.letter)
                .with_context(cannot)?;
            advance(self.slot.usage().0);
        }
        copy_sparse(self.data, &file, data, advance)
    }

    /// The parts of the image that have a meaning: all that a card must not keep of what it held before.
    ///
    /// # Errors
    /// Where dumpe2fs is missing or fails.
    pub fn extents(&self) -> Result<Vec<Range<u64>>> {
        let [bootsel, a, b, data] = self.layout.partitions.map(|(start, _)| start);
        // A GPT of before would be a second opinion: sector 1 and the last sectors are written on an MBR disk, too.
        let (first, last) = (0..ALIGN, self.layout.bytes - ALIGN..self.layout.bytes);
        let mut extents = vec![first, bootsel..bootsel + self.bootsel.used_bytes(), last];
        extents.extend([a, b].map(|start| start..start + self.slot.used_bytes()));
        extents.extend(self.bootloader.map(|(at, bytes)| at..at + bytes.len() as u64));
        let data_blocks = ext4::used(self.data)?.into_iter();
        extents.extend(data_blocks.map(|blocks| data + blocks.start..data + blocks.end));
        Ok(extents)
    }

    fn write_table(&self, file: &File) -> Result<()> {
        match self.table {
            Table::Gpt => {
                let sectors = self.layout.bytes / SECTOR;
                let entries = self.gpt_entries()?;
                let disk = self.identity.disk;
                let (first, second) = gpt::build(512, sectors, disk, &entries)?;
                file.write_all_at(&first, 0)?;
                file.write_all_at(&second, self.layout.bytes - second.len() as u64)?;
            }
            Table::Mbr => {
                let mut entries = [mbr::Entry::default(); 4];
                for (index, (start, bytes)) in self.layout.partitions.into_iter().enumerate() {
                    let sector = |bytes: u64| u32::try_from(bytes / SECTOR);
                    let (start, sectors) = (sector(start)?, sector(bytes)?);
                    entries[index] =
                        mbr::Entry { boot: false, kind: MBR_TYPES[index], start, sectors };
                }
                file.write_all_at(&mbr::write(self.identity.signature, &entries)?, 0)?;
            }
        }
        Ok(())
    }

    fn gpt_entries(&self) -> Result<Vec<gpt::Entry>> {
        let one = |index: usize| -> Result<gpt::Entry> {
            let (start, bytes) = self.layout.partitions[index];
            Ok(gpt::Entry {
                number: u32::try_from(index + 1)?,
                type_guid: GPT_TYPES[index].parse()?,
                guid: self.identity.partitions[index],
                first: start / SECTOR,
                last: (start + bytes) / SECTOR - 1,
                attributes: if index == 0 { 0 } else { NO_AUTO },
                name: NAMES[index].to_owned(),
            })
        };
        (0..NAMES.len()).map(one).collect()
    }
}

/// Copies a file to a place in another one, leaving out blocks of zeros: they are holes already.
fn copy_sparse(from: &Path, to: &File, at: u64, advance: impl Fn(u64)) -> Result<()> {
    let cannot = || format!("cannot copy {}", from.display());
    let mut file = File::open(from).with_context(cannot)?;
    let (mut buffer, mut offset) = (vec![0; 256 * BLOCK], at);
    loop {
        let count = file.read(&mut buffer).with_context(cannot)?;
        if count == 0 {
            return Ok(());
        }
        for block in buffer[..count].chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                to.write_all_at(block, offset).with_context(cannot)?;
            }
            offset += block.len() as u64;
        }
        advance(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_and_in_order() {
        let layout = Layout::new([32 << 20, 128 << 20, 128 << 20, 300 << 20]);
        let mib = layout.partitions.map(|(start, bytes)| (start >> 20, bytes >> 20));
        assert_eq!(mib, [(1, 32), (33, 128), (161, 128), (289, 300)]);
        assert_eq!(layout.bytes >> 20, 590);
    }

    #[test]
    fn types_are_guids() {
        assert!(GPT_TYPES.iter().all(|text| text.parse::<bootsel::ptable::Guid>().is_ok()));
    }

    #[test]
    fn names_of_the_data_partition() {
        let identity = Identity::of("demo");
        let name = data_name(Table::Mbr, &identity);
        assert_eq!(name, format!("PARTUUID={:08x}-04", identity.signature));
        assert_eq!(data_name(Table::Gpt, &identity).len(), "PARTUUID=".len() + 36);
    }
}
