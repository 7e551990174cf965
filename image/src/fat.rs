// SPDX-License-Identifier: MIT OR Apache-2.0
//! FAT16 and FAT32 volumes, written whole: contiguous files in the order given, long names, fixed times.
//! Equal input gives equal bytes. (Microsoft: FAT: General Overview of On-Disk Format, 1.03.)

mod layout;
pub mod names;
pub mod read;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use layout::Geometry;
use names::Names;

/// Bytes in a sector of every volume here, and of every SD card and USB stick that a Pi boots from.
pub const SECTOR: u64 = SECTOR_BYTES as u64;
const SECTOR_BYTES: usize = 512;
/// Bytes in a directory entry.
const ENTRY: usize = 32;
/// 1980-01-01 00:00, the first moment that FAT knows.
const DATE: u16 = 1 << 5 | 1;

const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_ARCHIVE: u8 = 0x20;

/// FAT12, FAT16 or FAT32: not a choice, it follows from the number of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Fewer. Read here and never written: the boot ROMs up to Pi 3 were seen not to start from it.
    Fat12,
    /// 4,085 to 65,524 clusters.
    Fat16,
    /// More.
    Fat32,
}

impl Kind {
    /// Bits of an entry in the file allocation table, as the name says.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Fat12 => 12,
            Self::Fat16 => 16,
            Self::Fat32 => 32,
        }
    }
}

/// Content of a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Bytes(Vec<u8>),
    /// On this host, with its length.
    File(PathBuf, u64),
}

impl Content {
    /// Its length.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a volume is to be.
#[derive(Clone, Debug)]
pub struct Volume {
    /// At most 11 characters, upper case.
    pub label: String,
    /// Volume number.
    pub id: u32,
    /// FAT16 or FAT32.
    pub kind: Kind,
    /// Bytes in the volume.
    pub bytes: u64,
    /// Sectors of the disk before it.
    pub hidden: u32,
    /// Path (`overlays/x.dtbo`) and content, in the order in which they shall lie on the disk.
    pub files: Vec<(String, Content)>,
}

/// A file or directory with its place.
#[derive(Debug)]
struct Placed<'a> {
    name: &'a str,
    /// Index of the directory that it is in; the root is 0 and its own parent.
    parent: usize,
    first: u32,
    clusters: u32,
    /// Index into the volume's files; none for a directory.
    file: Option<usize>,
}

/// A volume with everything in its place, ready to be written.
#[derive(Debug)]
pub struct Plan<'a> {
    volume: &'a Volume,
    geometry: Geometry,
    placed: Vec<Placed<'a>>,
    /// The first cluster that no file has.
    free: u32,
}

impl Volume {
    /// Gives every file its place.
    ///
    /// # Errors
    /// Where the files do not fit, a name cannot be, or the size does not make this kind of FAT.
    pub fn plan(&self) -> Result<Plan<'_>> {
        let label = &self.label;
        ensure!(
            names::is_label(label),
            "label {label:?}: expected 1 to 11 of A-Z 0-9 _ - and space"
        );
        let geometry =
            Geometry::new(self.kind, self.bytes).with_context(|| format!("FAT volume {label}"))?;
        let mut plan = Plan { volume: self, geometry, placed: Vec::new(), free: 2 };
        plan.name_all()?;
        plan.place_all()?;
        Ok(plan)
    }
}

impl<'a> Plan<'a> {
    /// Makes the list of files and directories, the root first.
    fn name_all(&mut self) -> Result<()> {
        let root = Placed { name: "", parent: 0, first: 0, clusters: 0, file: None };
        self.placed.push(root);
        for (index, (path, _)) in self.volume.files.iter().enumerate() {
            let mut parent = 0;
            let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
            for name in directories.split('/').filter(|name| !name.is_empty()) {
                parent = match self.find(parent, name) {
                    Some(known) if self.placed[known].file.is_none() => known,
                    Some(_) => bail!("{path}: {name} is a file"),
                    None => self.push(parent, name, None)?,
                };
            }
            ensure!(self.find(parent, name).is_none(), "{path} is there twice");
            self.push(parent, name, Some(index))?;
        }
        Ok(())
    }

    fn push(&mut self, parent: usize, name: &'a str, file: Option<usize>) -> Result<usize> {
        ensure!(names::is_long_name(name), "{name:?} cannot be a file name on FAT");
        self.placed.push(Placed { name, parent, first: 0, clusters: 0, file });
        Ok(self.placed.len() - 1)
    }

    /// FAT does not tell upper from lower case.
    fn find(&self, parent: usize, name: &str) -> Option<usize> {
        let same =
            |entry: &Placed<'_>| entry.parent == parent && entry.name.eq_ignore_ascii_case(name);
        (1..self.placed.len()).find(|index| same(&self.placed[*index]))
    }

    /// Gives out clusters: the root of FAT32 first, then in the order of the list.
    fn place_all(&mut self) -> Result<()> {
        let cluster = self.geometry.cluster_bytes();
        for index in 0..self.placed.len() {
            let bytes = match self.placed[index].file {
                Some(file) => self.volume.files[file].1.len(),
                None => self.directory(index)?.len() as u64,
            };
            let name = self.placed[index].name;
            ensure!(bytes <= u64::from(u32::MAX), "{name} is larger than FAT can hold (4 GiB)");
            let fixed_root = index == 0 && self.volume.kind == Kind::Fat16;
            if fixed_root {
                let room = self.geometry.root_bytes();
                ensure!(bytes <= room, "too many files in the root directory of a FAT16 volume");
                continue;
            }
            let clusters = u32::try_from(bytes.div_ceil(cluster))?;
            let entry = &mut self.placed[index];
            // an empty file has no cluster and begins at 0
            entry.first = if clusters == 0 { 0 } else { self.free };
            entry.clusters = clusters;
            self.free = self.free.saturating_add(clusters);
        }
        let (used, have) = (self.free - 2, self.geometry.clusters);
        ensure!(
            used <= have,
            "{}: {} bytes of files, room for {}",
            self.volume.label,
            u64::from(used) * cluster,
            u64::from(have) * cluster
        );
        Ok(())
    }

    /// Bytes that files and directories take, and those that there are.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        let cluster = self.geometry.cluster_bytes();
        (u64::from(self.free - 2) * cluster, u64::from(self.geometry.clusters) * cluster)
    }

    /// Bytes of the volume that have a meaning: boot sectors, both tables, directories and files, which lie one
    /// after the other. What follows are free clusters.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.geometry.offset(self.free)
    }

    /// Where in the volume the file begins, in bytes.
    #[must_use]
    pub fn offset_of(&self, path: &str) -> Option<u64> {
        let file = self.volume.files.iter().position(|(name, _)| name == path)?;
        let entry = self.placed.iter().find(|entry| entry.file == Some(file))?;
        (entry.first >= 2).then(|| self.geometry.offset(entry.first))
    }

    /// The entries of a directory: label or `.` and `..` first.
    fn directory(&self, index: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let here = &self.placed[index];
        if index == 0 {
            let label = format!("{:<11}", self.volume.label);
            entry(&mut out, label.as_bytes(), 0, ATTRIBUTE_LABEL, 0, 0);
        } else {
            entry(&mut out, b".          ", 0, ATTRIBUTE_DIRECTORY, here.first, 0);
            // a parent that is the root is written as 0, also on FAT32 where the root has a cluster
            let parent = if here.parent == 0 { 0 } else { self.placed[here.parent].first };
            entry(&mut out, b"..         ", 0, ATTRIBUTE_DIRECTORY, parent, 0);
        }
        let mut names = Names::default();
        for child in self.placed.iter().skip(1).filter(|child| child.parent == index) {
            let name =
                names.add(child.name).with_context(|| format!("file name {:?}", child.name))?;
            out.extend(name.long_entries());
            let (attribute, size) = match child.file {
                Some(file) => (ATTRIBUTE_ARCHIVE, u32::try_from(self.volume.files[file].1.len())?),
                None => (ATTRIBUTE_DIRECTORY, 0),
            };
            entry(&mut out, &name.short, name.case, attribute, child.first, size);
        }
        Ok(out)
    }

    /// Writes the volume at this place of a file. What no file needs stays a hole where it was one;
    /// tables and directories are written to their ends.
    ///
    /// # Errors
    /// Where a file cannot be read, changed its length, or `out` cannot be written.
    pub fn write(&self, out: &File, at: u64) -> Result<()> {
        let label = &self.volume.label;
        let put = |bytes: &[u8], offset: u64| {
            out.write_all_at(bytes, at + offset)
                .with_context(|| format!("cannot write volume {label}"))
        };
        put(&self.geometry.head(self.volume, self.free), 0)?;
        let table = self.table();
        for copy in 0..2 {
            put(&table, self.geometry.table_offset(copy))?;
        }
        for (index, entry) in self.placed.iter().enumerate() {
            let place = self.geometry.place(index == 0, entry.first);
            match entry.file.map(|file| &self.volume.files[file].1) {
                None => {
                    let mut bytes = self.directory(index)?;
                    let whole = self.geometry.directory_bytes(index == 0, entry.clusters);
                    bytes.resize(usize::try_from(whole)?, 0);
                    put(&bytes, place)?;
                }
                Some(Content::Bytes(bytes)) => put(bytes, place)?,
                Some(Content::File(path, length)) => {
                    copy(path, *length, |bytes, offset| put(bytes, place + offset))?;
                }
            }
        }
        Ok(())
    }

    /// One file allocation table, to its last sector.
    fn table(&self) -> Vec<u8> {
        let (end, media, clean) = match self.volume.kind {
            Kind::Fat12 | Kind::Fat16 => (0xffff, 0xfff8, 0xffff),
            Kind::Fat32 => (0x0fff_ffff, 0x0fff_fff8, 0x0fff_ffff),
        };
        let mut chain: Vec<u32> = vec![media, clean];
        for entry in self.placed.iter().filter(|entry| entry.clusters > 0) {
            chain.extend(entry.first + 1..entry.first + entry.clusters);
            chain.push(end);
        }
        let mut bytes: Vec<u8> = match self.volume.kind {
            Kind::Fat12 | Kind::Fat16 => {
                chain.iter().flat_map(|next| next.to_le_bytes().into_iter().take(2)).collect()
            }
            Kind::Fat32 => chain.iter().flat_map(|next| next.to_le_bytes()).collect(),
        };
        bytes.resize(self.geometry.table_bytes(), 0);
        bytes
    }
}

/// Appends a short directory entry.
fn entry(out: &mut Vec<u8>, name: &[u8], case: u8, attribute: u8, first: u32, size: u32) {
    let [low0, low1, high0, high1] = first.to_le_bytes();
    let [date0, date1] = DATE.to_le_bytes();
    out.extend(name);
    // attribute, case, creation time (10 ms, time, date), access date, first cluster high
    out.extend([attribute, case, 0, 0, 0, date0, date1, date0, date1, high0, high1]);
    // write time and date, first cluster low
    out.extend([0, 0, date0, date1, low0, low1]);
    out.extend(size.to_le_bytes());
}

/// Copies a file in pieces.
fn copy(path: &PathBuf, length: u64, put: impl Fn(&[u8], u64) -> Result<()>) -> Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let (mut buffer, mut offset) = (vec![0; 1 << 20], 0);
    loop {
        let count = file.read(&mut buffer).with_context(cannot)?;
        if count == 0 {
            ensure!(offset == length, "{} changed while it was copied", path.display());
            return Ok(());
        }
        ensure!(offset + count as u64 <= length, "{} grew while it was copied", path.display());
        put(&buffer[..count], offset)?;
        offset += count as u64;
    }
}

#[cfg(test)]
mod tests;
