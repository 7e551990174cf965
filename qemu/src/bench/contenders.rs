// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is compared: for each job the floor, pivot as it ships, and other initramfs inits of Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::image::cpio::Archive;
use ::image::{compress, deb};
use anyhow::{Context, Result, ensure};

use super::measure::{Boot, Job};
use super::world::{FLOOR_DEVICE, FLOOR_ROOT, QUIET, World};
use crate::cargo::{self, Program};
use crate::fetch::{Store, Wanted};

/// Something that is measured.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) boot: Boot,
    /// Of the init and what it starts, in bytes.
    pub(crate) program: u64,
    /// As it is loaded, without modules, compressed by zstd -19.
    pub(crate) initramfs: u64,
    /// Whether several of its processes load modules at a time.
    pub(crate) parallel: bool,
}

/// The directories that every one of them has.
const DIRECTORIES: [&str; 5] = ["dev", "proc", "run", "sys", "sysroot"];
/// For those that start a whole system.
pub(super) const LONG: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_secs(120);

/// Bytes of a program that does the least.
const FLOOR_LIMIT: u64 = 30_000;

/// `root=` of the other disk.
const ROOT: &str = "root=/dev/vda1 rootfstype=ext4 ro";

impl World {
    fn contender(
        &self,
        name: &'static str,
        job: Job,
        plain: &Archive,
        program: u64,
    ) -> Result<Contender> {
        let mut whole = plain.to_bytes();
        let initramfs = compress::archive(compress::Compression::Zstd, &whole)?.len();
        whole.extend(self.numbered().to_bytes());
        let boot = self.boot(job, whole);
        Ok(Contender { name, boot, program, initramfs: initramfs as u64, parallel: false })
    }

    pub(crate) fn boot(&self, job: Job, initramfs: Vec<u8>) -> Boot {
        let words = match job {
            Job::Device => self.boot.cmdline.clone(),
            Job::Root => format!("{QUIET} {ROOT}"),
        };
        Boot { job, initramfs, words, disk: None, more: Vec::new(), seed: true, limit: LIMIT }
    }

    /// The modules in load order as `/00`, `/01`, ..., and that of the loop device, which has an option, as `/lo`.
    fn numbered(&self) -> Archive {
        let mut archive = Archive::default();
        let mut number = 0;
        for (name, content) in &self.modules {
            let path = if name == "loop" { "lo".to_owned() } else { format!("{number:02}") };
            number += u32::from(name != "loop");
            archive.file(&path, 0o644, content.clone());
        }
        archive
    }

    fn start(&self) -> Archive {
        let mut archive = Archive::default();
        DIRECTORIES.iter().for_each(|path| archive.directory(path));
        archive.character_device("dev/console", 0o600, (5, 1));
        archive
    }

    /// All of them, the floor first.
    pub(crate) fn contenders(&self, job: Job, all: bool) -> Result<Vec<Contender>> {
        let mut found = vec![self.floor(job)?, self.pivot(job)?, self.busybox(job)?];
        if job == Job::Root {
            found.push(self.tiny()?);
        }
        found.extend(self.packaged(job, all)?);
        let driver = |name: &str| !self.modules.iter().any(|(module, _)| module == name);
        if job == Job::Root && driver("ext4") && driver("virtio_blk") {
            let boot = self.boot(job, Vec::new());
            found.push(Contender {
                name: "none: the kernel",
                boot,
                program: 0,
                initramfs: 0,
                parallel: true,
            });
        }
        Ok(found)
    }

    /// The least that can be done.
    pub(crate) fn floor(&self, job: Job) -> Result<Contender> {
        let program = match job {
            Job::Device => FLOOR_DEVICE,
            Job::Root => FLOOR_ROOT,
        };
        self.floor_of(job, program)
    }

    /// The same by this program.
    pub(crate) fn floor_of(&self, job: Job, program: Program) -> Result<Contender> {
        let program = fs::read(program.shipped()?)?;
        let (mut archive, length) = (self.start(), program.len() as u64);
        ensure!(
            length <= FLOOR_LIMIT,
            "a floor of {length} bytes is none: {FLOOR_LIMIT} are the limit"
        );
        archive.file("init", 0o755, program);
        if job == Job::Device {
            let image =
                format!("/run/pivot/data/pivot/revisions/1/modules_{}.squashfs", self.boot.release);
            archive.symlink("modules.squashfs", &image);
        }
        self.contender("floor", job, &archive, length)
    }

    /// The very bytes that the image has.
    pub(crate) fn pivot(&self, job: Job) -> Result<Contender> {
        let out = self.directory.join("device");
        let length = |path: &Path| -> Result<u64> { Ok(fs::metadata(path)?.len()) };
        let initramfs = length(&out.join("initramfs"))?;
        let program = length(&cargo::INIT.shipped()?)?;
        let boot = self.boot(job, fs::read(&self.boot.initrd)?);
        Ok(Contender { name: "pivot", boot, program, initramfs, parallel: false })
    }

    /// A script for busybox's shell, as a person would write it for this one device.
    pub(crate) fn busybox(&self, job: Job) -> Result<Contender> {
        let busybox = self.unpacked(Wanted::Busybox, "bin/busybox")?;
        let program = fs::read(&busybox)?;
        let (mut archive, length) = (self.start(), program.len() as u64);
        archive.file("bin/busybox", 0o755, program);
        let script = match job {
            Job::Device => SCRIPT_DEVICE.replace("RELEASE", &self.boot.release),
            Job::Root => SCRIPT_ROOT.to_owned(),
        };
        archive.file("init", 0o755, script.into_bytes());
        self.contender("busybox script", job, &archive, length)
    }

    /// tiny-initramfs, which knows one root device and mounts neither /sys nor /run.
    fn tiny(&self) -> Result<Contender> {
        let file = "usr/lib/aarch64-linux-gnu/tiny-initramfs/init-static";
        let program = fs::read(self.unpacked(Wanted::TinyInitramfs, file)?)?;
        let (mut archive, length) = (self.start(), program.len() as u64);
        archive.directory("target");
        archive.file("init", 0o755, program);
        let numbered = self.modules.iter().filter(|(name, _)| name != "loop");
        let mut list: String =
            numbered.zip(0..).map(|(_, number)| format!("/{number:02}\n")).collect();
        if self.modules.iter().any(|(name, _)| name == "loop") {
            list.push_str("/lo max_loop=0\n");
        }
        archive.file("modules", 0o644, list.into_bytes());
        self.contender("tiny-initramfs", Job::Root, &archive, length)
    }

    /// One file of a package.
    pub(crate) fn unpacked(&self, wanted: Wanted, file: &str) -> Result<PathBuf> {
        let package = Store::open()?.get(wanted)?;
        let out = self.directory.join("unpacked");
        deb::unpack(&package, &out, |path| path == Path::new(file))?;
        let path = out.join(file);
        path.exists().then_some(path).with_context(|| format!("{file} is not in {package:?}"))
    }
}

/// What both scripts begin with.
const SCRIPT_ROOT: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t tmpfs -o mode=755 tmpfs /run
for module in /[0-9][0-9]; do $b insmod $module 2>/dev/null; done
$b insmod /lo max_loop=0
until test -b /dev/vda1; do $b usleep 10000; done
$b mount -t ext4 -o ro /dev/vda1 /sysroot
for from in dev sys run proc; do $b mount -o move /$from /sysroot/$from; done
exec $b switch_root /sysroot /sbin/init
";

const SCRIPT_DEVICE: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t tmpfs -o mode=755 tmpfs /run
$b insmod /00
$b watchdog -T 15 -t 5 /dev/watchdog0
for module in /0[1-9] /[1-9][0-9]; do $b insmod $module 2>/dev/null; done
$b insmod /lo max_loop=0
until test -b /dev/vda4; do $b usleep 10000; done
$b mkdir -p /run/pivot/data /run/pivot/modules /run/pivot/firmware
$b mount -t ext4 /dev/vda4 /run/pivot/data
r=/run/pivot/data/pivot/revisions/1
$b mount -t squashfs -o ro,loop $r/root.squashfs /sysroot
$b mount -t squashfs -o ro,loop $r/modules_RELEASE.squashfs /run/pivot/modules
$b mount -t squashfs -o ro,loop $r/firmware.squashfs /run/pivot/firmware
echo -n /run/pivot/firmware > /sys/module/firmware_class/parameters/path
$b mount -o bind /run/pivot/modules /sysroot/usr/lib/modules
$b mount -o bind /run/pivot/firmware /sysroot/usr/lib/firmware
$b killall -9 watchdog
for from in dev sys run proc; do $b mount -o move /$from /sysroot/$from; done
exec $b switch_root /sysroot /sbin/init
";
