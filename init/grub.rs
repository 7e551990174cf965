// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one-shot fallback where GRUB chooses the slot: `pivot_trial` in `grubenv` on partition 1 asks for the other one, as
//! `bootsel try` does.
//!
//! The sector is found by what stands in it: exactly one of the partition must begin as a block that says that the booted
//! slot is the default. A way through the FAT would be four times as long, for a boot that has failed already. What is
//! written differs from what was there in that one letter, and where GRUB reads another sector nothing happens.

use bootsel::grubenv::{SECTOR, armed};
use bootsel::slot::Slot;
use mount::block::{self, Partition};
use mount::{Error, error, file, partition, text};
use rustix::fs::OFlags;

use crate::boot::Boot;
use crate::grow;

/// What is read at once.
const PIECE: usize = 1 << 20;
/// A partition 1 of ours is 64 MiB long.
const LONGEST: u64 = 1 << 30;

/// Whether this machine was started by UEFI, and so by GRUB.
pub(crate) fn is_here() -> bool {
    file::exists("/sys/firmware/efi")
}

impl Boot {
    /// Asks GRUB for the slot that is not the booted one, once.
    pub(crate) fn ask_grub_for_other_slot(&self) -> Result<(), Error> {
        let data =
            self.data.as_ref().and_then(|data| block::partition(&self.roots(), &data.device));
        let (Some(slot), Some(Partition { disk, .. })) = (self.cmdline.slot, data) else {
            return Err("which disk GRUB is on is not known".into());
        };
        // as the kernel names partitions (block/genhd.c, disk_name)
        let number = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p1" } else { "1" };
        let node = text!("{}{}", disk, number);
        let (at, sector) = find(node, slot)?;
        let file = file::open_with(node, OFlags::RDWR | OFlags::DIRECT | OFlags::DSYNC)?;
        grow::write(&file, at, &sector).map_err(|why| Error::call("write grubenv on", node, why))
    }
}

/// Where the sector is, and what it is to be.
fn find(node: &'static str, slot: Slot) -> Result<(u64, [u8; SECTOR]), Error> {
    let file = file::open_with(node, OFlags::RDONLY)?;
    let length = partition::length(&file).unwrap_or_default().min(LONGEST);
    let piece = uapi::memory::bytes(PIECE);
    let mut found = None;
    for start in (0..length).step_by(PIECE) {
        let here = usize::try_from(length.saturating_sub(start)).unwrap_or(PIECE).min(PIECE);
        let piece = piece.get_mut(..here).unwrap_or_default();
        file::fill_at(&file, start, piece).ok_or_else(|| error!("cannot read {}", node))?;
        for (at, sector) in (start..).step_by(SECTOR).zip(piece.as_chunks().0) {
            let Some(sector) = armed(sector, slot) else { continue };
            if found.replace((at, sector)).is_some() {
                return Err(error!("{} has more than one grubenv", node));
            }
        }
    }
    found.ok_or_else(|| {
        error!("{} has no grubenv in which slot {} is the default", node, slot.as_str())
    })
}
