// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding a block device by its name in sysfs, and what is on it.
//!
//! A device that goes while it is looked at is skipped: it must not hide the others.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::device::{By, DeviceName};
use crate::superblock::{self, Superblock};
use crate::{Error, file, partition};

/// Where sysfs and devtmpfs are: "/sys" and "/dev".
#[derive(Clone, Copy, Debug)]
pub struct Roots<'a> {
    /// Mount point of sysfs.
    pub sys: &'a str,
    /// Mount point of devtmpfs.
    pub dev: &'a str,
}

/// A block device that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// The kernel's name: `vda1`.
    pub name: String,
    /// Path of its node: `/dev/vda1`.
    pub node: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A block device and what its `uevent` file says of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) device: BlockDevice,
    /// Of a partition: PARTN, and the name of the disk that it is on.
    pub(crate) partition: Option<(u32, String)>,
    /// PARTUUID (Linux 6.13).
    pub(crate) uuid: Option<String>,
    /// PARTNAME.
    pub(crate) label: Option<String>,
}

/// The device that `name` names, if it is there.
///
/// # Errors
/// Where two devices answer to the name: taking one of them would some day boot the wrong card.
pub fn find(roots: &Roots<'_>, name: &DeviceName) -> Result<Option<BlockDevice>, Error> {
    let found = match name.by() {
        By::Node(node) => entry(roots, &node.replace('/', "!")).map(|entry| entry.device),
        By::Number(major, minor) => only(name, &entries(roots), |entry| {
            (entry.device.major, entry.device.minor) == (*major, *minor)
        })?,
        By::PartUuid(uuid, offset) => {
            by_table(roots, name, *offset, |entry| is(&entry.uuid, uuid))?
        }
        By::PartLabel(label) => {
            by_table(roots, name, 0, |entry| entry.label.as_ref() == Some(label))?
        }
        By::Uuid(uuid) => by_superblock(roots, name, |found| is(&found.uuid, uuid))?,
        By::Label(label) => {
            by_superblock(roots, name, |found| found.label.as_ref() == Some(label))?
        }
    };
    // sysfs shows a device a moment before devtmpfs has its node.
    Ok(found.filter(|device| rustix::fs::stat(device.node.as_str()).is_ok()))
}

/// The names of the block devices that are there, without those backed by memory or files: for messages.
pub fn list(roots: &Roots<'_>) -> Vec<String> {
    let mut names = file::names(&directory(roots, ""));
    names.retain(|name| !is_any(name, &["loop", "ram", "zram"]));
    names
}

/// The directory of a block device in sysfs.
pub(crate) fn directory(roots: &Roots<'_>, name: &str) -> String {
    format!("{}/class/block/{name}", roots.sys)
}

fn entries(roots: &Roots<'_>) -> Vec<Entry> {
    file::names(&directory(roots, "")).iter().filter_map(|name| entry(roots, name)).collect()
}

fn entry(roots: &Roots<'_>, name: &str) -> Option<Entry> {
    let directory = directory(roots, name);
    let text = file::attribute(&format!("{directory}/uevent"))?;
    let device = BlockDevice {
        name: name.to_string(),
        node: format!("{}/{}", roots.dev, field(&text, "DEVNAME")?),
        major: field(&text, "MAJOR")?.parse().ok()?,
        minor: field(&text, "MINOR")?.parse().ok()?,
    };
    let partition = match field(&text, "PARTN") {
        // The entry is a link into the devices' tree, where a partition lies in its disk's directory.
        Some(number) => {
            let disk = file::attribute(&format!("{directory}/../uevent"))?;
            Some((number.parse().ok()?, field(&disk, "DEVNAME")?.replace('/', "!")))
        }
        None => None,
    };
    let owned = |key| field(&text, key).map(String::from);
    Some(Entry { device, partition, uuid: owned("PARTUUID"), label: owned("PARTNAME") })
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

fn only(
    name: &DeviceName,
    entries: &[Entry],
    matches: impl Fn(&Entry) -> bool,
) -> Result<Option<BlockDevice>, Error> {
    let mut found = entries.iter().filter(|entry| matches(entry)).map(|entry| &entry.device);
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Err(Error::new(format_args!(
            "cannot choose between {} and {}: both are {name}",
            first.node, second.node
        ))),
        (first, _) => Ok(first.cloned()),
    }
}

// First by what the kernel says of its partitions, then by the partition tables themselves: kernels before 6.13 say
// no PARTUUID, and in PARTNAME whatever is not ASCII is mangled.
fn by_table(
    roots: &Roots<'_>,
    name: &DeviceName,
    offset: i32,
    matches: impl Fn(&Entry) -> bool,
) -> Result<Option<BlockDevice>, Error> {
    let mut all = entries(roots);
    let mut found = only(name, &all, &matches)?;
    if found.is_none() {
        partition::identify(roots, &mut all);
        found = only(name, &all, &matches)?;
    }
    Ok(found.and_then(|device| sibling(all, &device, offset)))
}

// The partition `offset` numbers further on the same disk.
fn sibling(all: Vec<Entry>, device: &BlockDevice, offset: i32) -> Option<BlockDevice> {
    let (number, disk) = all.iter().find(|e| e.device == *device)?.partition.clone()?;
    let wanted = (number.checked_add_signed(offset)?, disk);
    all.into_iter().find(|e| e.partition.as_ref() == Some(&wanted)).map(|e| e.device)
}

fn by_superblock(
    roots: &Roots<'_>,
    name: &DeviceName,
    matches: impl Fn(&Superblock) -> bool,
) -> Result<Option<BlockDevice>, Error> {
    only(name, &entries(roots), |entry| {
        let BlockDevice { name, node, .. } = &entry.device;
        if is_any(name, &["loop", "ram", "zram", "mtdblock"]) || size(roots, name) == 0 {
            return false;
        }
        superblock::read(node).is_ok_and(|found| found.as_ref().is_some_and(&matches))
    })
}

/// The size of a block device in units of 512 bytes, whatever its logical block size is.
pub(crate) fn size(roots: &Roots<'_>, name: &str) -> u64 {
    let size = file::attribute(&format!("{}/size", directory(roots, name)));
    size.and_then(|size| size.parse().ok()).unwrap_or(0)
}

// A driver's name and a number follow: "loop0", "ram1".
fn is_any(name: &str, drivers: &[&str]) -> bool {
    let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    drivers.iter().any(|driver| name.strip_prefix(driver).is_some_and(numbered))
}

fn is(found: &Option<String>, wanted: &str) -> bool {
    found.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
pub(crate) mod tests;
