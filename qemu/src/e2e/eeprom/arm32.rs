// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same on a Raspberry Pi 4 with a 32-bit kernel: init and the tool are ARMv6 programs.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{
    BOOTCONF, LIMIT, OLD_PI4, chip, is_left_alone_on, is_new, is_staged_from, looks, runs,
};
use crate::board::CONSOLE;
use crate::cargo;
use crate::e2e::checks::fact;
use crate::e2e::fixture::Fixture;
use crate::e2e::life::{Device, MODULES, Maker, Start, identity, unpack};
use crate::fetch::{Store, Wanted};
use crate::image::{Config, Image, Output};
use crate::rootfs::{self, Programs};
use crate::standin::{Cause, Recovery};

/// Its first revision alone.
fn image(maker: &Maker<'_>, out: &Path) -> Result<Image> {
    let (kernel, firmware) = {
        let mut store = Store::open()?;
        (store.get(Wanted::KernelLpae)?, store.get(Wanted::RaspiFirmware)?)
    };
    let (slim, eeprom, root) = (out.join("linux"), out.join("files"), out.join("root"));
    unpack(&kernel, MODULES, &slim)?;
    let kernels: [(_, &'static [&'static str]); 1] = [(slim, &["raspi", "virt"])];
    std::fs::create_dir_all(&root)?;
    for release in super::releases() {
        release.write(&eeprom, "default")?;
    }
    let key = maker.key()?.with_extension("pub");
    let root = rootfs::pack(&rootfs::device_tree(Programs::EveryPi, &identity(1), &key)?, &root)?;
    let init = [cargo::INIT.shipped()?, cargo::INIT_ARMV6.shipped()?];
    let config = Config {
        eeprom: Some(&eeprom),
        rpi: Some(&firmware),
        cmdline: CONSOLE,
        sizes: Some(["8M", "64M"]),
        ..Config::new("arm32", "mbr", &init, &kernels, &root)
    };
    config.build(maker.pivot_image, out, Output::Quiet)
}

/// It is what it should be: a 32-bit kernel, and the init for it.
fn is_arm32(start: &Start) -> Result<()> {
    let seen = start.seen();
    let release = &seen.report()?.release;
    ensure!(release.ends_with("-armmp-lpae"), "Linux {release}");
    fact(&seen, "init", "armv6")
}

/// Two boots, and then as any other; and where it does not take, no third attempt.
pub(super) fn updated(fixture: &Fixture, directory: &Path) -> Result<String> {
    let image = image(&fixture.maker(), directory)?;
    let mut device = Device::new("pi4b", &image, &[], directory)?;
    device.standin.arm_64bit = Some(false);
    super::with_bootloader(&mut device, BOOTCONF)?;
    device.boot(&looks(), |start| is_staged_from(OLD_PI4, start, 1))?;
    is_new(&mut device)?;
    super::with_bootloader(&mut device, BOOTCONF)?;
    device.cause = Cause::default();
    if let Some(eeprom) = &mut device.standin.eeprom {
        eeprom.recovery = Recovery::WritesNothing;
    }
    for attempt in 1..=LIMIT {
        device.boot(&looks(), |start| is_staged_from(OLD_PI4, start, attempt))?;
    }
    let (chip, mut time) = (chip(&device), 0);
    device.boot(&looks(), |start| {
        is_arm32(start)?;
        time = looked(start)?;
        runs(&is_left_alone_on(chip, start, "refused")?, OLD_PI4)
    })?;
    device.card()?.check_clean()?;
    Ok(format!("a refusal takes {time} ms of the boot"))
}

/// How long init waited for the tool, in milliseconds.
fn looked(start: &Start) -> Result<u64> {
    let seen = start.seen();
    let boot = seen.report()?.boot.as_ref().context("boot.json")?;
    let mut stages = boot.get("stages").and_then(Value::as_array).into_iter().flatten();
    let is_ours = |stage: &&Value| stage.get("name").is_some_and(|name| name == "eeprom");
    let stage = stages.find(is_ours).context("init did not look")?;
    let time = |name| stage.get(name).and_then(Value::as_u64).context("a stage without a time");
    Ok((time("end_us")? - time("start_us")?) / 1000)
}
