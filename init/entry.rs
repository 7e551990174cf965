// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the program starts and how it dies: the kernel's entry, the heap, the panic handler.

#![expect(unsafe_code, reason = "the kernel calls the entry and passes raw pointers")]

use core::ffi::{CStr, c_char};
use core::panic::PanicInfo;

use alloc::vec::Vec;

use bootsel::text::Decimal;
use rustix::process::Pid;
use uapi::memory::Heap;

use crate::switch_root::Start;
use crate::{boot, kmsg, rescue};

/// A boot holds some tens of KiB at a time; a command line of the kernel's largest size is 4 KiB.
#[global_allocator]
static HEAP: Heap<{ 4 << 20 }> = Heap::new();

// memcpy and its family, which the compiler calls; nothing else of the C library is linked.
#[link(name = "c")]
unsafe extern "C" {}

// core is built to unwind and refers to these two; with panic=abort nothing calls them.
core::arch::global_asm!(
    ".globl rust_eh_personality",
    "rust_eh_personality:",
    ".globl _Unwind_Resume",
    "_Unwind_Resume:",
);

// The kernel starts a program with the stack pointer at the argument count (execve in the ABI supplement of each
// architecture). The frame chain ends here. No C library's start: thread-local storage, `errno` and the constructors
// that it would set up are used by nobody here.
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl pivot_start",
    "pivot_start: mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "b {start}",
    start = sym start,
);
#[cfg(target_arch = "arm")]
core::arch::global_asm!(
    ".globl pivot_start",
    "pivot_start: mov r11, #0",
    "mov lr, #0",
    "mov r0, sp",
    "bic sp, sp, #7",
    "b {start}",
    start = sym start,
);
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl pivot_start",
    "pivot_start: xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    start = sym start,
);

/// More arguments or variables than this the kernel never gives (`MAX_INIT_ARGS`, `MAX_INIT_ENVS`: 32 each).
const STRINGS: usize = 64;

/// Where the kernel's entry leads: `stack` is the argument count, the arguments, null, the environment, null.
extern "C" fn start(stack: *const *const c_char) -> ! {
    if rustix::process::getpid() != Pid::INIT {
        let usage =
            b"init: this is the init of an initramfs and runs as process 1 only; see pivot(7)\n";
        // There is nowhere else to complain.
        let _ = rustix::io::write(uapi::process::stderr(), usage);
        uapi::process::exit(1)
    }
    // SAFETY: the kernel puts the argument count there, and it is a small number.
    let count = unsafe { stack.cast::<usize>().read() };
    // SAFETY: the arguments follow the count, on the same stack.
    let arguments = unsafe { stack.add(1) };
    // SAFETY: the environment follows the arguments and their null.
    let environment = unsafe { stack.add(count.saturating_add(2)) };
    // SAFETY: both are null-terminated arrays of strings of the kernel's, which stay where they are.
    let arguments = unsafe { strings(arguments) };
    // SAFETY: as above.
    let environment = unsafe { strings(environment) };
    boot::boot(Start { arguments, environment })
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
    let (file, line) = info.location().map_or(("", 0), |place| (place.file(), place.line()));
    kmsg::last_words(format_args!("panic: {} ({file}:{})", info.message(), Decimal(line.into())));
    rustix::fs::sync();
    // Where the kernel cannot restart, the armed watchdog does.
    let _ = uapi::reboot::restart();
    rescue::halt()
}
