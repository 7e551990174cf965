// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the program starts and how it dies: the kernel's entry, the heap, the panic handler.

#![expect(unsafe_code, reason = "the kernel calls the entry and passes raw pointers")]

use core::ffi::{CStr, c_char};
use core::panic::PanicInfo;

use rustix::process::Pid;
use uapi::memory::Heap;

use crate::switch_root::{Start, Strings};
use crate::{boot, kmsg, rescue};

/// A boot takes some tens of KiB; a list of modules may have 64.
#[global_allocator]
static HEAP: Heap<{ 4 << 20 }> = Heap::new();

// memcpy and its family, which the compiler calls; nothing else of the C library is linked.
#[link(name = "c")]
unsafe extern "C" {}

// And of it not even these, where a boot copies some KiB: it has them for megabytes, in five times the code.
// (Procedure Call Standard for the Arm 64-bit Architecture: arguments in x0 to x2, x3 to x6 are free.)
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl memcpy, memset, memcmp, bcmp, strlen",
    "memcpy: mov x3, x0",
    "subs x2, x2, #32",
    "b.lo 1f",
    "0: ldp q0, q1, [x1], #32",
    "stp q0, q1, [x3], #32",
    "subs x2, x2, #32",
    "b.hs 0b",
    // Five bits are left of the length.
    "1: tbz x2, #4, 2f",
    "ldr q0, [x1], #16",
    "str q0, [x3], #16",
    "2: tbz x2, #3, 3f",
    "ldr x4, [x1], #8",
    "str x4, [x3], #8",
    "3: tbz x2, #2, 4f",
    "ldr w4, [x1], #4",
    "str w4, [x3], #4",
    "4: tbz x2, #1, 5f",
    "ldrh w4, [x1], #2",
    "strh w4, [x3], #2",
    "5: tbz x2, #0, 6f",
    "ldrb w4, [x1]",
    "strb w4, [x3]",
    "6: ret",
    "memset: mov x3, x0",
    "dup v0.16b, w1",
    "subs x2, x2, #64",
    "b.lo 1f",
    "0: stp q0, q0, [x3], #32",
    "stp q0, q0, [x3], #32",
    "subs x2, x2, #64",
    "b.hs 0b",
    // And here six.
    "1: tbz x2, #5, 2f",
    "stp q0, q0, [x3], #32",
    "2: tbz x2, #4, 3f",
    "str q0, [x3], #16",
    "3: tbz x2, #3, 4f",
    "str d0, [x3], #8",
    "4: tbz x2, #2, 5f",
    "str s0, [x3], #4",
    "5: tbz x2, #1, 6f",
    "str h0, [x3], #2",
    "6: tbz x2, #0, 7f",
    "strb w1, [x3]",
    "7: ret",
    // Whether two are the same can be said of eight bytes at a time; the rest, and which is less, byte by byte.
    "bcmp: subs x2, x2, #8",
    "b.lo 1f",
    "ldr x4, [x0], #8",
    "ldr x5, [x1], #8",
    "cmp x4, x5",
    "b.eq bcmp",
    "mov w0, #1",
    "ret",
    "1: add x2, x2, #8",
    "memcmp: mov x3, x0",
    "mov w0, #0",
    "2: cbz x2, 3f",
    "ldrb w4, [x3], #1",
    "ldrb w5, [x1], #1",
    "sub x2, x2, #1",
    "subs w0, w4, w5",
    "b.eq 2b",
    "3: ret",
    // 16 bytes at a time, in their place: what is read before the string and behind it lies on the same page. Four bits of
    // x2 are a byte's, those before the string are shifted out.
    "strlen: bic x1, x0, #15",
    "lsl x3, x0, #2",
    "ldr q0, [x1], #16",
    "cmeq v0.16b, v0.16b, #0",
    "shrn v0.8b, v0.8h, #4",
    "fmov x2, d0",
    "lsr x2, x2, x3",
    "mov x3, x0",
    "cbnz x2, 1f",
    "0: mov x3, x1",
    "ldr q0, [x1], #16",
    "cmeq v0.16b, v0.16b, #0",
    "shrn v0.8b, v0.8h, #4",
    "fmov x2, d0",
    "cbz x2, 0b",
    "1: rbit x2, x2",
    "clz x2, x2",
    "sub x0, x3, x0",
    "add x0, x0, x2, lsr #2",
    "ret",
);

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
    // The kernel enters at an even address in ARM state; `bl` is what the linker makes `blx` of where `start` is Thumb code.
    ".arm",
    ".globl pivot_start",
    "pivot_start: mov r11, #0",
    "mov r0, sp",
    "bic sp, sp, #7",
    "bl {start}",
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
    boot::boot(&Start { arguments, environment })
}

/// # Safety
/// `array` is a null-terminated array of C strings that live as long as the process.
unsafe fn strings(array: *const *const c_char) -> Strings<'static> {
    let mut strings = Strings::new(c"");
    for i in 0.. {
        // SAFETY: no element up to i was null, so element i belongs to the array.
        let place = unsafe { array.add(i) };
        // SAFETY: as above.
        let string = unsafe { *place };
        if string.is_null() {
            break;
        }
        // SAFETY: the caller guarantees a C string that lives as long as the process.
        if !strings.push(unsafe { CStr::from_ptr(string) }) {
            break;
        }
    }
    strings
}

/// A panic is a defect of ours. The message is kept, the machine restarts, and a trial is over.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("", 0), |place| (place.file(), place.line()));
    // Where a message has numbers in it, the place has to do: what puts them together would be two KiB.
    kmsg::last_words(info.message().as_str().unwrap_or_default(), file, line);
    rustix::fs::sync();
    // Where the kernel cannot restart, the armed watchdog does.
    let _ = uapi::reboot::restart();
    rescue::halt()
}
