// SPDX-License-Identifier: MIT OR Apache-2.0
//! No revision on the data partition fits the kernel of the default slot: init asks GRUB for the other slot, once.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{A1, device};
use crate::e2e::checks::fact;
use crate::e2e::fixture::Fixture;
use crate::e2e::life::{BOOTSEL, Device, Start, looks, tamper};
use crate::image;
use crate::uefi::Uefi;

const ROOT: &str = "/pivot/revisions/1/root.squashfs";

pub(super) fn starts_the_other_slot(fixture: &Fixture, directory: &Path) -> Result<String> {
    let life = fixture.uefi()?;
    let mut device = device(fixture, &[(life.second.as_path(), "/2.bundle")], directory)?;
    let installs = format!("{} witness.run={BOOTSEL},install,/run/pivot/data/2.bundle", looks());
    device.boot(&installs, |start| {
        start.is(&A1)?;
        start.worked(&format!("{BOOTSEL} install"), 0).map(drop)
    })?;
    tamper(&device, |card| card.remove(ROOT))?;
    falls_back(&mut device)?;
    // the default is what it was, and that boot came to its end: the same again
    falls_back(&mut device)?;
    // where GRUB's variables have another form than ours nothing is written, and the reason is said
    let whole = lose_grubenv(&device)?;
    device.boot("", |start| {
        start.was_chosen(&A1)?;
        start.seen().says(
            "cannot start the other slot: /dev/vda1 has no grubenv in which slot a is the default",
        )?;
        start.seen().says("rescue: rebooting in 10 s")
    })?;
    device.standin.poke(whole.0, &whole.1)?;
    // counted, and no boot came to its end since
    device.boot("", |start| {
        start.was_chosen(&A1)?;
        start.seen().says("the other slot was tried")
    })?;
    device.card()?.check_clean()?;
    Ok(String::new())
}

fn falls_back(device: &mut Device<Uefi>) -> Result<()> {
    device.boot("", |start| {
        start.was_chosen(&A1)?;
        start.seen().says("revision 1: cannot open ")?;
        start.seen().says("starting the other slot once")?;
        start.seen().says("reboot: Restarting system")
    })?;
    device.boot(&looks(), runs_the_second).context("the boot after it")
}

/// GRUB takes it for a trial; init knows better, and so does the tool.
fn runs_the_second(start: &Start) -> Result<()> {
    let choice = start.choice();
    ensure!(choice == Some(("b", true)), "chosen was {choice:?}");
    let seen = start.seen();
    let release = &seen.report()?.release;
    ensure!(release.starts_with("6.1."), "Linux {release}");
    start.runs(2)?;
    fact(&seen, "trial", "no")?;
    let status = start.status(0)?;
    let is = |name: &str, value: &str| status.get(name).is_some_and(|found| found == value);
    ensure!(is("default", "a") && is("booted", "b"), "{status}");
    ensure!(status.get("trial") == Some(&false.into()), "{status}");
    Ok(())
}

/// A comment before our lines: GRUB reads them all the same. Gives what was there, and where.
fn lose_grubenv(device: &Device<Uefi>) -> Result<(u64, Vec<u8>)> {
    let disk = &device.standin.disk;
    let whole = image::file(disk, 1, "grubenv")?.context("no grubenv")?;
    let bytes = image::content(disk, 1)?;
    let at = bytes.windows(1024).position(|window| window == whole).context("grubenv is split")?;
    let at = image::partitions(disk)?.first().context("no ESP")?.start + at as u64;
    let text = whole.strip_prefix(b"# GRUB Environment Block\n").context("no signature")?;
    let mut other = [b"# GRUB Environment Block\n# a comment\n", text].concat();
    other.truncate(512);
    device.standin.poke(at, &other)?;
    Ok((at, whole))
}
