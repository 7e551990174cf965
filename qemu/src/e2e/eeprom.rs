// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Raspberry Pi 5 whose bootloader is too old for trials: it is brought up to date in two boots, keeps its own
//! configuration, and where that does not work it is left alone after the second attempt. The stand-in plays the chip's
//! ROM and recovery.bin over an EEPROM in a file.

mod arm32;
mod cuts;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bootsel::eeprom::Chip;
use rpieeprom::Release;
use serde_json::Value;

use super::case::{Base, Case};
use super::checks::watchdog_reset;
use super::fixture::Fixture;
use super::life::{BOOTSEL, Device, Start};
use crate::image;
use crate::standin::{Bootloader, Cause, Eeprom, Recovery};

/// Built before what is wanted of a Pi 5, on 2023-07-22, and of a Pi 4, on 2022-04-15; and on 2026-05-17.
const OLD: u32 = 1_690_000_000;
const OLD_PI4: u32 = 1_650_000_000;
const NEW: u32 = 1_779_045_198;
/// What its owner wrote.
const BOOTCONF: &str = "[all]\nBOOT_UART=1\nBOOT_ORDER=0xf461\nPSU_MAX_CURRENT=5000\n# mine\n";
/// As long as this is there, init has the tool look.
const ATTEMPTS: &str = "/pivot/state/eeprom";
/// As often it is tried.
const LIMIT: u32 = 2;

/// What an image has for its boards.
pub(crate) fn releases() -> [Release; 2] {
    [rpieeprom::Chip::Bcm2711, rpieeprom::Chip::Bcm2712].map(|chip| Release::new(chip, NEW))
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, custom| Case { base: Base::Life, custom: Some(custom), ..Case::new(name) };
    vec![
        case("eeprom-update", updated),
        Case { base: Base::Own, ..case("eeprom-update-32bit", arm32::updated) },
        case("eeprom-not-run", |fixture, directory| {
            given_up(fixture, directory, Recovery::IsNotRun)
        }),
        case("eeprom-not-written", |fixture, directory| {
            given_up(fixture, directory, Recovery::WritesNothing)
        }),
        case("eeprom-refused", refused),
        case("eeprom-cuts", cuts::everywhere),
    ]
}

/// A board with the factory's image on its card and such a bootloader.
fn device(fixture: &Fixture, directory: &Path, bootconf: &str) -> Result<Device> {
    let mut device = Device::new("pi5", &fixture.life()?.factory, &[], directory)?;
    device.standin.quick = true;
    with_bootloader(&mut device, bootconf)?;
    Ok(device)
}

fn with_bootloader(device: &mut Device, bootconf: &str) -> Result<()> {
    let release = match chip(device) {
        Chip::Bcm2711 => Release::new(rpieeprom::Chip::Bcm2711, OLD_PI4),
        Chip::Bcm2712 => Release::new(rpieeprom::Chip::Bcm2712, OLD),
    };
    let release = Release { bootconf: bootconf.to_owned(), ..release };
    device.standin.eeprom = Some(Eeprom::new(&device.standin.directory, &release)?);
    Ok(())
}

fn chip(device: &Device) -> Chip {
    match device.standin.board.chip {
        rpifw::Chip::Bcm2711 => Chip::Bcm2711,
        _ => Chip::Bcm2712,
    }
}

fn bootloader(device: &Device) -> Result<Bootloader> {
    device.standin.eeprom.as_ref().context("no eeprom")?.bootloader()
}

/// The words of a boot that shows what the tool makes of it.
fn looks() -> String {
    format!("witness.run={BOOTSEL},eeprom,--json witness.run={BOOTSEL},status,--json")
}

/// The update is staged before the root is entered, and the machine restarted.
fn is_staged(start: &Start, attempt: u32) -> Result<()> {
    is_staged_from(OLD, start, attempt)
}

fn is_staged_from(old: u32, start: &Start, attempt: u32) -> Result<()> {
    let seen = start.seen();
    seen.says(&format!("from {old} to {NEW}, attempt {attempt}"))?;
    seen.says("reboot: Restarting system\n")?;
    seen.ended_by("guest-reset")?;
    ensure!(!seen.watchdog_fired(), "the watchdog was faster");
    ensure!(start.outcome.report.is_err(), "the root was entered all the same");
    Ok(())
}

/// The root was entered in the default slot; what the tool says of the EEPROM.
fn is_left_alone(start: &Start, decision: &str) -> Result<Value> {
    is_left_alone_on(Chip::Bcm2712, start, decision)
}

fn is_left_alone_on(chip: Chip, start: &Start, decision: &str) -> Result<Value> {
    let seen = start.seen();
    seen.ended_by("guest-shutdown")?;
    ensure!(!seen.watchdog_fired(), "the watchdog fired");
    let told: Value = serde_json::from_str(start.worked(&format!("{BOOTSEL} eeprom --json"), 0)?)?;
    let is = |name: &str, value: Value| {
        ensure!(told.get(name) == Some(&value), "{name} is not {value}: {told}");
        Ok(())
    };
    is("decision", decision.into())?;
    is("files", "at-rest".into())?;
    is("bootconf", "nvmem".into())?;
    ensure!(told.pointer("/board/chip") == Some(&chip.number().into()), "{told}");
    ensure!(told.pointer("/shipped/timestamp") == Some(&NEW.into()), "{told}");
    ensure!(told.pointer("/minimum/timestamp") == Some(&chip.least().into()), "{told}");
    let status = start.status(0)?;
    ensure!(status.get("eeprom").is_some_and(Value::is_object), "{status}");
    Ok(told)
}

fn runs(told: &Value, version: u32) -> Result<()> {
    ensure!(told.pointer("/running/timestamp") == Some(&version.into()), "{told}");
    Ok(())
}

/// Two boots, and the second one as any other.
fn updated(fixture: &Fixture, directory: &Path) -> Result<String> {
    let mut device = device(fixture, directory, BOOTCONF)?;
    device.boot(&looks(), |start| is_staged(start, 1))?;
    is_new(&mut device)?;
    // the kernel lets the watchdog run while it restarts, or else nothing but the watchdog restarts it
    with_bootloader(&mut device, BOOTCONF)?;
    device.cause = Cause::default();
    device.boot("watchdog.stop_on_reboot=1", |start| {
        start.seen().says(&format!("from {OLD} to {NEW}, attempt 1"))?;
        start.seen().silent("reboot: Restarting system")?;
        watchdog_reset(&start.seen())
    })?;
    is_new(&mut device)?;
    device.card()?.check_clean()?;
    Ok(String::new())
}

/// The bootloader is the new one with its owner's configuration, and the next boots have nothing to do.
fn is_new(device: &mut Device) -> Result<()> {
    let chip = chip(device);
    device.boot(&looks(), |start| runs(&is_left_alone_on(chip, start, "current")?, NEW))?;
    let Bootloader { built, updated, bootconf } = bootloader(device)?;
    ensure!(built == NEW, "built {built}");
    ensure!(bootconf == BOOTCONF.as_bytes(), "{}", String::from_utf8_lossy(&bootconf));
    // there is no clock
    ensure!(updated >= NEW, "updated at {updated}");
    ensure!(device.card()?.read(ATTEMPTS).is_err(), "{ATTEMPTS} is still there");
    let before = image::content(&device.standin.card(), 1)?;
    device.boot(&looks(), |start| {
        start.seen().silent("pivot: eeprom")?;
        runs(&is_left_alone_on(chip, start, "current")?, NEW)
    })?;
    ensure!(before == image::content(&device.standin.card(), 1)?, "partition 1 was written to");
    Ok(())
}

/// It never takes: after the second attempt the device boots as before, and says why.
fn given_up(fixture: &Fixture, directory: &Path, recovery: Recovery) -> Result<String> {
    let mut device = device(fixture, directory, BOOTCONF)?;
    device.standin.eeprom.as_mut().context("no eeprom")?.recovery = recovery;
    for attempt in 1..=LIMIT {
        device.boot(&looks(), |start| is_staged(start, attempt))?;
    }
    let is_exhausted = |start: &Start| {
        let told = is_left_alone(start, "refused")?;
        let why = told.get("why").and_then(Value::as_str).unwrap_or_default();
        ensure!(why.contains(&format!("was tried {LIMIT} times")), "{told}");
        ensure!(told.pointer("/attempts/count") == Some(&LIMIT.into()), "{told}");
        runs(&told, OLD)
    };
    device.boot(&looks(), is_exhausted)?;
    let before = image::content(&device.standin.card(), 1)?;
    for _ in 0..2 {
        device.boot(&looks(), is_exhausted)?;
    }
    ensure!(before == image::content(&device.standin.card(), 1)?, "partition 1 was written to");
    ensure!(bootloader(&device)?.built == OLD, "another bootloader");
    device.card()?.check_clean()?;
    Ok(String::new())
}

/// No boot is ended, and nothing is staged, where it must not be.
fn refused(fixture: &Fixture, directory: &Path) -> Result<String> {
    let mut device = device(fixture, directory, BOOTCONF)?;
    let before = image::content(&device.standin.card(), 1)?;
    let why = |start: &Start, why: &str| {
        let told = is_left_alone(start, "refused")?;
        let found = told.get("why").and_then(Value::as_str).unwrap_or_default();
        ensure!(found.contains(why), "{told}");
        runs(&told, OLD)
    };
    let words = format!("{} pivot.eeprom=off", looks());
    device.boot(&words, |start| why(start, "pivot.eeprom=off"))?;
    // a slot that is tried: the firmware says so
    device.cause = Cause { tryboot: true, restarted: true };
    device.boot(&looks(), |start| why(start, "a slot is tried"))?;
    device.cause = Cause::default();
    with_bootloader(&mut device, &format!("{BOOTCONF}FREEZE_VERSION=1\n"))?;
    device.boot(&looks(), |start| why(start, "FREEZE_VERSION=1"))?;
    ensure!(before == image::content(&device.standin.card(), 1)?, "partition 1 was written to");
    ensure!(bootloader(&device)?.built == OLD, "another bootloader");
    ensure!(device.card()?.read(ATTEMPTS).is_err(), "an attempt was counted");
    Ok(String::new())
}
