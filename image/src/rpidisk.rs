// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk image as the firmware of a Raspberry Pi sees it: `rpifw` decides over this.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use bootsel::ptable::mbr;
use rpifw::{Disk, Fat, Table};

use crate::fat::read::{Found, Reader};
use crate::fat::{Kind, SECTOR};
use crate::inspect::disk::gpt_at;

/// No file of a boot partition is larger.
const FILE: u64 = 256 << 20;

/// A partition of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// From 1.
    pub number: u32,
    /// First byte.
    pub start: u64,
    /// Length.
    pub bytes: u64,
    /// Its type in an MBR.
    pub kind: Option<u8>,
    /// Its type on a GPT.
    pub type_guid: Option<String>,
}

/// A FAT volume in the image.
#[derive(Debug)]
pub struct ImageVolume<'a> {
    reader: Reader<'a>,
    files: Result<Vec<Found>, String>,
}

/// A disk image.
#[derive(Debug)]
pub struct ImageDisk<'a> {
    /// The kind of its partition table.
    pub table: Table,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    volumes: Vec<(u32, ImageVolume<'a>)>,
}

impl<'a> ImageDisk<'a> {
    /// Reads the partition table, and the directories of every FAT volume.
    ///
    /// # Errors
    /// Where there is no partition table, or neither copy of a GPT can be read.
    pub fn open(file: &'a File) -> Result<Self> {
        let (table, mut partitions) = partitions(file)?;
        let length = file.metadata()?.len();
        // one that begins behind the end has nothing on it, and its places cannot be computed with
        partitions.retain(|partition| partition.start < length);
        let volume = |partition: &Partition| {
            let reader = Reader::open(file, partition.start).ok()?;
            let files = reader.files().map_err(|error| format!("{error:#}"));
            Some((partition.number, ImageVolume { reader, files }))
        };
        let volumes = partitions.iter().filter_map(volume).collect();
        Ok(Self { table, partitions, volumes })
    }

    /// The FAT volume of a partition.
    #[must_use]
    pub fn fat(&self, number: u32) -> Option<&ImageVolume<'a>> {
        self.volumes.iter().find(|(other, _)| *other == number).map(|(_, volume)| volume)
    }

    /// A partition by its number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.number == number)
    }
}

fn partitions(file: &File) -> Result<(Table, Vec<Partition>)> {
    let mut sector = [0; 512];
    file.read_exact_at(&mut sector, 0).context("cannot read the first sector")?;
    let entries = mbr::parse(&sector).context("no partition table")?;
    if !mbr::is_protective(&sector) {
        let used = (1..).zip(entries).filter(|(_, entry)| entry.sectors > 0);
        let one = |(number, entry): (u32, mbr::Entry)| Partition {
            number,
            start: u64::from(entry.start) * SECTOR,
            bytes: u64::from(entry.sectors) * SECTOR,
            kind: Some(entry.kind),
            type_guid: None,
        };
        return Ok((Table::Mbr, used.map(one).collect()));
    }
    let last = (file.metadata()?.len() / SECTOR).saturating_sub(1);
    let (_, entries) = gpt_at(file, 1).or_else(|_| gpt_at(file, last)).context("gpt")?;
    let one = |entry: bootsel::ptable::gpt::Entry| Partition {
        number: entry.number,
        start: entry.first.saturating_mul(SECTOR),
        bytes: entry.last.saturating_sub(entry.first).saturating_add(1).saturating_mul(SECTOR),
        kind: None,
        type_guid: Some(entry.type_guid.to_string()),
    };
    Ok((Table::Gpt, entries.into_iter().map(one).collect()))
}

impl ImageVolume<'_> {
    /// Its files; empty where the directories cannot be read.
    pub fn files(&self) -> impl Iterator<Item = &Found> {
        self.files.iter().flatten()
    }

    /// What is wrong with its directories.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.files.as_ref().err().map(String::as_str)
    }

    /// Bytes that the files take, and the volume has, both in whole clusters.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        let (cluster, clusters) = self.reader.clusters();
        let used = self.files().map(|file| file.bytes.next_multiple_of(cluster)).sum();
        (used, cluster * clusters)
    }

    /// A file by its path, without regard to case.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Found> {
        let path = path.trim_start_matches('/');
        self.files().find(|file| file.path.eq_ignore_ascii_case(path))
    }
}

impl rpifw::Volume for ImageVolume<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(problem) = self.problem() {
            return Err(format!("{path}: {problem}"));
        }
        let Some(file) = self.find(path) else { return Ok(None) };
        if file.bytes > FILE {
            return Err(format!("{path} has {} bytes", file.bytes));
        }
        self.reader.read(file, FILE).map(Some).map_err(|error| format!("{path}: {error:#}"))
    }

    fn exists(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    fn fat(&self) -> Fat {
        self.reader.kind.into()
    }
}

impl From<Kind> for Fat {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Fat12 => Self::Fat12,
            Kind::Fat16 => Self::Fat16,
            Kind::Fat32 => Self::Fat32,
        }
    }
}

impl Disk for ImageDisk<'_> {
    fn table(&self) -> Table {
        self.table
    }

    fn volume(&self, number: u32) -> Option<&dyn rpifw::Volume> {
        let volume = self.fat(number)?;
        Some(volume)
    }
}
