// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/reboot.h`: the ways to end a running kernel. Nothing here syncs: the caller does.

use core::ffi::CStr;

use rustix::io::{Errno, Result};
use rustix::system::{RebootCommand, reboot};

/// Restarts the machine; returns only when the kernel refuses.
#[doc(alias = "LINUX_REBOOT_CMD_RESTART")]
pub fn restart() -> Result<()> {
    reboot(RebootCommand::Restart)
}

/// Switches the machine off; returns only when the kernel refuses.
#[doc(alias = "LINUX_REBOOT_CMD_POWER_OFF")]
pub fn power_off() -> Result<()> {
    reboot(RebootCommand::PowerOff)
}

/// Restarts the machine and hands `argument` to the kernel's reboot notifiers and to the firmware: Raspberry Pi
/// kernels make the firmware's tryboot flag of `0 tryboot`, with the blank.
///
/// rustix has no command with an argument.
#[doc(alias = "LINUX_REBOOT_CMD_RESTART2")]
pub fn restart2(argument: &CStr) -> Result<()> {
    // SAFETY: reboot(2) with these magic numbers reads one NUL-terminated string, which `argument` is.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_reboot,
            libc::LINUX_REBOOT_MAGIC1,
            libc::LINUX_REBOOT_MAGIC2,
            libc::LINUX_REBOOT_CMD_RESTART2,
            argument.as_ptr(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(errno()) }
}

/// The C library's `errno` of the call that has just failed.
pub(crate) fn errno() -> Errno {
    // SAFETY: __errno_location returns the address of this thread's errno, always valid.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above: an initialized int of this thread.
    Errno::from_raw_os_error(unsafe { *place })
}
