// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/blkpg.h`: the kernel's own list of a disk's partitions.

use core::ffi::{c_int, c_void};
use core::mem::size_of;

use rustix::fd::BorrowedFd;
use rustix::io::Result;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `BLKPG`
const BLKPG: Opcode = opcode::none(0x12, 105);
/// `BLKPG_RESIZE_PARTITION`
const RESIZE_PARTITION: c_int = 3;

/// `struct blkpg_partition`. Both names are ignored.
#[repr(C)]
struct Partition {
    start: u64,
    length: u64,
    number: c_int,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`
#[repr(C)]
struct Argument {
    operation: c_int,
    flags: c_int,
    length: c_int,
    data: *mut c_void,
}

const LENGTH: c_int = 152;

// A 32-bit Arm program aligns long long to 8 bytes, too.
const _: () = assert!(size_of::<Partition>() == LENGTH.unsigned_abs() as usize);
const _: () = assert!(size_of::<Argument>() == if size_of::<usize>() == 8 { 24 } else { 16 });

/// Tells the kernel the length of a partition, which may be in use; `disk` is the whole disk. All but the number is in
/// bytes, and `start` is where the kernel has it. What the disk's table says is not looked at.
///
/// # Errors
/// `EBUSY` where another partition lies there, `EINVAL` for a wrong start, `ENXIO` for a number that there is not.
#[doc(alias = "BLKPG_RESIZE_PARTITION")]
pub fn resize_partition(disk: BorrowedFd<'_>, number: u32, start: u64, length: u64) -> Result<()> {
    let mut partition = Partition { start, length, number: number.cast_signed(), names: [0; 128] };
    let argument = Argument {
        operation: RESIZE_PARTITION,
        flags: 0,
        length: LENGTH,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: BLKPG reads one `struct blkpg_ioctl_arg`, whose layout `Argument` has (size asserted above).
    let call = unsafe { Setter::<BLKPG, Argument>::new(argument) };
    // SAFETY: the argument is of the type that the opcode reads; for this operation its pointer leads to a
    // `struct blkpg_partition`, which `partition` is (size asserted above) and which outlives the call.
    unsafe { ioctl(disk, call) }
}
