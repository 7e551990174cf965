// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fork` and `execve`, which rustix keeps to itself.

extern crate alloc;

use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr;

use rustix::fd::BorrowedFd;
use rustix::io::{Errno, Result};
use rustix::process::Pid;

use crate::reboot::errno;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The process that forked, with the child's number.
    Parent(Pid),
}

/// Makes a copy of this process.
///
/// Every program of ours has one thread, so the child may do whatever the parent may.
pub fn fork() -> Result<Fork> {
    let zero: libc::c_ulong = 0;
    // The system call itself: the C library's fork takes care of locks and handlers that nobody here has.
    // SAFETY: without CLONE_VM the child has a copy of everything, its stack included; the process has one thread (PID
    // 1 starts none), so no lock can be held by another at the fork.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, libc::c_long::from(libc::SIGCHLD), zero, zero, zero, zero)
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(Fork::Child),
        Ok(pid) => Pid::from_raw(pid).filter(|_| pid > 0).map(Fork::Parent).ok_or_else(errno),
        Err(_) => Err(errno()),
    }
}

/// Replaces this process by the program at `path`; returns only the reason why that failed.
pub fn execve(path: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> Errno {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: both arrays hold NUL-terminated strings that outlive the call and end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    errno()
}

fn pointers(strings: &[&CStr]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Descriptor 2, wherever it leads: the console, for the kernel's first program.
pub fn stderr() -> BorrowedFd<'static> {
    // SAFETY: no program of ours closes descriptor 2; if it was never open, writing gives EBADF and nothing else.
    unsafe { BorrowedFd::borrow_raw(2) }
}

/// Ends this process at once, without the C library's exit handlers.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit takes any status and touches no memory of ours.
    unsafe { libc::_exit(status) }
}
