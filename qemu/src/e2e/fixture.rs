// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the cases boot, built once: images with a GPT and an MBR, disks with roots, and initramfs variants.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{cpio, roots};
use crate::fetch::{self, Store, Wanted};
use crate::image::{Boot, Config, Image, Output};
use crate::rootfs::Rootfs;
use crate::{cargo, elf, progress, tool};

/// The file of the test firmware image.
pub(crate) const FIRMWARE: &str = "pivot-test.bin";
/// Words of every test image: everything on the console, and a panic ends the run at once.
const CMDLINE: &str = "console=ttyAMA0 panic=-1";
/// Which kernel of the images has pages of 16 KiB.
const PAGES_16K: &str = "16k";

/// Files shared by all cases; nothing in it changes.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) directory: PathBuf,
    pub(crate) gpt: Image,
    pub(crate) mbr: Image,
    pub(crate) kernel: Boot,
    pub(crate) kernel_16k: Boot,
    /// From the disk with an MBR.
    pub(crate) mbr_kernel: Boot,
    /// With e2fsck and a shell.
    pub(crate) tools: PathBuf,
    /// With an init that is aligned to 4 KiB only.
    pub(crate) misaligned: PathBuf,
    pub(crate) roots_gpt: PathBuf,
    pub(crate) roots_mbr: PathBuf,
    init: PathBuf,
    pivot_image: PathBuf,
}

impl Fixture {
    /// Builds it.
    pub(crate) fn build() -> Result<Self> {
        let directory = cargo::target()?.join("e2e");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let (init, pivot_image) = (cargo::INIT.shipped()?, cargo::IMAGE.shipped()?);
        let builder = Builder { directory: &directory, init: &init, pivot_image: &pivot_image };
        let (gpt, mbr) = builder.witness_images()?;
        let (kernel, kernel_16k) =
            (gpt.boot(|r| !r.ends_with(PAGES_16K))?, gpt.boot(|r| r.ends_with(PAGES_16K))?);
        let tools = builder.tools(&kernel)?;
        let misaligned = builder.misaligned(&kernel_16k)?;
        let [roots_gpt, roots_mbr] =
            progress::step("disks with roots", || roots::make(&directory))?;
        let mbr_kernel = mbr.boot(|_| true)?;
        Ok(Self {
            directory,
            gpt,
            mbr,
            kernel,
            kernel_16k,
            mbr_kernel,
            tools,
            misaligned,
            roots_gpt,
            roots_mbr,
            init,
            pivot_image,
        })
    }

    /// An image with a Debian. It takes minutes the first time, so it is made beside other cases.
    pub(crate) fn debian(&self, rootfs: Rootfs, out: &Path) -> Result<Image> {
        let kernels = [Store::open()?.get(Wanted::Kernel)?];
        let root = rootfs.squashfs(out)?;
        let builder = Builder { directory: out, init: &self.init, pivot_image: &self.pivot_image };
        // A person's console: the login prompt without the kernel's lines between.
        let cmdline = "console=ttyAMA0 panic=-1 quiet";
        let config = Config { cmdline, ..builder.config(rootfs.name(), &kernels, &root) };
        config.build(&self.pivot_image, out, Output::Quiet)
    }
}

struct Builder<'a> {
    directory: &'a Path,
    init: &'a Path,
    pivot_image: &'a Path,
}

impl Builder<'_> {
    fn config<'a>(&'a self, name: &'a str, kernels: &'a [PathBuf], root: &'a Path) -> Config<'a> {
        Config {
            name,
            table: "gpt",
            cmdline: CMDLINE,
            overlay: "volatile",
            init: self.init,
            e2fsck: None,
            shell: None,
            kernels,
            early: &[],
            firmware: None,
            root,
            data_size: "64M",
        }
    }

    fn out(&self, name: &str) -> Result<PathBuf> {
        let out = self.directory.join(name);
        fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        Ok(out)
    }

    /// Both kernels on the GPT, the ordinary one alone on the MBR.
    fn witness_images(&self) -> Result<(Image, Image)> {
        let kernels = {
            let mut store = Store::open()?;
            [store.get(Wanted::Kernel)?, store.get(Wanted::Kernel16k)?]
        };
        let (gpt, mbr) = (self.out("gpt")?, self.out("mbr")?);
        let root = Rootfs::Witness.squashfs(&gpt)?;
        let firmware = tempfile::tempdir()?;
        fs::write(firmware.path().join(FIRMWARE), "not for any device\n")?;
        let config = Config {
            firmware: Some(firmware.path()),
            // For a root on FAT: what the kernel's default character sets need.
            early: &["vfat", "nls_cp437", "nls_ascii"],
            ..self.config("gpt", &kernels, &root)
        };
        let gpt = config.build(self.pivot_image, &gpt, Output::Shown)?;
        let first = kernels.get(..1).unwrap_or_default();
        let config = Config { name: "mbr", table: "mbr", kernels: first, ..config };
        Ok((gpt, config.build(self.pivot_image, &mbr, Output::Shown)?))
    }

    /// An initramfs with everything that it may have.
    fn tools(&self, kernel: &Boot) -> Result<PathBuf> {
        let mut store = Store::open()?;
        let (busybox, e2fsck) = (self.directory.join("busybox"), self.directory.join("e2fsck"));
        fetch::unpack(&store.get(Wanted::Busybox)?, "bin/busybox", &busybox)?;
        fetch::unpack(&store.get(Wanted::E2fsck)?, "sbin/e2fsck.static", &e2fsck)?;
        drop(store);
        let shared = self.directory.join("initramfs_tools");
        let mut make = tool::command(&self.pivot_image.to_string_lossy());
        make.args(["--quiet", "initramfs", "--init"]).arg(self.init);
        make.arg("--e2fsck").arg(e2fsck).arg("--shell").arg(busybox).arg("--out").arg(&shared);
        tool::run(&mut make)?;
        let early = self.directory.join(format!("gpt/early_{}", kernel.release));
        self.concatenate("initrd_tools", &[fs::read(shared)?, fs::read(early)?])
    }

    /// The shipped initramfs with an init of the same sources, linked by the same linker for pages of 4 KiB.
    fn misaligned(&self, kernel: &Boot) -> Result<PathBuf> {
        let linker = self.linker_for_4k()?;
        let target = self.directory.join("misaligned");
        let init = cargo::INIT.build(|cargo| {
            cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", linker);
            cargo.env("CARGO_TARGET_DIR", target);
        })?;
        let segments = elf::Elf::read(&init)?.segments;
        let fits =
            |segment: &elf::Segment| (segment.address ^ segment.offset).is_multiple_of(16 << 10);
        ensure!(!segments.iter().all(fits), "that init fits pages of 16 KiB by luck: {segments:?}");
        let archive = cpio::with_program("init", &fs::read(init)?);
        self.concatenate("initrd_misaligned", &[fs::read(&kernel.initrd)?, archive])
    }

    /// rustc's linker with one more word at the end, where it beats build.rs. rustc knows it by its name.
    fn linker_for_4k(&self) -> Result<PathBuf> {
        let mut query = tool::command("rustc");
        query.current_dir(cargo::workspace()).args(["--print", "target-libdir"]);
        let libraries = PathBuf::from(tool::run(&mut query)?.trim());
        let real = libraries.with_file_name("bin").join("rust-lld");
        let script = self.out("linker")?.join("rust-lld");
        let text = format!("#!/bin/sh\nexec '{}' \"$@\" -zmax-page-size=4096\n", real.display());
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(script)
    }

    fn concatenate(&self, name: &str, parts: &[Vec<u8>]) -> Result<PathBuf> {
        let path = self.directory.join(name);
        fs::write(&path, parts.concat())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}
