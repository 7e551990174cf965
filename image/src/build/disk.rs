// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk image, from a revision's directory and the volumes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Build, slot};
use crate::artifact;
use crate::disk::{self, Disk, Layout};
use crate::ext4;
use crate::progress::size;
use crate::revision;
use crate::scratch;
use crate::soc::Payload;
use crate::tree::Tree;

/// init writes its log without ever allocating a block.
const LOG: ext4::Preallocated =
    ext4::Preallocated { path: "pivot/log/init.log", bytes: bootsel::log::BYTES };

impl Build<'_> {
    /// Writes the image, its block map and its compressed copies; `letter` is the byte of a slot's volume that is its
    /// letter.
    pub(super) fn disk(&self, revision: &Path, letter: u64) -> Result<Vec<PathBuf>> {
        let config = self.config;
        let bootloader = self.bootloader.as_ref();
        let apart = bootloader.and_then(Payload::image);
        let name = format!("{}{}.img", config.name, if apart.is_some() { "-os" } else { "" });
        let out = self.out.join(&name);
        let staging = scratch::directory_in(self.out)?;
        let content = stage(staging.path(), revision, config.revision.id.as_str())?;
        let least = config.disk.data_size.map_or(0, |size| size.0);
        let bytes = ext4::size_for(content).max(least);
        let [bootsel_size, slot_size] = [config.disk.bootsel_size.0, config.disk.slot_size.0];
        let first = bootloader.map_or(disk::ALIGN, Payload::partitions);
        let layout = Layout::beginning_at(first, [bootsel_size, slot_size, slot_size, bytes]);
        let step = self.progress.step(&name, bytes + 2 * self.slot.plan()?.usage().0);
        let data = scratch::file_in(self.out, 0o600)?;
        ext4::Filesystem {
            label: disk::NAMES[3],
            uuid: &self.identity.data.to_string(),
            hash_seed: &self.identity.hash_seed.to_string(),
            staging: staging.path(),
            zeros: &[LOG],
        }
        .make(data.path(), bytes)?;
        let hidden = u32::try_from(layout.partitions[0].0 / crate::fat::SECTOR)?;
        let bootsel =
            slot::bootsel(config, &self.identity, hidden, &self.pi, self.loader.as_ref())?;
        let disk = Disk {
            table: config.disk.table,
            identity: &self.identity,
            layout,
            bootsel: bootsel.plan()?,
            slot: self.slot.plan()?,
            letter,
            data: data.path(),
            bootloader: bootloader.and_then(Payload::in_disk),
        };
        scratch::whole(&out, |to| disk.write(to, |bytes| step.advance(bytes)))?;
        let (used, room) = disk.slot.usage();
        step.done(&format!("{}, slots {} % full", size(layout.bytes), used * 100 / room));
        if used > room / 4 * 3 {
            // they never grow in the field, and the next kernel is larger
            self.progress.note("warning: boot partitions are more than 75 % full: disk.slot_size");
        }
        let more = artifact::make(&out, &disk.extents()?, &config.output, self.progress)?;
        let apart = apart.map(|image| self.write(&format!("{}-boot.img", config.name), &image));
        Ok([vec![out], more, apart.transpose()?.into_iter().collect()].concat())
    }
}

/// Lays out the data partition; bytes of its files.
fn stage(staging: &Path, revision: &Path, id: &str) -> Result<u64> {
    let pivot = staging.join("pivot");
    let target = pivot.join("revisions").join(id);
    for directory in [&target, &pivot.join("state"), &pivot.join("log")] {
        fs::create_dir_all(directory)?;
    }
    for entry in fs::read_dir(revision)? {
        let entry = entry?;
        revision::link(&entry.path(), &target.join(entry.file_name()))?;
    }
    let mut tree = Tree::default();
    tree.add(staging)?;
    Ok(tree.bytes())
}
