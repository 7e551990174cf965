// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding a block device by its name in sysfs, and what is on it.
//!
//! A device that goes while it is looked at is skipped: it must not hide the others. One device is looked at after the
//! other and only what matches is kept: this runs at every uevent of a wait.

use alloc::string::String;
use alloc::vec::Vec;

use bootsel::format;

use crate::device::{By, DeviceName, decimal};
use crate::partition::Tables;
use crate::{Error, file, superblock};

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

/// Where on a disk a partition lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Path of the disk's node: `/dev/vda`.
    pub disk: String,
    /// Where it begins, in bytes.
    pub start: u64,
}

/// A block device and what sysfs says of it.
pub(crate) struct Entry<'a> {
    name: &'a str,
    directory: String,
    uevent: Vec<u8>,
}

/// The device that `name` names, if it is there.
///
/// # Errors
/// Where two devices answer to the name: taking one of them would some day boot the wrong card.
pub fn find(roots: &Roots<'_>, name: &DeviceName) -> Result<Option<BlockDevice>, Error> {
    let by = name.by();
    let mut found = matching(roots, &mut |entry| entry.is(roots, by));
    // First by what the kernel says of its partitions, then by the partition tables themselves: kernels before 6.13
    // say no PARTUUID, and in PARTNAME whatever is not ASCII is mangled.
    if found.is_empty() && matches!(by, By::PartUuid(..) | By::PartLabel(_)) {
        let mut tables = Tables::new(roots);
        found = matching(roots, &mut |entry| tables.say(entry, by));
    }
    if let [first, second, ..] = &*found {
        return Err(Error::new(format_args!(
            "cannot choose between {} and {}: both are {name}",
            first.node, second.node
        )));
    }
    // sysfs shows a device a moment before devtmpfs has its node.
    if found.first().is_some_and(|device| !file::exists(&device.node)) {
        return Ok(None);
    }
    Ok(found.pop())
}

/// Where the kernel says that the partition `device` lies; nothing for a device that is no partition.
pub fn partition(roots: &Roots<'_>, device: &BlockDevice) -> Option<Partition> {
    let directory = directory(roots, &device.name);
    let entry = Entry { name: &device.name, uevent: uevent(&directory), directory };
    let (number, disk) = entry.partition()?;
    let start = file::attribute(&format!("{}/start", entry.directory))?;
    // sysfs counts in 512 bytes, whatever the disk's blocks are.
    let start = start.parse::<u64>().ok()?.checked_mul(512)?;
    Some(Partition { number, disk: format!("{}/{disk}", roots.dev), start })
}

/// The names of the block devices that are there, without those backed by memory or files: for messages.
pub fn list(roots: &Roots<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for name in file::names(&directory(roots, "")) {
        if !is_any(&name, &["loop", "ram", "zram"]) {
            names.push(name);
        }
    }
    names
}

fn directory(roots: &Roots<'_>, name: &str) -> String {
    format!("{}/class/block/{name}", roots.sys)
}

fn matching(roots: &Roots<'_>, matches: &mut dyn FnMut(&Entry<'_>) -> bool) -> Vec<BlockDevice> {
    let mut found = Vec::new();
    for name in &file::names(&directory(roots, "")) {
        let directory = directory(roots, name);
        let entry = Entry { name, uevent: uevent(&directory), directory };
        if matches(&entry)
            && let Some(device) = entry.device(roots)
        {
            found.push(device);
        }
    }
    found
}

impl Entry<'_> {
    fn device(&self, roots: &Roots<'_>) -> Option<BlockDevice> {
        let (major, minor) = (number(&self.uevent, "MAJOR=")?, number(&self.uevent, "MINOR=")?);
        Some(BlockDevice { name: self.name.into(), node: self.node(roots), major, minor })
    }

    fn node(&self, roots: &Roots<'_>) -> String {
        format!("{}/{}", roots.dev, field(&self.uevent, "DEVNAME="))
    }

    /// Of a partition: its number, and the node's name of the disk that it is on.
    pub(crate) fn partition(&self) -> Option<(u32, String)> {
        let number = number(&self.uevent, "PARTN=")?;
        // The entry is a link into the devices' tree, where a partition lies in its disk's directory.
        let disk = uevent(&format!("{}/..", self.directory));
        Some((number, field(&disk, "DEVNAME=").into()))
    }

    fn is(&self, roots: &Roots<'_>, by: &By) -> bool {
        let says = |key| field(&self.uevent, key);
        match by {
            By::Node(node) => says("DEVNAME=") == node,
            By::Number(major, minor) => {
                number(&self.uevent, "MAJOR=") == Some(*major)
                    && number(&self.uevent, "MINOR=") == Some(*minor)
            }
            // With an offset the table is needed.
            By::PartUuid(uuid, offset) => {
                *offset == 0 && says("PARTUUID=").eq_ignore_ascii_case(uuid)
            }
            By::PartLabel(label) => says("PARTNAME=") == label,
            By::Uuid(_) | By::Label(_) => self.holds(roots, by),
        }
    }

    fn holds(&self, roots: &Roots<'_>, by: &By) -> bool {
        let size = file::attribute(&format!("{}/size", self.directory));
        let is_none = size.is_none_or(|size| size == "0");
        if is_none || is_any(self.name, &["loop", "ram", "zram", "mtdblock"]) {
            return false;
        }
        let Ok(Some(found)) = superblock::read(&self.node(roots)) else { return false };
        match by {
            By::Uuid(uuid) => found.uuid.is_some_and(|found| found.eq_ignore_ascii_case(uuid)),
            By::Label(label) => found.label.as_ref() == Some(label),
            _ => false,
        }
    }
}

// Empty where the device is gone. Bytes: older kernels take Latin-1 into PARTNAME.
fn uevent(directory: &str) -> Vec<u8> {
    file::read(&format!("{directory}/uevent"), file::ATTRIBUTE).unwrap_or_default()
}

// Empty where it is not there, which is nobody's name.
fn field<'a>(uevent: &'a [u8], key: &str) -> &'a str {
    for line in uevent.split(|byte| *byte == b'\n') {
        if let Some(value) = line.strip_prefix(key.as_bytes()) {
            return core::str::from_utf8(value).unwrap_or_default();
        }
    }
    ""
}

fn number(uevent: &[u8], key: &str) -> Option<u32> {
    decimal(field(uevent, key))
}

// A driver's name and a number follow: "loop0", "ram1".
fn is_any(name: &str, drivers: &[&str]) -> bool {
    let numbered = |rest: &str| rest.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    drivers.iter().any(|driver| name.strip_prefix(driver).is_some_and(numbered))
}

#[cfg(test)]
pub(crate) mod tests;
