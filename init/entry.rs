// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the program starts and how it dies: C's `main`, the heap, the panic handler.

#![expect(unsafe_code, reason = "main is called by C")]

use core::ffi::{CStr, c_char, c_int};
use core::panic::PanicInfo;

use alloc::vec::Vec;
use rustix::process::Pid;
use uapi::memory::Heap;

use crate::switch_root::Start;
use crate::{boot, kmsg, rescue};

/// A boot holds some tens of KiB at a time; a command line of the kernel's largest size is 4 KiB.
#[global_allocator]
static HEAP: Heap<{ 4 << 20 }> = Heap::new();

// What goes before `main` in a C program: __libc_start_main.
#[link(name = "c")]
unsafe extern "C" {}

// core is built to unwind and refers to these two; with panic=abort nothing calls them.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    "rust_eh_personality:",
    ".globl _Unwind_Resume",
    "_Unwind_Resume:",
);

/// More arguments or variables than this the kernel never gives (`MAX_INIT_ARGS`, `MAX_INIT_ENVS`: 32 each).
const STRINGS: usize = 64;

/// Called by the C library's start.
///
/// # Safety
/// `arguments` and `environment` are null-terminated arrays of C strings that live as long as the process, as the C
/// library passes them.
#[unsafe(no_mangle)]
unsafe extern "C" fn main(
    _: c_int,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> c_int {
    if rustix::process::getpid() != Pid::INIT {
        let usage =
            b"init: this is the init of an initramfs and runs as process 1 only; see pivot(7)\n";
        // There is nowhere else to complain.
        let _ = rustix::io::write(uapi::process::stderr(), usage);
        return 1;
    }
    // SAFETY: the caller's contract is that of `strings`.
    let arguments = unsafe { strings(arguments) };
    // SAFETY: as above.
    let environment = unsafe { strings(environment) };
    boot::boot(Start::new(&arguments, &environment))
}

/// # Safety
/// `array` is a null-terminated array of C strings that live as long as the process.
unsafe fn strings(array: *const *const c_char) -> Vec<&'static CStr> {
    let mut strings = Vec::new();
    for i in 0..STRINGS {
        // SAFETY: no element up to i was null, so element i belongs to the array.
        let place = unsafe { array.add(i) };
        // SAFETY: as above.
        let string = unsafe { *place };
        if string.is_null() {
            break;
        }
        // SAFETY: the caller guarantees a C string that lives as long as the process.
        strings.push(unsafe { CStr::from_ptr(string) });
    }
    strings
}

/// A panic is a defect of ours. The message is kept, the machine restarts, and a trial is over.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => kmsg::last_words(format_args!("panic: {} ({place})", info.message())),
        None => kmsg::last_words(format_args!("panic: {}", info.message())),
    }
    rustix::fs::sync();
    // Where the kernel cannot restart, the armed watchdog does.
    let _ = uapi::reboot::restart();
    rescue::halt()
}
