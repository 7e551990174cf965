// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the target is and who uses it, and whether it may be written: mistakes here cost somebody a disk.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::stat::{major, minor};

use crate::fat::SECTOR;

/// What it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole disk that comes and goes: an SD card, or anything at USB.
    Removable,
    /// Any other disk.
    Fixed,
    /// A partition of this disk.
    Partition(String),
    /// A regular file.
    File,
}

/// Who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A device is mounted at a directory.
    Mount(String, String),
    /// A device is swap space.
    Swap(String),
    /// Device-mapper or RAID has a device open.
    Holder(String, String),
    /// A loop device lies on it.
    Loop(String),
}

/// All that the decision needs.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As it was given.
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) bytes: u64,
    /// Bytes of a logical sector.
    pub(super) sector: u64,
    pub(super) read_only: bool,
    pub(super) uses: Vec<Use>,
}

impl Target {
    /// Looks at `path`; `root` is where `proc` and `sys` are.
    pub(super) fn look(path: &Path, root: &Path) -> Result<Self> {
        let facts =
            fs::metadata(path).with_context(|| format!("cannot flash {}", path.display()))?;
        let kind = facts.file_type();
        if kind.is_block_device() {
            let number = format!("{}:{}", major(facts.rdev()), minor(facts.rdev()));
            return Self::disk(path, &number, root);
        }
        ensure!(kind.is_file(), "{} is no block device", path.display());
        let path = path.canonicalize()?;
        let uses = loops(root, &[path.to_string_lossy().into_owned()]);
        let (bytes, read_only) = (facts.len(), facts.permissions().readonly());
        Ok(Self { path, kind: Kind::File, bytes, sector: SECTOR, read_only, uses })
    }

    /// The block device `MAJOR:MINOR`, by what the kernel says in `/sys` and `/proc`.
    fn disk(path: &Path, number: &str, root: &Path) -> Result<Self> {
        let link = root.join("sys/dev/block").join(number);
        let sys = link.canonicalize().with_context(|| format!("cannot find {}", link.display()))?;
        let field = |name: &str| {
            fs::read_to_string(sys.join(name)).unwrap_or_default().trim_end().to_owned()
        };
        let is_partition = sys.join("partition").exists();
        let kind = if is_partition {
            Kind::Partition(name(sys.parent().unwrap_or(&sys)))
        } else if field("removable") == "1" || field("device/type") == "SD" || at_usb(&sys) {
            Kind::Removable
        } else {
            Kind::Fixed
        };
        let sectors: u64 = field("size").parse().context("its size is not known")?;
        let devices = devices(&sys, number);
        Ok(Self {
            path: path.to_owned(),
            kind,
            // the kernel counts in units of 512 bytes whatever the device has
            bytes: sectors * 512,
            sector: field("queue/logical_block_size").parse().unwrap_or(SECTOR),
            read_only: field("ro") == "1",
            uses: uses(&devices, root)?,
        })
    }

    /// Whether an image of `bytes` may be written. `force` allows a fixed disk and a regular file, no more.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub(super) fn check(&self, bytes: u64, force: bool) -> Result<()> {
        let path = self.path.display();
        if let Kind::Partition(disk) = &self.kind {
            bail!("{path} is a partition: an image is for a whole disk, /dev/{disk}");
        }
        if let Some(in_use) = self.in_use() {
            bail!("{in_use}");
        }
        ensure!(self.bytes > 0, "{path} has no medium: put the card in");
        ensure!(
            !self.read_only,
            "{path} is write-protected: see the switch of the card or adapter"
        );
        ensure!(
            self.sector == SECTOR,
            "{path} has sectors of {} bytes: the partition table of the image counts in {SECTOR}",
            self.sector
        );
        ensure!(
            bytes <= self.bytes,
            "{path} is too small: it has {} bytes, the image {bytes}",
            self.bytes
        );
        match self.kind {
            Kind::Fixed if !force => bail!(
                "{path} is not removable and may be a disk of this machine: --force writes it all the same"
            ),
            Kind::File if !force => bail!("{path} is a regular file: --force writes into it"),
            _ => Ok(()),
        }
    }

    /// One line for each user; the root file system first.
    fn in_use(&self) -> Option<String> {
        let path = self.path.display();
        if let Some(Use::Mount(device, _)) =
            self.uses.iter().find(|used| matches!(used, Use::Mount(_, at) if at == "/"))
        {
            return Some(format!("{path} holds the running system: / is on {device}"));
        }
        let line = |used: &Use| match used {
            Use::Mount(device, at) => format!("{device} is mounted on {at}: umount {device}"),
            Use::Swap(device) => format!("{device} is swap space: swapoff {device}"),
            Use::Loop(by) => format!("{path} is in use by {by}: losetup -d {by}"),
            Use::Holder(device, by) => {
                format!("{device} is in use by {by}: stop its encryption, volume group or RAID")
            }
        };
        let lines: Vec<_> = self.uses.iter().map(line).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A path such as `/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/...`. Disks at USB say that they are not
/// removable, and card readers do for some cards.
fn at_usb(sys: &Path) -> bool {
    let is_bus = |part: &str| part.strip_prefix("usb").is_some_and(|n| n.parse::<u32>().is_ok());
    sys.iter().any(|part| part.to_str().is_some_and(is_bus))
}

/// A disk or partition: its number, its `/dev` name, its directory.
#[derive(Debug)]
struct Device {
    number: String,
    node: String,
    sys: PathBuf,
}

/// The disk and its partitions.
fn devices(sys: &Path, number: &str) -> Vec<Device> {
    let entries = fs::read_dir(sys).into_iter().flatten().flatten().map(|entry| entry.path());
    let partitions = entries.filter(|path| path.join("partition").exists()).map(|path| {
        let number = fs::read_to_string(path.join("dev")).unwrap_or_default();
        (number.trim_end().to_owned(), path)
    });
    let all = std::iter::once((number.to_owned(), sys.to_owned())).chain(partitions);
    all.map(|(number, sys)| Device { number, node: format!("/dev/{}", name(&sys)), sys }).collect()
}

fn uses(devices: &[Device], root: &Path) -> Result<Vec<Use>> {
    let read = |name: &str| {
        fs::read_to_string(root.join(name)).with_context(|| format!("cannot read /{name}"))
    };
    let mut uses = mounts(&read("proc/self/mountinfo")?, devices);
    // a kernel without swap has no such file
    let swaps = fs::read_to_string(root.join("proc/swaps")).unwrap_or_default();
    let first = swaps.lines().filter_map(|line| line.split_whitespace().next());
    let ours = first.filter(|path| devices.iter().any(|device| device.node == *path));
    uses.extend(ours.map(|path| Use::Swap(path.to_owned())));
    for device in devices {
        let holders = fs::read_dir(device.sys.join("holders")).into_iter().flatten().flatten();
        uses.extend(holders.map(|by| Use::Holder(device.node.clone(), name(&by.path()))));
    }
    let nodes: Vec<_> = devices.iter().map(|device| device.node.clone()).collect();
    uses.extend(loops(root, &nodes));
    Ok(uses)
}

/// Lines `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [FIELD..] - TYPE SOURCE OPTIONS` (proc_pid_mountinfo(5)). Btrfs
/// shows a number of its own: the source counts, too.
fn mounts(text: &str, devices: &[Device]) -> Vec<Use> {
    let one = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(2);
        let (number, point) = (fields.next()?, fields.nth(1)?);
        let source = right.split(' ').nth(1)?;
        let ours = |device: &&Device| device.number == number || device.node == source;
        let device = devices.iter().find(ours)?;
        Some(Use::Mount(device.node.clone(), point.replace("\\040", " ")))
    };
    text.lines().filter_map(one).collect()
}

/// Loop devices that lie on one of these.
fn loops(root: &Path, paths: &[String]) -> Vec<Use> {
    let blocks = fs::read_dir(root.join("sys/block")).into_iter().flatten().flatten();
    let on = |path: PathBuf| {
        let file = fs::read_to_string(path.join("loop/backing_file")).ok()?;
        paths.iter().any(|path| path == file.trim_end()).then(|| format!("/dev/{}", name(&path)))
    };
    let mut found: Vec<_> = blocks.filter_map(|entry| on(entry.path())).collect();
    found.sort();
    found.into_iter().map(Use::Loop).collect()
}

#[cfg(test)]
mod tests;
