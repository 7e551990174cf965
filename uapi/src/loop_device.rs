// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/loop.h`: block devices backed by files.

use core::ffi::c_void;
use core::mem::{MaybeUninit, size_of};

use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO, LO_FLAGS_READ_ONLY, LOOP_CONFIGURE, LOOP_CTL_GET_FREE,
    loop_config,
};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Result;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, ioctl};

/// What one `LOOP_CONFIGURE` sets up: the backing file and how it is used.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    /// The file that the loop device shows; the kernel holds a reference of its own from then on.
    pub backing: BorrowedFd<'a>,
    /// `LO_FLAGS_READ_ONLY`.
    pub read_only: bool,
    /// `LO_FLAGS_AUTOCLEAR`: the device frees itself when its last user (the mount) goes.
    pub autoclear: bool,
    /// `LO_FLAGS_DIRECT_IO`: the backing file is read without its page cache.
    pub direct_io: bool,
    /// Where in the file the device begins, in bytes.
    pub offset: u64,
    /// How long the device is, in bytes; 0 is the rest of the file.
    pub size_limit: u64,
    /// Logical block size in bytes; 0 leaves it to the kernel (512).
    pub block_size: u32,
    /// What sysfs and `losetup` show as the file's name; cut at 63 bytes.
    pub file_name: &'a [u8],
}

// linux/loop.h, the same on 32- and 64-bit.
const _: () = assert!(size_of::<loop_config>() == 304);

struct GetFree;

// SAFETY: LOOP_CTL_GET_FREE takes no argument and returns the number; no memory is touched.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE as Opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        core::ptr::null_mut()
    }

    unsafe fn output_from_ptr(number: IoctlOutput, _: *mut c_void) -> Result<u32> {
        Ok(number.unsigned_abs())
    }
}

/// The number of a loop device that nobody uses, made if there is none.
///
/// `control` is `/dev/loop-control`. Another process may take the device first; [`configure`] then fails with
/// `EBUSY`.
#[doc(alias = "LOOP_CTL_GET_FREE")]
pub fn get_free(control: BorrowedFd<'_>) -> Result<u32> {
    // SAFETY: `GetFree` describes LOOP_CTL_GET_FREE as linux/loop.h defines it: no argument.
    unsafe { ioctl(control, GetFree) }
}

/// Binds a file to the loop device `device` in one step (Linux 5.8).
#[doc(alias = "LOOP_CONFIGURE")]
pub fn configure(device: BorrowedFd<'_>, config: &Config<'_>) -> Result<()> {
    let raw = raw(config);
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, which `raw` is (size asserted above).
    let call = unsafe { Setter::<{ LOOP_CONFIGURE as Opcode }, loop_config>::new(raw) };
    // SAFETY: the argument is of the type that the opcode reads, and lives until the call returns.
    unsafe { ioctl(device, call) }
}

fn raw(config: &Config<'_>) -> loop_config {
    let zero = MaybeUninit::<loop_config>::zeroed();
    // SAFETY: `struct loop_config` is integers and arrays of them: all zero bytes are a valid value.
    let mut raw = unsafe { zero.assume_init() };
    raw.fd = config.backing.as_raw_fd().unsigned_abs();
    raw.block_size = config.block_size;
    raw.info.lo_offset = config.offset;
    raw.info.lo_sizelimit = config.size_limit;
    let flag = |wanted, flag| if wanted { flag } else { 0 };
    raw.info.lo_flags = flag(config.read_only, LO_FLAGS_READ_ONLY as u32)
        | flag(config.autoclear, LO_FLAGS_AUTOCLEAR as u32)
        | flag(config.direct_io, LO_FLAGS_DIRECT_IO as u32);
    // One byte less than the field: the kernel shows it as a C string.
    for (to, from) in raw.info.lo_file_name.iter_mut().take(63).zip(config.file_name) {
        *to = *from;
    }
    raw
}
