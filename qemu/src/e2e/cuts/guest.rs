// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest: QEMU's `virt` machine with what a Raspberry Pi 4's firmware would load from the card, and commands that
//! its root runs while every request to the card is recorded.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::image::rpidisk::ImageDisk;
use anyhow::{Context, Result, anyhow, ensure};
use rpifw::{Disk as _, Start};
use witness::Report;

use crate::machine::{CORTEX_A72, Disk, Machine};
use crate::recorder::{self, Request, SECTOR};
use crate::run::{self, Ended};
use crate::standin;

/// The board whose firmware decides.
const BOARD: &str = "pi4b";
/// An install takes a quarter of a minute where nothing else works.
const LIMIT: Duration = Duration::from_secs(400);
/// The first sector of the marks: between the partition table and partition 1.
const MARKS: u64 = 64;

/// What the firmware decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) partition: u32,
    pub(super) cmdline: String,
}

/// A run of the guest.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) requests: Vec<Request>,
    /// The places of the marks among them.
    pub(super) marks: Vec<usize>,
    pub(super) report: Report,
    pub(super) console: String,
}

/// What the guest is told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders<'a> {
    /// Started as after `reboot "0 tryboot"`.
    pub(super) tryboot: bool,
    /// Programs with their words, separated by commas; each is followed by a mark.
    pub(super) run: &'a [&'a str],
    /// The one that restarts the machine.
    pub(super) last: Option<&'a str>,
}

/// What the firmware makes of a card, and why it would stop.
pub(super) fn firmware(card: &File, tryboot: bool) -> Result<Chosen> {
    let disk = ImageDisk::open(card)?;
    let start = Start { tryboot, arm_64bit: None };
    let boot =
        rpifw::boot(standin::board(BOARD)?, &disk, &start).map_err(|stop| anyhow!("{stop}"))?;
    ensure!(boot.missing.is_empty(), "a board would stop: {:?}", boot.missing);
    Ok(Chosen { partition: boot.partition, cmdline: boot.cmdline })
}

/// Takes out of the card what the firmware would load.
fn load(card: &Path, tryboot: bool, directory: &Path) -> Result<Machine> {
    let file = File::open(card)?;
    let disk = ImageDisk::open(&file)?;
    let start = Start { tryboot, arm_64bit: None };
    let boot =
        rpifw::boot(standin::board(BOARD)?, &disk, &start).map_err(|stop| anyhow!("{stop}"))?;
    let volume = disk.volume(boot.partition).context("the chosen partition")?;
    let read = |path: &String| {
        let content = volume.read(path).map_err(|why| anyhow!("{why}"))?;
        content.with_context(|| format!("{path} is not there"))
    };
    let (kernel, initrd) = (directory.join("kernel"), directory.join("initrd"));
    fs::write(&kernel, read(&boot.kernel)?)?;
    let parts = boot.initramfs.iter().map(read).collect::<Result<Vec<_>>>()?;
    fs::write(&initrd, parts.concat())?;
    // Who is told nothing by its firmware is told by the command line.
    let trial = if tryboot { " pivot.trial" } else { "" };
    Ok(Machine {
        cpu: CORTEX_A72,
        memory: "512M".into(),
        disks: Vec::new(),
        kernel,
        initrd,
        append: format!("{}{trial}", boot.cmdline).into(),
        icount: false,
    })
}

/// Boots a card, which is changed, with the bundles as its second and third disk.
pub(super) fn record(
    card: &Path,
    bundles: &[PathBuf],
    orders: Orders<'_>,
    directory: &Path,
) -> Result<Recording> {
    fs::create_dir_all(directory)?;
    let mut machine = load(card, orders.tryboot, directory)?;
    for (number, words) in (MARKS..).zip(orders.run) {
        machine.append.push(format!(" witness.run={words} witness.run=/etc/mark,{number}"));
    }
    if let Some(last) = orders.last {
        machine.append.push(format!(" witness.last={last}"));
    }
    ensure!(machine.append.len() < 2048, "the command line is too long for Linux");
    let log = directory.join("requests");
    let mut qemu = Machine { disks: Vec::new(), ..machine }.command();
    recorder::add_disk(&mut qemu, card, &log)?;
    for (number, bundle) in bundles.iter().enumerate() {
        Disk { read_only: true, ..Disk::new(bundle.clone()) }.attach(&mut qemu, number);
    }
    let outcome = run::run(qemu, &[], LIMIT)?;
    fs::write(directory.join("console"), &outcome.console)?;
    let told = || crate::tool::tail(&outcome.console, 30);
    ensure!(outcome.ended == Ended::Itself, "it did not end within {LIMIT:?}\n{}", told());
    let report = outcome.report.map_err(|why| anyhow!("{why}")).with_context(told)?;
    for ran in &report.ran {
        ensure!(ran.status == Some(0), "{ran:?}\n{}", told());
    }
    let requests = recorder::read(&log)?;
    fs::remove_file(&log)?;
    let marks = marks(&requests);
    ensure!(marks.len() == orders.run.len(), "{} marks: {:?}", marks.len(), report.ran);
    Ok(Recording { requests, marks, report, console: outcome.console })
}

fn marks(requests: &[Request]) -> Vec<usize> {
    let start = MARKS * SECTOR as u64;
    let end = start + 64 * SECTOR as u64;
    let marks = requests.iter().enumerate().filter(|(_, request)| request.touches(start, end));
    marks.map(|(place, _)| place).collect()
}

/// Makes `autoboot.txt` lead a trial to the default itself: what a person's slip of the pen can do, and what the tool
/// mends when it arms a trial.
pub(super) fn mislead(card: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(card)?;
    let place = crate::image::partitions(card)?.first().copied().context("no partition 1")?;
    let mut volume = vec![0; usize::try_from(place.length)?];
    file.read_exact_at(&mut volume, place.start)?;
    let wanted = b"[tryboot]\nboot_partition=3";
    let at = volume.windows(wanted.len()).position(|window| window == wanted);
    let at = at.context("autoboot.txt is not as expected")? + wanted.len() - 1;
    Ok(file.write_all_at(b"2", place.start + at as u64)?)
}
