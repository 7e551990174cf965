// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which slot boots: the formats and the decisions. What the image builder writes and what init and
//! the device tool read is this one code.
//!
//! Pure: bytes and plain values in, bytes and plain values out. No I/O, no clock, no allocation that
//! a hostile disk could choose the size of, and nothing here panics: PID 1 runs it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod autoboot;
pub mod board;
pub mod bundle;
pub mod date;
pub mod eeprom;
pub mod emmc;
pub mod fat;
pub mod grubenv;
pub mod list;
pub mod log;
pub mod manifest;
pub mod ptable;
pub mod slot;
pub mod state;
pub mod tar;
pub mod text;

pub use slot::Slot;
