// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/dirent.h`: what a directory holds. rustix' reader indexes slices, and core's messages for that come with it.

use core::ffi::CStr;

use linux_raw_sys::general::__NR_getdents64;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Result;

use crate::syscall::syscall;

/// `DT_DIR`
const DIRECTORY: u8 = 4;
/// Where an entry has its own length, its type and its name.
const LENGTH_AT: usize = 16;
const TYPE_AT: usize = 18;
const NAME_AT: usize = 19;

/// Some of a directory's entries.
#[derive(Debug)]
pub struct Entries<'a>(&'a [u8]);

/// Reads the next entries, as many as the buffer holds; none at the end. 300 bytes are enough for any.
#[doc(alias = "getdents64")]
pub fn read<'a>(directory: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Result<Entries<'a>> {
    let descriptor = directory.as_raw_fd().unsigned_abs() as usize;
    let place = buffer.as_mut_ptr().expose_provenance();
    // SAFETY: getdents64 writes at most as many bytes as the buffer is said to have.
    let length = unsafe { syscall(__NR_getdents64, [descriptor, place, buffer.len(), 0, 0]) }?;
    Ok(Entries(buffer.get(..length).unwrap_or_default()))
}

/// The name, and whether it is a directory.
impl<'a> Iterator for Entries<'a> {
    type Item = (&'a CStr, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let length = self.0.get(LENGTH_AT..)?.first_chunk().copied().map(u16::from_ne_bytes)?;
        let (entry, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        let is_directory = entry.get(TYPE_AT) == Some(&DIRECTORY);
        let name = entry.get(NAME_AT..)?.as_ptr().cast();
        // SAFETY: the kernel ends every name with NUL, within the entry's length, and the buffer is borrowed as long.
        Some((unsafe { CStr::from_ptr(name) }, is_directory))
    }
}
