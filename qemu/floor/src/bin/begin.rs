// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first program of a measured boot (`rdinit=/begin`): executes the mark from which instructions are counted and becomes
//! `/init`, whose bytes stay what they are.

#![cfg_attr(all(target_arch = "aarch64", target_env = "musl"), no_std, no_main)]
#![cfg_attr(
    all(target_arch = "aarch64", target_env = "musl"),
    expect(unsafe_code, reason = "the kernel's entry")
)]

#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
use floor as _;

// The stack has the argument count, the arguments, null, the environment, null: the same for the next program but for its
// name. 221 is execve(2), 94 exit_group(2).
#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
core::arch::global_asm!(
    ".globl floor_start",
    "floor_start: mov x27, x27",
    "adr x0, 1f",
    "str x0, [sp, #8]",
    "ldr x2, [sp]",
    "add x1, sp, #8",
    "add x2, x1, x2, lsl #3",
    "add x2, x2, #8",
    "mov x8, #221",
    "svc #0",
    "mov x0, #127",
    "mov x8, #94",
    "svc #0",
    "1: .asciz \"/init\"",
);

/// For the machine that is measured alone.
#[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
fn main() {}
