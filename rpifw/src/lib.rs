// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the firmware of a Raspberry Pi does with a disk: which partition, kernel, device tree, initramfs and
//! command line a board takes, and where it stops.
//!
//! Pure: the disk is a trait, nothing is read or written but through it, no clock, no environment. Each rule names
//! its source; "DOC" is the Raspberry Pi documentation, `documentation/asciidoc/computers/`. What no source says is
//! not guessed: [`UNKNOWN`] lists it, and a decision that rests on it says so in its notes.

#![forbid(unsafe_code)]

pub mod board;
pub mod boot;
pub mod config;
pub mod filter;
pub mod partition;

use std::fmt;

pub use board::{BOARDS, Board, Chip, board};
pub use boot::{Boot, boot};
pub use config::{Config, Settings};

/// The kind of partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Four entries in sector 0.
    Mbr,
    /// A GPT with its protective MBR.
    Gpt,
}

/// The kind of a FAT volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fat {
    /// Fewer than 4,085 clusters.
    Fat12,
    /// 4,085 to 65,524 clusters.
    Fat16,
    /// More.
    Fat32,
}

/// A disk that a board is to boot from.
pub trait Disk {
    /// Its partition table.
    fn table(&self) -> Table;
    /// The FAT volume on partition `number`, which counts from 1; none where there is anything else.
    fn volume(&self, number: u32) -> Option<&dyn Volume>;
}

/// A FAT volume. Names are compared without regard to case, as FAT does; a leading `/` changes nothing.
pub trait Volume {
    /// The content of a file, none where there is no such file.
    ///
    /// # Errors
    /// Where the volume is damaged; the text names the file and what is wrong.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String>;
    /// Whether there is such a file.
    fn exists(&self, path: &str) -> bool;
    /// Which kind of FAT this is.
    fn fat(&self) -> Fat;
}

/// How a board is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Whether the one-shot flag of `reboot "0 tryboot"` is set.
    pub tryboot: bool,
    /// In place of what config.txt says of it; the decision's notes say that it was.
    pub arm_64bit: Option<bool>,
}

/// Where a board stops, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The partition where it looked, where it had come so far.
    pub partition: Option<u32>,
    /// The file that it is about, empty where it is about none.
    pub file: String,
    /// One sentence that names the file and the cause.
    pub reason: String,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            Some(number) => write!(f, "partition {number}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Stop {}

/// What no source says, or what differs from one release of the firmware to the next. Nothing here decides on it
/// without a note.
pub const UNKNOWN: &[&str] = &[
    "the first bootcode.bin and start.elf that know tryboot_a_b (between 2022-08 and 2024-04)",
    "whether model filters work in autoboot.txt",
    "what follows a filter that the firmware does not know: taken as one that does not match",
    "whether [cm0] boards match [pi0], [pi0w] or [pi02], too: taken as not matching",
    "whether a second initramfs line replaces the first or appends to it: taken as replacing",
    "whether a Pi 5 starts with its firmware's own device tree where the partition has none: taken as a stop",
    "what a Pi 4 or an older board does where its default kernel is missing: taken as a stop",
    "whether [none] ends at the next filter other than [all]: taken as lasting until [all]",
    "which boards look for bcm2712d0-rpi-5-b.dtb, and in which order",
    "which of several carrier boards' device trees a compute module looks for first",
    "whether a board up to the Pi 3 boots from a disk with GPT",
    "what becomes of autoboot.txt past its 512th byte",
    "whether an initramfs or overlay that is missing ends the boot: taken as ending it for the initramfs only",
    "where each model keeps the tryboot flag, and whether a watchdog reset clears it",
];

#[cfg(test)]
mod fixture;
