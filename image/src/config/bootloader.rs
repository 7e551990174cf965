// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[bootloader]`: what the ROM of an SoC starts, outside of any file system.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Config, Size};
use crate::soc;

/// `[bootloader]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootloader {
    /// What the device is, by [`crate::soc`].
    pub soc: String,
    /// What its ROM starts.
    pub file: PathBuf,
    /// Whether it becomes an image of its own, for a boot partition of an eMMC, beside a disk without it.
    #[serde(default)]
    pub boot_image: bool,
    /// Bytes of such a partition.
    #[serde(default = "boot_size")]
    pub boot_size: Size,
}

/// Of most eMMCs.
fn boot_size() -> Size {
    Size(4 << 20)
}

/// What can be seen in the text alone.
pub(super) fn check(config: &Config) -> Result<()> {
    let Some(section) = &config.bootloader else { return Ok(()) };
    soc::profile(&section.soc).context("bootloader.soc")?;
    ensure!(
        section.boot_size.0 <= soc::BOOT_MAX,
        "bootloader.boot_size: no eMMC has boot partitions of more than {} KiB",
        soc::BOOT_MAX >> 10
    );
    Ok(())
}
