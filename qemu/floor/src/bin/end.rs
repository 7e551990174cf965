// SPDX-License-Identifier: MIT OR Apache-2.0
//! The init of a measured boot's root: its first instruction is the mark at which counting ends. It asks the kernel how much
//! memory process 1 had at most until now, which an exec does not reset, and leaves the report to the witness.

#![cfg_attr(all(target_arch = "aarch64", target_env = "musl"), no_std, no_main)]
#![cfg_attr(
    all(target_arch = "aarch64", target_env = "musl"),
    expect(unsafe_code, reason = "the kernel's entry")
)]

extern crate alloc;

use alloc::ffi::CString;
use alloc::format;

floor::entry!("mov x28, x28", main_end);

fn main_end() -> ! {
    let peak = peak_kib();
    // A kernel without an initramfs leaves them to the root's init.
    if !uapi::open::exists("/proc/self")
        && let Err(why) = floor::kernels_file_systems()
    {
        floor::fail(why);
    }
    let peak = CString::new(format!("PEAK_KIB={peak}")).unwrap_or_default();
    let witness = c"/sbin/witness";
    floor::fail(uapi::process::execve(witness, &[witness], &[&peak]))
}

/// `ru_maxrss` of getrusage(2), in KiB.
#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
fn peak_kib() -> u64 {
    let mut usage = [0_u64; 18];
    let place = usage.as_mut_ptr();
    // SAFETY: 165 is getrusage, 0 RUSAGE_SELF; it writes a `struct rusage`, 18 words on 64-bit machines, which `usage` is.
    unsafe {
        core::arch::asm!("svc 0", in("x8") 165, inlateout("x0") 0_usize => _, in("x1") place, options(nostack));
    }
    usage.get(4).copied().unwrap_or_default()
}

/// See above.
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
fn peak_kib() -> u64 {
    0
}
