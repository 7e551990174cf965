// SPDX-License-Identifier: MIT OR Apache-2.0
//! The image that every Raspberry Pi boots, on a disk with an MBR whose first partition is no EFI system partition by its
//! type: two firmwares that have nothing in common find GRUB on it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bootsel::grubenv::{Grubenv, NAME};

use super::{A1, B1};
use crate::e2e::case::{Base, Case, OnBoard};
use crate::e2e::checks::fact;
use crate::e2e::fixture::Fixture;
use crate::e2e::life::{Device, Expected, Start};
use crate::image;
use crate::uefi::Uefi;

/// A case on the image of the boards.
pub(super) fn case(name: &'static str, run: fn(&Fixture, &Path) -> Result<String>) -> Case {
    let base = Base::Board(OnBoard::new("pi4b"));
    Case { base, custom: Some(run), ..Case::new(name) }
}

pub(super) fn by_edk2(fixture: &Fixture, directory: &Path) -> Result<String> {
    lives(&mut Device::with(Uefi::new(&fixture.pi()?.image.disk, directory)?, &[])?)
}

pub(super) fn by_u_boot(fixture: &Fixture, directory: &Path) -> Result<String> {
    lives(&mut Device::with(Uefi::new(&fixture.pi()?.image.disk, directory)?.u_boot()?, &[])?)
}

/// The default; a trial, once, which GRUB takes back through the firmware's own driver for the disk; the default.
fn lives(device: &mut Device<Uefi>) -> Result<String> {
    device.boot("", |start| is(start, &A1))?;
    arm(&device.standin)?;
    device.boot("", |start| is(start, &Expected { trial: true, ..B1 }))?;
    device.boot("", |start| is(start, &A1))?;
    Ok(String::new())
}

fn is(start: &Start, expected: &Expected) -> Result<()> {
    let seen = start.seen();
    start.was_chosen(expected)?;
    seen.ended_by("guest-shutdown")?;
    let release = &seen.report()?.release;
    ensure!(release.ends_with("-arm64"), "Linux {release}");
    fact(&seen, "slot", expected.slot)?;
    fact(&seen, "revision", "1")?;
    fact(&seen, "trial", if expected.trial { "yes" } else { "no" })
}

/// As `bootsel try` does it.
fn arm(computer: &Uefi) -> Result<()> {
    let bytes = image::file(&computer.disk, 1, NAME)?.context("no grubenv")?;
    let partition = image::content(&computer.disk, 1)?;
    let at = partition.windows(bytes.len()).position(|window| window == bytes);
    let first = image::partitions(&computer.disk)?.first().copied().context("no partition 1")?;
    let mut found = Grubenv::parse(&bytes).map_err(|why| anyhow::anyhow!("{why}"))?;
    found.arm(true);
    computer.poke(first.start + at.context("grubenv is split")? as u64, &found.to_sector())
}
