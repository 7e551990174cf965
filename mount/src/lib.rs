// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block devices by name, loop images, overlays, and mounts in the new root.
//!
//! It mounts what it is told to and says exactly what went wrong. It knows nothing of slots, revisions or the
//! command line, retries nothing for ever, and never logs an error that it also returns.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[macro_use]
pub mod text;
#[macro_use]
mod error;

pub mod api;
pub mod block;
pub mod device;
pub mod errno;
pub mod file;
pub mod filesystem;
pub mod image;
pub mod new_root;
pub mod overlay;
pub mod partition;
pub mod superblock;
pub mod uevent;
pub mod wait;

pub use error::Error;
