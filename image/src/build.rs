// SPDX-License-Identifier: MIT OR Apache-2.0
//! `build` and `revision`: from a configuration to files.
//!
//! First everything is looked at and decided (kernels, codecs, early modules, command line), then the long
//! work begins: what cannot work is refused within seconds.

mod plan;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cache::Cache;
use crate::compress;
use crate::config::Config;
use crate::disk::{self, Disk, Layout};
use crate::early;
use crate::ext4;
use crate::fat::{Content, Kind, Volume};
use crate::identity::Identity;
use crate::initramfs::{self, Programs};
use crate::mksquashfs;
use crate::progress::{Progress, size};
use crate::revision;
use crate::slot::{self, Boot};
use crate::squashfs::{self, Codec, Options};
use crate::tree::{Tree, hash_file, hex};
use plan::Planned;

/// init writes its log without ever allocating a block.
const LOG: ext4::Preallocated =
    ext4::Preallocated { path: "pivot/log/init.log", bytes: bootsel::log::BYTES };

/// A file that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// Its path.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
}

/// What a build made.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The image's name.
    pub name: String,
    /// Id of the revision.
    pub revision: String,
    /// Releases of the kernels.
    pub kernels: Vec<String>,
    /// The command line of the slots, the slot's letter `_`.
    pub cmdline: String,
    /// The files.
    pub files: Vec<Made>,
}

/// A build under way.
#[derive(Debug)]
pub struct Build<'a> {
    config: &'a Config,
    out: &'a Path,
    cache: &'a Cache,
    progress: Progress,
    identity: Identity,
    programs: Programs,
    kernels: Vec<Planned>,
    root: Option<Codec>,
    firmware: Option<Codec>,
    cmdline: String,
}

impl<'a> Build<'a> {
    /// Looks at everything that the configuration names, and decides.
    ///
    /// # Errors
    /// Where something is missing or cannot work together.
    pub fn plan(
        config: &'a Config,
        out: &'a Path,
        cache: &'a Cache,
        progress: Progress,
    ) -> Result<Self> {
        let programs = plan::programs(&config.initramfs)?;
        let mut kernels = Vec::new();
        for section in &config.kernel {
            kernels.push(plan::kernel(section, config.initramfs.compression, cache, progress)?);
        }
        let read: Vec<_> =
            kernels.iter().map(|p| (p.kernel.release.as_str(), &p.kernel.config)).collect();
        let firmware = config.firmware.as_ref();
        let firmware = firmware
            .map(|firmware| squashfs::choose("firmware.squashfs", firmware.compression, &read))
            .transpose()?;
        let root = config.root.as_ref().map(|root| plan::root_codec(root, &read)).transpose()?;
        let identity = Identity::of(&config.name);
        let boot = Boot {
            data: &disk::data_name(config.disk.table, &identity),
            revision: config.revision.id.as_str(),
            has_root: root.is_some(),
            two_machines: programs.two_machines(),
        };
        let cmdline = slot::cmdline(&config.disk, &boot)?;
        Ok(Self {
            config,
            out,
            cache,
            progress,
            identity,
            programs,
            kernels,
            root,
            firmware,
            cmdline,
        })
    }

    /// Makes the archives, images and the revision directory; the disk image, too, if `disk`.
    ///
    /// # Errors
    /// Where a file cannot be read or written, or a program of the host fails.
    pub fn make(&self, disk: bool) -> Result<Report> {
        fs::create_dir_all(self.out)
            .with_context(|| format!("cannot make directory {}", self.out.display()))?;
        let mut files = vec![self.initramfs()?];
        let mut images = Vec::new();
        for planned in &self.kernels {
            files.extend(self.kernel(planned)?);
            images.push(self.modules(planned)?);
        }
        images.extend(self.firmware()?);
        images.extend(self.root()?);
        let slot = self.slot(&files)?;
        let plan = slot.plan()?;
        let letter = plan.offset_of(slot::CMDLINE).context("no cmdline.txt")? + slot::LETTER_AT;
        let directory = self.out.join("revision");
        // so that whoever installs or checks the slot's volume finds the byte
        let keys = [("slot_letter", letter.to_string())];
        revision::write(&directory, &self.config.revision, &keys, &images)?;
        files.extend(images);
        files.push(directory.join(bootsel::manifest::NAME));
        if disk {
            files.push(self.disk(&directory, &slot, letter)?);
        }
        self.report(files)
    }

    fn initramfs(&self) -> Result<PathBuf> {
        let archive = initramfs::archive(&self.programs)?;
        self.pack("initramfs", &archive)
    }

    fn pack(&self, name: &str, archive: &crate::cpio::Archive) -> Result<PathBuf> {
        let step = self.progress.step(name, 0);
        let path = self.out.join(name);
        let plain = archive.to_bytes();
        let bytes = compress::archive(self.config.initramfs.compression, &plain)?;
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        step.done(&format!("{} of {}", size(bytes.len() as u64), size(plain.len() as u64)));
        Ok(path)
    }

    /// Kernel image and early modules.
    fn kernel(&self, planned: &Planned) -> Result<[PathBuf; 2]> {
        let release = &planned.kernel.release;
        let vmlinuz = self.out.join(format!("vmlinuz_{release}"));
        fs::copy(&planned.kernel.vmlinuz, &vmlinuz)
            .with_context(|| format!("cannot write {}", vmlinuz.display()))?;
        let directory = planned.kernel.modules.join(release);
        let archive = early::archive(&directory, release, &planned.early)?;
        Ok([vmlinuz, self.pack(&format!("early_{release}"), &archive)?])
    }

    fn options(&self, codec: Codec) -> Options {
        let level = self.config.zstd_level.unwrap_or(squashfs::ZSTD_LEVEL);
        Options { codec, level, writer: self.config.squashfs }
    }

    fn modules(&self, planned: &Planned) -> Result<PathBuf> {
        let release = &planned.kernel.release;
        let name = bootsel::manifest::modules_image(release).context("no name for the modules")?;
        let path = self.out.join(name);
        let mut tree = Tree::default();
        tree.add(&planned.kernel.modules)?;
        squashfs::write(&tree, self.options(planned.codec), &path, self.cache, self.progress)?;
        Ok(path)
    }

    fn firmware(&self) -> Result<Option<PathBuf>> {
        let (Some(section), Some(codec)) = (&self.config.firmware, self.firmware) else {
            return Ok(None);
        };
        let path = self.out.join(bootsel::manifest::FIRMWARE);
        let mut tree = Tree::default();
        section.directories.iter().try_for_each(|directory| tree.add(directory))?;
        squashfs::write(&tree, self.options(codec), &path, self.cache, self.progress)?;
        Ok(Some(path))
    }

    fn root(&self) -> Result<Option<PathBuf>> {
        let (Some(section), Some(codec)) = (&self.config.root, self.root) else {
            return Ok(None);
        };
        let path = self.out.join(bootsel::manifest::ROOT);
        let step = self.progress.step(bootsel::manifest::ROOT, 0);
        let options = self.options(codec);
        let length = match (&section.squashfs, &section.directory, &section.tar) {
            (Some(file), _, _) => squashfs::take(file, &path)?,
            (_, Some(directory), _) => {
                self.warn_of_owner(directory);
                mksquashfs::directory(directory, options, &path)?
            }
            (_, _, Some(tar)) => mksquashfs::tar(tar, options, &path)?,
            _ => return Ok(None),
        };
        step.done(&format!("{}, {codec}", size(length)));
        Ok(Some(path))
    }

    /// A root file system that somebody else owns boots, and then sudo and sshd refuse to work.
    fn warn_of_owner(&self, directory: &Path) {
        let owner = fs::metadata(directory).map_or(0, |facts| facts.uid());
        if owner != 0 {
            let text =
                "belongs to user id {}, and so will root.squashfs: use a tar file, or fakeroot";
            let text = text.replace("{}", &owner.to_string());
            self.progress.note(&format!("warning: {} {text}", directory.display()));
        }
    }

    /// The volume of both slots. `files` are the initramfs, then kernel and early modules of each kernel.
    fn slot(&self, files: &[PathBuf]) -> Result<Volume> {
        let file = |path: &Path| -> Result<Content> {
            Ok(Content::File(path.to_owned(), fs::metadata(path)?.len()))
        };
        let (initramfs, kernels) = files.split_first().context("no initramfs")?;
        let line = format!("{}\n", self.cmdline).into_bytes();
        let releases = self.kernels.iter().map(|planned| planned.kernel.release.as_str());
        let mut content = vec![
            (slot::CMDLINE.to_owned(), Content::Bytes(line)),
            (slot::KERNELS.to_owned(), slot::kernels_txt(releases)),
            (slot::INITRAMFS.to_owned(), file(initramfs)?),
        ];
        for (index, pair) in kernels.chunks(2).enumerate() {
            let (vmlinuz, early) = slot::names(index);
            content.push((vmlinuz, file(&pair[0])?));
            content.push((early, file(&pair[1])?));
        }
        Ok(Volume {
            label: disk::SLOT_LABEL.to_owned(),
            id: self.identity.volumes[1],
            kind: Kind::Fat32,
            bytes: self.config.disk.slot_size.0,
            // the volume is installed at either place; no boot loader of ours looks at it
            hidden: 0,
            files: content,
        })
    }

    fn disk(&self, revision: &Path, slot: &Volume, letter: u64) -> Result<PathBuf> {
        let out = self.out.join(format!("{}.img", self.config.name));
        let staging = tempfile::tempdir_in(self.out).context("cannot make a staging directory")?;
        let content = stage(staging.path(), revision, self.config.revision.id.as_str())?;
        let least = self.config.disk.data_size.map_or(0, |size| size.0);
        let bytes = ext4::size_for(content).max(least);
        let [bootsel_size, slot_size] =
            [self.config.disk.bootsel_size.0, self.config.disk.slot_size.0];
        let layout = Layout::new([bootsel_size, slot_size, slot_size, bytes]);
        let name = format!("{}.img", self.config.name);
        let step = self.progress.step(&name, bytes + 2 * slot.plan()?.usage().0);
        let data = tempfile::NamedTempFile::new_in(self.out)?;
        ext4::Filesystem {
            label: disk::NAMES[3],
            uuid: &self.identity.data.to_string(),
            hash_seed: &self.identity.hash_seed.to_string(),
            staging: staging.path(),
            zeros: &[LOG],
        }
        .make(data.path(), bytes)?;
        let bootsel = Volume {
            label: disk::NAMES[0].to_owned(),
            id: self.identity.volumes[0],
            kind: Kind::Fat16,
            bytes: bootsel_size,
            hidden: u32::try_from(layout.partitions[0].0 / crate::fat::SECTOR)?,
            files: Vec::new(),
        };
        let disk = Disk {
            table: self.config.disk.table,
            identity: &self.identity,
            layout,
            bootsel: bootsel.plan()?,
            slot: slot.plan()?,
            letter,
            data: data.path(),
        };
        disk.write(&out, |bytes| step.advance(bytes))?;
        let (used, room) = disk.slot.usage();
        step.done(&format!("{}, slots {} % full", size(layout.bytes), used * 100 / room));
        if used > room / 4 * 3 {
            // they never grow in the field, and the next kernel is larger
            self.progress.note("warning: boot partitions are more than 75 % full: disk.slot_size");
        }
        Ok(out)
    }

    fn report(&self, files: Vec<PathBuf>) -> Result<Report> {
        let made = |path: PathBuf| -> Result<Made> {
            let (hash, bytes) = hash_file(&path)?;
            Ok(Made { path, bytes, sha256: hex(&hash) })
        };
        Ok(Report {
            name: self.config.name.clone(),
            revision: self.config.revision.id.to_string(),
            kernels: self.kernels.iter().map(|planned| planned.kernel.release.clone()).collect(),
            cmdline: self.cmdline.clone(),
            files: files.into_iter().map(made).collect::<Result<_>>()?,
        })
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
