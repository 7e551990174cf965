// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files as block devices, and squashfs images on them.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::thread::{Timespec, nanosleep};
use uapi::loop_device::{Config, configure, get_free};
use uapi::stat::status;

use crate::filesystem::mount2;
use crate::superblock::number;
use crate::text::{decimal, decimal32};
use crate::{Error, file};

/// A read-only loop device that frees itself with its last user: `fd`, or the filesystem mounted from `node`.
#[derive(Debug)]
pub struct LoopDevice {
    /// Path of its node.
    pub node: &'static str,
    /// Keeps it alive until something is mounted from it.
    pub fd: OwnedFd,
}

// Somebody else can take the free device first; right after the module is loaded the node can be late.
const ATTEMPTS: u32 = 16;
const LATE: [Errno; 4] = [Errno::BUSY, Errno::NXIO, Errno::NOENT, Errno::AGAIN];
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// Attaches `image` to a free loop device with one `LOOP_CONFIGURE`.
pub fn attach(image: &str, direct_io: bool) -> Result<LoopDevice, Error> {
    attach_file(&file::open_with(image, OFlags::RDONLY)?, image, direct_io)
}

/// Mounts the squashfs `image` on `target`, which is created where it is missing. Nothing of it stays open: the loop
/// device goes when it is unmounted.
pub fn squashfs(image: &str, target: &str) -> Result<(), Error> {
    let file = file::open_with(image, OFlags::RDONLY)?;
    let codec = check(&file, image)?;
    file::create_directories(target)?;
    let device = attach_file(&file, image, false)?;
    mount2(device.node, target, "squashfs", MountFlags::RDONLY, "").map_err(|errno| {
        // A codec that the kernel is built without is the usual reason, and the kernel says only EINVAL.
        Error::mount(image, target, text!("squashfs, {}", codec), errno)
    })
}

fn attach_file(backing: &OwnedFd, image: &str, direct_io: bool) -> Result<LoopDevice, Error> {
    let control = file::open_with("/dev/loop-control", OFlags::RDWR)?;
    let mut config = Config {
        backing: backing.as_fd(),
        read_only: true,
        autoclear: true,
        direct_io,
        offset: 0,
        size_limit: 0,
        block_size: 0,
        file_name: image.as_bytes(),
    };
    let mut attempt = 1;
    loop {
        match attach_free(&control, &config) {
            // The image's own filesystem or size does not allow it.
            Err(Errno::INVAL) if config.direct_io => config.direct_io = false,
            Err(errno) if attempt < ATTEMPTS && LATE.contains(&errno) => {
                attempt += 1;
                // Cut short by a signal it is merely shorter.
                let _ = nanosleep(&PAUSE);
            }
            result => {
                let failed = |errno| Error::call("attach a loop device to", image, errno);
                return result.map_err(failed);
            }
        }
    }
}

fn attach_free(control: &OwnedFd, config: &Config<'_>) -> Result<LoopDevice, Errno> {
    let node = text!("/dev/loop{}", decimal32(get_free(control.as_fd())?));
    // Read-only: a descriptor for writing blocks the mount where CONFIG_BLK_DEV_WRITE_MOUNTED=n.
    let fd = file::open_raw(node, OFlags::RDONLY)?;
    configure(fd.as_fd(), config)?;
    Ok(LoopDevice { node, fd })
}

// By their numbers in the superblock (squashfs_fs.h).
const CODECS: [&str; 7] = ["no codec", "gzip", "lzma", "lzo", "xz", "lz4", "zstd"];

// The name of the codec, or what is wrong with the image.
fn check(file: &OwnedFd, image: &str) -> Result<&'static str, Error> {
    let unusable = |fault| Err(error!("cannot use image {}: {}", image, fault));
    let mut superblock = [0; 96];
    if file::fill_at(file, 0, &mut superblock).is_none() || !superblock.starts_with(b"hsqs") {
        return unusable("no squashfs superblock");
    }
    let used = number(&superblock, 40, 8).unwrap_or(0);
    // The kernel reads squashfs in blocks of 1 KiB; of 4 KiB, to which mksquashfs pads, where it is so configured.
    let expected = used.checked_next_multiple_of(1024).unwrap_or(u64::MAX);
    let bytes = status(file.as_fd()).map_or(0, |found| found.size);
    if bytes < expected {
        return unusable(text!("truncated: {} bytes of {}", decimal(bytes), decimal(expected)));
    }
    let codec =
        number(&superblock, 20, 2).and_then(|codec| CODECS.get(usize::try_from(codec).ok()?));
    Ok(codec.unwrap_or(&"unknown codec"))
}
