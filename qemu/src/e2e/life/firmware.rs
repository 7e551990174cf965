// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who chooses what boots: the stand-in for a Raspberry Pi's firmware, or GRUB.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use bootsel::grubenv::{self, Grubenv};

use crate::image;
use crate::standin::{Cause, Standin, Started};
use crate::uefi::Uefi;

/// What chooses a slot when the device is started.
pub(crate) trait Firmware {
    /// Whether only the vendor's kernels pass on that a trial is asked for, which the stand-in takes any for.
    const IS_ASSUMED: bool;

    fn card(&self) -> PathBuf;

    fn directory(&self) -> &Path;

    /// Whether what is in its memory survives a restart.
    fn keep_memory(&mut self, keep: bool) -> Result<()>;

    /// Whether the next start is a trial, after one that ended so.
    fn tries(&self, cause: Cause) -> Result<bool>;

    /// Chooses as far as it is not QEMU that does, and starts.
    fn start(&mut self, cause: Cause, words: &str) -> Result<Beginning>;
}

/// A device that is about to run.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) qemu: Command,
    /// The choice, where it is known before.
    pub(crate) chosen: Option<rpifw::Boot>,
    pub(crate) told: String,
    /// Whether the witness reports on the console.
    pub(crate) one_port: bool,
}

impl Firmware for Standin {
    const IS_ASSUMED: bool = true;

    fn card(&self) -> PathBuf {
        self.card()
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn keep_memory(&mut self, keep: bool) -> Result<()> {
        if self.ramoops && !keep {
            return self.forget_memory();
        }
        self.ramoops = keep;
        Ok(())
    }

    fn tries(&self, cause: Cause) -> Result<bool> {
        Ok(cause.tryboot)
    }

    fn start(&mut self, cause: Cause, words: &str) -> Result<Beginning> {
        let Started { qemu, boot, told } = Self::start(self, cause, OsStr::new(words))?;
        Ok(Beginning { qemu, chosen: Some(boot), told, one_port: false })
    }
}

/// GRUB chooses.
impl Firmware for Uefi {
    const IS_ASSUMED: bool = false;

    fn card(&self) -> PathBuf {
        self.disk.clone()
    }

    fn directory(&self) -> &Path {
        self.disk.parent().unwrap_or(Path::new("/"))
    }

    fn keep_memory(&mut self, keep: bool) -> Result<()> {
        ensure!(!keep, "a computer with UEFI clears its memory");
        Ok(())
    }

    /// One that lost its power, too: the request stands on the disk.
    fn tries(&self, _: Cause) -> Result<bool> {
        let bytes = image::file(&self.disk, 1, grubenv::NAME)?.context("no grubenv")?;
        let found = Grubenv::parse(&bytes).map_err(|why| anyhow!("{why}"))?;
        Ok(found.is_armed())
    }

    fn start(&mut self, _: Cause, words: &str) -> Result<Beginning> {
        let qemu = self.command(words)?;
        Ok(Beginning { qemu, chosen: None, told: String::new(), one_port: true })
    }
}
