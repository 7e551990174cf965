// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/stat.h`: what an open file is. rustix has it too, on 32-bit machines with the calls of Linux before 4.11 behind it, in
//! more than a KiB.

use core::mem::{MaybeUninit, size_of};

use linux_raw_sys::general::{
    __NR_statx, AT_EMPTY_PATH, S_IFMT, S_IFREG, STATX_BASIC_STATS, statx as Raw,
};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Result;

use crate::syscall::syscall;

/// What an open file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Who may do what with it, as chmod(2) takes it.
    pub permissions: u32,
    /// Its length in bytes.
    pub size: u64,
    /// Major and minor number of the device that its file system is on.
    pub device: (u32, u32),
}

const _: () = assert!(size_of::<Raw>() == 256);

/// What `file` is; it may have been opened with `O_PATH`.
#[doc(alias = "statx")]
pub fn status(file: BorrowedFd<'_>) -> Result<Status> {
    let zero = MaybeUninit::<Raw>::zeroed();
    // SAFETY: `struct statx` is integers: all zero bytes are a valid value.
    let mut raw = unsafe { zero.assume_init() };
    let descriptor = file.as_raw_fd().cast_unsigned() as usize;
    let place = (&raw mut raw).expose_provenance();
    let (flags, mask) = (AT_EMPTY_PATH as usize, STATX_BASIC_STATS as usize);
    let path = c"".as_ptr().expose_provenance();
    // SAFETY: statx reads a C string and writes one `struct statx` (size asserted above), which `raw` is.
    unsafe { syscall(__NR_statx, [descriptor, path, flags, mask, place]) }?;
    let mode = u32::from(raw.stx_mode);
    Ok(Status {
        is_file: mode & S_IFMT == S_IFREG,
        permissions: mode & 0o7777,
        size: raw.stx_size,
        device: (raw.stx_dev_major, raw.stx_dev_minor),
    })
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::open::open_text;
    use rustix::fd::AsFd;
    use rustix::fs::OFlags;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn as_std_sees_it() {
        let this = std::env::current_exe().unwrap();
        let file = open_text(this.to_str().unwrap(), OFlags::RDONLY, 0).unwrap();
        let found = status(file.as_fd()).unwrap();
        let expected = std::fs::metadata(&this).unwrap();
        assert!(found.is_file);
        assert_eq!(found.size, expected.len());
        assert_eq!(found.permissions, expected.mode() & 0o7777);
        let (major, minor) = found.device;
        assert_eq!(rustix::fs::makedev(major, minor), expected.dev());

        let root = open_text("/", OFlags::PATH | OFlags::DIRECTORY, 0).unwrap();
        assert!(!status(root.as_fd()).unwrap().is_file);
    }
}
