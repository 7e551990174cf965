// SPDX-License-Identifier: MIT OR Apache-2.0
//! What gives a new descriptor, and what takes a path. rustix has all of it; how it makes a path of a text is more than a
//! KiB of PID 1.

use core::ffi::CStr;
use core::mem::{MaybeUninit, size_of};

use linux_raw_sys::general::{
    __NR_faccessat, __NR_fchmodat, __NR_memfd_create, __NR_mkdirat, __NR_open_tree, __NR_openat,
    __NR_openat2, __NR_socket, O_LARGEFILE, open_how,
};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{CWD, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use rustix::mount::OpenTreeFlags;

use crate::memory;
use crate::syscall::syscall;

/// `PATH_MAX` of linux/limits.h, the NUL included.
const LONGEST: usize = 4096;

/// Text as system calls take it, for as long as the program runs.
///
/// # Errors
/// `EINVAL` where a NUL would cut it short.
pub fn c_string(text: &str) -> Result<&'static CStr> {
    let bytes = memory::bytes(text.len().saturating_add(1));
    if let Some(room) = bytes.get_mut(..text.len()) {
        room.copy_from_slice(text.as_bytes());
    }
    // SAFETY: a zero is left behind the text, and nobody changes what this function alone has.
    let whole = unsafe { CStr::from_ptr(bytes.as_ptr().cast()) };
    if whole.count_bytes() == text.len() { Ok(whole) } else { Err(Errno::INVAL) }
}

/// A call that takes a path, which begins in `directory`; the text is copied to the stack.
///
/// # Safety
/// As for [`syscall`], with `rest` behind directory and path.
#[inline(never)]
unsafe fn at(call: u32, directory: BorrowedFd<'_>, path: &str, rest: [usize; 3]) -> Result<usize> {
    let mut place = [const { MaybeUninit::<u8>::uninit() }; LONGEST];
    let Some((end, room)) = place.get_mut(..=path.len()).and_then(|place| place.split_last_mut())
    else {
        return Err(Errno::NAMETOOLONG);
    };
    room.write_copy_of_slice(path.as_bytes());
    end.write(0);
    // SAFETY: the path was just written, and a zero behind it.
    if unsafe { CStr::from_ptr(place.as_ptr().cast()) }.count_bytes() != path.len() {
        return Err(Errno::INVAL);
    }
    let [a, b, c] = rest;
    // SAFETY: the caller vouches for the rest; the path is a C string, which outlives the call.
    unsafe { syscall(call, [number(directory), place.as_ptr().expose_provenance(), a, b, c]) }
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

/// The same, where the path is text.
pub fn open_text(path: &str, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let flags = (flags.bits() | O_LARGEFILE) as usize;
    // SAFETY: openat reads a path, and gives a descriptor.
    unsafe { descriptor_at(__NR_openat, CWD, path, [flags, mode as usize, 0]) }
}

/// Opens a path that cannot lead out of `root`, whatever links are on its way.
#[doc(alias = "openat2")]
pub fn open_in_root(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let how =
        open_how { flags: flags.bits().into(), mode: 0, resolve: ResolveFlags::IN_ROOT.bits() };
    let place = (&raw const how).expose_provenance();
    // SAFETY: openat2 reads a path and one `struct open_how` of the size that is said, and gives a descriptor.
    unsafe { descriptor_at(__NR_openat2, root, path, [place, size_of::<open_how>(), 0]) }
}

/// A descriptor of the mount at `path`, or of a copy of it.
pub fn open_tree(path: &str, flags: OpenTreeFlags) -> Result<OwnedFd> {
    // SAFETY: open_tree reads a path and gives a descriptor.
    unsafe { descriptor_at(__NR_open_tree, CWD, path, [flags.bits() as usize, 0, 0]) }
}

/// Whether there is something at `path`.
#[doc(alias = "faccessat")]
pub fn exists(path: &str) -> bool {
    // SAFETY: faccessat reads a path; mode 0 asks whether it is there.
    unsafe { at(__NR_faccessat, CWD, path, [0; 3]) }.is_ok()
}

/// Makes a directory.
#[doc(alias = "mkdirat")]
pub fn mkdir(path: &str, mode: u32) -> Result<()> {
    // SAFETY: mkdirat reads a path.
    unsafe { at(__NR_mkdirat, CWD, path, [mode as usize, 0, 0]) }.map(drop)
}

/// Says who may do what with a file.
#[doc(alias = "fchmodat")]
pub fn chmod(path: &str, mode: u32) -> Result<()> {
    // SAFETY: fchmodat reads a path.
    unsafe { at(__NR_fchmodat, CWD, path, [mode as usize, 0, 0]) }.map(drop)
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
unsafe fn descriptor(call: u32, arguments: [usize; 5]) -> Result<OwnedFd> {
    // SAFETY: the caller vouches for number and arguments.
    let answer = unsafe { syscall(call, arguments) };
    // SAFETY: it is a new descriptor, as the caller says.
    unsafe { owned(answer) }
}

/// # Safety
/// As for [`at`]; and what the call gives is a new descriptor, which nobody else owns.
unsafe fn descriptor_at(
    call: u32,
    directory: BorrowedFd<'_>,
    path: &str,
    rest: [usize; 3],
) -> Result<OwnedFd> {
    // SAFETY: the caller vouches for the call and what it takes.
    let answer = unsafe { at(call, directory, path, rest) };
    // SAFETY: it is a new descriptor, as the caller says.
    unsafe { owned(answer) }
}

/// # Safety
/// What the call gave is a new descriptor, which nobody else owns.
#[inline(never)]
unsafe fn owned(answer: Result<usize>) -> Result<OwnedFd> {
    let number = i32::try_from(answer?).map_err(|_| Errno::BADF)?;
    // SAFETY: it is new and nobody else's, as the caller says.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(c_string("/a b"), Ok(c"/a b"));
        assert_eq!(c_string(""), Ok(c""));
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
        assert!(open_in_root(proc_fd(&proc), "/self/status", flags).is_ok());
        let out = open_in_root(proc_fd(&proc), "/../proc/self/status", flags);
        assert!(matches!(out, Err(Errno::NOENT)), "{out:?}");
        for (path, why) in [("/pr\0oc", Errno::INVAL), (&*"/".repeat(4096), Errno::NAMETOOLONG)] {
            assert_eq!(open_text(path, flags, 0).map(drop), Err(why));
        }
        assert!(open_text(&"/".repeat(4095), flags, 0).is_ok());
        assert!(exists("/proc/self") && !exists("/proc/nothing") && !exists(""));
        let memory = memfd_create(c"test").unwrap();
        assert_eq!(rustix::io::pwrite(&memory, b"x", 0), Ok(1));
        let socket = uevent_socket().unwrap();
        assert!(matches!(crate::netlink::receive(proc_fd(&socket), &mut text), Err(Errno::AGAIN)));
    }

    fn proc_fd(descriptor: &OwnedFd) -> BorrowedFd<'_> {
        rustix::fd::AsFd::as_fd(descriptor)
    }
}
