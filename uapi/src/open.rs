// SPDX-License-Identifier: MIT OR Apache-2.0
//! What gives a new descriptor, and a path as it wants one. rustix has all of it, and alloc the path; their assertion, which
//! formats two numbers, and their search for NUL are more than a KiB of PID 1.

extern crate alloc;

use alloc::ffi::CString;
use core::ffi::CStr;
use core::mem::size_of;

use linux_raw_sys::general::{
    __NR_memfd_create, __NR_open_tree, __NR_openat, __NR_openat2, __NR_socket, O_LARGEFILE,
    open_how,
};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{CWD, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use rustix::mount::OpenTreeFlags;

use crate::syscall::syscall;

/// Text as system calls take it.
///
/// # Errors
/// `EINVAL` where a NUL would cut it short.
pub fn c_string(text: &str) -> Result<CString> {
    if text.bytes().any(|byte| byte == 0) {
        return Err(Errno::INVAL);
    }
    // SAFETY: there is no NUL in it.
    Ok(unsafe { CString::from_vec_unchecked(text.into()) })
}

/// Opens a file, which is created with this mode if the flags say so.
pub fn open(path: &CStr, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    openat(CWD, path, flags, mode)
}

/// The same, where `path` begins in `directory`.
pub fn openat(directory: BorrowedFd<'_>, path: &CStr, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let flags = (flags.bits() | O_LARGEFILE) as usize;
    let arguments = [number(directory), address(path), flags, mode as usize, 0];
    // SAFETY: openat reads a C string, which `path` is, and gives a descriptor.
    unsafe { descriptor(__NR_openat, arguments) }
}

/// Opens a path that cannot lead out of `root`, whatever links are on its way.
#[doc(alias = "openat2")]
pub fn open_in_root(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd> {
    let how =
        open_how { flags: flags.bits().into(), mode: 0, resolve: ResolveFlags::IN_ROOT.bits() };
    let place = (&raw const how).expose_provenance();
    let arguments = [number(root), address(path), place, size_of::<open_how>(), 0];
    // SAFETY: openat2 reads a C string and one `struct open_how` of the size that is said, and gives a descriptor.
    unsafe { descriptor(__NR_openat2, arguments) }
}

/// A descriptor of the mount at `path`, or of a copy of it.
pub fn open_tree(path: &CStr, flags: OpenTreeFlags) -> Result<OwnedFd> {
    let arguments = [number(CWD), address(path), flags.bits() as usize, 0, 0];
    // SAFETY: open_tree reads a C string and gives a descriptor.
    unsafe { descriptor(__NR_open_tree, arguments) }
}

/// A file in memory that stays open over an exec.
pub fn memfd_create(name: &CStr) -> Result<OwnedFd> {
    // SAFETY: memfd_create reads a C string and gives a descriptor.
    unsafe { descriptor(__NR_memfd_create, [address(name), 0, 0, 0, 0]) }
}

/// A socket for datagrams of the kernel's uevents, closed by an exec; reading it does not wait.
pub fn uevent_socket() -> Result<OwnedFd> {
    /// `AF_NETLINK`, and of its protocols `NETLINK_KOBJECT_UEVENT`; `SOCK_DGRAM`. The flags are those of open(2).
    const FAMILY: usize = 16;
    const PROTOCOL: usize = 15;
    const DATAGRAMS: u32 = 2;
    let kind = DATAGRAMS | OFlags::NONBLOCK.bits() | OFlags::CLOEXEC.bits();
    // SAFETY: socket takes numbers and gives a descriptor.
    unsafe { descriptor(__NR_socket, [FAMILY, kind as usize, PROTOCOL, 0, 0]) }
}

fn number(descriptor: BorrowedFd<'_>) -> usize {
    descriptor.as_raw_fd().cast_unsigned() as usize
}

fn address(text: &CStr) -> usize {
    text.as_ptr().expose_provenance()
}

/// # Safety
/// As for [`syscall`]; and what the call gives is a new descriptor, which nobody else owns.
#[inline(never)]
unsafe fn descriptor(call: u32, arguments: [usize; 5]) -> Result<OwnedFd> {
    // SAFETY: the caller vouches for number and arguments.
    let number = unsafe { syscall(call, arguments) }?;
    let number = i32::try_from(number).map_err(|_| Errno::BADF)?;
    // SAFETY: it is new and nobody else's, as the caller says.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(c_string("/a b").as_deref(), Ok(c"/a b"));
        assert_eq!(c_string("").as_deref(), Ok(c""));
        assert_eq!(c_string("a\0b"), Err(Errno::INVAL));
    }

    #[test]
    fn every_call_gives_a_descriptor_or_the_reason() {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let proc = open(c"/proc", flags | OFlags::DIRECTORY, 0).unwrap();
        let status = openat(proc_fd(&proc), c"self/status", flags, 0).unwrap();
        let mut text = [0; 5];
        assert_eq!((rustix::io::read(&status, &mut text), &text), (Ok(5), b"Name:"));
        assert!(matches!(open(c"/proc/nothing", flags, 0), Err(Errno::NOENT)));
        assert!(open_in_root(proc_fd(&proc), c"/self/status", flags).is_ok());
        let out = open_in_root(proc_fd(&proc), c"/../proc/self/status", flags);
        assert!(matches!(out, Err(Errno::NOENT)), "{out:?}");
        let memory = memfd_create(c"test").unwrap();
        assert_eq!(rustix::io::pwrite(&memory, b"x", 0), Ok(1));
        let socket = uevent_socket().unwrap();
        assert!(matches!(crate::netlink::receive(proc_fd(&socket), &mut text), Err(Errno::AGAIN)));
    }

    fn proc_fd(descriptor: &OwnedFd) -> BorrowedFd<'_> {
        rustix::fd::AsFd::as_fd(descriptor)
    }
}
