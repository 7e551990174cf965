// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/watchdog.h`: the hardware watchdog behind `/dev/watchdog0`.

use rustix::fd::BorrowedFd;
use rustix::io::Result;
use rustix::ioctl::{Getter, NoArg, Opcode, Setter, Updater, ioctl, opcode};

/// The magic letter of the watchdog ioctls (`WATCHDOG_IOCTL_BASE`).
const BASE: u8 = b'W';

const GETSUPPORT: Opcode = opcode::read::<Info>(BASE, 0);
const SETOPTIONS: Opcode = opcode::read::<i32>(BASE, 4);
const KEEPALIVE: Opcode = opcode::read::<i32>(BASE, 5);
const SETTIMEOUT: Opcode = opcode::read_write::<i32>(BASE, 6);
const GETTIMEOUT: Opcode = opcode::read::<i32>(BASE, 7);

/// `WDIOS_ENABLECARD`.
const ENABLECARD: i32 = 2;

/// `struct watchdog_info`: which watchdog this is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The `WDIOF_*` bits that the driver knows.
    pub options: u32,
    /// The version that the driver tells.
    pub firmware_version: u32,
    /// The driver's name for the device, padded with NUL.
    pub identity: [u8; 32],
}

const _: () = assert!(size_of::<Info>() == 40);

/// Which watchdog this is.
#[doc(alias = "WDIOC_GETSUPPORT")]
pub fn get_support(device: BorrowedFd<'_>) -> Result<Info> {
    // SAFETY: WDIOC_GETSUPPORT writes one `struct watchdog_info`, whose layout `Info` has (size asserted above).
    let call = unsafe { Getter::<GETSUPPORT, Info>::new() };
    // SAFETY: the output is of the type that the opcode writes.
    unsafe { ioctl(device, call) }
}

/// The timeout in seconds that the driver works with.
#[doc(alias = "WDIOC_GETTIMEOUT")]
pub fn get_timeout(device: BorrowedFd<'_>) -> Result<i32> {
    // SAFETY: WDIOC_GETTIMEOUT writes one int.
    let call = unsafe { Getter::<GETTIMEOUT, i32>::new() };
    // SAFETY: the output is of the type that the opcode writes.
    unsafe { ioctl(device, call) }
}

/// Sets the timeout in seconds; returns what the driver says that it set, which may be another value.
///
/// # Errors
/// `EINVAL` for a value that the driver refuses, `EOPNOTSUPP` where the timeout is fixed.
#[doc(alias = "WDIOC_SETTIMEOUT")]
pub fn set_timeout(device: BorrowedFd<'_>, seconds: i32) -> Result<i32> {
    let mut value = seconds;
    // SAFETY: WDIOC_SETTIMEOUT reads one int and writes it back.
    let call = unsafe { Updater::<SETTIMEOUT, i32>::new(&mut value) };
    // SAFETY: the argument is of the type that the opcode reads and writes, and outlives the call.
    unsafe { ioctl(device, call) }?;
    Ok(value)
}

/// Feeds the watchdog: its full timeout begins anew.
#[doc(alias = "WDIOC_KEEPALIVE")]
pub fn keepalive(device: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: WDIOC_KEEPALIVE looks at no argument.
    let call = unsafe { NoArg::<KEEPALIVE>::new() };
    // SAFETY: no memory is passed.
    unsafe { ioctl(device, call) }
}

/// Starts the watchdog where opening it does not (`WDIOS_ENABLECARD`); most drivers answer `ENOTTY` or
/// `EOPNOTSUPP`, for them it runs already.
#[doc(alias = "WDIOC_SETOPTIONS")]
pub fn enable_card(device: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: WDIOC_SETOPTIONS reads one int.
    let call = unsafe { Setter::<SETOPTIONS, i32>::new(ENABLECARD) };
    // SAFETY: the argument is of the type that the opcode reads.
    unsafe { ioctl(device, call) }
}
