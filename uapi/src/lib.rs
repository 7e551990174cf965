// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel interfaces that rustix lacks, one file per kernel header, and what stands in for a runtime: the heap,
//! `fork`, `execve`, `open`.
//!
//! This is the only crate with unsafe code (beside the C entry of `init`). It decides nothing and logs nothing:
//! every function is one call of the kernel with its arguments typed.

#![no_std]
#![expect(unsafe_code, reason = "this crate is the fence around it")]

pub mod blkpg;
pub mod clock;
pub mod directory;
pub mod ext4;
pub mod file;
pub mod loop_device;
pub mod memory;
pub mod mmc;
pub mod netlink;
pub mod open;
pub mod process;
pub mod reboot;
pub mod signal;
pub mod stat;
mod syscall;
pub mod vcio;
pub mod watchdog;
