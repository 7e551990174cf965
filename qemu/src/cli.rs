// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command lines of `cargo boot` and `cargo verify`.

use std::ffi::OsString;
use std::path::PathBuf;

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
    /// Build the device's programs, init for AArch64 and ARMv6 and bootsel, and print where they are
    Device,
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
    #[arg(long, value_enum, default_value_t = MachineName::Virt, conflicts_with = "board")]
    pub(crate) machine: MachineName,
    /// Its memory
    #[arg(long, value_name = "SIZE", default_value = "512M", conflicts_with = "board")]
    pub(crate) memory: String,
    /// Which Raspberry Pi, in place of a machine: pi0w, pi3b, cm4, pi5, ...; another word gets the list
    #[arg(long, value_name = "NAME")]
    pub(crate) board: Option<String>,
    /// In place of what config.txt says of it: 0 takes the 32-bit kernel
    #[arg(long = "arm_64bit", value_name = "0|1", requires = "board", value_parser = zero_or_one)]
    pub(crate) arm_64bit: Option<bool>,
    /// Start as after `reboot "0 tryboot"`
    #[arg(long, requires = "board")]
    pub(crate) tryboot: bool,
    /// Size of the SD card: a power of two, at least the image's
    #[arg(long, value_name = "SIZE", requires = "board", value_parser = size)]
    #[arg(conflicts_with = "keep")]
    pub(crate) card: Option<u64>,
    /// The image on the card, in place of one that is built; it is not written to
    #[arg(long, value_name = "FILE", requires = "board", conflicts_with = "rootfs")]
    pub(crate) image: Option<PathBuf>,
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
    /// Only steps and cases whose name contains this, or one of several between commas
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) only: String,
    /// Name the steps and cases and stop
    #[arg(long)]
    pub(crate) list: bool,
    /// Measure what a boot costs, in place of tests
    #[arg(long, value_name = "WHAT", value_enum, num_args = 0..=1, default_missing_value = "boot")]
    #[arg(require_equals = true)]
    pub(crate) bench: Option<crate::bench::What>,
    /// The kernel that is measured with: a package, or a directory with boot and lib/modules
    #[arg(long, value_name = "PATH", requires = "bench")]
    pub(crate) kernel: Option<PathBuf>,
    /// Take longer: what is sampled otherwise is done in full
    #[arg(long)]
    pub(crate) all: bool,
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

fn zero_or_one(text: &str) -> Result<bool, &'static str> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err("expected 0 or 1"),
    }
}

/// `512M`, `4G`
fn size(text: &str) -> Result<u64, &'static str> {
    let units = [('M', 20), ('G', 30)];
    let unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(*unit)?, bits)));
    let parsed = unit.and_then(|(number, bits)| number.parse::<u64>().ok()?.checked_mul(1 << bits));
    parsed.ok_or("expected a number and M or G, as in 1G")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(words: &str, good: bool) {
        let parsed = Cli::try_parse_from(["cargo"].into_iter().chain(words.split(' ')));
        assert_eq!(parsed.is_ok(), good, "{words}: {parsed:?}");
    }

    #[test]
    fn what_goes_with_a_board() {
        check("boot --board pi4b --arm_64bit=0 --tryboot --card 1G", true);
        check("boot --board pi4b --image my.img --append quiet", true);
        check("boot --board pi4b --arm_64bit=2", false);
        check("boot --board pi4b --card 1T", false);
        check("boot --board pi4b --machine virt", false);
        check("boot --tryboot", false);
        check("boot --machine virt --memory 1G", true);
    }
}
