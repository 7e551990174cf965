// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::eeprom::Act;
use crate::emmc;
use crate::reachable::Peer;
use crate::timing;

/// Which slot boots: status, trial, commit, rollback, install.
///
/// Exit codes: 0 done, 1 refused and nothing changed, 2 usage, 3 something could not be read or written, 4 (of `eeprom
/// boot`) a restart is wanted.
#[derive(Debug, Parser)]
#[command(name = "bootsel", version = env!("PIVOT_VERSION"))]
pub(crate) struct Cli {
    /// Look at another system below this directory.
    #[arg(long, global = true, default_value = "/", value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// The whole disk, or an image of one, instead of the disk with the mounted data partition.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) disk: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what boots, what each slot holds, and what became of the last trial.
    Status {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Start the other slot once; a boot that is not committed is followed by one of the default slot.
    Try {
        /// Only set the flag: the next reboot is the trial.
        #[arg(long)]
        no_reboot: bool,
        /// Although nothing shows that kernel and firmware know of trials.
        #[arg(long)]
        force: bool,
    },
    /// Make the slot that runs for trial the default. Where the default runs, nothing is done.
    Commit,
    /// Leave this slot: end its trial, or make the other one the default again.
    Rollback {
        /// Do not restart.
        #[arg(long)]
        no_reboot: bool,
    },
    /// Call off a trial that did not begin.
    Cancel,
    /// Make the booted slot the default, where it verifies and the default does not.
    Repair,
    /// Compare every byte of both slots and their revisions with the manifests.
    Verify,
    /// Show what init and bootsel recorded, oldest first.
    Log,
    /// Show how long each stage of this boot took.
    Timing(timing::Form),
    /// Remove revisions that no slot names.
    Gc,
    /// End a trial that is not committed: log that it failed, and restart. Otherwise do nothing.
    Deadline,
    /// Without systemd, from inittab: feed the watchdog, and end a trial that is not committed in time.
    Guard {
        /// Seconds since the kernel started.
        #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
        deadline: u64,
    },
    /// Show the bootloader of a Raspberry Pi 4 or 5, and whether it is to be brought up to date.
    #[command(args_conflicts_with_subcommands = true)]
    Eeprom {
        /// For machines.
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<Act>,
    },
    /// Show and update the bootloader on the boot partitions of an eMMC.
    Emmc {
        /// The eMMC, instead of the one with the mounted data partition.
        #[arg(long, global = true, value_name = "FILE")]
        device: Option<PathBuf>,
        #[command(subcommand)]
        command: emmc::Act,
    },
    /// Keep what the kernel left over a reset (pstore), and log what ended the boot before.
    Collect,
    /// Wait until there is a default route, and until somebody answers.
    Reachable {
        /// Seconds until it fails.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        timeout: u64,
        /// Whom a TCP connection must reach.
        #[arg(value_name = "HOST:PORT")]
        peer: Option<Peer>,
    },
    /// Write a bundle to the slot that is neither booted nor the default.
    Install {
        /// The file; - is the standard input.
        #[arg(value_name = "BUNDLE")]
        bundle: PathBuf,
        /// Directory of the public keys, *.pub, instead of /etc/pivot/keys.
        #[arg(long, value_name = "DIR")]
        keys: Option<PathBuf>,
        /// Take a version that is lower than that of the default slot.
        #[arg(long)]
        allow_downgrade: bool,
        /// Although nothing shows that the firmware knows of trials.
        #[arg(long)]
        force: bool,
    },
}
