// SPDX-License-Identifier: MIT OR Apache-2.0
//! A 64-bit Arm computer with UEFI and GRUB, from power-on: the same life as on a Raspberry Pi, every kind of storage, and
//! what goes wrong with what GRUB reads and writes.

mod fallback;
mod universal;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::case::{Base, Case};
use super::fixture::Fixture;
use super::life::{BOOTSEL, Device, Expected, Life, Start, Story, live_on, looks, tamper};
use crate::image;
use crate::run::{self, Kill};
use crate::uefi::{Storage, Uefi};

const LINUX: (&str, &str) = ("6.12.", "-arm64");
const A1: Expected = Expected { slot: "a", revision: 1, linux: LINUX, trial: false };
/// The factory's image has revision 1 in both slots.
const B1: Expected = Expected { slot: "b", ..A1 };

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, custom| Case { base: Base::Uefi, custom: Some(custom), ..Case::new(name) };
    vec![
        case("uefi-life", live),
        case("uefi-storage", storage),
        case("uefi-kernels", kernels),
        case("uefi-grubenv", grubenv),
        case("uefi-fallback", fallback::starts_the_other_slot),
        case("uefi-secure-boot", secure_boot),
        universal::case("uefi-universal", universal::by_edk2),
        universal::case("uefi-u-boot", universal::by_u_boot),
    ]
}

fn device(fixture: &Fixture, files: &[(&Path, &str)], directory: &Path) -> Result<Device<Uefi>> {
    Device::with(Uefi::new(&fixture.uefi()?.factory.disk, directory)?, files)
}

fn live(fixture: &Fixture, directory: &Path) -> Result<String> {
    let life: &Life = fixture.uefi()?;
    let files = [(&*life.second, "/2.bundle"), (&life.third, "/3.bundle")];
    let mut device = device(fixture, &files, directory)?;
    let story = Story {
        second_linux: ("6.1.0-", "-arm64"),
        watchdog: true,
        memory: false,
        short: false,
        was_reset: |reason| reason == "not committed; it came as far as: exec",
    };
    live_on(&mut device, &story)
}

/// Each has its driver early, and the firmware hands on ACPI's tables or a device tree. Says how long it took from
/// power-on to power-off, and how long of that pivot was at work.
fn storage(fixture: &Fixture, directory: &Path) -> Result<String> {
    use Storage::{Nvme, Sata, Usb, VirtioBlk, VirtioScsi};
    let mut device = device(fixture, &[], directory)?;
    let mut times = Vec::new();
    for (storage, acpi) in [
        (VirtioBlk, false),
        (VirtioBlk, true),
        (VirtioScsi, true),
        (Nvme, true),
        (Sata, true),
        (Usb, false),
    ] {
        (device.standin.storage, device.standin.acpi) = (storage, acpi);
        let boots = device.boot(&looks(), |start| {
            times.push(format!(
                "{storage:?} {:.1} s, pivot {:.1} s",
                start.outcome.wall.as_secs_f64(),
                at_work(start)?.as_secs_f64()
            ));
            start.is(&A1)
        });
        boots.with_context(|| format!("{storage:?}, ACPI {acpi}"))?;
    }
    Ok(times.join(", "))
}

/// From the begin of the first stage to the end of the last.
fn at_work(start: &Start) -> Result<Duration> {
    let seen = start.seen();
    let boot = seen.report()?.boot.as_ref().context("there is no boot.json")?;
    let stages = boot.get("stages").and_then(Value::as_array).context("no stages")?;
    let time = |stage: Option<&Value>, name: &str| {
        stage.and_then(|stage| stage.get(name)).and_then(Value::as_u64).context("no time")
    };
    let (begin, end) = (time(stages.first(), "start_us")?, time(stages.last(), "end_us")?);
    Ok(Duration::from_micros(end.saturating_sub(begin)))
}

/// Shim, GRUB and the kernel are signed; a trial works, and a kernel that was changed does not start.
fn secure_boot(fixture: &Fixture, directory: &Path) -> Result<String> {
    let image = &fixture.uefi()?.factory.disk;
    let mut device = Device::with(Uefi::new(image, directory)?.secure()?, &[])?;
    let tries = format!("{} witness.last={BOOTSEL},try", looks());
    let is_secure = |start: &Start| start.seen().says("UEFI Secure Boot is enabled");
    device.boot(&tries, |start| {
        is_secure(start)?;
        start.is(&A1)
    })?;
    device.boot(&tries, |start| {
        is_secure(start)?;
        start.is(&Expected { trial: true, ..B1 })
    })?;
    let kernel = image::file(&device.standin.disk, 3, "vmlinuz0")?.context("no kernel")?;
    let slot = image::content(&device.standin.disk, 3)?;
    let needle = kernel.get(0x10_0000..0x10_0200).context("a short kernel")?;
    let at = slot.windows(512).position(|window| window == needle).context("no kernel")?;
    let place = image::partitions(&device.standin.disk)?.get(2).copied().context("no slot b")?;
    // the tool would refuse to try what is not as its manifest says
    device.boot(&tries, |start| start.is(&A1))?;
    device
        .standin
        .poke(place.start + at as u64, &[!needle.first().copied().unwrap_or_default()])?;
    device.boot(&looks(), |start| {
        start.seen().says("bad shim signature")?;
        start.seen().says("pivot: cannot boot slot b")?;
        start.is(&A1)
    })?;
    Ok(String::new())
}

/// Where a kernel cannot be loaded.
fn kernels(fixture: &Fixture, directory: &Path) -> Result<String> {
    let mut device = device(fixture, &[], directory)?;
    let tries = format!("{} witness.last={BOOTSEL},try", looks());
    device.boot(&tries, |start| start.is(&A1))?;
    // on the slot that is tried: the default boots, once and for all
    let whole = lose_kernel(&device, 3)?;
    device.boot(&looks(), |start| {
        start.seen().says("pivot: slot b pivot.trial")?;
        start.seen().says("pivot: cannot boot slot b")?;
        start.is(&A1)?;
        let status = start.status(0)?;
        ensure!(status.get("armed") == Some(&false.into()), "{status}");
        Ok(())
    })?;
    device.boot(&looks(), |start| {
        start.seen().silent("pivot.trial")?;
        start.is(&A1)
    })?;
    // on the default: the other one, which `repair` then makes the default
    device.standin.poke(whole.0, &whole.1)?;
    let whole = lose_kernel(&device, 2)?;
    let repairs = format!("{} witness.run={BOOTSEL},repair", looks());
    device.boot(&repairs, |start| {
        start.seen().says("pivot: cannot boot slot a")?;
        start.is(&B1)?;
        start.worked(&format!("{BOOTSEL} repair"), 0).map(drop)
    })?;
    device.boot(&looks(), |start| {
        start.seen().silent("cannot boot")?;
        start.is(&B1)?;
        start.says(0, "b", "b").map(drop).or_else(|_| says_b(start))
    })?;
    device.standin.poke(whole.0, &whole.1)?;
    device.card()?.check_clean()?;
    Ok(String::new())
}

/// Slot a is not complete here.
fn says_b(start: &Start) -> Result<()> {
    let status = start.status(0)?;
    let is = |name: &str| status.get(name).is_some_and(|slot| slot == "b");
    ensure!(is("default") && is("booted"), "{status}");
    Ok(())
}

/// Overwrites the kernel's name in the slot's directory; gives back what was there and where.
fn lose_kernel(device: &Device<Uefi>, partition: usize) -> Result<(u64, Vec<u8>)> {
    let place = image::partitions(&device.standin.disk)?;
    let place = place.get(partition - 1).copied().context("no such slot")?;
    let bytes = image::content(&device.standin.disk, partition)?;
    let mut entries = bytes.chunks_exact(32);
    let at = entries.position(|entry| entry.starts_with(b"VMLINUZ")).context("no kernel")? * 32;
    let at = place.start + at as u64;
    device.standin.poke(at, b"LOST")?;
    Ok((at, b"VMLI".to_vec()))
}

/// GRUB's variables are damaged, one byte after the other; what cannot be written; what `repair` makes of it.
fn grubenv(fixture: &Fixture, directory: &Path) -> Result<String> {
    let mut device = device(fixture, &[], directory)?;
    let whole = image::file(&device.standin.disk, 1, "grubenv")?.context("no grubenv")?;
    ensure!(whole.len() == 1024, "grubenv has {} bytes", whole.len());
    let bytes = image::content(&device.standin.disk, 1)?;
    let at = bytes.windows(1024).position(|window| window == whole).context("grubenv is split")?;
    let first = image::partitions(&device.standin.disk)?.first().copied().context("no ESP")?;
    let at = first.start + at as u64;
    // of GRUB's signature and our variables some bytes; with --all every byte of their sector
    let end = whole.iter().rposition(|byte| *byte != b'#').map_or(0, |last| last + 1);
    let (end, step) = if fixture.all { (512, 1) } else { (end, 7) };
    let places: Vec<usize> = (0..end).step_by(step).chain([512, 1023]).collect();
    for place in &places {
        let byte = whole.get(*place).copied().context("a byte of grubenv")?;
        device.standin.poke(at + *place as u64, &[byte ^ 0x20])?;
        let loads = loads(&mut device).with_context(|| format!("byte {place} flipped"))?;
        ensure!(loads, "byte {place} flipped: no slot was chosen");
        device.standin.poke(at, &whole)?;
    }
    for half in [0, 512] {
        device.standin.poke(at + half, &[0; 512])?;
        let repairs = format!("{} witness.run={BOOTSEL},repair {}", looks(), looks());
        device.boot(&repairs, |start| {
            start.is(&A1)?;
            let problem = start.status(0)?.get("selector_problem").cloned().unwrap_or_default();
            // the second half has to be filler: GRUB could not save otherwise
            ensure!(problem.is_string(), "half {half}: {problem}");
            start.worked(&format!("{BOOTSEL} repair"), 0)?;
            start.says(1, "a", "a").map(drop)
        })?;
        device.standin.poke(at, &whole)?;
    }
    is_not_tried_where_it_cannot_be_recorded(&mut device)?;
    Ok(format!("{} bytes flipped", places.len()))
}

/// An armed trial on a disk that nobody can write to would be one for ever.
fn is_not_tried_where_it_cannot_be_recorded(device: &mut Device<Uefi>) -> Result<()> {
    let arms = format!("{} witness.run={BOOTSEL},try,--no-reboot", looks());
    device.boot(&arms, |start| {
        start.is(&A1)?;
        start.worked(&format!("{BOOTSEL} try"), 0).map(drop)
    })?;
    device.standin.read_only = true;
    device.boot("", |start| {
        start.seen().says("pivot: trial of slot b cannot be recorded, not tried")?;
        start.was_chosen(&A1)
    })?;
    device.standin.read_only = false;
    device.boot(&looks(), |start| start.is(&Expected { trial: true, ..B1 }))?;
    tamper(device, |card| card.check_clean())
}

/// Whether GRUB has chosen a slot; nothing more is waited for.
fn loads(device: &mut Device<Uefi>) -> Result<bool> {
    let kill = Kill { after: "Booting Linux on physical CPU", delay: Duration::ZERO };
    let limit = Duration::from_secs(60);
    let start = device.start("", |qemu, _| run::run_on_one_port_and_kill(qemu, kill, limit))?;
    let console = &start.outcome.console;
    Ok(console.contains("pivot: slot a") && console.contains(kill.after))
}
