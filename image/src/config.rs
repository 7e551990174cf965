// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TOML file that `pivot-image build` works from. `docs/example.toml` has every key with its meaning.
//!
//! Keys that are not known are refused, and relative paths are relative to the file's own directory.

mod bootloader;
mod bootsel;
mod rpi;
mod size;
mod uefi;

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use ::bootsel::manifest::RevisionId;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::artifact::Output;
use crate::compress::Compression;
use crate::initramfs::Arch;
use crate::keys::Key;
use crate::machines::Machine;
use crate::progress::Progress;
use crate::squashfs::{Codec, Writer};
pub use bootloader::Bootloader;
pub use bootsel::{Bootsel, Deadline, Network};
pub use rpi::{Channel, KernelFile, Rpi, Variant};
pub use size::Size;
pub use uefi::Uefi;

/// All of a configuration file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The disk image is called `NAME.img`; identifiers on the disk are derived from it.
    pub name: String,
    /// What writes the squashfs files of modules and firmware.
    #[serde(default)]
    pub squashfs: Writer,
    /// Level for zstd; [`crate::squashfs::ZSTD_LEVEL`] where absent.
    pub zstd_level: Option<u32>,
    /// The revision that the image is filled with.
    pub revision: Revision,
    /// Partitions and the slots' command line.
    pub disk: Disk,
    /// Absent: the image is not for a Raspberry Pi.
    pub rpi: Option<Rpi>,
    /// Absent: nothing of the image is for UEFI.
    pub uefi: Option<Uefi>,
    /// Absent: nothing is outside of the partitions.
    pub bootloader: Option<Bootloader>,
    /// Compressed copies of the disk image.
    #[serde(default)]
    pub output: Output,
    /// What all kernels share.
    #[serde(default)]
    pub initramfs: Initramfs,
    /// At least one.
    pub kernel: Vec<Kernel>,
    /// Absent: no firmware.squashfs.
    pub firmware: Option<Firmware>,
    /// Absent: no root.squashfs; the command line names the root then.
    pub root: Option<Root>,
    /// Absent: nothing is put into the root.
    pub bootsel: Option<Bootsel>,
}

/// `[revision]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Its name.
    #[serde(deserialize_with = "parsed")]
    pub id: RevisionId,
    /// The higher one is newer.
    pub version: u64,
    /// minisign's secret key that signs the manifest.
    pub key: Option<PathBuf>,
    /// A file whose first line is the password of that key.
    pub password_file: Option<PathBuf>,
}

impl Revision {
    /// Reads the key, if there is one.
    ///
    /// # Errors
    /// Where it cannot be used.
    pub fn key(&self, progress: Progress) -> Result<Option<Key>> {
        let read = |key: &PathBuf| Key::read(key, self.password_file.as_deref(), progress);
        self.key.as_ref().map(read).transpose()
    }
}

/// Partition table of the disk.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// For UEFI.
    Gpt,
    /// For the Raspberry Pi: its boot ROMs up to Pi 3 know no other.
    Mbr,
}

/// The root is a squashfs: where do writes go?
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Overlay {
    /// Nowhere.
    None,
    /// Into memory, lost at power off.
    Volatile,
    /// To DATA.
    Persistent,
}

impl Overlay {
    /// The word of `pivot.overlay=`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Volatile => "volatile",
            Self::Persistent => "persistent",
        }
    }
}

/// `[disk]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Kind of partition table.
    pub table: Table,
    /// Bytes of partition 1.
    #[serde(default = "bootsel_size")]
    pub bootsel_size: Size,
    /// Bytes of partitions 2 and 3.
    #[serde(default = "slot_size")]
    pub slot_size: Size,
    /// The least for partition 4; it is as large as its content where this is absent.
    pub data_size: Option<Size>,
    /// More words for the command line.
    #[serde(default)]
    pub cmdline: String,
    /// `pivot.overlay=`
    pub overlay: Option<Overlay>,
}

/// `[initramfs]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initramfs {
    /// Of `initramfs` and of each `early_<release>`.
    #[serde(default)]
    pub compression: Compression,
    /// Programs that are PID 1; the workspace's own build where absent.
    pub init: Option<Vec<PathBuf>>,
    /// Which machine's program is `/init`.
    #[serde(default)]
    pub arch: Arch,
    /// A static e2fsck.
    pub e2fsck: Option<PathBuf>,
    /// A static busybox or another shell for `pivot.rescue=shell`.
    pub shell: Option<PathBuf>,
}

/// `[[kernel]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// A Debian package.
    pub package: Option<PathBuf>,
    /// Or what unpacking one gives: `boot/` and `lib/modules/<release>/`; or a checkout of raspberrypi/firmware.
    pub directory: Option<PathBuf>,
    /// The name on a boot partition of a Raspberry Pi; inferred from the kernel where absent.
    pub file: Option<KernelFile>,
    /// Whose drivers go into the early set.
    #[serde(default)]
    pub machines: Vec<Machine>,
    /// More modules for the early set.
    #[serde(default)]
    pub early: Vec<String>,
    /// Of `modules_<release>.squashfs`.
    pub compression: Option<Codec>,
}

/// `[firmware]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Debian packages.
    #[serde(default)]
    pub packages: Vec<PathBuf>,
    /// Each is laid over the ones before it, and over the packages.
    #[serde(default)]
    pub directories: Vec<PathBuf>,
    /// Of `firmware.squashfs`.
    pub compression: Option<Codec>,
}

/// `[root]`: one of three.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// A squashfs file, taken as it is.
    pub squashfs: Option<PathBuf>,
    /// A directory, packed with its owners as they are.
    pub directory: Option<PathBuf>,
    /// A tar file; owners need no root rights then.
    pub tar: Option<PathBuf>,
    /// Of `root.squashfs`, for the latter two.
    pub compression: Option<Codec>,
}

fn bootsel_size() -> Size {
    Size(32 << 20)
}

fn slot_size() -> Size {
    Size(128 << 20)
}

/// For types that have `FromStr` and know nothing of serde.
fn parsed<'de, D: serde::Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| serde::de::Error::custom(format!("{text:?}: {error}")))
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Names the file, the key and what was expected.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read configuration {}", path.display()))?;
        let base = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, base).with_context(|| format!("configuration {}", path.display()))
    }

    /// Parses the text of a file that lies in `base`.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let mut config: Self = toml::from_str(text)?;
        config.check()?;
        config.resolve(base);
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        ensure!(
            !self.name.is_empty() && !self.name.starts_with('.') && self.name.bytes().all(plain),
            "name = {:?}: expected letters, digits, '.', '_', '+' and '-': it is a file name",
            self.name
        );
        ensure!(!self.kernel.is_empty(), "kernel: expected at least one [[kernel]] section");
        for (number, kernel) in (1..).zip(&self.kernel) {
            if kernel.package.is_some() == kernel.directory.is_some() {
                bail!("kernel {number}: expected one of package and directory");
            }
        }
        ensure!(
            self.revision.key.is_some() || self.revision.password_file.is_none(),
            "revision.password_file: is the password of revision.key, which is not given"
        );
        if let Some(root) = &self.root {
            let given = [&root.squashfs, &root.directory, &root.tar];
            let given = given.iter().filter(|path| path.is_some()).count();
            ensure!(given == 1, "root: expected one of squashfs, directory and tar");
            if root.squashfs.is_some() && root.compression.is_some() {
                bail!("root.compression: root.squashfs is taken as it is; remove one of them");
            }
        }
        if let Some(init) = &self.initramfs.init {
            ensure!(!init.is_empty(), "initramfs.init: expected at least one program");
        }
        if let Some(firmware) = &self.firmware {
            let some = !firmware.packages.is_empty() || !firmware.directories.is_empty();
            ensure!(some, "firmware: expected packages or directories");
        }
        self.output.check()?;
        rpi::check(self)?;
        uefi::check(self)?;
        bootloader::check(self)?;
        bootsel::check(self)?;
        crate::squashfs::check_level(self.zstd_level).context("zstd_level")
    }

    /// Makes every path absolute or relative to the current directory.
    fn resolve(&mut self, base: &Path) {
        let initramfs = &mut self.initramfs;
        let firmware = self.firmware.iter_mut();
        let firmware = firmware.flat_map(|f| f.packages.iter_mut().chain(&mut f.directories));
        let rpi = self.rpi.iter_mut();
        let rpi = rpi.flat_map(|rpi| [&mut rpi.firmware, &mut rpi.eeprom]).flatten();
        let uefi = self.uefi.iter_mut();
        let uefi = uefi.flat_map(|u| iter::once(&mut u.grub).chain(&mut u.shim));
        let bootloader = self.bootloader.iter_mut().map(|bootloader| &mut bootloader.file);
        let root = self.root.iter_mut();
        let root = root.flat_map(|r| [&mut r.squashfs, &mut r.directory, &mut r.tar]).flatten();
        let kernel = self.kernel.iter_mut();
        let kernel = kernel.flat_map(|k| [&mut k.package, &mut k.directory]).flatten();
        let programs = [&mut initramfs.e2fsck, &mut initramfs.shell].into_iter().flatten();
        let init = initramfs.init.iter_mut().flatten();
        let revision = &mut self.revision;
        let keys = [&mut revision.key, &mut revision.password_file].into_iter().flatten();
        let bootsel = self.bootsel.iter_mut();
        let bootsel = bootsel.flat_map(|b| b.program.iter_mut().chain(b.keys.iter_mut().flatten()));
        let parts = firmware.chain(root).chain(kernel).chain(programs).chain(init);
        for path in parts.chain(rpi).chain(uefi).chain(bootloader).chain(keys).chain(bootsel) {
            *path = base.join(&path);
        }
    }
}

#[cfg(test)]
mod tests;
