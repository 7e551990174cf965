// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pivot-image`: what a device boots, made on the host without root rights or loop devices.
//!
//! Everything is reproducible: equal input gives equal files, byte for byte.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::string_slice,
        reason = "tests have numbers of their own"
    )
)]
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a host program: it prints, and a panic over an image of its own making is a bug report"
)]

pub mod artifact;
pub mod bmap;
pub mod boards;
pub mod build;
pub mod bundle;
pub mod cache;
pub mod cli;
pub mod compress;
pub mod config;
pub mod cpio;
pub mod deb;
pub mod disk;
pub mod early;
pub mod eeprom;
pub mod elf;
pub mod ext4;
pub mod fat;
pub mod flash;
pub mod identity;
pub mod initramfs;
pub mod inspect;
pub mod kconfig;
pub mod kernel;
pub mod kernel_build;
pub mod kernelcfg;
pub mod keys;
pub mod lint;
pub mod load;
pub mod machines;
pub mod mksquashfs;
pub mod progress;
pub mod revision;
pub mod root;
pub mod rpi;
pub mod rpidisk;
pub mod run;
pub mod scratch;
pub mod slot;
pub mod soc;
pub mod squashfs;
pub mod tool;
pub mod tree;
pub mod uefi;
