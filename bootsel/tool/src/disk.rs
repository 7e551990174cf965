// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk that the system runs from: the one with the mounted data partition, and no other.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bootsel::Slot;
use bootsel::ptable::mbr;

use crate::area::Partition;
use crate::error::{Error, Result, failed};
use crate::root::{Root, names};

/// Where init mounts the data partition.
const DATA: &str = "/run/pivot/data";
/// What sizes are given in, by sysfs and in an MBR.
const SECTOR: u64 = 512;

/// The partitions that the firmware reads.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// Partition 1.
    pub(crate) bootsel: Partition,
    slots: [Partition; 2],
}

/// The number of a slot's partition.
pub(crate) fn number(slot: Slot) -> u8 {
    match slot {
        Slot::A => 2,
        Slot::B => 3,
    }
}

/// The slot of a partition.
pub(crate) fn slot_of(number: u8) -> Option<Slot> {
    [Slot::A, Slot::B].into_iter().find(|slot| self::number(*slot) == number)
}

impl Disk {
    /// Finds it, or takes the one that was named.
    pub(crate) fn find(root: &Root, named: Option<&Path>) -> Result<Self> {
        let find = |number| match named {
            Some(path) => in_table(path, number),
            None => beside_data(root, number),
        };
        Ok(Self { bootsel: find(1)?, slots: [find(2)?, find(3)?] })
    }

    pub(crate) fn slot(&self, slot: Slot) -> &Partition {
        let [a, b] = &self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }
}

/// A partition of a whole disk or an image of one.
fn in_table(path: &Path, number: usize) -> Result<Partition> {
    let mut sector = [0; 512];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut sector, 0));
    read.map_err(failed(format!("cannot read {}", path.display())))?;
    let none = |what| Error::Failed(format!("{}: {what}", path.display()));
    if mbr::is_protective(&sector) {
        return Err(none("has a GPT; the Raspberry Pi's firmware does not try slots on one"));
    }
    let entries = mbr::parse(&sector).ok_or_else(|| none("no partition table"))?;
    let entry = entries.get(number - 1).filter(|entry| entry.sectors > 0);
    let entry = entry.ok_or_else(|| none("partitions 1 to 3 are not all there"))?;
    Ok(Partition {
        path: path.to_owned(),
        start: u64::from(entry.start) * SECTOR,
        bytes: u64::from(entry.sectors) * SECTOR,
    })
}

/// The partition of that number on the disk that the data partition is on.
fn beside_data(root: &Root, number: usize) -> Result<Partition> {
    let mounts = root.text("proc/self/mountinfo").unwrap_or_default();
    let device = mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ');
        let device = fields.nth(2)?;
        (fields.nth(1) == Some(DATA)).then_some(device)
    });
    let device = device.ok_or_else(|| {
        Error::Failed(format!("nothing is mounted on {DATA}: this system was not booted by pivot"))
    })?;
    let data = root.path("sys/dev/block").join(device);
    let cannot = format!("cannot find the disk of {DATA} ({device})");
    let data = data.canonicalize().map_err(failed(&cannot))?;
    let disk = data.parent().filter(|_| data.join("partition").exists());
    let disk = disk.ok_or_else(|| Error::Failed(format!("{cannot}: it is no partition")))?;
    let value = |name: &str, file: &str| {
        let text = std::fs::read_to_string(disk.join(name).join(file)).ok()?;
        text.trim_end().parse::<u64>().ok()
    };
    let name = names(disk).into_iter().find(|name| value(name, "partition") == Some(number as u64));
    let none = || Error::Failed(format!("{}: no partition {number}", disk.display()));
    let name = name.ok_or_else(none)?;
    let sectors = value(&name, "size").ok_or_else(none)?;
    let path: PathBuf = root.path("dev").join(name);
    Ok(Partition { path, start: 0, bytes: sectors * SECTOR })
}
