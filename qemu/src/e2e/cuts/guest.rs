// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest: a machine that boots from the card, and commands that its root runs while every request to the card is
//! recorded.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use witness::Report;

use super::device::Device;
use super::pi;
use super::world::{PowerOn, World};
use crate::machine::Disk;
use crate::recorder::{self, Request, SECTOR};
use crate::run::{self, Ended};

/// An install takes a quarter of a minute where nothing else works.
const LIMIT: Duration = Duration::from_secs(400);
/// The first sector of the marks: between the partition table and partition 1.
const MARKS: u64 = 64;

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
    /// Started as after `reboot "0 tryboot"`; GRUB finds on the disk what it is to do.
    pub(super) tryboot: bool,
    /// Programs with their words, separated by commas; each is followed by a mark.
    pub(super) run: &'a [&'a str],
    /// The one that restarts the machine.
    pub(super) last: Option<&'a str>,
}

/// Boots a card, which is changed, with the bundles as its second and third disk.
pub(super) fn record(
    device: &Device,
    card: &Path,
    orders: Orders<'_>,
    directory: &Path,
) -> Result<Recording> {
    fs::create_dir_all(directory)?;
    let log = directory.join("requests");
    let words = orders.words();
    // the firmware's model has no flag on the card to go by
    let due = device.grub.as_ref().map(|grub| grub.power_on(&File::open(card)?)).transpose()?;
    let mut qemu = match &device.grub {
        None => pi::start(card, orders.tryboot, &words, &log, directory)?,
        Some(grub) => grub.start(card, &words, &log)?,
    };
    for (number, bundle) in device.bundles.iter().enumerate() {
        Disk { read_only: true, ..Disk::new(bundle.clone()) }.attach(&mut qemu, number);
    }
    let outcome = match device.world {
        World::Pi => run::run(qemu, &[], LIMIT)?,
        World::Grub => run::run_on_one_port(qemu, LIMIT)?,
    };
    fs::write(directory.join("console"), &outcome.console)?;
    let told = || crate::tool::tail(&outcome.console, 30);
    ensure!(outcome.ended == Ended::Itself, "it did not end within {LIMIT:?}\n{}", told());
    let report = outcome.report.map_err(|why| anyhow!("{why}")).with_context(told)?;
    for ran in &report.ran {
        ensure!(ran.status == Some(0), "{ran:?}\n{}", told());
    }
    let requests = recorder::read(&log)?;
    fs::remove_file(&log)?;
    if let (Some(grub), Some(PowerOn { boots, .. })) = (&device.grub, due) {
        let found = &report.cmdline;
        ensure!(*found == boots.cmdline, "GRUB made {found:?} and its model {boots:?}");
        grub.keeps_partition_1(&requests)?;
    }
    let marks = marks(&requests);
    ensure!(marks.len() == orders.run.len(), "{} marks: {:?}", marks.len(), report.ran);
    Ok(Recording { requests, marks, report, console: outcome.console })
}

impl Orders<'_> {
    /// As the witness takes them.
    fn words(&self) -> Vec<String> {
        let run = (MARKS..).zip(self.run);
        let run = run.flat_map(|(number, words)| {
            [format!("witness.run={words}"), format!("witness.run=/etc/mark,{number}")]
        });
        run.chain(self.last.map(|last| format!("witness.last={last}"))).collect()
    }
}

fn marks(requests: &[Request]) -> Vec<usize> {
    let start = MARKS * SECTOR as u64;
    let end = start + 64 * SECTOR as u64;
    let marks = requests.iter().enumerate().filter(|(_, request)| request.touches(start, end));
    marks.map(|(place, _)| place).collect()
}
