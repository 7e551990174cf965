// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the init of the test root reports, and how it travels: the guest's program writes it, the host's reads it.

pub mod frame;
pub mod report;

pub use report::Report;

/// The device that the report leaves by: the second PL011 of QEMU's `virt` machine, whose driver every Arm kernel has
/// built in. A virtio console would need a module, and modules are what is tested.
pub const CHANNEL: &str = "/dev/ttyAMA1";

/// The device that it leaves by where there is no [`CHANNEL`], as on QEMU's Raspberry Pi machines: the console, between what
/// others write there.
pub const CONSOLE: &str = "/dev/console";
