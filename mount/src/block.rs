// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding a block device by its name in sysfs, and what is on it.
//!
//! A device that goes while it is looked at is skipped: it must not hide the others. One device is looked at after the
//! other and only what matches is kept: this runs at every uevent of a wait.

use bootsel::list::List;
use bootsel::pattern;
use bootsel::text::{digits, fill, find as find_byte, number, of};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use uapi::memory;

use crate::device::{By, DeviceName, decimal};
use crate::superblock::{self, Short};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// The kernel's name: `vda1`.
    pub name: &'static str,
    /// Path of its node: `/dev/vda1`.
    pub node: &'static str,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// Where on a disk a partition lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Path of the disk's node: `/dev/vda`.
    pub disk: &'static str,
    /// Where it begins, in bytes.
    pub start: u64,
}

/// More than a device's uevent has: numbers, a node's name, and a GPT's name of 36 characters.
const UEVENT: usize = 1024;
/// A path while it is needed.
type PathRoom = [u8; 512];

/// A block device and what sysfs says of it.
struct Entry<'a> {
    roots: &'a Roots<'a>,
    name: &'a str,
    /// Empty where the device is gone. Bytes: older kernels take Latin-1 into PARTNAME.
    uevent: &'a [u8],
}

/// The device that `name` names, if it is there.
///
/// # Errors
/// Where two devices answer to the name: taking one of them would some day boot the wrong card.
pub fn find(roots: &Roots<'_>, name: &DeviceName<'_>) -> Result<Option<BlockDevice>, Error> {
    let by = name.by();
    let mut found = Found::new(Short::EMPTY);
    each(roots, &mut |entry| {
        if entry.is(by) {
            add(&mut found, entry.name);
        }
    });
    // First by what the kernel says of its partitions, then by the partition tables themselves: kernels before 6.13
    // say no PARTUUID, and in PARTNAME whatever is not ASCII is mangled.
    if found.is_empty() && matches!(by, By::PartUuid(..) | By::PartLabel(_)) {
        each(roots, &mut |entry| {
            if entry.says("DEVTYPE=") == "disk" && entry.has_partitions() {
                entry.each_in_table(by, &mut found);
            }
        });
    }
    match &*found {
        [] => Ok(None),
        [only] => Ok(device(roots, only)),
        [one, other, ..] => two(roots, name, one, other),
    }
}

/// Two are enough: a second one is refused.
type Found = List<Short, 2>;

#[inline(never)]
fn add(found: &mut Found, name: &str) {
    found.push(name.into());
}

#[cold]
fn two(
    roots: &Roots<'_>,
    name: &DeviceName<'_>,
    one: &str,
    other: &str,
) -> Result<Option<BlockDevice>, Error> {
    let (first, second) =
        if other.as_bytes() < one.as_bytes() { (other, one) } else { (one, other) };
    let (mut room, mut other) = ([0; UEVENT], [0; UEVENT]);
    let first = Entry::read(roots, first, &mut room);
    let second = Entry::read(roots, second, &mut other);
    Err(error!(
        "cannot choose between {} and {}: both are {}",
        first.node(&mut [0; 512]),
        second.node(&mut [0; 512]),
        name.as_str()
    ))
}

/// What is there to be used; sysfs shows a device a moment before devtmpfs has its node.
fn device(roots: &Roots<'_>, name: &str) -> Option<BlockDevice> {
    let (mut room, mut node) = ([0; UEVENT], [0; 512]);
    let entry = Entry::read(roots, name, &mut room);
    let (major, minor) = entry.numbers()?;
    let node = entry.node(&mut node);
    if !file::exists(node) {
        return None;
    }
    Some(BlockDevice { name: text!("{}", name), node: text!("{}", node), major, minor })
}

/// Where the kernel says that the partition `device` lies; nothing for a device that is no partition.
pub fn partition(roots: &Roots<'_>, device: &BlockDevice) -> Option<Partition> {
    let (mut room, mut disk) = ([0; UEVENT], [0; UEVENT]);
    let entry = Entry::read(roots, device.name, &mut room);
    let (partition, disk) = entry.partition(&mut disk)?;
    let start = file::attribute(text!("{}/class/block/{}/start", roots.sys, device.name));
    // sysfs counts in 512 bytes, whatever the disk's blocks are.
    let start = number(start)?.checked_mul(512)?;
    Some(Partition { number: partition, disk: text!("{}/{}", roots.dev, disk), start })
}

/// As many names as a line of the log could hold twice over.
const LIST: usize = 2048;

/// The names of the block devices that are there, a blank before each, without those backed by memory or files: for
/// messages.
pub fn list(roots: &Roots<'_>) -> &'static str {
    let (list, mut length) = (memory::bytes(LIST), 0);
    for name in &*file::names(directory(roots, "", &mut [0; 512])) {
        if !is_any(name, &["loop", "ram", "zram"]) {
            let room = list.get_mut(length..).unwrap_or_default();
            length += fill(room, pattern!(" {}"), &[name]).len();
        }
    }
    of(list.get(..length).unwrap_or_default())
}

fn directory<'a>(roots: &Roots<'_>, name: &str, room: &'a mut PathRoom) -> &'a str {
    fill(room, pattern!("{}/class/block/{}"), &[roots.sys, name])
}

/// Calls `look` with every device that is there.
fn each(roots: &Roots<'_>, look: &mut dyn FnMut(&Entry<'_>)) {
    file::each_name(directory(roots, "", &mut [0; 512]), &mut |name| {
        look(&Entry::read(roots, name, &mut [0; UEVENT]));
    });
}

impl<'a> Entry<'a> {
    fn read(roots: &'a Roots<'a>, name: &'a str, room: &'a mut [u8; UEVENT]) -> Entry<'a> {
        let path = &mut [0; 512];
        let path = fill(path, pattern!("{}/class/block/{}/uevent"), &[roots.sys, name]);
        Entry { roots, name, uevent: file::peek(path, room) }
    }

    fn numbers(&self) -> Option<(u32, u32)> {
        decimal(self.says("MAJOR=")).zip(decimal(self.says("MINOR=")))
    }

    fn node<'r>(&self, room: &'r mut PathRoom) -> &'r str {
        fill(room, pattern!("{}/{}"), &[self.roots.dev, self.says("DEVNAME=")])
    }

    // Empty where it is not there, which is nobody's name.
    fn says(&self, key: &str) -> &'a str {
        field(self.uevent, key)
    }

    /// Of a partition: its number, and the node's name of the disk that it is on.
    fn partition<'r>(&self, room: &'r mut [u8; UEVENT]) -> Option<(u32, &'r str)> {
        let number = decimal(self.says("PARTN="))?;
        // The entry is a link into the devices' tree, where a partition lies in its disk's directory.
        let path = &mut [0; 512];
        let path =
            fill(path, pattern!("{}/class/block/{}/../uevent"), &[self.roots.sys, self.name]);
        Some((number, field(file::peek(path, room), "DEVNAME=")))
    }

    /// Of a disk: whether the kernel made partitions of it. Others are not opened: a drive may have no medium, or take
    /// seconds to say so.
    fn has_partitions(&self) -> bool {
        let mut found = false;
        // A partition lies in its disk's directory, and its name begins with the disk's.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let path = &mut [0; 512];
        if let Ok(directory) = file::open_raw(directory(self.roots, self.name, path), flags) {
            file::each_entry(directory.as_fd(), &mut |name, _| {
                found |= name.to_bytes().starts_with(self.name.as_bytes());
            });
        }
        found
    }

    /// Of a disk: adds the partitions that its table says `by` of.
    fn each_in_table(&self, by: By<'_>, found: &mut Found) {
        // As the kernel makes them (add_partition in block/partitions/core.c): "vda1", "mmcblk0p1".
        let numbered = self.name.ends_with(|last: char| last.is_ascii_digit());
        for number in partition::numbers(self.node(&mut [0; 512]), by).iter() {
            let (name, digits_room, uevent) = (&mut [0; 255], &mut [0; 20], &mut [0; UEVENT]);
            let digits = digits((*number).into(), digits_room);
            let name = fill(
                name,
                pattern!("{}{}{}"),
                &[self.name, if numbered { "p" } else { "" }, digits],
            );
            if Entry::read(self.roots, name, uevent).says("PARTN=") == digits {
                add(found, name);
            }
        }
    }

    fn is(&self, by: By<'_>) -> bool {
        let Some(numbers) = self.numbers() else { return false };
        match by {
            By::Node(node) => self.says("DEVNAME=") == node,
            By::Number(major, minor) => numbers == (major, minor),
            // With an offset the table is needed.
            By::PartUuid(uuid, offset) => {
                offset == 0 && self.says("PARTUUID=").eq_ignore_ascii_case(uuid)
            }
            By::PartLabel(label) => self.says("PARTNAME=") == label,
            By::Uuid(_) | By::Label(_) => self.holds(by),
        }
    }

    fn holds(&self, by: By<'_>) -> bool {
        let (path, size) = (&mut [0; 512], &mut [0; 32]);
        let path = fill(path, pattern!("{}/class/block/{}/size"), &[self.roots.sys, self.name]);
        let is_none = matches!(file::peek(path, size), [] | [b'0', ..]);
        if is_none || is_any(self.name, &["loop", "ram", "zram", "mtdblock"]) {
            return false;
        }
        let Ok(Some(found)) = superblock::look(self.node(&mut [0; 512])) else { return false };
        match by {
            By::Uuid(uuid) => found.uuid.eq_ignore_ascii_case(uuid),
            By::Label(label) => *found.label == *label,
            _ => false,
        }
    }
}

fn field<'a>(uevent: &'a [u8], key: &str) -> &'a str {
    let mut rest = uevent;
    while !rest.is_empty() {
        let end = find_byte(rest, b'\n').unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        if let Some(value) = line.strip_prefix(key.as_bytes()) {
            return of(value);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    ""
}

// A driver's name and a number follow: "loop0", "ram1".
fn is_any(name: &str, drivers: &[&str]) -> bool {
    let numbered = |rest: &str| rest.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    drivers.iter().any(|driver| name.strip_prefix(driver).is_some_and(numbered))
}

#[cfg(test)]
pub(crate) mod tests;
