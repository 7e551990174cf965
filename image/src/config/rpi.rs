// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[rpi]`: what only an image for the Raspberry Pi has.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::{Config, Table};

/// `[rpi]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rpi {
    /// Directory or Debian package with start.elf and its like; without it the image is for emulation only.
    pub firmware: Option<PathBuf>,
    /// Checkout of rpi-eeprom, directory like it, or package: what partition 1 has for the EEPROM of a Pi 4 and 5.
    pub eeprom: Option<PathBuf>,
    /// Which of its releases; those that boards are sold with where it is absent.
    pub eeprom_channel: Option<Channel>,
    /// More start files: `x`, `cd`, `db`.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// Boards that must boot; all that find a kernel and a device tree where this is absent.
    pub boards: Option<Vec<String>>,
    /// More lines for config.txt.
    #[serde(default)]
    pub config: Vec<String>,
}

/// Releases of the bootloader, by the name of their directory. (rpi-eeprom, `releases.md`)
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// What boards are sold with, and all of Raspberry Pi OS gets.
    #[default]
    Default,
    /// What came after it.
    Latest,
}

impl Channel {
    /// As the directory is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Latest => "latest",
        }
    }
}

/// Other builds of the firmware: `start_x.elf` and its like.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// With camera and codecs.
    X,
    /// Cut down: no codecs, 16 MiB of memory.
    Cd,
    /// For debugging.
    Db,
}

impl Variant {
    /// As it is in file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Cd => "cd",
            Self::Db => "db",
        }
    }
}

/// A kernel under the name that the firmware looks for, each for other processors (Raspberry Pi documentation,
/// config_txt/boot.adoc, `kernel`).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelFile {
    /// ARMv6: Pi 1, Zero, Zero W.
    #[serde(rename = "kernel.img")]
    V6,
    /// ARMv7: Pi 2, and Pi 3 in 32-bit mode.
    #[serde(rename = "kernel7.img")]
    V7,
    /// ARMv7 with large physical addresses: Pi 4 in 32-bit mode.
    #[serde(rename = "kernel7l.img")]
    V7l,
    /// 64-bit: Pi 3, Zero 2 W, Pi 4; Pi 5 where it has none of its own.
    #[serde(rename = "kernel8.img")]
    V8,
    /// 64-bit with pages of 16 KiB: Pi 5.
    #[serde(rename = "kernel_2712.img")]
    V2712,
}

impl KernelFile {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V6 => "kernel.img",
            Self::V7 => "kernel7.img",
            Self::V7l => "kernel7l.img",
            Self::V8 => "kernel8.img",
            Self::V2712 => "kernel_2712.img",
        }
    }

    /// The name of the archive with its early modules.
    #[must_use]
    pub fn early(self) -> &'static str {
        match self {
            Self::V6 => "early.img",
            Self::V7 => "early7.img",
            Self::V7l => "early7l.img",
            Self::V8 => "early8.img",
            Self::V2712 => "early16k.img",
        }
    }
}

/// What only makes sense together.
pub(super) fn check(config: &Config) -> Result<()> {
    if let Some(section) = &config.rpi {
        ensure!(
            section.eeprom.is_some() || section.eeprom_channel.is_none(),
            "rpi.eeprom_channel: is about rpi.eeprom, which is not given"
        );
        ensure!(
            config.disk.table == Table::Mbr,
            "disk.table: expected \"mbr\" with [rpi]: the boot ROMs up to Pi 3 know no other, and tryboot fails on GPT"
        );
    }
    let named = config.kernel.iter().filter_map(|kernel| kernel.file);
    for file in named {
        ensure!(
            config.rpi.is_some(),
            "kernel.file = {:?}: is for a Raspberry Pi, and there is no [rpi] section",
            file.name()
        );
    }
    Ok(())
}
