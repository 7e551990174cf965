// SPDX-License-Identifier: MIT OR Apache-2.0
//! The eMMC: its node, its register, and what sysfs has of it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use bootsel::emmc::{Boot, ExtCsd, Refusal};
use uapi::mmc;

use crate::area::Partition;
use crate::error::{Error, Result, failed, refused};
use crate::root::Root;
use crate::{disk, say};

/// What sizes are given in, by sysfs.
const SECTOR: u64 = 512;

/// The whole device.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) root: Root,
    path: PathBuf,
    /// The kernel's name: mmcblk0.
    name: String,
    device: File,
}

impl Card {
    /// The one that was named, or that the data partition is on.
    pub(super) fn find(root: &Root, named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => {
                path.canonicalize().map_err(failed(format!("cannot find {}", path.display())))?
            }
            None => {
                let disk = disk::of_data(root)?;
                root.path("dev").join(disk.file_name().unwrap_or_default())
            }
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = root.text(&format!("sys/block/{name}/device/type"));
        if kind.as_deref() != Some("MMC") {
            let shown = path.display();
            let kind = kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
            let hint = match named {
                Some(_) => ": --device names the whole device, as in /dev/mmcblk0",
                None => ", and the data partition is on it",
            };
            return refused(format!("{shown} is no eMMC{kind}{hint}"));
        }
        // reading is enough for commands, and udev looks at a whole disk again when one that wrote closes it
        let device =
            File::open(&path).map_err(failed(format!("cannot open {}", path.display())))?;
        Ok(Self { root: root.clone(), path, name, device })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's name of a boot partition.
    pub(super) fn name_of(&self, boot: Boot) -> String {
        format!("{}{boot}", self.name)
    }

    /// Read anew each time: others can change it, too.
    pub(super) fn ext_csd(&self) -> Result<ExtCsd> {
        let bytes = mmc::send_ext_csd(self.device.as_fd()).map_err(failed(self.path.display()))?;
        Ok(ExtCsd::parse(&bytes))
    }

    pub(super) fn switch(&self, argument: u32) -> Result<()> {
        mmc::switch(self.device.as_fd(), argument).map_err(failed(self.path.display()))
    }

    pub(super) fn refusal(&self, why: Refusal) -> Error {
        Error::Refused(format!("{}: {why}", self.name))
    }

    fn attribute(&self, boot: Boot, attribute: &str) -> String {
        format!("sys/block/{}/{attribute}", self.name_of(boot))
    }

    /// Its bytes, as the kernel has it; 0 where it has none.
    pub(super) fn bytes(&self, boot: Boot) -> u64 {
        let sectors = self.root.text(&self.attribute(boot, "size"));
        sectors
            .and_then(|text| text.parse().ok())
            .map_or(0, |sectors: u64| sectors.saturating_mul(SECTOR))
    }

    /// Bytes of the partition that would be written: of a longer image no more is read.
    pub(super) fn most(&self) -> Result<u64> {
        let inactive = self.ext_csd()?.inactive().map_err(|why| self.refusal(why))?;
        match self.bytes(inactive) {
            0 => Err(Error::Failed(format!("the kernel shows no {}", self.name_of(inactive)))),
            bytes => Ok(bytes),
        }
    }

    pub(super) fn partition(&self, boot: Boot) -> Partition {
        let mut name = self.path.clone().into_os_string();
        name.push(boot.as_str());
        Partition { path: name.into(), start: 0, bytes: self.bytes(boot) }
    }

    /// Whether the kernel keeps everybody from writing to it; `None` where that cannot be read.
    pub(super) fn force_ro(&self, boot: Boot) -> Option<bool> {
        match self.root.text(&self.attribute(boot, "force_ro"))?.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    /// Changes that, and reads it back.
    pub(super) fn set_force_ro(&self, boot: Boot, value: bool) -> Result<()> {
        let path = self.root.path(&self.attribute(boot, "force_ro"));
        let cannot = || format!("cannot write {}", path.display());
        let mut file = OpenOptions::new().write(true).open(&path).map_err(failed(cannot()))?;
        file.write_all(if value { b"1" } else { b"0" }).map_err(failed(cannot()))?;
        if self.force_ro(boot) == Some(value) {
            return Ok(());
        }
        Err(Error::Failed(format!("{} does not stay as it was set", path.display())))
    }

    /// What a command that was killed left writable.
    pub(super) fn close_what_is_open(&self) -> Result<()> {
        for boot in Boot::BOTH {
            if self.force_ro(boot) == Some(false) {
                self.set_force_ro(boot, true)?;
                say(&format!("{} was writable; it is not any more", self.name_of(boot)));
            }
        }
        Ok(())
    }
}
