// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels that `pivot-image kernel` makes of upstream's sources: all that a machine needs is built in, and no module is early.
//! To compile one takes longer than all other cases; they are booted where that was done before, and what was left out is said.

mod compare;
mod containers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::image::cache::Cache;
use ::image::kernel_build;
use anyhow::{Context, Result, ensure};

use super::case::{Base, Case, Seen};
use super::checks::{degraded, entered, fact, healthy, revision};
use super::debian;
use super::disk::DiskCopy;
use super::fixture::FIRMWARE;
use super::life::{Device, loaders};
use crate::board::{CONSOLE, Parts};
use crate::cargo;
use crate::fetch::{Store, Wanted};
use crate::image::{Config, Image, Output};
use crate::machine::{CORTEX_A72, Disk, Machine};
use crate::rootfs::{Programs, Rootfs};
use crate::run::{self, Ended, Outcome, Typed};
use crate::uefi::Uefi;

/// What is compiled for each case.
const VIRT: &str = "base,virt,small";
const PI3: &str = "base,rpi3,small";
const CONTAINERS: &str = "base,virt,containers,small";

const LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn cases() -> Vec<Case> {
    // Nothing of the fixture is needed.
    let base = Base::Debian(Rootfs::Debian);
    let case = |name, custom| Case { base, custom: Some(custom), ..Case::new(name) };
    vec![
        case("kernel-virt", |_, directory| with(VIRT, |kernel| virt(kernel, directory))),
        case("kernel-debian-12", |_, directory| with(VIRT, |kernel| debian_12(kernel, directory))),
        case("kernel-compared", |_, directory| {
            with(VIRT, |kernel| compare::with_debians(kernel, directory))
        }),
        case("kernel-pi3b", |_, directory| with(PI3, |kernel| pi3(kernel, directory))),
        case("kernel-pi3b-debian-12", |_, directory| {
            with(PI3, |kernel| debian_12_on_pi3(kernel, directory))
        }),
        case("kernel-containers", |_, directory| {
            with(CONTAINERS, |kernel| containers::run(kernel, directory))
        }),
    ]
}

/// A kernel that was compiled before.
#[derive(Debug)]
struct Kernel {
    release: String,
    directory: PathBuf,
}

fn with(fragments: &str, case: impl FnOnce(&Kernel) -> Result<String>) -> Result<String> {
    let source = Store::open()?.get(Wanted::LinuxSource)?;
    let kept = kernel_build::kept(fragments, &source, &Cache::new(None))?;
    let Some(kernel_build::Built { release, directory, image, .. }) = kept else {
        return Ok(format!("LEFT OUT: first `cargo image kernel --fragments {fragments}`"));
    };
    let note = case(&Kernel { release, directory })?;
    Ok([format!("{fragments}: {}", size(image)), note].join(", ").trim_end_matches(", ").to_owned())
}

fn size(bytes: u64) -> String {
    ::image::progress::size(bytes)
}

/// A disk for `virt` with this kernel and a root, booted by a loader of QEMU or by UEFI.
fn disk(kernel: &Kernel, root: &Path, cmdline: &str, directory: &Path) -> Result<Image> {
    let out = directory.join("image");
    let (init, kernels) = ([cargo::INIT.shipped()?], [(kernel.directory.clone(), &["virt"][..])]);
    let [grub, shim] = loaders()?;
    let firmware = tempfile::tempdir()?;
    fs::write(firmware.path().join(FIRMWARE), "not for any device\n")?;
    let config = Config {
        cmdline,
        uefi: Some([&grub, &shim]),
        firmware: Some(firmware.path()),
        data_size: Some("64M"),
        ..Config::new("kernel", "gpt", &init, &kernels, root)
    };
    let image = config.build(&cargo::IMAGE.shipped()?, &out, Output::Quiet)?;
    no_early_modules(&out, kernel)?;
    Ok(image)
}

/// The archive of early modules has nothing in it but the empty list.
fn no_early_modules(out: &Path, kernel: &Kernel) -> Result<()> {
    let early = out.join(format!("early_{}", kernel.release));
    let length = fs::metadata(&early).with_context(|| early.display().to_string())?.len();
    ensure!(length <= 512, "{} has {length} bytes: modules are in it", early.display());
    Ok(())
}

/// QEMU as the loader, with a device tree.
fn machine(image: &Image, copy: &DiskCopy) -> Result<Machine> {
    let boot = image.boot(|_| true)?;
    Ok(Machine {
        cpu: CORTEX_A72,
        memory: "512M".into(),
        disks: vec![Disk::new(copy.path.clone())],
        kernel: boot.kernel,
        initrd: boot.initrd,
        append: boot.cmdline.into(),
        icount: false,
    })
}

/// What is true of it wherever it boots.
fn is(kernel: &Kernel, seen: &Seen<'_>) -> Result<()> {
    let report = seen.report()?;
    ensure!(report.release == kernel.release, "Linux {}", report.release);
    ensure!(report.modules.is_empty(), "modules were loaded: {:?}", report.modules);
    ensure!(degraded(seen)?.is_empty(), "it is degraded: {:?}", degraded(seen)?);
    fact(seen, "slot", "a")
}

/// Judges a run, which shows its console where it was not as it should be.
fn judge(
    outcome: &Outcome,
    disk: Option<&DiskCopy>,
    directory: &Path,
    check: impl FnOnce(&Seen<'_>) -> Result<()>,
) -> Result<()> {
    let seen = Seen { outcome, disk, chosen: None };
    fs::write(directory.join("console1"), &outcome.console)?;
    let ended = || {
        ensure!(outcome.ended == Ended::Itself, "it did not end");
        check(&seen)
    };
    ended().with_context(|| seen.told(1, directory))
}

/// By a device tree, and by UEFI with ACPI's tables and with a device tree.
fn virt(kernel: &Kernel, directory: &Path) -> Result<String> {
    let root = Rootfs::Witness.squashfs(Programs::Arm64, directory)?;
    let image = disk(kernel, &root, "console=ttyAMA0 panic=-1", directory)?;
    let copy = DiskCopy::make(&image, directory)?;
    let outcome = run::run(machine(&image, &copy)?.command(), &[], LIMIT)?;
    judge(&outcome, Some(&copy), directory, |seen| {
        healthy(seen)?;
        is(kernel, seen)
    })?;
    for acpi in [true, false] {
        let mut computer = Uefi::new(&image.disk, directory)?;
        computer.acpi = acpi;
        let outcome = run::run_on_one_port(computer.command("")?, LIMIT)?;
        let judged = judge(&outcome, None, directory, |seen| {
            entered(seen)?;
            revision(seen, "/dev/vda4")?;
            is(kernel, seen)
        });
        judged.with_context(|| format!("UEFI, ACPI {acpi}"))?;
    }
    Ok(String::new())
}

fn debian_12(kernel: &Kernel, directory: &Path) -> Result<String> {
    let root = Rootfs::Debian.squashfs(Programs::Arm64, directory)?;
    let image = disk(kernel, &root, "console=ttyAMA0 panic=-1 quiet", directory)?;
    let copy = DiskCopy::make(&image, directory)?;
    let outcome = run::run(machine(&image, &copy)?.command(), debian::PERSON, LIMIT)?;
    judge(&outcome, Some(&copy), directory, |seen| debian::check(seen, "active"))?;
    Ok(String::new())
}

/// A Raspberry Pi 3 with an image for it.
fn board(kernel: &Kernel, rootfs: Rootfs, cmdline: &str, directory: &Path) -> Result<Device> {
    let out = directory.join("image");
    fs::create_dir_all(&out)?;
    let parts = Parts::get(rootfs, &out)?.with_kernel(kernel.directory.clone(), &["raspi"]);
    let firmware = tempfile::tempdir()?;
    fs::write(firmware.path().join(FIRMWARE), "not for any device\n")?;
    let config =
        Config { firmware: Some(firmware.path()), ..parts.config("kernel", cmdline, "volatile") };
    let image = config.build(&cargo::IMAGE.shipped()?, &out, Output::Quiet)?;
    no_early_modules(&out, kernel)?;
    Device::new("pi3b", &image, &[], directory)
}

fn pi3(kernel: &Kernel, directory: &Path) -> Result<String> {
    let cmdline = format!("{CONSOLE} panic=-1");
    board(kernel, Rootfs::Witness, &cmdline, directory)?.boot("", |start| {
        let seen = start.seen();
        entered(&seen)?;
        revision(&seen, "/dev/mmcblk0p4")?;
        let watchdog = seen.report()?.watchdog.as_ref().context("there is no watchdog")?;
        ensure!(watchdog.identity.starts_with("Broadcom BCM2835"), "{watchdog:?}");
        is(kernel, &seen)
    })?;
    Ok(String::new())
}

fn debian_12_on_pi3(kernel: &Kernel, directory: &Path) -> Result<String> {
    let cmdline = format!("{CONSOLE} panic=-1 quiet");
    let mut device = board(kernel, Rootfs::Debian, &cmdline, directory)?;
    // QEMU's VideoCore answers only some questions
    let person = |qemu, _| run::run(qemu, debian::PERSON, Duration::from_secs(600));
    let start = device.start("loglevel=1", person)?;
    debian::check(&start.seen(), "inactive").with_context(|| device.told(&start))?;
    Ok(String::new())
}

/// What a person types at a Debian's console, and where it ends.
fn person(image: &Image, copy: &DiskCopy, script: &[Typed]) -> Result<Outcome> {
    let machine = Machine { memory: "1G".into(), ..machine(image, copy)? };
    run::run(machine.command(), script, LIMIT)
}
