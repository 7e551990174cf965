// SPDX-License-Identifier: MIT OR Apache-2.0
//! `build` and `revision`: from a configuration to files.
//!
//! First everything is looked at and decided (kernels, codecs, early modules, command line, what each board would
//! take), then the long work begins: wrong inputs are refused within seconds, and nothing is written before all is
//! known to fit.

mod boot;
mod disk;
mod firmware;
mod medium;
mod plan;
mod slot;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bootsel::emmc::shipped;
use serde::Serialize;

use crate::cache::Cache;
use crate::compress;
use crate::config::Config;
use crate::fat::Volume;
use crate::identity::Identity;
use crate::keys::Key;
use crate::mksquashfs;
use crate::progress::{Progress, size};
use crate::revision;
use crate::root::{Added, Source};
use crate::scratch;
use crate::slot::{Boot, CMDLINE, LETTER_AT, cmdline};
use crate::soc::Payload;
use crate::squashfs::{self, Codec, Options};
use crate::tree::{Tree, hash_file, hex};
use crate::uefi::Loader;
use plan::Planned;

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
    /// Raspberry Pis that find all that they load.
    pub boards: Vec<&'static str>,
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
    initramfs: Vec<u8>,
    kernels: Vec<Planned>,
    root: Option<Codec>,
    packed: Option<(Source, Added)>,
    firmware: Option<firmware::Planned>,
    pi: slot::Pi,
    loader: Option<Loader>,
    bootloader: Option<Payload>,
    slot: Volume,
    boards: Vec<&'static str>,
    cmdline: String,
    key: Option<Key>,
}

impl<'a> Build<'a> {
    /// Looks at everything that the configuration names, and decides. What boots is made here already, in memory:
    /// so it is known to fit and to be what each board takes before the long work begins.
    ///
    /// # Errors
    /// Where something is missing or cannot work together.
    pub fn plan(
        config: &'a Config,
        out: &'a Path,
        cache: &'a Cache,
        progress: Progress,
    ) -> Result<Self> {
        let key = config.revision.key(progress)?;
        let looked = plan::look(config)?;
        let (programs, archive) = plan::programs(&config.initramfs, &looked)?;
        let read: Vec<_> =
            looked.iter().map(|one| (one.look.release.as_str(), &one.look.config)).collect();
        let root = config.root.as_ref().map(|root| plan::root_codec(root, &read)).transpose()?;
        let packed = plan::packed(config, &looked, key.as_ref(), progress)?;
        let identity = Identity::of(&config.name);
        let cmdline = cmdline(
            &config.disk,
            &Boot {
                data: &crate::disk::data_name(config.disk.table, &identity),
                revision: config.revision.id.as_str(),
                has_root: root.is_some(),
                two_machines: programs.two_machines(),
                is_pi: config.rpi.is_some(),
                grub: config.uefi.as_ref().map(|uefi| uefi.cmdline.as_str()),
            },
        )?;
        let pi = slot::pi(config, progress)?;
        let loader = config.uefi.as_ref();
        let loader = loader.map(|section| Loader::read(section, progress)).transpose()?;
        let bootloader = plan::bootloader(config, progress)?;
        let firmware = config.firmware.as_ref();
        let firmware = firmware.map(|section| firmware::plan(section, &read)).transpose()?;
        let mut kernels = Vec::new();
        for (index, one) in looked.into_iter().enumerate() {
            kernels.push(one.prepare(config, index, loader.as_ref(), cache, progress)?);
        }
        let initramfs = compress::archive(config.initramfs.compression, &archive)?;
        let slot =
            slot::slot(config, &identity, &initramfs, &kernels, &cmdline, pi.firmware.as_ref())?;
        let boards = slot::check(config, &identity, &slot, &pi, loader.as_ref(), progress)?;
        Ok(Self {
            config,
            out,
            cache,
            progress,
            identity,
            initramfs,
            kernels,
            root,
            packed,
            firmware,
            pi,
            loader,
            bootloader,
            slot,
            boards,
            cmdline,
            key,
        })
    }

    /// Makes the archives, images and the revision directory; the disk image, too, if `disk`.
    ///
    /// # Errors
    /// Where a file cannot be read or written, or a program of the host fails.
    pub fn make(&self, disk: bool) -> Result<Report> {
        fs::create_dir_all(self.out)
            .with_context(|| format!("cannot make directory {}", self.out.display()))?;
        let mut files = vec![self.write("initramfs", &self.initramfs)?];
        let mut images = Vec::new();
        for planned in &self.kernels {
            let release = &planned.kernel.release;
            let vmlinuz = self.out.join(format!("vmlinuz_{release}"));
            scratch::whole(&vmlinuz, |to| {
                fs::copy(&planned.kernel.vmlinuz, to)
                    .with_context(|| format!("cannot write {}", vmlinuz.display()))
            })?;
            files.push(vmlinuz);
            files.push(self.write(&format!("early_{release}"), &planned.early)?);
            images.push(self.modules(planned)?);
        }
        images.extend(self.firmware()?);
        images.extend(self.root()?);
        images.extend(self.bootloader()?);
        let letter = self.slot.plan()?.offset_of(CMDLINE).context("no cmdline.txt")? + LETTER_AT;
        let directory = self.out.join("revision");
        // so that whoever installs or checks the slot's volume finds the byte
        let mut keys = vec![(bootsel::manifest::SLOT_LETTER, letter.to_string())];
        if self.config.rpi.is_some() || self.loader.is_some() {
            let files = bootsel::manifest::BOOTSEL_FILES.to_string();
            keys.push((bootsel::manifest::REQUIRES_BOOTSEL, files));
        }
        if let Some(payload) = &self.bootloader {
            keys.push((shipped::SOC, payload.soc().to_owned()));
        }
        if !self.boards.is_empty() {
            keys.push(("boards", self.boards.join(",")));
        }
        let (packed, boot) = self.boot()?;
        let key = self.key.as_ref();
        revision::write(&directory, &self.config.revision, &keys, &images, Some(boot), key)?;
        files.push(packed);
        files.extend(images);
        files.push(directory.join(bootsel::manifest::NAME));
        if disk {
            files.extend(self.disk(&directory, letter)?);
        }
        self.report(files)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.out.join(name);
        scratch::write(&path, bytes)?;
        self.progress.note(&format!("{name}: {}", size(bytes.len() as u64)));
        Ok(path)
    }

    /// The image that devices install on a boot partition.
    fn bootloader(&self) -> Result<Option<PathBuf>> {
        let payload = self.bootloader.as_ref().filter(|payload| payload.is_installed());
        let image = payload.and_then(Payload::image);
        image.map(|image| self.write(shipped::NAME, &image)).transpose()
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
        let Some(planned) = &self.firmware else { return Ok(None) };
        let path = self.out.join(bootsel::manifest::FIRMWARE);
        let options = self.options(planned.codec);
        squashfs::write(&planned.tree, options, &path, self.cache, self.progress)?;
        Ok(Some(path))
    }

    fn root(&self) -> Result<Option<PathBuf>> {
        let (Some(section), Some(codec)) = (&self.config.root, self.root) else {
            return Ok(None);
        };
        let path = self.out.join(bootsel::manifest::ROOT);
        let step = self.progress.step(bootsel::manifest::ROOT, 0);
        let options = self.options(codec);
        let length = match (&section.squashfs, &self.packed) {
            (Some(file), _) => scratch::whole(&path, |to| squashfs::take(file, to)),
            (_, Some((source, added))) => {
                self.warn_of_owner(source);
                scratch::whole(&path, |to| mksquashfs::root(source, added, options, to))
            }
            _ => return Ok(None),
        }?;
        step.done(&format!("{}, {codec}", size(length)));
        Ok(Some(path))
    }

    /// A root file system that somebody else owns boots, and then sudo and sshd refuse to work.
    fn warn_of_owner(&self, source: &Source) {
        let text = match source {
            Source::Directory(directory) => {
                let owner = fs::metadata(directory).map_or(0, |facts| facts.uid());
                let advice = "and so will root.squashfs: use a tar file, or fakeroot";
                let text = format!("{} belongs to user id {owner}, {advice}", directory.display());
                (owner != 0).then_some(text)
            }
            Source::Tar(_) => mksquashfs::root_is_ours().then(|| {
                "squashfs-tools before 4.6 give the root directory of root.squashfs to the user who builds, where there \
                 are no user namespaces"
                    .to_owned()
            }),
        };
        if let Some(text) = text {
            self.progress.note(&format!("warning: {text}"));
        }
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
            boards: self.boards.clone(),
            cmdline: self.cmdline.clone(),
            files: files.into_iter().map(made).collect::<Result<_>>()?,
        })
    }
}
