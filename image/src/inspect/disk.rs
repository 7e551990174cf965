// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on a disk: partitions, slots, revisions.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use bootsel::manifest;
use bootsel::ptable::{gpt, mbr};
use rpifw::partition::{BOOTCODE, CONFIG};
use serde::Serialize;

use super::selector::{self, Autoboot, Grub};
use super::{Judged, Listing};
use crate::eeprom::Shipped;
use crate::ext4;
use crate::fat::{
    SECTOR,
    read::{Found, Reader},
};
use crate::rpi::firmware::IN_SLOT;
use crate::slot;
use crate::tree::hex;
use crate::uefi;

/// Text files of a slot are shorter.
pub(super) const TEXT: u64 = 64 << 10;
/// A disk.
#[derive(Debug, Serialize)]
pub struct Disk {
    /// `gpt` or `mbr`.
    pub table: &'static str,
    /// GUID of the disk, or the MBR's signature.
    pub id: String,
    /// Its length.
    pub bytes: u64,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// What autoboot.txt on partition 1 says; none where there is none.
    pub autoboot: Option<Autoboot>,
    /// What grubenv on partition 1 says; none where there is none.
    pub grub: Option<Grub>,
    /// What partition 1 has for the EEPROM of a Pi 4 and 5.
    pub eeprom: Vec<Shipped>,
    /// What is wrong with the partition table.
    pub problems: Vec<String>,
}

/// A partition.
#[derive(Debug, Serialize)]
pub struct Partition {
    /// From 1.
    pub number: u32,
    /// On a GPT.
    pub name: Option<String>,
    /// GUID or number of its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// What the kernel knows it by.
    pub partuuid: String,
    /// First byte.
    pub start: u64,
    /// Length.
    pub bytes: u64,
    /// What is on it.
    pub content: Content,
}

/// What is on a partition.
#[derive(Debug, Serialize)]
#[serde(tag = "filesystem", rename_all = "lowercase")]
pub enum Content {
    /// FAT: a boot partition.
    Fat(Volume),
    /// ext4: the data partition.
    Ext4(Data),
    /// Anything else.
    Unknown,
}

/// A boot partition.
#[derive(Debug, Serialize)]
pub struct Volume {
    /// 12, 16 or 32.
    pub bits: u8,
    /// Its label.
    pub label: Option<String>,
    /// The slot that its command line names.
    pub slot: Option<String>,
    /// `cmdline.txt`
    pub cmdline: Option<String>,
    /// Kernel releases in `kernels.txt`.
    pub kernels: Vec<String>,
    /// Whether there is a `config.txt`, as a Raspberry Pi wants it.
    pub config: bool,
    /// In a slot for a Raspberry Pi: files of its firmware that are not there.
    pub missing: Vec<&'static str>,
    /// Its files and their lengths.
    pub files: Vec<(String, u64)>,
}

/// The data partition.
#[derive(Debug, Serialize)]
pub struct Data {
    /// Its UUID.
    pub uuid: String,
    /// Its label.
    pub label: String,
    /// The revisions on it.
    pub revisions: Vec<Listing>,
    /// Why there is nothing to say of them.
    pub problem: Option<String>,
}

/// The disk in a file; none where there is no partition table.
pub(super) fn read(path: &Path, file: &File, head: &[u8]) -> Result<Option<Disk>> {
    let bytes = file.metadata()?.len();
    let Some(entries) = mbr::parse(head) else { return Ok(None) };
    let mut disk = Disk {
        table: "mbr",
        id: String::new(),
        bytes,
        partitions: vec![],
        autoboot: None,
        grub: None,
        eeprom: vec![],
        problems: vec![],
    };
    if mbr::is_protective(head) {
        disk.table = "gpt";
        read_gpt(path, file, &mut disk)?;
        read_first(file, &mut disk)?;
        return Ok(Some(disk));
    }
    let signature = mbr::disk_signature(head).unwrap_or(0);
    disk.id = format!("{signature:08x}");
    for (number, entry) in (1..).zip(entries).filter(|(_, entry)| entry.sectors > 0) {
        let start = u64::from(entry.start) * SECTOR;
        disk.partitions.push(Partition {
            number,
            name: None,
            type_: format!("{:02x}", entry.kind),
            partuuid: format!("{signature:08x}-{number:02}"),
            start,
            bytes: u64::from(entry.sectors) * SECTOR,
            content: content(path, file, start)?,
        });
    }
    read_first(file, &mut disk)?;
    Ok((!disk.partitions.is_empty()).then_some(disk))
}

/// Reads autoboot.txt and grubenv, and says of slots up to a Pi 3 that bootcode.bin on partition 1 is not there.
fn read_first(file: &File, disk: &mut Disk) -> Result<()> {
    let Some(first) = disk.partitions.iter().find(|partition| partition.number == 1) else {
        return Ok(());
    };
    let Ok(reader) = Reader::open(file, first.start) else { return Ok(()) };
    let files = reader.files()?;
    let find = |name: &str| files.iter().find(|file| file.path.eq_ignore_ascii_case(name));
    disk.autoboot = selector::autoboot(&reader, find)?;
    disk.eeprom = selector::shipped(&reader, find);
    disk.grub = selector::grub(&reader, find);
    if find(BOOTCODE).is_none() {
        for partition in &mut disk.partitions {
            if let Content::Fat(volume) = &mut partition.content
                && volume.config
                && volume.slot.is_some()
            {
                volume.missing.insert(0, BOOTCODE);
            }
        }
    }
    Ok(())
}

fn read_gpt(path: &Path, file: &File, disk: &mut Disk) -> Result<()> {
    let last = (disk.bytes / SECTOR).saturating_sub(1);
    let tables = [("first", 1), ("second", last)].map(|(name, lba)| (name, gpt_at(file, lba)));
    for (name, table) in &tables {
        if let Err(error) = table {
            disk.problems.push(format!("the {name} partition table: {error:#}"));
        }
    }
    let found = tables.into_iter().find_map(|(_, table)| table.ok());
    let (header, entries) = found.context("neither partition table can be read")?;
    disk.id = header.disk_guid.to_string();
    for entry in entries {
        let start = entry.first * SECTOR;
        disk.partitions.push(Partition {
            number: entry.number,
            name: Some(entry.name),
            type_: entry.type_guid.to_string(),
            partuuid: entry.guid.to_string(),
            start,
            bytes: (entry.last + 1 - entry.first) * SECTOR,
            content: content(path, file, start)?,
        });
    }
    Ok(())
}

pub(crate) fn gpt_at(file: &File, lba: u64) -> Result<(gpt::Header, Vec<gpt::Entry>)> {
    let mut sector = [0; 512];
    file.read_exact_at(&mut sector, lba * SECTOR)?;
    let header = gpt::Header::parse(&sector, lba)?;
    let mut bytes = vec![0; usize::try_from(header.entries_bytes())?];
    file.read_exact_at(&mut bytes, header.entries_offset())?;
    let entries = gpt::parse_entries(&header, &bytes)?;
    Ok((header, entries))
}

fn content(path: &Path, file: &File, start: u64) -> Result<Content> {
    if let Ok(reader) = Reader::open(file, start) {
        return volume(&reader).map(Content::Fat);
    }
    let mut superblock = [0; 1024];
    let whole = file.read_exact_at(&mut superblock, start + 1024).is_ok();
    if !whole || superblock[56..58] != [0x53, 0xef] {
        return Ok(Content::Unknown);
    }
    let text = String::from_utf8_lossy(&superblock[120..136]).trim_end_matches('\0').to_owned();
    let (revisions, problem) = match revisions(path, start) {
        Ok(revisions) => (revisions, None),
        Err(error) => (Vec::new(), Some(format!("{error:#}"))),
    };
    Ok(Content::Ext4(Data { uuid: uuid(&superblock[104..120]), label: text, revisions, problem }))
}

/// A UUID of ext4 is in the order of its text, unlike a GUID of GPT.
fn uuid(bytes: &[u8]) -> String {
    let text = hex(bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| text.get(range).unwrap_or(""));
    parts.join("-")
}

/// What is on a FAT volume.
pub(super) fn volume(reader: &Reader<'_>) -> Result<Volume> {
    let files = reader.files()?;
    let text = |name: &str| -> Result<Option<String>> {
        let found = files.iter().find(|file| file.path.eq_ignore_ascii_case(name));
        let bytes = found.map(|file| reader.read(file, TEXT)).transpose()?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    };
    let cmdline = text(slot::CMDLINE)?;
    let word = |line: &String| {
        line.split(' ').find_map(|word| word.strip_prefix("pivot.slot=")).map(str::to_owned)
    };
    let kernels = text(slot::KERNELS)?.unwrap_or_default();
    let kernels = kernels.lines().filter(|line| !line.starts_with('#'));
    let release = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let config = files.iter().any(|file| file.path.eq_ignore_ascii_case(CONFIG));
    let slot = cmdline.as_ref().and_then(word);
    let missing = if config && slot.is_some() { missing(&files) } else { Vec::new() };
    Ok(Volume {
        config,
        missing,
        bits: reader.kind.bits(),
        label: reader.label.clone(),
        slot,
        cmdline,
        kernels: kernels.map(release).collect(),
        files: files.into_iter().map(|file| (file.path, file.bytes)).collect(),
    })
}

/// Files of the firmware of a Raspberry Pi up to the 4 that are not in a slot.
fn missing(files: &[Found]) -> Vec<&'static str> {
    let there = |name: &&str| files.iter().any(|file| file.path.eq_ignore_ascii_case(name));
    IN_SLOT.into_iter().filter(|name| !there(name)).collect()
}

/// The revisions on an ext4, read by debugfs: their manifests, and the lengths of their files.
fn revisions(path: &Path, start: u64) -> Result<Vec<Listing>> {
    let base = "/pivot/revisions";
    let mut out = Vec::new();
    for (id, _) in list(path, start, base)? {
        let directory = format!("{base}/{id}");
        let files = list(path, start, &directory)?;
        let text = ext4::request(path, start, &format!("cat {directory}/{}", manifest::NAME))?;
        let judge = |file: &manifest::File| match files.iter().find(|(name, _)| *name == file.name)
        {
            // it lies in a slot
            _ if file.name == manifest::BOOT => Judged::Not,
            None => Judged::Wrong("is missing".to_owned()),
            Some((_, bytes)) if *bytes != file.bytes => Judged::Wrong(format!("has {bytes} bytes")),
            Some(_) => Judged::Good,
        };
        out.push(Listing::read(text.as_bytes(), judge).with_context(|| directory.clone())?);
    }
    Ok(out)
}

/// Names and lengths in a directory: lines `/inode/mode/uid/gid/name/length/`.
pub(crate) fn list(path: &Path, start: u64, directory: &str) -> Result<Vec<(String, u64)>> {
    let text = ext4::request(path, start, &format!("ls -p {directory}"))?;
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('/').collect();
        let [_, _, _, _, _, name, length, ..] = fields.as_slice() else { return None };
        let own = !matches!(*name, "." | "..") && name.parse::<manifest::RevisionId>().is_ok();
        own.then(|| ((*name).to_owned(), length.parse().unwrap_or(0)))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// The words for a type of partition.
pub(super) fn type_name(type_: &str) -> &str {
    match type_ {
        uefi::ESP => "EFI system",
        "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7" => "basic data",
        "0fc63daf-8483-4772-8e79-3d69d8477de4" | "83" => "Linux",
        "0c" => "FAT32",
        other => other,
    }
}
