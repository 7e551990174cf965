// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the cases boot, built once: images with a GPT and an MBR, the one for Raspberry Pis, disks with roots, and
//! initramfs variants.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::case::Base;
use super::life::{Life, Maker, loaders};
use super::{Case, cpio, cuts, emmc, roots};
use crate::board::{CONSOLE, Parts};
use crate::fetch::{self, Store, Wanted};
use crate::image::{Boot, Config, Image, Output};
use crate::rootfs::{Programs, Rootfs};
use crate::{cargo, elf, progress, rootfs, tool};

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
    virt: Option<Virt>,
    pub(super) pi: Option<Pi>,
    life: Option<Life>,
    uefi: Option<Life>,
    cuts: Vec<cuts::Device>,
    /// Whether what is sampled otherwise is done in full.
    pub(super) all: bool,
    init: PathBuf,
    pivot_image: PathBuf,
}

/// What cases on QEMU's `virt` machine boot.
#[derive(Debug)]
pub(crate) struct Virt {
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
    /// With the ARMv6 init alone, for either kernel.
    pub(crate) armv6: PathBuf,
    pub(crate) armv6_16k: PathBuf,
    pub(crate) roots_gpt: PathBuf,
    pub(crate) roots_mbr: PathBuf,
}

/// The one image that every Raspberry Pi boots, and any 64-bit Arm computer with UEFI.
#[derive(Debug)]
pub(crate) struct Pi {
    pub(crate) image: Image,
    /// Of the image when it was built.
    pub(crate) sha256: String,
}

impl Fixture {
    /// Builds what these cases boot.
    pub(crate) fn build(cases: &[Case], all: bool) -> Result<Self> {
        let directory = cargo::target()?.join("e2e");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let (init, pivot_image) = (cargo::INIT.shipped()?, cargo::IMAGE.shipped()?);
        let (virt, pi, life, uefi, cuts) = (None, None, None, None, Vec::new());
        let mut fixture = Self { directory, virt, pi, life, uefi, cuts, all, init, pivot_image };
        let builder = fixture.builder();
        let virt = cases.iter().any(|case| case.base.is_virt()).then(|| builder.virt());
        let pi = cases.iter().any(|case| case.base.is_pi()).then(|| builder.pi());
        let life = cases.iter().any(|case| case.base == Base::Life).then(|| builder.life());
        let mut worlds = [cuts::World::Pi, cuts::World::Grub].to_vec();
        worlds.retain(|world| cases.iter().any(|case| case.base == Base::Cuts(*world)));
        let cuts = worlds.into_iter().map(|world| builder.cuts(world)).collect::<Result<_>>();
        let uefi = cases.iter().any(|case| case.base == Base::Uefi).then(|| builder.uefi());
        fixture.uefi = uefi.transpose()?;
        (fixture.virt, fixture.pi) = (virt.transpose()?, pi.transpose()?);
        (fixture.life, fixture.cuts) = (life.transpose()?, cuts?);
        Ok(fixture)
    }

    /// An image with a Debian that keeps and ends its trials by itself, for a Raspberry Pi 5.
    pub(crate) fn debian_device(&self, out: &Path) -> Result<Image> {
        let mut parts = Parts::get(Rootfs::Debian, out)?.with_root(rootfs::debian_tar()?);
        parts.only("-arm64_");
        let key = self.builder().maker().key()?.with_extension("pub");
        let (program, cmdline) = (cargo::BOOTSEL.shipped()?, format!("{CONSOLE} quiet"));
        let bootsel = Some([program.as_path(), &key]);
        let config = Config { bootsel, ..parts.config("device", &cmdline, "volatile") };
        config.build(&self.pivot_image, out, Output::Quiet)
    }

    /// What a board with an eMMC boots.
    pub(super) fn emmc(&self, out: &Path) -> Result<emmc::Made> {
        emmc::Made::make(&self.builder().maker(), out)
    }

    /// For a case that makes its own images.
    pub(super) fn maker(&self) -> Maker<'_> {
        self.builder().maker()
    }

    pub(crate) fn virt(&self) -> Result<&Virt> {
        self.virt.as_ref().context("the images for virt are not built")
    }

    pub(crate) fn pi(&self) -> Result<&Pi> {
        self.pi.as_ref().context("the image for Raspberry Pis is not built")
    }

    pub(crate) fn life(&self) -> Result<&Life> {
        self.life.as_ref().context("the revisions of a device's life are not built")
    }

    pub(crate) fn uefi(&self) -> Result<&Life> {
        self.uefi.as_ref().context("the revisions of a computer with UEFI are not built")
    }

    pub(super) fn cuts(&self, world: cuts::World) -> Result<&cuts::Device> {
        let mut devices = self.cuts.iter();
        let device = devices.find(|device| device.world == world);
        device.context("the device whose power is cut is not built")
    }

    fn builder(&self) -> Builder<'_> {
        let Self { directory, init, pivot_image, .. } = self;
        Builder { directory, init: std::slice::from_ref(init), pivot_image }
    }

    /// An image with a Debian. It takes minutes the first time, so it is made beside other cases.
    pub(crate) fn debian(&self, rootfs: Rootfs, out: &Path) -> Result<Image> {
        let kernels = [(Store::open()?.get(Wanted::Kernel)?, VIRT)];
        let root = rootfs.squashfs(Programs::Arm64, out)?;
        // A person's console: the login prompt without the kernel's lines between.
        let cmdline = "console=ttyAMA0 panic=-1 quiet";
        let builder = self.builder();
        let config = Config { cmdline, ..builder.config(rootfs.name(), &kernels, &root) };
        config.build(&self.pivot_image, out, Output::Quiet)
    }

    /// The same for a Raspberry Pi 3.
    pub(crate) fn debian_for_pi3(&self, rootfs: Rootfs, out: &Path) -> Result<Image> {
        let mut parts = Parts::get(rootfs, out)?;
        parts.only("-arm64_");
        let cmdline = format!("{CONSOLE} panic=-1 quiet");
        parts.config("pi3", &cmdline, "volatile").build(&self.pivot_image, out, Output::Quiet)
    }
}

/// See [`Config::kernels`].
const VIRT: &[&str] = &["virt"];

type Kernels<'a> = &'a [(PathBuf, &'static [&'static str])];

struct Builder<'a> {
    directory: &'a Path,
    /// One program.
    init: &'a [PathBuf],
    pivot_image: &'a Path,
}

impl<'a> Builder<'a> {
    fn maker(&self) -> Maker<'a> {
        let Self { directory, init, pivot_image } = *self;
        Maker { directory, init, pivot_image }
    }
}

impl Builder<'_> {
    fn virt(&self) -> Result<Virt> {
        let (gpt, mbr) = self.witness_images()?;
        let kernel = gpt.boot(|release| !release.ends_with(PAGES_16K))?;
        let kernel_16k = gpt.boot(|release| release.ends_with(PAGES_16K))?;
        let tools = self.tools(&kernel)?;
        let misaligned = self.misaligned(&kernel_16k)?;
        let [armv6, armv6_16k] = self.armv6([&kernel, &kernel_16k])?;
        let [roots_gpt, roots_mbr] =
            progress::step("disks with roots", || roots::make(self.directory))?;
        let mbr_kernel = mbr.boot(|_| true)?;
        Ok(Virt {
            gpt,
            mbr,
            kernel,
            kernel_16k,
            mbr_kernel,
            tools,
            misaligned,
            armv6,
            armv6_16k,
            roots_gpt,
            roots_mbr,
        })
    }

    fn pi(&self) -> Result<Pi> {
        let out = self.out("pi")?;
        let parts = Parts::get(Rootfs::Witness, &out)?;
        let firmware = tempfile::tempdir()?;
        fs::write(firmware.path().join(FIRMWARE), "not for any device\n")?;
        let cmdline = format!("{CONSOLE} panic=-1");
        let [grub, shim] = loaders()?;
        let (firmware, uefi) = (Some(firmware.path()), Some([&*grub, &*shim]));
        let config = Config { firmware, uefi, ..parts.config("pi", &cmdline, "volatile") };
        let image = config.build(self.pivot_image, &out, Output::Shown)?;
        let sha256 = tool::sha256(&image.disk)?;
        Ok(Pi { image, sha256 })
    }

    fn life(&self) -> Result<Life> {
        progress::step("revisions of a device's life", || self.maker().make())
    }

    fn uefi(&self) -> Result<Life> {
        progress::step("revisions of a computer with UEFI", || self.maker().make_for_uefi())
    }

    fn cuts(&self, world: cuts::World) -> Result<cuts::Device> {
        progress::step("the device whose power is cut", || cuts::Device::make(&self.maker(), world))
    }

    fn config<'a>(&'a self, name: &'a str, kernels: Kernels<'a>, root: &'a Path) -> Config<'a> {
        let config = Config::new(name, "gpt", self.init, kernels, root);
        Config { cmdline: CMDLINE, data_size: Some("64M"), ..config }
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
            [(store.get(Wanted::Kernel)?, VIRT), (store.get(Wanted::Kernel16k)?, VIRT)]
        };
        let (gpt, mbr) = (self.out("gpt")?, self.out("mbr")?);
        let root = Rootfs::Witness.squashfs(Programs::Arm64, &gpt)?;
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
        let shared = self.initramfs("initramfs_tools", |make| {
            make.arg("--init").args(self.init);
            make.arg("--e2fsck").arg(e2fsck).arg("--shell").arg(busybox);
        })?;
        self.concatenate("initrd_tools", &[shared, self.early(kernel)?])
    }

    /// The ARMv6 init as /init. 64-bit kernels run it, too, where they have CONFIG_COMPAT.
    fn armv6(&self, kernels: [&Boot; 2]) -> Result<[PathBuf; 2]> {
        let init = cargo::INIT_ARMV6.shipped()?;
        let shared = self.initramfs("initramfs_armv6", |make| {
            make.args(["--arch", "armv6", "--init"]).arg(init);
        })?;
        let [first, second] = kernels.map(|kernel| {
            let name = format!("initrd_armv6_{}", kernel.release);
            self.concatenate(&name, &[shared.clone(), self.early(kernel)?])
        });
        Ok([first?, second?])
    }

    /// `pivot-image initramfs`, for all kernels.
    fn initramfs(&self, name: &str, options: impl FnOnce(&mut Command)) -> Result<Vec<u8>> {
        let out = self.directory.join(name);
        let mut make = tool::command(&self.pivot_image.to_string_lossy());
        options(make.args(["--quiet", "initramfs"]));
        tool::run(make.arg("--out").arg(&out))?;
        Ok(fs::read(out)?)
    }

    /// The early modules of a kernel on the disk with a GPT.
    fn early(&self, kernel: &Boot) -> Result<Vec<u8>> {
        Ok(fs::read(self.directory.join(format!("gpt/early_{}", kernel.release)))?)
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
