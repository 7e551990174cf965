// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system call instruction, for the few calls that rustix does not offer.
//!
//! Not through the C library: its wrapper keeps `errno` in thread-local storage, which somebody would have to set up.

use core::arch::asm;

use rustix::io::{Errno, Result};

/// One system call with five arguments; a call with fewer does not look at the others.
///
/// # Safety
/// The arguments are what the call `number` expects, and what it reads or writes in memory is valid for it.
pub(crate) unsafe fn syscall(number: u32, arguments: [usize; 5]) -> Result<usize> {
    let [a, b, c, d, e] = arguments;
    let mut answer: isize;
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel's convention (syscall(2)): number in x8, answer in x0, nothing else is changed but memory,
    // for which the caller vouches.
    unsafe {
        asm!("svc 0", in("x8") number as usize, inlateout("x0") a => answer, in("x1") b, in("x2") c, in("x3") d,
            in("x4") e, options(nostack));
    }
    #[cfg(target_arch = "arm")]
    // SAFETY: as above, with r7 and r0. Thumb code keeps r7 for the frame, so it is put aside, where only a register of the
    // upper half is free: ARM code does with that, too.
    unsafe {
        asm!("mov r8, r7", "mov r7, r5", "svc 0", "mov r7, r8", in("r5") number, out("r8") _,
            inlateout("r0") a => answer, in("r1") b, in("r2") c, in("r3") d, in("r4") e, options(nostack));
    }
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above, with rax; the instruction itself overwrites rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") number as usize => answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // -4095 to -1 are error numbers (MAX_ERRNO of linux/err.h).
    match answer {
        -4095..=-1 => {
            Err(Errno::from_raw_os_error(i32::try_from(answer.unsigned_abs()).unwrap_or(0)))
        }
        answer => Ok(answer.unsigned_abs()),
    }
}
