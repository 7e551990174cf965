// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo boot --board`: a Raspberry Pi with the image on its card, for a person at its console.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::fetch::{Store, Wanted};
use crate::image::{Config, Output};
use crate::qmp::{self, Event};
use crate::rootfs::{Programs, Rootfs};
use crate::setup::{self, Purpose};
use crate::standin::{self, Cause, Standin};
use crate::{cargo, cli, progress, run, tool};

/// Of the image's command line: the first serial port, under the firmware's name for it.
pub(crate) const CONSOLE: &str = "console=serial0,115200";

/// Starts the board again and again as it restarts, until it powers off or its person has enough.
pub(crate) fn boot(options: &cli::Boot, name: &str) -> Result<ExitCode> {
    let standin = prepare(options, name)?;
    let mut cause = Cause { tryboot: options.tryboot, restarted: false };
    loop {
        let started = standin.start(cause, &options.append)?;
        if options.print {
            println!("{}\n{}", started.told, tool::shown(&started.qemu));
            return Ok(ExitCode::SUCCESS);
        }
        progress::note(&format!("\n{}\n", started.told));
        progress::note("Ctrl-A X ends QEMU, Ctrl-A H shows what else Ctrl-A does.\n");
        let log = standin.directory.join("console");
        let events = attend(started.qemu, &log)?;
        if !run::restarted(&events) {
            return Ok(ExitCode::SUCCESS);
        }
        cause = Cause::after(&String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()));
    }
}

fn prepare(options: &cli::Boot, name: &str) -> Result<Standin> {
    let board = standin::board(name)?;
    let debian = options.rootfs.is_debian();
    setup::ensure_ready(Purpose::Boot { debian }, !options.no_install)?;
    let directory = cargo::target()?.join("boot/pi").join(options.rootfs.name());
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let image = match &options.image {
        Some(image) => image.clone(),
        None if options.keep => directory.join(format!("{}.img", options.rootfs.name())),
        None => build(options, &directory)?,
    };
    let arm_64bit = options.arm_64bit;
    let standin = Standin {
        board,
        image,
        directory,
        arm_64bit,
        quick: false,
        ramoops: false,
        eeprom: None,
        record: None,
    };
    if options.keep {
        ensure!(standin.card().exists(), "{} is not there", standin.card().display());
    } else {
        standin.insert_card(options.card)?;
    }
    Ok(standin)
}

fn build(options: &cli::Boot, out: &Path) -> Result<PathBuf> {
    let parts = Parts::get(options.rootfs, out)?;
    let config = parts.config(options.rootfs.name(), CONSOLE, options.overlay.word());
    Ok(config.build(&cargo::IMAGE.shipped()?, out, Output::Shown)?.disk)
}

/// What an image for every Raspberry Pi is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    init: Vec<PathBuf>,
    kernels: Vec<(PathBuf, &'static [&'static str])>,
    firmware: PathBuf,
    root: PathBuf,
}

impl Parts {
    /// All five kernels; of a Debian for Arm64 the 64-bit ones.
    pub(crate) fn get(rootfs: Rootfs, out: &Path) -> Result<Self> {
        let mut store = Store::open()?;
        let mut kernels = store.pi_kernels()?;
        let firmware = store.get(Wanted::RaspiFirmware)?;
        drop(store);
        if rootfs.is_debian() {
            kernels.drain(..3);
        }
        // QEMU's generic machine stands in for boards that it does not have. Debian's ARMv6 kernel does not run there.
        let machines = |kernel: &PathBuf| -> &'static [&'static str] {
            let name = kernel.to_string_lossy();
            match () {
                () if name.ends_with("_armel.deb") => &["raspi"],
                () if name.contains("-arm64_") => &["raspi", "virt", "uefi"],
                () => &["raspi", "virt"],
            }
        };
        let kernels = kernels.into_iter().map(|kernel| (kernel.clone(), machines(&kernel)));
        Ok(Self {
            init: vec![cargo::INIT.shipped()?, cargo::INIT_ARMV6.shipped()?],
            kernels: kernels.collect(),
            firmware,
            root: rootfs.squashfs(Programs::EveryPi, out)?,
        })
    }

    /// Keeps the kernels whose package's name has this in it.
    pub(crate) fn only(&mut self, name: &str) {
        self.kernels.retain(|(kernel, _)| kernel.to_string_lossy().contains(name));
    }

    /// Takes this kernel and no other.
    pub(crate) fn with_kernel(self, kernel: PathBuf, machines: &'static [&'static str]) -> Self {
        Self { kernels: vec![(kernel, machines)], ..self }
    }

    /// Takes another root.
    pub(crate) fn with_root(self, root: PathBuf) -> Self {
        Self { root, ..self }
    }

    /// What `pivot-image` is told of them.
    pub(crate) fn config<'a>(
        &'a self,
        name: &'a str,
        cmdline: &'a str,
        overlay: &'a str,
    ) -> Config<'a> {
        let config = Config::new(name, "mbr", &self.init, &self.kernels, &self.root);
        Config { rpi: Some(&self.firmware), cmdline, overlay, ..config }
    }
}

/// Runs QEMU with the terminal as its console and a copy of what it shows in `log`. Gives what QEMU said of its end.
fn attend(mut qemu: Command, log: &Path) -> Result<Vec<Event>> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("qmp");
    let events = qmp::listen(&socket)?;
    let log = log.display().to_string().replace(',', ",,");
    qemu.args(["-display", "none", "-no-reboot", "-S", "-chardev"]);
    qemu.arg(format!("stdio,id=console,mux=on,signal=off,logfile={log}"));
    qemu.args(["-serial", "chardev:console", "-mon", "chardev=console"]);
    qemu.arg("-qmp").arg(format!("unix:{}", socket.display()));
    let status = qemu.stdin(Stdio::inherit()).status().context("cannot run qemu-system-aarch64")?;
    // QEMU never connected if it did not like its arguments: nobody else will, so connect and leave.
    drop(std::os::unix::net::UnixStream::connect(&socket));
    ensure!(status.success(), "QEMU failed ({status})");
    Ok(events.join().unwrap_or_default())
}
