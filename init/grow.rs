// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first boot on a larger card: the data partition takes the rest of it, and its ext4 the rest of the partition,
//! while it is mounted.
//!
//! Two facts decide, each for itself: the partition is shorter than its disk allows, the file system is shorter than
//! the partition. So what a cut of power left undone is done by the next boot, and a steady boot writes nothing.

use bootsel::ptable::grow::{self, Disk, Plan, Room};
use mount::block::{self, BlockDevice, Partition};
use mount::superblock::{self, Kind, Superblock};
use mount::text::decimal;
use mount::{Error, file, partition, text};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::boot::Boot;
use crate::data::DATA;
use crate::kmsg::{self, Level};

impl Boot {
    /// Grows the data partition and its ext4. Whatever goes wrong costs room and nothing else: neither a boot nor a
    /// trial may end for that, because what is there still works. It is said, and kept for the booted system.
    ///
    /// The kernel may be busy with it for some seconds on a large card; the watchdog's feeder runs on. If the deadline
    /// passes and the watchdog resets, the next boot goes on where this one was.
    pub(crate) fn grow_data(&mut self, device: &BlockDevice) {
        // One with the error flag is for e2fsck, and the kernel would not grow it.
        let Ok(Some(found)) = superblock::read(device.node) else { return };
        if !self.cmdline.grow || found.kind != Kind::Ext4 || found.errors {
            return;
        }
        if let Some(place) = block::partition(&self.roots(), device) {
            let table = grow_partition(&place, device.node);
            self.note_growth("data_partition", place.disk, table);
            let ext4 = grow_ext4(device.node, &found);
            self.note_growth("data_ext4", device.node, ext4);
        }
        self.stage("grow_data");
    }

    /// `grown` is the new length in bytes, if it is a new one.
    fn note_growth(&mut self, fact: &str, object: &str, grown: Result<Option<u64>, Error>) {
        let (level, line) = match grown {
            Ok(None) => return,
            Ok(Some(length)) => (Level::Info, text!("grown to {} MiB", decimal(length >> 20))),
            Err(why) => (Level::Warn, text!("not grown: {}", why)),
        };
        kmsg::record(level, text!("{}: {}", object, line));
        self.report.fact(fact, line);
    }
}

/// Gives the partition the rest of its disk: first in the table, then in the kernel.
#[inline(never)]
fn grow_partition(place: &Partition, node: &str) -> Result<Option<u64>, Error> {
    let length = |file: &OwnedFd| partition::length(file).unwrap_or_default();
    let end = place.start.saturating_add(length(&file::open_with(node, OFlags::RDONLY)?));
    let file = file::open_with(place.disk, OFlags::RDONLY)?;
    let bytes = length(&file);
    // Nearly every boot: the table and its checksums need not be read.
    if bytes.saturating_sub(end) < grow::WORTH {
        return Ok(None);
    }
    let read = |offset, buffer: &mut [u8]| file::fill_at(&file, offset, buffer);
    let disk = Disk { block: partition::block(&file), bytes, read: &read };
    let mut room = Room::EMPTY;
    let plan = grow::plan(&disk, place.number, place.start, &mut room);
    let Some(Plan { length, writes }) = plan.map_err(|why| Error::from(why.as_str()))? else {
        return Ok(None);
    };
    // Around the page cache, so that what is read back comes from the disk.
    let disk = file::open_with(place.disk, OFlags::RDWR | OFlags::DIRECT | OFlags::DSYNC)?;
    for (offset, bytes) in writes.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        write(&disk, *offset, bytes)
            .map_err(|why| Error::call("write the partition table of", place.disk, why))?;
    }
    uapi::blkpg::resize_partition(disk.as_fd(), place.number, place.start, length)
        .map_err(|why| Error::call("tell the kernel the new partition of", place.disk, why))?;
    Ok(Some(length))
}

/// Aligned to the largest logical block, as `O_DIRECT` asks for.
#[repr(align(4096))]
struct Buffer([u8; grow::LONGEST]);

/// Writes, waits until it is on the disk, and reads it back. Out of line: the buffer is most of a stack frame.
#[inline(never)]
pub(crate) fn write(disk: &OwnedFd, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    let mut buffer = Buffer([0; grow::LONGEST]);
    let buffer = buffer.0.get_mut(..bytes.len()).ok_or(Errno::NOSPC)?;
    buffer.copy_from_slice(bytes);
    let written = uapi::file::pwrite(disk.as_fd(), buffer, offset)?;
    buffer.fill(0);
    let read = uapi::file::pread(disk.as_fd(), &mut *buffer, offset)?;
    if written == bytes.len() && read == bytes.len() && *buffer == *bytes {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// Gives the mounted file system the rest of its partition.
fn grow_ext4(node: &str, found: &Superblock) -> Result<Option<u64>, Error> {
    let length = partition::length(&file::open_with(node, OFlags::RDONLY)?).unwrap_or_default();
    let has = found.blocks.saturating_mul(found.block_size);
    if length < has.saturating_add(grow::WORTH) {
        return Ok(None);
    }
    let directory = file::open_with(DATA, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let blocks = length.checked_div(found.block_size).unwrap_or_default();
    uapi::ext4::resize(directory.as_fd(), blocks)
        .and_then(|()| rustix::fs::fsync(&directory))
        .map_err(|why| Error::call("grow the ext4 on", node, why))?;
    Ok(Some(length))
}
