// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command lines of `cargo boot` and `cargo verify`.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::rootfs::Rootfs;

/// Boots pivot's own image bytes in QEMU, for a person or for the tests.
#[derive(Debug, Parser)]
#[command(name = "cargo", bin_name = "cargo", max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image, boot it under QEMU and show its console
    Boot(Boot),
    /// Run the tests: 1 unit tests and lints, 2 as root on real mounts, 3 whole boots under QEMU
    Verify(Verify),
}

/// Which machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MachineName {
    /// QEMU's virtual Arm64 machine
    Virt,
}

/// What lies over the root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Overlay {
    /// Nothing: the root is read-only
    None,
    /// Memory: changes are gone at the next boot
    Volatile,
    /// A directory of the data partition
    Persistent,
}

impl Overlay {
    /// The word of `pivot.overlay=`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Volatile => "volatile",
            Self::Persistent => "persistent",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Boot {
    /// What is booted
    #[arg(long, value_enum, default_value_t = Rootfs::Busybox)]
    pub(crate) rootfs: Rootfs,
    /// More words for the kernel's command line, as in --append "pivot.debug loglevel=7"
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) append: OsString,
    /// What lies over the root file system
    #[arg(long, value_enum, default_value_t = Overlay::Volatile)]
    pub(crate) overlay: Overlay,
    /// Which machine
    #[arg(long, value_enum, default_value_t = MachineName::Virt)]
    pub(crate) machine: MachineName,
    /// Its memory
    #[arg(long, value_name = "SIZE", default_value = "512M")]
    pub(crate) memory: String,
    /// Boot the image as the last run left it
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print QEMU's command line instead of running it
    #[arg(long)]
    pub(crate) print: bool,
    /// Install nothing: say what is missing and stop
    #[arg(long)]
    pub(crate) no_install: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// Only this ring; may be given more than once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=3))]
    pub(crate) ring: Vec<u8>,
    /// Only steps and cases whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) only: String,
    /// Name the steps and cases and stop
    #[arg(long)]
    pub(crate) list: bool,
    /// Print the results as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How many machines run at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) jobs: usize,
    /// Install nothing: say what is missing and stop
    #[arg(long)]
    pub(crate) no_install: bool,
}
