// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is looked at and decided before a build writes its first file.

use anyhow::{Context, Result};

use super::medium;
use crate::cache::Cache;
use crate::compress;
use crate::config::{self, Config, KernelFile};
use crate::early;
use crate::elf::Machine;
use crate::initramfs::{self, Arch, Programs};
use crate::kconfig::Kconfig;
use crate::kernel::image::Kind;
use crate::kernel::{self, Kernel, Look, Source};
use crate::keys::Key;
use crate::progress::Progress;
use crate::root::{self, Added, Source as Root};
use crate::rpi;
use crate::slot::Names;
use crate::soc::Payload;
use crate::squashfs::{self, Codec};
use crate::uefi::{self, Loader};

/// A kernel that was looked at.
#[derive(Debug)]
pub(super) struct Looked<'a> {
    pub(super) section: &'a config::Kernel,
    pub(super) look: Look,
    pub(super) codec: Codec,
    source: Source,
    file: Option<KernelFile>,
    /// Whether it is the one that GRUB starts.
    uefi: bool,
}

/// One kernel, ready to be written.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) kernel: Kernel,
    pub(super) codec: Codec,
    pub(super) names: Names,
    /// Where the image is for a Raspberry Pi.
    pub(super) file: Option<KernelFile>,
    /// As it lies in the slot.
    pub(super) image: Vec<u8>,
    /// The file that GRUB starts, where it starts this one: the same, or that and its content.
    pub(super) uefi: Option<(String, Option<Vec<u8>>)>,
    /// The archive of its early modules.
    pub(super) early: Vec<u8>,
}

/// The programs of the initramfs, and their archive.
pub(super) fn programs(
    section: &config::Initramfs,
    kernels: &[Looked<'_>],
) -> Result<(Programs, Vec<u8>)> {
    let narrow = kernels.iter().find(|one| one.look.kind == Some(Kind::Arm));
    let init = match &section.init {
        Some(init) => init.clone(),
        // the second is for 32-bit kernels alone
        None => initramfs::built(section.arch)?
            .into_iter()
            .take(if narrow.is_some() { 2 } else { 1 })
            .collect(),
    };
    let (e2fsck, shell) = (section.e2fsck.clone(), section.shell.clone());
    let programs = Programs { init, arch: section.arch, e2fsck, shell };
    let runs = programs.arch == Arch::Armv6 || programs.two_machines();
    if let Some(kernel) = narrow.filter(|_| !runs) {
        anyhow::bail!(
            "kernel {} is 32-bit, and there is no ARM program for it: `cargo device` builds one, initramfs.init \
             names one",
            kernel.look.release
        );
    }
    let archive = initramfs::archive(&programs)?.to_bytes();
    Ok((programs, archive))
}

/// Looks at every kernel, and refuses what cannot work together.
pub(super) fn look(config: &Config) -> Result<Vec<Looked<'_>>> {
    let mut out: Vec<Looked<'_>> = Vec::new();
    for section in &config.kernel {
        let source = source(section)?;
        let look = Look::at(&source)?;
        let release = look.release.as_str();
        if let Some(other) = out.iter().find(|other| other.look.release == release) {
            let [one, two] = [&other.source, &source].map(|source| source.path().display());
            anyhow::bail!("kernel {release} is there twice, in {one} and in {two}: remove one");
        }
        let read = [(release, &look.config)];
        let codec = squashfs::choose(&format!("modules of {release}"), section.compression, &read)?;
        kernel::reads_archive(release, &look.config, config.initramfs.compression)?;
        let file = config.rpi.is_some().then(|| rpi::file(&look, section.file)).transpose()?;
        out.push(Looked { section, look, codec, source, file, uefi: false });
    }
    if config.uefi.is_some() {
        let kinds: Vec<_> = out.iter().map(|one| one.look.kind).collect();
        out[uefi::first(&kinds)?].uefi = true;
    }
    let files: Vec<_> =
        out.iter().filter_map(|one| Some((one.file?, one.look.release.as_str()))).collect();
    rpi::check_files(&files)?;
    Ok(out)
}

fn source(section: &config::Kernel) -> Result<Source> {
    Ok(match (&section.package, &section.directory) {
        (Some(package), _) => Source::Package(package.clone()),
        (_, Some(directory)) => {
            Source::Directory(directory.clone(), section.file.map(KernelFile::name))
        }
        _ => anyhow::bail!("expected one of package and directory"),
    })
}

impl Looked<'_> {
    /// Unpacks the kernel and makes what lies in the slot; number `index` of all kernels.
    pub(super) fn prepare(
        self,
        config: &Config,
        index: usize,
        loader: Option<&Loader>,
        cache: &Cache,
        progress: Progress,
    ) -> Result<Planned> {
        let kernel = Kernel::open(&self.source, cache, progress)?;
        let release = kernel.release.as_str();
        if self.look.config.is_assumed() {
            progress.note(&format!(
                "warning: kernel {release} does not say how it was built: assumed that it is the vendor's, with \
                 squashfs of xz and gzip, and initramfs of zstd and lz4"
            ));
        }
        let lines = kernel.early(&self.section.machines, &self.section.early)?;
        medium::warn(config, &kernel, self.uefi, &lines, progress);
        let archive = early::archive(&kernel.modules.join(release), release, &lines)?;
        let early = compress::archive(config.initramfs.compression, &archive.to_bytes())?;
        let read = || {
            std::fs::read(&kernel.vmlinuz)
                .with_context(|| format!("cannot read {}", kernel.vmlinuz.display()))
        };
        let loader = loader.filter(|_| self.uefi);
        let efi = loader.map(|loader| loader.kernel(release, read()?)).transpose()?;
        if efi.as_deref().is_some_and(uefi::unpacks_itself) {
            progress.note(&format!(
                "note: kernel {release} unpacks itself (CONFIG_EFI_ZBOOT): no update writes partition 1, and a device whose GRUB \
                 there is older than 2.12 never starts it"
            ));
        }
        let (names, image, uefi) = match self.file {
            Some(file) => {
                let [name, early] = [file.name(), file.early()].map(str::to_owned);
                let names = Names { release: release.to_owned(), kernel: name, early };
                let own = efi.map(|image| (uefi::KERNEL.to_owned(), Some(image)));
                (names, rpi::packed(&kernel, self.look.kind, cache)?, own)
            }
            None => {
                let names = Names::numbered(release, index);
                let same = efi.is_some().then(|| (names.kernel.clone(), None));
                (names, efi.map_or_else(read, Ok)?, same)
            }
        };
        Ok(Planned { codec: self.codec, file: self.file, kernel, names, image, uefi, early })
    }
}

/// What the ROM of an SoC starts; it is known to fit.
pub(super) fn bootloader(config: &Config, progress: Progress) -> Result<Option<Payload>> {
    let Some(section) = &config.bootloader else {
        if config.rpi.is_none() && config.uefi.is_none() {
            progress.note(
                "note: no [rpi], [uefi] or [bootloader]: only a machine that is given kernel and initramfs boots it",
            );
        }
        return Ok(None);
    };
    let payload = Payload::read(section, config.disk.table).context("[bootloader]")?;
    payload.note(config.rpi.is_some()).iter().for_each(|note| progress.note(note));
    Ok(Some(payload))
}

/// A root that is packed here, and what is put into it.
pub(super) fn packed(
    config: &Config,
    kernels: &[Looked<'_>],
    key: Option<&Key>,
    progress: Progress,
) -> Result<Option<(Root, Added)>> {
    let Some(section) = &config.root else { return Ok(None) };
    let Some(mut source) = Root::of(section) else {
        finished(config, section, progress);
        return Ok(None);
    };
    source.look()?;
    let (wanted, impossible) = root::mount_points(&source);
    warn_of_root(config, impossible, progress);
    let Some(section) = &config.bootsel else {
        let added = Added::plan(&source, wanted)?;
        return Ok(Some((source, added)));
    };
    let machine = |kind| if kind == Some(Kind::Arm) { Machine::Arm } else { Machine::Aarch64 };
    let kernels = kernels.iter().map(|one| root::bootsel::Runs {
        release: &one.look.release,
        config: &one.look.config,
        machine: machine(one.look.kind),
    });
    let own = key.map(Key::public);
    let added =
        root::bootsel::plan(config, section, &source, &kernels.collect::<Vec<_>>(), own, progress)?;
    Ok(Some((source, added)))
}

/// Nothing is laid into a root that is a squashfs already.
fn finished(config: &Config, section: &config::Root, progress: Progress) {
    let read = section.squashfs.as_deref().map(crate::boards::root::Root::read);
    // one that this cannot read may be right
    let lacks = read.and_then(Result::ok).map(|root| root.lacks()).unwrap_or_default();
    warn_of_root(config, lacks, progress);
}

/// Without firmware nothing is mounted where it would be.
fn warn_of_root(config: &Config, mut lacks: Vec<String>, progress: Progress) {
    lacks.retain(|what| config.firmware.is_some() || !what.contains("/lib/firmware"));
    if !lacks.is_empty() {
        let list = lacks.join(", ");
        progress.note(&format!(
            "warning: root.squashfs: {list}: init mounts there, and every trial ends without"
        ));
    }
}

/// The codec of the root, which all kernels must read.
pub(super) fn root_codec(section: &config::Root, kernels: &[(&str, &Kconfig)]) -> Result<Codec> {
    let asked = match &section.squashfs {
        Some(file) => Some(squashfs::codec_of(file)?),
        None => section.compression,
    };
    squashfs::choose("root.squashfs", asked, kernels)
}
