// SPDX-License-Identifier: MIT OR Apache-2.0
//! pivot's PID 1: from the initramfs into the selected root file system.
//!
//! The story is in [`boot`]; a module per stage beside it. The program is `no_std` with the C start of musl: it has no
//! runtime that could abort before `main` (std does, when descriptors 0 to 2 are closed and `/dev/null` is missing).
//! On other targets it builds with std, for its tests alone.

#![cfg_attr(all(target_env = "musl", not(test)), no_std, no_main)]

#[cfg(test)]
extern crate alloc;

mod boot;
mod child;
mod choose;
mod cmdline;
mod data;
mod early;
mod eeprom;
mod file;
mod grow;
mod grub;
mod journal;
mod kmsg;
mod report;
mod rescue;
mod revision;
mod root;
mod switch_root;
mod systemd;
mod trial;
mod watchdog;

#[cfg(all(target_env = "musl", not(test)))]
mod entry;

#[cfg(all(target_env = "musl", test))]
fn main() {}

/// A host build has no use but its tests: the product is the static musl build.
#[cfg(not(target_env = "musl"))]
fn main() {
    let none = switch_root::Strings::new(c"");
    let start = switch_root::Start { arguments: none, environment: none };
    if rustix::process::getpid() == rustix::process::Pid::INIT {
        boot::boot(&start)
    }
}
