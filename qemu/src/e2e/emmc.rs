// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device with a real eMMC that has boot partitions: its bootloader comes with an update, becomes active with the commit,
//! and is whole wherever the machine is killed. What the register says is read by mmc-utils, too.
//!
//! Killing QEMU is the end of a process, not a cut of power: what the guest wrote stays. What a cut leaves is judged
//! call by call in the tool's own tests.

mod board;
mod make;

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bootsel::autoboot::Autoboot;
use serde_json::Value;

use super::case::{Base, Case};
use super::fixture::Fixture;
use super::life::{BOOTSEL, Device, Expected, Firmware, Start, looks, restarts};
use crate::image;
use crate::run::{self, Ended, Kill};
use crate::standin::Cause;
use crate::tool;
use board::{Board, MMC};
pub(crate) use make::Made;

const LINUX: (&str, &str) = ("6.12.", "-armmp");
const A1: Expected = Expected { slot: "a", revision: 1, linux: LINUX, trial: false };
const B2: Expected = Expected { slot: "b", revision: 2, linux: LINUX, trial: false };
/// No start takes longer, even under a busy host.
const LIMIT: Duration = Duration::from_secs(300);
/// The machine is killed so many hundredths after the begin of an install, and of a commit.
const MOMENTS: [u32; 4] = [10, 60, 85, 98];
/// The same in an ordinary run: this machine takes half a minute for a start and an installation.
const ORDINARY: [u32; 1] = [85];

pub(crate) fn cases() -> Vec<Case> {
    vec![Case { base: Base::Own, custom: Some(live), ..Case::new("emmc-life") }]
}

fn live(fixture: &Fixture, directory: &Path) -> Result<String> {
    let made = fixture.emmc(directory)?;
    let old = b"what the factory left".repeat(40_000);
    let boot = [&made.bootloaders[0][..], &old];
    let board = Board::new(&made.os.disk, boot, &made.dtb, &directory.join("board"))?;
    let mut device = Device::with(board, &[(&made.second, "/2.bundle")])?;
    let factory = device.standin.twin(&directory.join("factory"))?;
    let install = installs_and_tries(&mut device, &made)?;
    let on_trial = device.standin.twin(&directory.join("trial"))?;
    let commit = commits(&mut device)?;
    is_quiet(&mut device, &made)?;
    is_made_good(on_trial.twin(&directory.join("cut"))?)?;
    let stages = [
        Stage { from: &factory, command: INSTALL, takes: install, trial: false },
        Stage { from: &on_trial, command: COMMIT, takes: commit, trial: true },
    ];
    let moments = if fixture.all { &MOMENTS[..] } else { &ORDINARY };
    for stage in &stages {
        killed(stage, moments, directory, &made, &old)?;
    }
    let kills = moments.len() * stages.len();
    Ok(format!(
        "install {:.1} s, commit {:.1} s, killed {kills} times",
        install.as_secs_f64(),
        commit.as_secs_f64()
    ))
}

/// What is done by the device's script, which shows what it does, and when.
const INSTALL: &str = "install,--force,/run/pivot/data/2.bundle";
const COMMIT: &str = "commit";

fn script(command: &str) -> String {
    format!("/bin/sh,{},{command}", make::SCRIPT)
}

/// Starts the board, until it ends or is killed, and takes its eMMC apart again.
fn start(device: &mut Device<Board>, words: &str, kill: Option<Kill>) -> Result<Start> {
    let start = device.start(words, |qemu, _| match kill {
        Some(kill) => run::run_on_one_port_and_kill(qemu, kill, LIMIT),
        None => run::run_on_one_port(qemu, LIMIT),
    })?;
    device.standin.take_apart()?;
    Ok(start)
}

/// The same to its end. What the register says then, by both programs, is kept for the next start.
fn boot(
    device: &mut Device<Board>,
    words: &str,
    check: impl FnOnce(&Start) -> Result<()>,
) -> Result<()> {
    let asks = format!(
        "{} {words} witness.run={BOOTSEL},emmc,status,--json witness.run={MMC},extcsd,read,/dev/mmcblk0",
        looks()
    );
    let started = start(device, &asks, None)?;
    let judge = || {
        ensure!(started.outcome.ended == Ended::Itself, "it did not end within {LIMIT:?}");
        check(&started)?;
        enabled(&started)
    };
    device.standin.enabled = judge().with_context(|| device.told(&started))?;
    Ok(())
}

/// What a program wrote when it was run last.
fn last(start: &Start, name: &str) -> Result<String> {
    let seen = start.seen();
    let ran = &seen.report()?.ran;
    let found = ran.iter().rfind(|ran| ran.command.join(" ").starts_with(name));
    Ok(found.with_context(|| format!("{name} was not run"))?.stdout.clone())
}

fn status(start: &Start) -> Result<Value> {
    let text = last(start, &format!("{BOOTSEL} emmc status"))?;
    serde_json::from_str(&text).with_context(|| format!("the status: {text}"))
}

/// What waits for a commit.
fn waits(start: &Start) -> Result<Value> {
    Ok(status(start)?.pointer("/written/waits_for_commit").cloned().unwrap_or_default())
}

/// BOOT_PARTITION_ENABLE by mmc-utils; bootsel says the same, and finds nothing wrong.
fn enabled(start: &Start) -> Result<u8> {
    let text = last(start, &format!("{MMC} extcsd read"))?;
    let value = text.split_once("PARTITION_CONFIG: 0x").context("mmc-utils shows no such field")?.1;
    let value = u8::from_str_radix(value.get(..2).unwrap_or_default(), 16)?;
    let (enabled, status) = (value >> 3 & 7, status(start)?);
    let is = |place: &str, value: Value| status.pointer(place) == Some(&value);
    let active = if enabled == 2 { "boot1" } else { "boot0" };
    let same = is("/active", active.into()) && is("/partition_config", value.into());
    ensure!(same, "PARTITION_CONFIG is {value:#x}: {status}");
    let sound = is("/problem", Value::Null) && is("/warnings", Value::Array(Vec::new()));
    let closed = is("/boot0/force_ro", true.into()) && is("/boot1/force_ro", true.into());
    ensure!(sound && closed && is("/boot_bytes", (1 << 20).into()), "{status}");
    Ok(enabled)
}

/// How long a command took, by the script's own times.
fn took(start: &Start) -> Result<Duration> {
    let time = |mark: &str| {
        let line = start.outcome.console.split_once(mark)?.1.lines().next()?;
        line.trim().parse().ok().map(Duration::from_secs_f64)
    };
    let (begin, end) = (time(make::BEGIN), time(make::END));
    Ok(end.context("no end")?.saturating_sub(begin.context("no beginning")?))
}

/// Revision 2 is installed: its bootloader waits, whatever runs before the commit.
fn installs_and_tries(device: &mut Device<Board>, made: &Made) -> Result<Duration> {
    let mut time = Duration::ZERO;
    let words = format!(
        "witness.run={} witness.run={BOOTSEL},collect witness.last={BOOTSEL},try,--force",
        script(INSTALL)
    );
    boot(device, &words, |start| {
        start.is(&A1)?;
        start.says(0, "a", "a")?;
        start.worked("/bin/sh", 0)?;
        let waits = waits(start)?;
        ensure!(waits.get("due") == Some(&false.into()), "{waits}");
        time = took(start)?;
        start.seen().says(restarts::<Board>())
    })?;
    let [first, second] = &made.bootloaders;
    ensure!(device.standin.enabled == 1, "it did not wait for the commit");
    ensure!(device.standin.content(0)?.starts_with(first), "the active one was written");
    ensure!(device.standin.content(1)?.starts_with(second), "boot1 is another one");
    Ok(time)
}

/// The trial cannot change the bootloader, its commit does.
fn commits(device: &mut Device<Board>) -> Result<Duration> {
    let mut time = Duration::ZERO;
    let words =
        format!("witness.run={BOOTSEL},emmc,switch witness.run={} witness.reboot", script(COMMIT));
    boot(device, &words, |start| {
        start.is(&Expected { trial: true, ..B2 })?;
        let refused = start.ran(&format!("{BOOTSEL} emmc switch"), 0)?;
        let trial = refused.stderr.contains("this is a trial");
        ensure!(refused.status == Some(1) && trial, "{refused:?}");
        start.worked("/bin/sh", 0)?;
        start.seen().says("mmcblk0boot1 is active: the next start is from there")?;
        time = took(start)?;
        let waits = waits(start)?;
        ensure!(waits.is_null(), "{waits}");
        Ok(())
    })?;
    ensure!(device.standin.enabled == 2, "the commit did not make it active");
    Ok(time)
}

/// After a restart nothing is left to do.
fn is_quiet(device: &mut Device<Board>, made: &Made) -> Result<()> {
    boot(device, &format!("witness.run={BOOTSEL},verify witness.reboot"), |start| {
        start.is(&B2)?;
        start.says(0, "b", "b")?;
        start.worked(&format!("{BOOTSEL} verify"), 0)?;
        let waits = waits(start)?;
        ensure!(waits.is_null(), "{waits}");
        Ok(())
    })?;
    ensure!(device.standin.enabled == 2, "PARTITION_CONFIG was not carried over");
    ensure!(device.standin.content(1)?.starts_with(&made.bootloaders[1]), "boot1 was changed");
    device.card()?.check_clean()
}

/// The power was cut right after the selector's sector was written: the next start makes good what is due.
fn is_made_good(board: Board) -> Result<()> {
    let mut device = Device::with(board, &[])?;
    let card = device.standin.card();
    let text = image::file(&card, 1, "autoboot.txt")?.context("no autoboot.txt")?;
    let bytes = image::content(&card, 1)?;
    let at = bytes.windows(text.len()).position(|window| window == text).context("it is split")?;
    let first = image::partitions(&card)?.first().copied().context("no partition 1")?;
    let committed = Autoboot::new(3, 2)?.to_bytes()?;
    tool::poke(&card, first.start + at as u64, &committed)?;
    boot(&mut device, "witness.reboot", |start| {
        start.is(&B2)?;
        start.worked(&format!("{BOOTSEL} collect"), 0).map(drop)
    })?;
    ensure!(device.standin.enabled == 2, "what was due was not made good");
    Ok(())
}

/// What is killed.
struct Stage<'a> {
    from: &'a Board,
    command: &'static str,
    takes: Duration,
    trial: bool,
}

/// At each of the moments, two machines at a time.
fn killed(
    stage: &Stage<'_>,
    moments: &[u32],
    directory: &Path,
    made: &Made,
    old: &[u8],
) -> Result<()> {
    let one = |moment: u32| -> Result<()> {
        let name = stage.command.split(',').next().unwrap_or_default();
        let board = stage.from.twin(&directory.join(format!("{name}{moment}")))?;
        let mut device = Device::with(board, &[])?;
        device.cause = Cause { tryboot: stage.trial, restarted: stage.trial };
        let words = format!("{} witness.last={}", looks(), script(stage.command));
        let kill = Kill { after: make::BEGIN, delay: stage.takes * moment / 100 };
        let started = start(&mut device, &words, Some(kill))?;
        let whole = is_whole(&device.standin, &started, made, old);
        whole.with_context(|| format!("{moment} %: {}", device.told(&started)))
    };
    for pair in moments.chunks(2) {
        thread::scope(|scope| {
            let begun: Vec<_> = pair.iter().map(|moment| scope.spawn(|| one(*moment))).collect();
            let ended = begun.into_iter().map(|one| one.join());
            let ended = ended.map(|one| one.unwrap_or_else(|_| Err(anyhow!("a thread panicked"))));
            ended.collect::<Result<Vec<_>>>()
        })?;
    }
    Ok(())
}

/// The register is lost with the machine: where slot b is the default, boot1 may be active, and else boot0 is. Either is
/// whole then, and what is half written looks like nothing.
fn is_whole(board: &Board, start: &Start, made: &Made, old: &[u8]) -> Result<()> {
    ensure!(start.outcome.ended == Ended::Killed, "it was not killed: {:?}", start.outcome.ended);
    let [first, second] = &made.bootloaders;
    ensure!(board.content(0)?.starts_with(first), "what was active was written");
    let other = board.content(1)?;
    let whole = other.starts_with(second);
    let text = image::file(&board.card(), 1, "autoboot.txt")?.context("no autoboot.txt")?;
    let committed = Autoboot::parse(&text)?.target(false) == 3;
    ensure!(whole || !committed, "boot1 may be active and is no bootloader");
    let nothing = other.get(..512).is_some_and(|sector| sector.iter().all(|byte| *byte == 0));
    ensure!(whole || nothing || other.starts_with(old), "boot1 holds a part of a bootloader");
    let console = &start.outcome.console;
    ensure!(committed || !console.contains("mmcblk0boot1 is active"), "active before its slot");
    Ok(())
}
