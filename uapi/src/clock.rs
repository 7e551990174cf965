// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clock of a boot, asked by a system call: the vDSO's parser would cost 3 KB for a call that is made a dozen times.

use libc::{c_long, syscall};

/// The kernel's `struct __kernel_timespec`, the same on every architecture.
#[repr(C)]
#[derive(Default)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

#[cfg(target_pointer_width = "64")]
const CLOCK_GETTIME: c_long = libc::SYS_clock_gettime;
/// The 64-bit time of 32-bit systems (Linux 5.1); libc has no name for it on every target.
#[cfg(target_pointer_width = "32")]
const CLOCK_GETTIME: c_long = 403;

/// Nanoseconds since the kernel started, time spent suspended included.
#[doc(alias = "CLOCK_BOOTTIME")]
pub fn boottime() -> u64 {
    let mut time = Timespec::default();
    // SAFETY: clock_gettime writes one __kernel_timespec, whose layout `Timespec` has. It cannot fail: the clock exists
    // in every kernel (2.6.39).
    unsafe { syscall(CLOCK_GETTIME, libc::CLOCK_BOOTTIME, &raw mut time) };
    time.seconds
        .unsigned_abs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.nanoseconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::boottime;

    #[test]
    fn it_runs_forward() {
        let earlier = boottime();
        assert!(earlier > 0 && boottime() >= earlier);
    }
}
