// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fork` and `execve`, which rustix keeps to itself.

use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};

use linux_raw_sys::general::{
    __NR_clone, __NR_execve, __NR_execveat, __NR_exit_group, AT_EMPTY_PATH, SIGCHLD,
};
use rustix::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::process::Pid;

use crate::syscall::syscall;

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
    // SAFETY: without CLONE_VM the child has a copy of everything, its stack included, and no memory is passed; the
    // process has one thread (PID 1 starts none), so no lock can be held by another at the fork.
    let pid = unsafe { syscall(__NR_clone, [SIGCHLD as usize, 0, 0, 0, 0]) }?;
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw).map_or(Fork::Child, Fork::Parent))
}

/// Replaces this process by the program at `path`; returns only the reason why that failed.
pub fn execve(path: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> Errno {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    let addresses = [
        path.as_ptr().expose_provenance(),
        arguments.as_ptr().expose_provenance(),
        environment.as_ptr().expose_provenance(),
        0,
        0,
    ];
    // SAFETY: both arrays hold NUL-terminated strings that outlive the call and end with a null pointer.
    match unsafe { syscall(__NR_execve, addresses) } {
        Err(why) => why,
        // It does not return when it succeeds.
        Ok(_) => Errno::IO,
    }
}

/// Replaces this process by an open program, without an environment; returns only the reason why that failed.
#[doc(alias = "execveat")]
pub fn execute(program: &OwnedFd, arguments: &[&CStr]) -> Errno {
    let arguments = pointers(arguments);
    let environment = pointers(&[]);
    let call = [
        program.as_raw_fd().cast_unsigned() as usize,
        c"".as_ptr().expose_provenance(),
        arguments.as_ptr().expose_provenance(),
        environment.as_ptr().expose_provenance(),
        AT_EMPTY_PATH as usize,
    ];
    // SAFETY: as for `execve`; the path is an empty string.
    match unsafe { syscall(__NR_execveat, call) } {
        Err(why) => why,
        // It does not return when it succeeds.
        Ok(_) => Errno::IO,
    }
}

/// More arguments or variables than init could ever have: the kernel gives 32 of each (`MAX_INIT_ARGS`).
const STRINGS: usize = 56;

/// The null behind them included; more are left out.
fn pointers(strings: &[&CStr]) -> [*const c_char; STRINGS] {
    let mut pointers = [ptr::null(); STRINGS];
    for (to, string) in pointers.iter_mut().take(STRINGS - 1).zip(strings) {
        *to = string.as_ptr();
    }
    pointers
}

/// Descriptor 2, wherever it leads: the console, for the kernel's first program.
pub fn stderr() -> BorrowedFd<'static> {
    // SAFETY: no program of ours closes descriptor 2; if it was never open, writing gives EBADF and nothing else.
    unsafe { BorrowedFd::borrow_raw(2) }
}

/// A descriptor that stays open as long as the process: standard error, until another one is kept.
#[derive(Debug)]
pub struct Kept(AtomicI32);

impl Kept {
    /// Standard error.
    pub const fn stderr() -> Kept {
        Kept(AtomicI32::new(2))
    }

    /// Keeps `descriptor`, which nobody closes any more.
    pub fn keep(&self, descriptor: OwnedFd) {
        self.0.store(descriptor.into_raw_fd(), Ordering::Relaxed);
    }

    /// The one that was kept last.
    pub fn get(&self) -> BorrowedFd<'static> {
        // None is negative. The compiler cannot know that, and would have `borrow_raw` panic at -1.
        let number = self.0.load(Ordering::Relaxed) & i32::MAX;
        // SAFETY: it was given up by its owner in `keep` and is open for ever; for descriptor 2 see `stderr`.
        unsafe { BorrowedFd::borrow_raw(number) }
    }
}

/// Ends this process at once.
pub fn exit(status: u8) -> ! {
    loop {
        // SAFETY: exit_group takes a number and touches no memory. It does not return.
        let _ = unsafe { syscall(__NR_exit_group, [status.into(), 0, 0, 0, 0]) };
    }
}
