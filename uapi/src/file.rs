// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and writing at an offset.
//!
//! On 32-bit ARM these calls have six arguments, which take every register that a Thumb instruction can name. Inlined into a
//! function that needs one more they would not compile; as functions of their own they always do, and are shorter.

use rustix::fd::BorrowedFd;
use rustix::io::Result;

/// How many bytes of the file from `offset` on are in `buffer` now.
#[inline(never)]
pub fn pread(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize> {
    rustix::io::pread(file, buffer, offset)
}

/// How many of `bytes` are written from `offset` on.
#[inline(never)]
pub fn pwrite(file: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
    rustix::io::pwrite(file, bytes, offset)
}
