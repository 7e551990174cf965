// SPDX-License-Identifier: MIT OR Apache-2.0
//! `mount` on the kernel of this machine: real loop devices, squashfs, ext4, overlayfs, tmpfs, partitions, uevents.
//!
//! As root. Each test has a mount namespace of its own, so they run at the same time and leave nothing behind. What
//! cannot be shown here: vfat (the kernel of a test machine may lack it), and a root that is the kernel's rootfs.

#[path = "mounts/devices.rs"]
mod devices;
#[path = "mounts/filesystems.rs"]
mod filesystems;
#[path = "mounts/images.rs"]
mod images;
#[path = "mounts/new_root.rs"]
mod new_root;
#[path = "mounts/superblocks.rs"]
mod superblocks;
#[path = "mounts/uevents.rs"]
mod uevents;
