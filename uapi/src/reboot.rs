// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/reboot.h`: the ways to end a running kernel. Nothing here syncs: the caller does.

use core::ffi::CStr;

use linux_raw_sys::general::{
    __NR_reboot, LINUX_REBOOT_CMD_RESTART2, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
};
use rustix::io::Result;
use rustix::system::{RebootCommand, reboot};

use crate::syscall::syscall;

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
    let arguments = [
        LINUX_REBOOT_MAGIC1 as usize,
        LINUX_REBOOT_MAGIC2 as usize,
        LINUX_REBOOT_CMD_RESTART2 as usize,
        argument.as_ptr().expose_provenance(),
        0,
    ];
    // SAFETY: reboot(2) with these magic numbers reads one NUL-terminated string, which `argument` is.
    unsafe { syscall(__NR_reboot, arguments) }.map(drop)
}
