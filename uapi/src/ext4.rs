// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/ext4.h`: what a mounted ext4 can be told.

use rustix::fd::BorrowedFd;
use rustix::io::Result;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `EXT4_IOC_RESIZE_FS`
const RESIZE_FS: Opcode = opcode::write::<u64>(b'f', 16);

/// Grows the file system that `file` lies on to so many blocks while it is mounted. The kernel does it in steps, each a
/// transaction of its journal: cut in between, it has the size of the last one.
///
/// # Errors
/// `EPERM` without CAP_SYS_RESOURCE or where the file system carries the error flag, `EROFS` where it is mounted
/// read-only, `EINVAL` where the device is shorter.
#[doc(alias = "EXT4_IOC_RESIZE_FS")]
pub fn resize(file: BorrowedFd<'_>, blocks: u64) -> Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64.
    let call = unsafe { Setter::<RESIZE_FS, u64>::new(blocks) };
    // SAFETY: the argument is of the type that the opcode reads.
    unsafe { ioctl(file, call) }
}

const _: () = assert!(RESIZE_FS == 0x4008_6610);
