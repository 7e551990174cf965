// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what is on a FAT volume, for `inspect`. It judges nothing: that is `fsck.fat`'s to do.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};

use super::{ATTRIBUTE_DIRECTORY, ATTRIBUTE_LABEL, ENTRY, Kind};

/// No directory of a boot partition is larger, and none is nested deeper.
const DIRECTORY: u64 = 4 << 20;
const DEPTH: usize = 8;
/// Entries that are looked at: overlays of a Raspberry Pi are some 400.
const FILES: usize = 10_000;
/// All directories together: a damaged volume can have one of them at many places.
const DIRECTORIES: usize = 64 << 20;
/// UTF-16 units of a long name, of which 255 count (20 entries of 13).
const NAME: usize = 260;

/// A volume, opened at its place in a file.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a File,
    at: u64,
    cluster: u64,
    clusters: u64,
    table: u64,
    root: u64,
    root_bytes: u64,
    root_cluster: u32,
    data: u64,
    /// FAT12, FAT16 or FAT32.
    pub kind: Kind,
    /// From the root directory, where there is one.
    pub label: Option<String>,
}

/// A file on the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    first: u32,
}

impl<'a> Reader<'a> {
    /// Opens the volume that begins at byte `at`.
    ///
    /// # Errors
    /// Where there is no FAT volume.
    pub fn open(file: &'a File, at: u64) -> Result<Self> {
        let mut boot = [0; 512];
        file.read_exact_at(&mut boot, at).context("cannot read the boot sector")?;
        let half = |place: usize| u64::from(u16::from_le_bytes([boot[place], boot[place + 1]]));
        let word = |place: usize| half(place) | half(place + 2) << 16;
        let sector = half(11);
        let cluster = sector * u64::from(boot[13]);
        let magic =
            boot[510..] == [0x55, 0xaa] && sector.is_power_of_two() && cluster.is_power_of_two();
        ensure!(magic && (512..=4096).contains(&sector) && boot[16] > 0, "no FAT volume");
        let sectors = if half(19) == 0 { word(32) } else { half(19) };
        let tables = if half(22) == 0 { word(36) } else { half(22) } * u64::from(boot[16]);
        let table = half(14) * sector;
        let root = table + tables * sector;
        let root_bytes = (half(17) * ENTRY as u64).next_multiple_of(sector);
        let data = root + root_bytes;
        let clusters = (sectors * sector).checked_sub(data).context("no FAT volume")? / cluster;
        let (kind, root_cluster) = match clusters {
            0..4_085 => (Kind::Fat12, 0),
            4_085..65_525 => (Kind::Fat16, 0),
            _ => (Kind::Fat32, u32::try_from(word(44))?),
        };
        let mut reader = Self {
            file,
            at,
            cluster,
            clusters,
            table,
            root,
            root_bytes,
            root_cluster,
            data,
            kind,
            label: None,
        };
        reader.label = reader.find_label()?;
        Ok(reader)
    }

    fn find_label(&self) -> Result<Option<String>> {
        let bytes = self.directory(None)?;
        let label = bytes
            .chunks_exact(ENTRY)
            .take_while(|e| e[0] != 0)
            .find(|e| e[0] != 0xe5 && e[11] & 0x0f != 0x0f && e[11] & ATTRIBUTE_LABEL != 0);
        Ok(label.map(|entry| String::from_utf8_lossy(&entry[..11]).trim_end().to_owned()))
    }

    /// Bytes of a cluster, and how many there are.
    #[must_use]
    pub fn clusters(&self) -> (u64, u64) {
        (self.cluster, self.clusters)
    }

    /// Every file, in the order of the directories.
    ///
    /// # Errors
    /// Where a chain of clusters leads nowhere.
    pub fn files(&self) -> Result<Vec<Found>> {
        let (mut found, mut seen, mut looked_at) = (Vec::new(), 0, 0);
        let mut waiting = vec![(String::new(), None, 0)];
        while let Some((prefix, first, depth)) = waiting.pop() {
            ensure!(depth <= DEPTH, "{prefix}: directories are nested too deep");
            let directory = self.directory(first)?;
            looked_at += directory.len();
            ensure!(looked_at <= DIRECTORIES, "too many directories");
            for (name, attribute, first, bytes) in entries(&directory) {
                seen += 1;
                ensure!(seen < FILES, "too many files");
                let path = format!("{prefix}{name}");
                if attribute & ATTRIBUTE_DIRECTORY == 0 {
                    found.push(Found { path, bytes, first });
                } else if name != "." && name != ".." {
                    waiting.push((format!("{path}/"), Some(first), depth + 1));
                }
            }
        }
        Ok(found)
    }

    /// A file's content, up to `most` bytes.
    ///
    /// # Errors
    /// Where its chain of clusters leads nowhere.
    pub fn read(&self, file: &Found, most: u64) -> Result<Vec<u8>> {
        self.chain(file.first, file.bytes.min(most))
    }

    fn directory(&self, first: Option<u32>) -> Result<Vec<u8>> {
        match (first, self.kind) {
            (None, Kind::Fat32) => self.chain(self.root_cluster, u64::MAX),
            (None, _) => self.bytes(self.root, self.root_bytes),
            (Some(first), _) => self.chain(first, u64::MAX),
        }
    }

    /// Follows a chain for `bytes`, or to its end and [`DIRECTORY`] bytes at most.
    fn chain(&self, mut cluster: u32, bytes: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        while (out.len() as u64) < bytes && (2..self.end()).contains(&cluster) {
            ensure!(bytes != u64::MAX || out.len() as u64 <= DIRECTORY, "directory without end");
            let place = self.data + u64::from(cluster - 2) * self.cluster;
            out.extend(self.bytes(place, self.cluster.min(bytes - out.len() as u64))?);
            cluster = self.next(cluster)?;
        }
        ensure!(bytes == u64::MAX || out.len() as u64 == bytes, "chain of clusters is too short");
        Ok(out)
    }

    /// Numbers from here on end a chain, or say that a cluster is bad.
    fn end(&self) -> u32 {
        match self.kind {
            Kind::Fat12 => 0xff7,
            Kind::Fat16 => 0xfff7,
            Kind::Fat32 => 0x0fff_fff7,
        }
    }

    fn next(&self, cluster: u32) -> Result<u32> {
        let bits = u64::from(cluster) * u64::from(self.kind.bits());
        let width = if self.kind == Kind::Fat32 { 4 } else { 2 };
        let mut entry = self.bytes(self.table + bits / 8, width)?;
        entry.resize(4, 0);
        let entry = crate::compress::le32(&entry, 0).unwrap_or(0);
        // an odd entry of FAT12 begins in the middle of a byte
        let mask = if self.kind == Kind::Fat12 { 0xfff } else { 0x0fff_ffff };
        Ok(entry >> (bits % 8) & mask)
    }

    fn bytes(&self, place: u64, length: u64) -> Result<Vec<u8>> {
        let mut out = vec![0; usize::try_from(length)?];
        self.file.read_exact_at(&mut out, self.at + place).context("the volume is cut short")?;
        Ok(out)
    }
}

/// Name, attribute, first cluster and length of what a directory lists.
fn entries(bytes: &[u8]) -> Vec<(String, u8, u32, u64)> {
    let (mut out, mut long) = (Vec::new(), Vec::new());
    for entry in bytes.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0) {
        let half = |place: usize| u16::from_le_bytes([entry[place], entry[place + 1]]);
        if entry[11] & 0x3f == 0x0f {
            let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
            let part: Vec<u16> = places.map(half).collect();
            long.splice(0..0, part);
            long.truncate(NAME);
            continue;
        }
        let units: Vec<u16> = std::mem::take(&mut long);
        if entry[0] == 0xe5 || entry[11] & ATTRIBUTE_LABEL != 0 {
            continue;
        }
        let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
        let name = if end == 0 { short(entry) } else { String::from_utf16_lossy(&units[..end]) };
        let first = u32::from(half(20)) << 16 | u32::from(half(26));
        let length = u64::from(half(28)) | u64::from(half(30)) << 16;
        out.push((name, entry[11], first, length));
    }
    out
}

fn short(entry: &[u8]) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if lower { text.to_lowercase() } else { text }
    };
    let base = part(&entry[..8], entry[12] & 0x08 != 0);
    let extension = part(&entry[8..11], entry[12] & 0x10 != 0);
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}
