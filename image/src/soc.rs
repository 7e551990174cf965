// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bootloaders outside of any file system: where the ROM of an SoC looks for one, on a disk and on the boot partitions of
//! an eMMC. What is known of SoCs is a table, `soc/profiles.toml`, with a source for each.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use bootsel::emmc::first_sector;
use serde::Deserialize;

use crate::config::{Bootloader, Table};
use crate::disk::ALIGN;
use crate::fat::SECTOR;

/// What an image is padded to: a device writes and reads whole blocks of an eMMC.
const BLOCK: u64 = 4096;
/// No boot partition is larger: `BOOT_SIZE_MULT` is a byte, in units of 128 KiB. (JESD84-B51, 7.4)
pub const BOOT_MAX: u64 = 255 * (128 << 10);

/// What is known of an SoC.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// In the configuration and in manifests.
    pub name: String,
    /// For people.
    pub about: String,
    /// Where that is written.
    pub source: String,
    /// LBA of 512 bytes on a disk.
    pub disk: Option<u64>,
    /// LBA on a boot partition.
    pub boot: Option<u64>,
    /// The first LBA that a partition may begin with.
    pub first_partition: Option<u64>,
    /// Bytes that a bootloader may have at most.
    pub limit: Option<u64>,
}

#[derive(Deserialize)]
struct Profiles {
    profile: Vec<Profile>,
}

/// All that are known.
///
/// # Errors
/// Never, unless the table itself is wrong.
pub fn profiles() -> Result<Vec<Profile>> {
    let profiles: Profiles =
        toml::from_str(include_str!("soc/profiles.toml")).context("soc/profiles.toml")?;
    Ok(profiles.profile)
}

/// The one of that name.
///
/// # Errors
/// Names those that there are.
pub fn profile(name: &str) -> Result<Profile> {
    let all = profiles()?;
    let names: Vec<_> = all.iter().map(|profile| profile.name.clone()).collect();
    let found = all.into_iter().find(|profile| profile.name == name);
    found.with_context(|| format!("{name:?} is not known here: expected {}", names.join(", ")))
}

impl Profile {
    /// First byte on a disk.
    #[must_use]
    pub fn on_disk(&self) -> Option<u64> {
        self.disk.map(|lba| lba * SECTOR)
    }

    /// First byte on a boot partition.
    #[must_use]
    pub fn on_boot(&self) -> Option<u64> {
        self.boot.map(|lba| lba * SECTOR)
    }

    /// The first byte that a partition may begin with.
    #[must_use]
    pub fn partitions(&self) -> u64 {
        self.first_partition.unwrap_or_default() * SECTOR
    }
}

/// Bytes at the beginning of a disk that its table takes: of a GPT protective MBR, header and 128 entries.
fn table_bytes(table: Table) -> u64 {
    match table {
        Table::Gpt => 34 * SECTOR,
        Table::Mbr => SECTOR,
    }
}

/// A bootloader that goes into an image, or beside it.
#[derive(Clone, Debug)]
pub struct Payload {
    profile: Profile,
    file: PathBuf,
    bytes: Vec<u8>,
    /// Whether it becomes a file of its own.
    apart: bool,
}

impl Payload {
    /// Reads it. It is known to fit where it goes.
    ///
    /// # Errors
    /// Where it cannot be read, is none, or does not fit.
    pub fn read(section: &Bootloader, table: Table) -> Result<Self> {
        let (file, profile) = (section.file.clone(), profile(&section.soc)?);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let payload = Self { profile, file, bytes, apart: section.boot_image };
        payload.check(section.boot_size.0, table)?;
        Ok(payload)
    }

    fn check(&self, boot_size: u64, table: Table) -> Result<()> {
        let Self { profile: Profile { name: soc, limit, .. }, file, bytes, apart } = self;
        let (name, length) = (file.display(), bytes.len() as u64);
        ensure!(first_sector(bytes).is_some(), "{name} is empty, or zeros to its end");
        if let Some(limit) = limit {
            ensure!(length <= *limit, "{name} has {length} bytes, soc {soc} takes {limit}");
        }
        if let Some(at) = self.profile.on_boot().filter(|_| *apart) {
            let room = boot_size.saturating_sub(at);
            ensure!(
                padded(length) <= room,
                "{name} has {length} bytes, and a boot partition of {boot_size} (bootloader.boot_size) has {room} from byte \
                 {at} on, where soc {soc} looks"
            );
            return Ok(());
        }
        let Some(at) = self.profile.on_disk() else {
            bail!(
                "soc {soc} is known to look on the boot partitions of an eMMC, and nowhere on a disk: boot_image = true \
                 makes an image for those"
            );
        };
        let taken = table_bytes(table);
        ensure!(
            at >= taken,
            "soc {soc} looks at byte {at} of a disk, where the partition table is, to byte {taken}: boot_image = true"
        );
        let room = self.profile.partitions().saturating_sub(at);
        ensure!(
            room == 0 || length <= room,
            "{name} has {length} bytes, and there are {room} before the first partition that soc {soc} leaves room for"
        );
        Ok(())
    }

    /// What the manifest says of the device.
    #[must_use]
    pub fn soc(&self) -> &str {
        &self.profile.name
    }

    /// Whether the disk has it; where it then lies.
    #[must_use]
    pub fn in_disk(&self) -> Option<(u64, &[u8])> {
        self.profile.on_disk().filter(|_| !self.apart).map(|at| (at, &*self.bytes))
    }

    /// Where the first partition begins: the same whether the disk has it or not, so that it may be added later.
    #[must_use]
    pub fn partitions(&self) -> u64 {
        let end = self.place().map_or(0, |place| place.end);
        end.max(self.profile.partitions()).next_multiple_of(ALIGN).max(ALIGN)
    }

    /// Its bytes on a disk.
    fn place(&self) -> Option<Range<u64>> {
        let at = self.profile.on_disk()?;
        Some(at..at + self.bytes.len() as u64)
    }

    /// The image of it alone, if it is to be one: zeros before it, and behind it to the end of a block. What a boot
    /// partition holds behind that stays: bootloaders keep their variables there.
    #[must_use]
    pub fn image(&self) -> Option<Vec<u8>> {
        let at = self.profile.on_boot().or(self.profile.on_disk()).filter(|_| self.apart)?;
        let mut image = vec![0; usize::try_from(at).ok()?];
        image.extend(&self.bytes);
        image.resize(usize::try_from(padded(image.len() as u64)).ok()?, 0);
        Some(image)
    }

    /// Whether that image is one for boot partitions, which devices install.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.apart && self.profile.boot.is_some()
    }

    /// What a person should know of it.
    #[must_use]
    pub fn note(&self, is_pi: bool) -> Option<String> {
        let soc = &self.profile.name;
        match (is_pi, self.apart, self.profile.on_disk()) {
            (true, ..) => {
                Some("warning: the ROM of no Raspberry Pi looks for [bootloader]".to_owned())
            }
            (_, true, Some(at)) if self.profile.boot.is_none() => Some(format!(
                "warning: soc {soc} is not known to read boot partitions: NAME-boot.img is for byte {at} of the disk, and \
                 no device installs it"
            )),
            _ => None,
        }
    }
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests;
