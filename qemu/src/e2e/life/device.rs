// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device: a board with a card that keeps what is written to it, started as often as it restarts.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use witness::report::Ran;

use super::firmware::{Beginning, Firmware};
use super::make::identity;
use crate::e2e::checks::fact;
use crate::e2e::disk::DiskCopy;
use crate::e2e::seen::Seen;
use crate::image::{self, Image};
use crate::rootfs::IDENTITY;
use crate::run::{self, Ended, Outcome};
use crate::standin::{self, Cause, Standin};

/// No boot of a story takes longer: an update on a slow card under a busy host.
const LIMIT: Duration = Duration::from_secs(400);

/// The board, and how often it was started.
#[derive(Debug)]
pub(crate) struct Device<F = Standin> {
    pub(crate) standin: F,
    pub(crate) cause: Cause,
    number: u32,
}

/// One start of it.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) outcome: Outcome,
    /// What the stand-in chose; what GRUB chose is on the console.
    chosen: Option<rpifw::Boot>,
}

/// What the firmware, the kernel, init and the tool must agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) slot: &'static str,
    pub(crate) revision: u32,
    /// How the kernel's release begins and ends.
    pub(crate) linux: (&'static str, &'static str),
    pub(crate) trial: bool,
}

/// A program of the root, as `witness.run=` takes it.
pub(crate) const BOOTSEL: &str = "/usr/sbin/bootsel";

impl Device {
    /// A new board with a card with the image's content and these files on its data partition.
    pub(crate) fn new(
        board: &str,
        image: &Image,
        files: &[(&Path, &str)],
        directory: &Path,
    ) -> Result<Self> {
        let standin = Standin {
            board: standin::board(board)?,
            image: image.disk.clone(),
            directory: directory.to_owned(),
            arm_64bit: None,
            quick: false,
            ramoops: false,
            eeprom: None,
            record: None,
        };
        standin.insert_card(None)?;
        Self::with(standin, files)
    }

    /// The selector, as it is on the card.
    pub(crate) fn autoboot(&self) -> Result<String> {
        let text = image::file(&self.standin.card(), 1, "autoboot.txt")?;
        Ok(String::from_utf8(text.context("no autoboot.txt")?)?)
    }
}

impl<F: Firmware> Device<F> {
    /// Such a device with these files on its data partition.
    pub(crate) fn with(standin: F, files: &[(&Path, &str)]) -> Result<Self> {
        let device = Self { standin, cause: Cause::default(), number: 0 };
        let card = device.card()?;
        for (from, to) in files {
            card.debugfs(&[format!("write {} {to}", from.display())])?;
        }
        Ok(device)
    }

    /// Whether the next start is a trial.
    pub(crate) fn tries(&self) -> Result<bool> {
        self.standin.tries(self.cause)
    }

    /// The card, while nothing runs on it.
    pub(crate) fn card(&self) -> Result<DiskCopy> {
        DiskCopy::open(self.standin.card(), self.standin.directory())
    }

    /// Starts it, with more words on the kernel's command line, and judges it when it has ended.
    pub(crate) fn boot(
        &mut self,
        words: &str,
        check: impl FnOnce(&Start) -> Result<()>,
    ) -> Result<()> {
        let start = self.start(words, |qemu, one_port| match one_port {
            true => run::run_on_one_port(qemu, LIMIT),
            false => run::run(qemu, &[], LIMIT),
        })?;
        let told = || self.told(&start);
        ensure!(
            start.outcome.ended == Ended::Itself,
            "it did not end within {LIMIT:?}\n{}",
            told()
        );
        check(&start).with_context(told)
    }

    /// Starts it, runs it, and remembers how it ended.
    pub(crate) fn start(
        &mut self,
        words: &str,
        run: impl FnOnce(Command, bool) -> Result<Outcome>,
    ) -> Result<Start> {
        self.number += 1;
        let directory = self.standin.directory().to_owned();
        let file = |name: &str| directory.join(format!("{name}{}", self.number));
        let Beginning { qemu, chosen, told, one_port } = self.standin.start(self.cause, words)?;
        fs::write(file("started"), told)?;
        let outcome = run(qemu, one_port)?;
        fs::write(file("console"), &outcome.console)?;
        // Who is killed has no power: the flag is gone.
        self.cause = match outcome.ended {
            Ended::Itself => Cause::after(&outcome.console),
            Ended::Killed | Ended::AtLimit => Cause::default(),
        };
        Ok(Start { outcome, chosen })
    }

    /// For a person, where that start is not as it should be.
    pub(crate) fn told(&self, start: &Start) -> String {
        start.seen().told(self.number, self.standin.directory())
    }
}

impl Start {
    /// For checks that know no devices.
    pub(crate) fn seen(&self) -> Seen<'_> {
        Seen { outcome: &self.outcome, disk: None, chosen: self.chosen.as_ref() }
    }

    /// What the program answered whose words begin so, the number-th time that it was run, from 0.
    pub(crate) fn ran(&self, command: &str, number: usize) -> Result<&Ran> {
        let seen = self.outcome.report.as_ref();
        let report = seen.map_err(|why| anyhow::anyhow!("{why}"))?;
        let mut runs = report.ran.iter().filter(|ran| ran.command.join(" ").starts_with(command));
        runs.nth(number).with_context(|| format!("{command:?} was not run: {:?}", report.ran))
    }

    /// The same, where it must have worked.
    pub(crate) fn worked(&self, command: &str, number: usize) -> Result<&str> {
        let ran = self.ran(command, number)?;
        ensure!(ran.status == Some(0), "{command}: {ran:?}");
        Ok(&ran.stdout)
    }

    /// `bootsel status --json`, the number-th of this boot.
    pub(crate) fn status(&self, number: usize) -> Result<Value> {
        let text = self.worked(&format!("{BOOTSEL} status --json"), number)?;
        serde_json::from_str(text).with_context(|| format!("the status: {text}"))
    }

    /// It runs what it should: slot, kernel, modules and root change as one.
    pub(crate) fn is(&self, expected: &Expected) -> Result<()> {
        self.was_chosen(expected)?;
        let seen = self.seen();
        let report = seen.report()?;
        let (begin, end) = expected.linux;
        let release = &report.release;
        ensure!(release.starts_with(begin) && release.ends_with(end), "Linux {release}");
        self.runs(expected.revision)?;
        for (name, value) in [
            ("slot", expected.slot),
            ("revision", &*expected.revision.to_string()),
            ("trial", if expected.trial { "yes" } else { "no" }),
        ] {
            fact(&seen, name, value)?;
        }
        if self.chosen.is_none() {
            return Ok(());
        }
        fact(&seen, "firmware_partition", if expected.slot == "a" { "2" } else { "3" })?;
        fact(&seen, "firmware_tryboot", if expected.trial { "1" } else { "0" })
    }

    /// Modules and root are of this revision, and the modules are this kernel's.
    pub(crate) fn runs(&self, revision: u32) -> Result<()> {
        let seen = self.seen();
        let report = seen.report()?;
        let modules = format!("modules_{}.squashfs", report.release);
        ensure!(report.images() == [&*modules, "root.squashfs"], "images {:?}", report.images());
        let directory = format!("/pivot/revisions/{revision}/");
        let mut files = report.loops.iter().map(|image| &image.backing_file);
        ensure!(files.all(|file| file.contains(&directory)), "{:?}", report.loops);
        let lists = |name: &str| report.lib_modules.iter().any(|found| found == name);
        ensure!(lists("modules.dep.bin") && lists("kernel"), "{:?}", report.lib_modules);
        let told = report.read.get(IDENTITY).cloned().flatten().unwrap_or_default();
        ensure!(told.trim_end() == identity(revision), "{IDENTITY}: {told}");
        Ok(())
    }

    /// The firmware's part of it.
    pub(crate) fn was_chosen(&self, expected: &Expected) -> Result<()> {
        let choice = self.choice();
        ensure!(choice == Some((expected.slot, expected.trial)), "chosen was {choice:?}");
        let missing = self.chosen.as_ref().map_or(&[][..], |chosen| &chosen.missing);
        ensure!(missing.is_empty(), "a board would stop: {missing:?}");
        Ok(())
    }

    /// The slot that the stand-in or GRUB chose, and whether for a trial. GRUB may have been killed before.
    pub(crate) fn choice(&self) -> Option<(&'static str, bool)> {
        let Some(chosen) = &self.chosen else { return self.grub_choice() };
        Some((if chosen.partition == 2 { "a" } else { "b" }, chosen.tryboot))
    }

    /// By what our grub.cfg says on the console, the last time.
    fn grub_choice(&self) -> Option<(&'static str, bool)> {
        let lines = self.outcome.console.lines().map(str::trim);
        let last = lines.filter_map(|line| line.rsplit_once("pivot: slot ")).next_back();
        match last?.1 {
            "a" => Some(("a", false)),
            "a pivot.trial" => Some(("a", true)),
            "b" => Some(("b", false)),
            "b pivot.trial" => Some(("b", true)),
            _ => None,
        }
    }

    /// The status says this of the slots; `default` and `booted` are letters.
    pub(crate) fn says(&self, number: usize, default: &str, booted: &str) -> Result<Value> {
        let status = self.status(number)?;
        let is = |name: &str, value: &str| status.get(name).is_some_and(|found| found == value);
        ensure!(is("default", default) && is("booted", booted), "the status: {status}");
        let trial = status.get("trial").and_then(Value::as_bool);
        ensure!(trial == Some(default != booted), "the status: {status}");
        for slot in ["a", "b"] {
            let complete = status.pointer(&format!("/slots/{slot}/complete"));
            ensure!(complete == Some(&Value::Bool(true)), "slot {slot}: {status}");
        }
        Ok(status)
    }

    /// The last trial ended so; gives the reason, where it failed.
    pub(crate) fn last_trial(&self, slot: &str, revision: u32, outcome: &str) -> Result<String> {
        let status = self.status(0)?;
        let field = |name: &str| {
            let found = status.pointer(&format!("/attempt/{name}"));
            found.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        ensure!(
            (field("slot"), field("revision"), field("outcome"))
                == (slot.to_owned(), revision.to_string(), outcome.to_owned()),
            "the last trial: {status}"
        );
        Ok(field("reason"))
    }
}

/// Does something to the card's data partition that is no business of the device: its journal is written back first.
pub(crate) fn tamper<F: Firmware>(
    device: &Device<F>,
    change: impl FnOnce(&DiskCopy) -> Result<()>,
) -> Result<()> {
    let card = device.card()?;
    card.replay()?;
    change(&card)
}
