// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reports as text for people.

use std::fmt::{Display, Formatter, Result};

use super::archive::{Initramfs, Part};
use super::disk::{Content, Data, Disk, Partition, Volume, type_name};
use super::packed::Packed;
use super::selector::Grub;
use super::{Listing, Map, Program, Report, Squashfs};
use crate::progress::size;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Disk(disk) => disk.fmt(f),
            Self::Volume(volume) => volume.fmt(f),
            Self::Initramfs(initramfs) => initramfs.fmt(f),
            Self::Packed(packed) => packed.fmt(f),
            Self::Bmap(map) => map.fmt(f),
            Self::Program(program) => writeln!(f, "program: {program}"),
            Self::Manifest(listing) | Self::Revision(listing) => listing.fmt(f),
            Self::Squashfs(image) => image.fmt(f),
            Self::Bundle(bundle) => bundle.fmt(f),
        }
    }
}

impl Display for Disk {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "disk: {}, {} {}", size(self.bytes), self.table, self.id)?;
        for problem in &self.problems {
            writeln!(f, "  PROBLEM: {problem}")?;
        }
        if let Some(autoboot) = &self.autoboot {
            let (default, trial) = (autoboot.default, autoboot.trial);
            writeln!(f, "  autoboot.txt: partition {default} boots, {trial} in a trial")?;
            if let Some(problem) = &autoboot.problem {
                writeln!(f, "  PROBLEM: autoboot.txt: {problem}")?;
            }
        }
        if let Some(grub) = &self.grub {
            grub.fmt(f)?;
        }
        for shipped in &self.eeprom {
            writeln!(f, "  bootloader for the eeprom: {shipped}")?;
            for (name, what) in &shipped.problems {
                writeln!(f, "  PROBLEM: {name} {what}")?;
            }
        }
        self.partitions.iter().try_for_each(|partition| partition.fmt(f))
    }
}

impl Display for Grub {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let version = self.version.as_deref().unwrap_or("of unknown version");
        let shim = if self.shim { ", started by shim" } else { "" };
        writeln!(f, "  GRUB {version}{shim}")?;
        if let Some(default) = &self.default {
            let trial = self.trial.as_ref().map(|slot| format!(", slot {slot} once before that"));
            writeln!(f, "  grubenv: slot {default} boots{}", trial.unwrap_or_default())?;
        }
        self.problem.iter().try_for_each(|problem| writeln!(f, "  PROBLEM: {problem}"))
    }
}

impl Display for Partition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = self.name.as_deref().unwrap_or("-");
        let (start, bytes) = (self.start >> 20, self.bytes >> 20);
        let kind = type_name(&self.type_);
        writeln!(f, "partition {} {name}: {bytes} MiB at {start} MiB, {kind}", self.number)?;
        writeln!(f, "  PARTUUID={}", self.partuuid)?;
        match &self.content {
            Content::Fat(volume) => volume.fmt(f),
            Content::Ext4(data) => data.fmt(f),
            Content::Unknown => writeln!(f, "  no file system that is known here"),
        }
    }
}

impl Display for Volume {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "  FAT{}, label {}", self.bits, self.label.as_deref().unwrap_or("-"))?;
        if let Some(slot) = &self.slot {
            writeln!(f, "  slot {slot}, kernels {}", self.kernels.join(", "))?;
        }
        if !self.missing.is_empty() {
            let missing = self.missing.join(", ");
            writeln!(f, "  config.txt is there; a Raspberry Pi up to the 4 lacks {missing}")?;
        }
        if let Some(cmdline) = &self.cmdline {
            writeln!(f, "  command line ({} bytes): {cmdline}", cmdline.len())?;
        }
        for (path, bytes) in &self.files {
            writeln!(f, "    {:>9}  {path}", size(*bytes))?;
        }
        Ok(())
    }
}

impl Display for Data {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "  ext4, label {}, UUID={}", self.label, self.uuid)?;
        if let Some(problem) = &self.problem {
            writeln!(f, "  PROBLEM: {problem}")?;
        }
        for revision in &self.revisions {
            for line in revision.to_string().lines() {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

impl Display for Listing {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let get = |name: &str| {
            self.keys.iter().find(|(key, _)| key == name).map_or("?", |(_, value)| value.as_str())
        };
        writeln!(f, "revision {}, version {}", get("revision"), get("version"))?;
        for (key, value) in self.keys.iter().skip(3) {
            writeln!(f, "  {key}={value}")?;
        }
        for file in &self.files {
            let problem = file.problem.as_ref().map(|text| format!("  PROBLEM: {text}"));
            writeln!(f, "  {:>9}  {}{}", size(file.bytes), file.name, problem.unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let facts = &self.facts;
        write!(f, "{}, segments aligned to {:#x}, ", facts.machine, facts.alignment)?;
        match &self.problem {
            Some(problem) => write!(f, "PROBLEM: {problem}"),
            None => f.write_str("static: runs from an initramfs"),
        }
    }
}

impl Display for Packed {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let unpacked = self.unpacked.map(|bytes| format!(", {} when unpacked", size(bytes)));
        let (bytes, compression) = (size(self.bytes), self.compression);
        writeln!(f, "{}: {bytes} ({compression}){}", self.content, unpacked.unwrap_or_default())?;
        writeln!(f, "  unpack it first to see what is in it")
    }
}

impl Display for Map {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (mapped, image) = (size(self.mapped), size(self.image));
        let ranges = self.ranges;
        writeln!(f, "block map: {mapped} of a disk image of {image} are to be written")?;
        writeln!(f, "  {ranges} ranges, each with its SHA-256")
    }
}

impl Display for Squashfs {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (bytes, block) = (size(self.bytes), self.block >> 10);
        writeln!(f, "squashfs: {bytes}, {}, blocks of {block} KiB", self.codec)?;
        match &self.problem {
            Some(problem) => writeln!(f, "  PROBLEM: {problem}"),
            None => {
                let top = self.top.iter().take(20).map(String::as_str);
                writeln!(f, "  {} files, {} of them modules", self.files, self.modules)?;
                writeln!(f, "  at the top: {}", top.collect::<Vec<_>>().join(" "))
            }
        }
    }
}

impl Display for Initramfs {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.parts.iter().try_for_each(|part| part.fmt(f))
    }
}

impl Display for Part {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (bytes, unpacked) = (size(self.bytes as u64), size(self.unpacked as u64));
        writeln!(f, "cpio at byte {}: {bytes} ({}), {unpacked}", self.offset, self.compression)?;
        for entry in &self.entries {
            let (bytes, path) = (size(entry.bytes as u64), &entry.path);
            let device = entry.device.map(|(major, minor)| format!("  device {major}:{minor}"));
            let program = entry.program.as_ref().map(|program| format!("  {program}"));
            let rest = device.or(program).unwrap_or_default();
            writeln!(f, "  {}  {bytes:>9}  {path}{rest}", entry.mode)?;
        }
        for early in &self.early {
            writeln!(f, "  early modules of {}, in this order:", early.release)?;
            early.modules.iter().try_for_each(|module| writeln!(f, "    {module}"))?;
        }
        Ok(())
    }
}
