// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Raspberry Pi 4: the firmware's model, and QEMU's `virt` machine with what that would load from the card.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use ::image::rpidisk::ImageDisk;
use anyhow::{Context, Result, anyhow, ensure};
use rpifw::{Disk as _, Start};

use super::world::{Chosen, PowerOn};
use crate::machine::{CORTEX_A72, Machine};
use crate::{image, recorder, standin};

/// The board whose firmware decides.
const BOARD: &str = "pi4b";

pub(super) fn power_on(card: &File) -> Result<PowerOn> {
    let selector = selector(card).context("autoboot.txt")?;
    let boots = firmware(card, false).context("the firmware stops")?;
    let [_, target] = selector;
    Ok(PowerOn { selector, boots, target, tries: firmware(card, true), writes: None })
}

/// What the firmware makes of a card, and why it would stop.
fn firmware(card: &File, tryboot: bool) -> Result<Chosen> {
    let disk = ImageDisk::open(card)?;
    let start = Start { tryboot, arm_64bit: None };
    let boot =
        rpifw::boot(standin::board(BOARD)?, &disk, &start).map_err(|stop| anyhow!("{stop}"))?;
    ensure!(boot.missing.is_empty(), "a board would stop: {:?}", boot.missing);
    Ok(Chosen { partition: boot.partition, trial: tryboot, cmdline: boot.cmdline })
}

/// Default and trial of `autoboot.txt`, read as a person would read it.
fn selector(card: &File) -> Result<[u32; 2]> {
    let disk = ImageDisk::open(card)?;
    let volume = disk.volume(1).context("partition 1 has no file system")?;
    let text = volume.read("autoboot.txt").map_err(|why| anyhow!("{why}"))?;
    let text = String::from_utf8(text.context("it is not there")?)?;
    ensure!(text.len() == 512, "it has {} bytes", text.len());
    let (all, trial) = text.split_once("[tryboot]\n").context("there is no [tryboot]")?;
    ensure!(all.starts_with("[all]\ntryboot_a_b=1\n"), "it begins with {all:?}");
    let value = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("boot_partition="));
        line.and_then(|number| number.parse().ok()).context("there is no boot_partition")
    };
    Ok([value(all)?, value(trial)?])
}

/// The machine with its card, whose requests go to the log; it is told these words.
pub(super) fn start(
    card: &Path,
    tryboot: bool,
    words: &[String],
    log: &Path,
    directory: &Path,
) -> Result<Command> {
    let mut machine = load(card, tryboot, directory)?;
    machine.append.push(format!(" {}", words.join(" ")));
    ensure!(machine.append.len() < 2048, "the command line is too long for Linux");
    let mut qemu = machine.command();
    recorder::add_disk(&mut qemu, card, log)?;
    Ok(qemu)
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

/// Makes `autoboot.txt` lead a trial to the default itself: what a person's slip of the pen can do, and what the tool
/// mends when it arms a trial.
pub(super) fn mislead(card: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(card)?;
    let place = image::partitions(card)?.first().copied().context("no partition 1")?;
    let mut volume = vec![0; usize::try_from(place.length)?];
    file.read_exact_at(&mut volume, place.start)?;
    let wanted = b"[tryboot]\nboot_partition=3";
    let at = volume.windows(wanted.len()).position(|window| window == wanted);
    let at = at.context("autoboot.txt is not as expected")? + wanted.len() - 1;
    Ok(file.write_all_at(b"2", place.start + at as u64)?)
}
