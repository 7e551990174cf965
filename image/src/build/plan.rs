// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is looked at and decided before a build writes its first file.

use anyhow::Result;

use crate::cache::Cache;
use crate::compress::Compression;
use crate::config;
use crate::initramfs::{self, Programs};
use crate::kconfig::Kconfig;
use crate::kernel::{Kernel, Source};
use crate::load::Line;
use crate::progress::Progress;
use crate::squashfs::{self, Codec};

/// One kernel, and what was decided for it.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) kernel: Kernel,
    pub(super) codec: Codec,
    pub(super) early: Vec<Line>,
}

/// The programs of the initramfs, checked before the long work.
pub(super) fn programs(section: &config::Initramfs) -> Result<Programs> {
    let init = match &section.init {
        Some(init) => init.clone(),
        None => vec![initramfs::built()?],
    };
    let (e2fsck, shell) = (section.e2fsck.clone(), section.shell.clone());
    let programs = Programs { init, arch: section.arch, e2fsck, shell };
    initramfs::archive(&programs).map(|_| programs)
}

/// Opens a kernel and decides what depends on it alone.
pub(super) fn kernel(
    section: &config::Kernel,
    compression: Compression,
    cache: &Cache,
    progress: Progress,
) -> Result<Planned> {
    let source = match (&section.package, &section.directory) {
        (Some(package), _) => Source::Package(package.clone()),
        (_, Some(directory)) => Source::Directory(directory.clone()),
        _ => anyhow::bail!("expected one of package and directory"),
    };
    let kernel = Kernel::open(&source, cache, progress)?;
    let modules = format!("modules of {}", kernel.release);
    let read = [(kernel.release.as_str(), &kernel.config)];
    let codec = squashfs::choose(&modules, section.compression, &read)?;
    kernel.reads_archive(compression)?;
    let early = kernel.early(&section.machines, &section.early)?;
    Ok(Planned { codec, early, kernel })
}

/// The codec of the root, which all kernels must read.
pub(super) fn root_codec(section: &config::Root, kernels: &[(&str, &Kconfig)]) -> Result<Codec> {
    let asked = match &section.squashfs {
        Some(file) => Some(squashfs::codec_of(file)?),
        None => section.compression,
    };
    squashfs::choose("root.squashfs", asked, kernels)
}
