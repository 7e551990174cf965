// SPDX-License-Identifier: MIT OR Apache-2.0
//! The clock of a boot, asked by a system call: the vDSO's parser would cost 3 KB for a call that is made a dozen times.

#[cfg(target_pointer_width = "64")]
use linux_raw_sys::general::__NR_clock_gettime as CLOCK_GETTIME;
// The 64-bit time of 32-bit systems (Linux 5.1).
#[cfg(target_pointer_width = "32")]
use linux_raw_sys::general::__NR_clock_gettime64 as CLOCK_GETTIME;
use linux_raw_sys::general::{__kernel_timespec, CLOCK_BOOTTIME, CLOCK_REALTIME};

use crate::syscall::syscall;

/// Nanoseconds since the kernel started, time spent suspended included.
#[doc(alias = "CLOCK_BOOTTIME")]
pub fn boottime() -> u64 {
    read(CLOCK_BOOTTIME)
}

/// Nanoseconds since 1970, as far as the machine knows.
#[doc(alias = "CLOCK_REALTIME")]
pub fn realtime() -> u64 {
    read(CLOCK_REALTIME)
}

fn read(clock: u32) -> u64 {
    let mut time = __kernel_timespec { tv_sec: 0, tv_nsec: 0 };
    let place = (&raw mut time).expose_provenance();
    // SAFETY: clock_gettime writes one __kernel_timespec, which `time` is.
    // It cannot fail: every kernel since 2.6.39 has these clocks.
    let _ = unsafe { syscall(CLOCK_GETTIME, [clock as usize, place, 0, 0, 0]) };
    time.tv_sec.unsigned_abs().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.unsigned_abs())
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
