// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk that the system runs from: the one with the mounted data partition, and no other.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bootsel::Slot;
use bootsel::ptable::{gpt, mbr};

use crate::area::Partition;
use crate::error::{Error, Result, failed};
use crate::root::{Root, names};

/// Where init mounts the data partition.
const DATA: &str = "/run/pivot/data";
/// What sizes are given in, by sysfs and by an MBR as it is made here.
const SECTOR: u64 = 512;

/// The partitions that the firmware reads.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// Partition 1.
    pub(crate) bootsel: Partition,
    /// Whether it is known to have a GPT.
    pub(crate) gpt: bool,
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
        let table = named.map(Table::read).transpose()?;
        let find = |number| match &table {
            Some(table) => table.partition(number),
            None => beside_data(root, number),
        };
        let gpt = table.as_ref().is_some_and(|table| matches!(table.entries, Entries::Gpt(..)));
        Ok(Self { bootsel: find(1)?, gpt, slots: [find(2)?, find(3)?] })
    }

    pub(crate) fn slot(&self, slot: Slot) -> &Partition {
        let [a, b] = &self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }
}

/// The partitions of a whole disk or an image of one.
struct Table<'a> {
    path: &'a Path,
    entries: Entries,
}

enum Entries {
    Mbr([mbr::Entry; 4]),
    /// With the bytes of a sector.
    Gpt(Vec<gpt::Entry>, u64),
}

impl<'a> Table<'a> {
    fn read(path: &'a Path) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let file = File::open(path).map_err(failed(cannot()))?;
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, 0).map_err(failed(cannot()))?;
        let entries =
            match mbr::is_protective(&sector) {
                true => read_gpt(&file)
                    .map_err(|why| Error::Failed(format!("{}: {why}", path.display())))?,
                false => Entries::Mbr(mbr::parse(&sector).ok_or_else(|| {
                    Error::Failed(format!("{}: no partition table", path.display()))
                })?),
            };
        Ok(Self { path, entries })
    }

    fn partition(&self, number: usize) -> Result<Partition> {
        let found = match &self.entries {
            Entries::Mbr(entries) => entries
                .get(number - 1)
                .filter(|entry| entry.sectors > 0)
                .map(|entry| (u64::from(entry.start) * SECTOR, u64::from(entry.sectors) * SECTOR)),
            Entries::Gpt(entries, sector) => entries
                .iter()
                .find(|entry| u32::try_from(number) == Ok(entry.number))
                .and_then(|entry| {
                    let sectors = entry.last.checked_sub(entry.first)?.checked_add(1)?;
                    Some((entry.first.checked_mul(*sector)?, sectors.checked_mul(*sector)?))
                }),
        };
        let path = self.path;
        let (start, bytes) = found
            .filter(|(start, bytes)| start.checked_add(*bytes).is_some())
            .ok_or_else(|| {
                Error::Failed(format!("{}: partitions 1 to 3 are not all there", path.display()))
            })?;
        Ok(Partition { path: path.to_owned(), start, bytes })
    }
}

/// The first GPT of a disk, or its second one: as Linux does with `gpt` on its command line.
fn read_gpt(mut file: &File) -> std::result::Result<Entries, String> {
    let end = file.seek(SeekFrom::End(0)).map_err(|why| why.to_string())?;
    let mut problem = String::new();
    // sectors have 512 bytes, or 4096 on some NVMe and UFS disks
    for (bytes, second) in [(512, false), (4096, false), (512, true), (4096, true)] {
        let lba = if second { (end / bytes as u64).saturating_sub(1) } else { 1 };
        match read_entries(file, bytes, lba) {
            Ok(entries) => return Ok(Entries::Gpt(entries, bytes as u64)),
            Err(why) if problem.is_empty() => problem = why,
            Err(_) => {}
        }
    }
    Err(problem)
}

fn read_entries(
    file: &File,
    bytes: usize,
    lba: u64,
) -> std::result::Result<Vec<gpt::Entry>, String> {
    let mut sector = vec![0; bytes];
    file.read_exact_at(&mut sector, lba * bytes as u64).map_err(|why| why.to_string())?;
    let header = gpt::Header::parse(&sector, lba).map_err(|why| why.to_string())?;
    let mut entries = vec![0; usize::try_from(header.entries_bytes()).unwrap_or_default()];
    file.read_exact_at(&mut entries, header.entries_offset()).map_err(|why| why.to_string())?;
    gpt::parse_entries(&header, &entries).map_err(|why| why.to_string())
}

/// The disk that the data partition is on: its directory in sysfs.
pub(crate) fn of_data(root: &Root) -> Result<PathBuf> {
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
    disk.map(Path::to_owned).ok_or_else(|| Error::Failed(format!("{cannot}: it is no partition")))
}

/// The partition of that number on the disk that the data partition is on.
fn beside_data(root: &Root, number: usize) -> Result<Partition> {
    let disk = &of_data(root)?;
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
