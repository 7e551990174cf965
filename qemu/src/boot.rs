// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo boot`: builds everything, boots it, and leaves a person at its console.

use std::fs;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::cli;
use crate::fetch::{Store, Wanted};
use crate::image::{self, Config, Image, Output};
use crate::machine::{CORTEX_A72, Disk, Machine};
use crate::rootfs::{Programs, Rootfs};
use crate::setup::{self, Purpose};
use crate::{board, cargo, progress, tool};

/// Runs the machine until its person has enough.
pub(crate) fn boot(options: &cli::Boot) -> Result<ExitCode> {
    if let Some(name) = &options.board {
        return board::boot(options, name);
    }
    let machine = machine(options)?;
    let mut qemu = machine.command();
    qemu.arg("-nographic");
    if options.print {
        println!("{}", tool::shown(&qemu));
        return Ok(ExitCode::SUCCESS);
    }
    progress::note("\nCtrl-A X ends QEMU, Ctrl-A H shows what else Ctrl-A does.\n");
    let status = qemu.stdin(Stdio::inherit()).status().context("cannot run qemu-system-aarch64")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn machine(options: &cli::Boot) -> Result<Machine> {
    let image = if options.keep {
        Image::open(&directory(options.rootfs)?, options.rootfs.name())?
    } else {
        build(options)?
    };
    let boot = image.boot(|_| true)?;
    Ok(Machine {
        cpu: CORTEX_A72,
        memory: options.memory.clone(),
        disks: vec![Disk::new(image.disk)],
        kernel: boot.kernel,
        initrd: boot.initrd,
        append: image::append(&boot.cmdline, &options.append),
        icount: false,
    })
}

fn build(options: &cli::Boot) -> Result<Image> {
    let debian = options.rootfs.is_debian();
    setup::ensure_ready(Purpose::Boot { debian }, !options.no_install)?;
    let kernel = Store::open()?.get(Wanted::Kernel)?;
    let out = directory(options.rootfs)?;
    let root = options.rootfs.squashfs(Programs::Arm64, &out)?;
    let (name, init) = (options.rootfs.name(), [cargo::INIT.shipped()?]);
    let kernels: [(_, &[_]); 1] = [(kernel, &["virt"])];
    let config = Config {
        cmdline: "console=ttyAMA0 quiet",
        overlay: options.overlay.word(),
        data_size: Some("512M"),
        ..Config::new(name, "gpt", &init, &kernels, &root)
    };
    config.build(&cargo::IMAGE.shipped()?, &out, Output::Shown)
}

/// `target/boot/NAME`
fn directory(rootfs: Rootfs) -> Result<PathBuf> {
    let directory = cargo::target()?.join("boot").join(rootfs.name());
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}
