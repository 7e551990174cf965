// SPDX-License-Identifier: MIT OR Apache-2.0
//! Commands run one after the other in a guest, and the states of the card between them.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::SEED;
use super::card::Card;
use super::device::Device;
use super::guest::{self, Orders, Recording};
use super::judge::{Judge, keep};
use super::look::{Bench, sparse_copy};
use super::operations::{BOOT, Barrier, Operation};
use super::states::{Count, Effort, States};
use crate::e2e::disk::DiskCopy;
use crate::image;
use crate::random::Random;
use crate::recorder::Request;
use crate::tool;

/// What a guest does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Something of the test's own.
    Word(&'static str),
    /// A command that is looked at.
    Cut(&'static Operation),
    /// The same, and the kernel writes back what it left in memory.
    Settled(&'static Operation),
    /// The same without one of its barriers.
    Without(&'static Operation, Barrier),
    /// The command that restarts the machine: it comes last.
    Last(&'static Operation),
    /// No command, but all that comes before the first one: it comes first.
    Boot(&'static Operation),
}

/// What was recorded.
#[derive(Debug)]
pub(super) struct Session {
    /// The card before.
    pub(super) start: PathBuf,
    /// The card after.
    pub(super) end: PathBuf,
    pub(super) recording: Recording,
    pub(super) steps: Vec<Step>,
}

impl Step {
    fn words(self) -> String {
        match self {
            Self::Word(words) => words.to_owned(),
            Self::Boot(_) => BOOT.to_owned(),
            Self::Cut(operation) | Self::Last(operation) => {
                format!("/usr/sbin/bootsel,{}", operation.words)
            }
            Self::Settled(operation) => format!("/etc/settled,{}", operation.words),
            Self::Without(operation, Barrier { call, number, .. }) => {
                format!("/etc/without,{call},{number},{}", operation.words)
            }
        }
    }

    pub(super) fn operation(self) -> Option<&'static Operation> {
        match self {
            Self::Word(_) => None,
            Self::Cut(operation)
            | Self::Settled(operation)
            | Self::Without(operation, _)
            | Self::Boot(operation)
            | Self::Last(operation) => Some(operation),
        }
    }
}

impl Session {
    /// Runs the steps on a copy of a card.
    pub(super) fn record(
        device: &Device,
        start: &Path,
        tryboot: bool,
        steps: &[Step],
        directory: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let end = directory.join("end.img");
        tool::copy_sparse(start, &end)?;
        let (last, run): (Vec<Step>, Vec<Step>) =
            steps.iter().partition(|step| matches!(step, Step::Last(_)));
        let run: Vec<String> = run.into_iter().map(Step::words).collect();
        let run: Vec<&str> = run.iter().map(String::as_str).collect();
        let last = last.first().map(|step| step.words());
        let orders = Orders { tryboot, run: &run, last: last.as_deref() };
        let recording = guest::record(device, &end, orders, directory)?;
        if last.is_some() {
            let asked = recording.console.contains(device.world.restart());
            ensure!(asked, "it did not restart for a trial");
        }
        Ok(Self { start: start.to_owned(), end, recording, steps: steps.to_vec() })
    }

    /// The requests of each step.
    pub(super) fn ranges(&self) -> Vec<(Step, Range<usize>)> {
        let end = self.recording.requests.len();
        let mut start = 0;
        let marks = self.recording.marks.iter().copied().chain([end]);
        let with = |(step, mark): (&Step, usize)| {
            // a mark is of no step
            let range = start..mark;
            start = mark + 1;
            (*step, range)
        };
        self.steps.iter().zip(marks).map(with).collect()
    }

    /// The card as it is when so many requests were done.
    pub(super) fn card<'d>(
        &self,
        device: &'d Device,
        path: PathBuf,
        after: usize,
    ) -> Result<Card<'d>> {
        let mut card = Card::copy(device, &self.start, path)?;
        self.recording.requests.iter().take(after).try_for_each(|request| card.apply(request))?;
        card.keep();
        Ok(card)
    }

    /// Judges every state of every command.
    pub(super) fn judge<'d>(
        &self,
        bench: &mut Bench<'d>,
        effort: Effort,
        directory: &Path,
    ) -> Result<Vec<(&'static Operation, Count)>> {
        let requests = &self.recording.requests;
        let mut card = self.card(bench.device, directory.join("card.img"), 0)?;
        let (mut counts, mut done) = (Vec::new(), 0);
        for (step, range) in self.ranges() {
            let Some(operation) = step.operation() else { continue };
            for request in requests.get(done..range.start).unwrap_or_default() {
                card.apply(request)?;
            }
            card.keep();
            let looked = look(&mut card, requests, bench, operation, range.clone(), effort);
            counts.push((operation, looked.with_context(|| keep(&card, directory))?));
            done = range.end;
        }
        Ok(counts)
    }
}

/// Judges the states of one command. The card is as before its first request, and at the end as after its last.
pub(super) fn look<'d>(
    card: &mut Card<'d>,
    requests: &[Request],
    bench: &mut Bench<'d>,
    operation: &'static Operation,
    range: Range<usize>,
    effort: Effort,
) -> Result<Count> {
    let mut judge = Judge::new(bench, operation, card)
        .with_context(|| format!("{}, before it", operation.name))?;
    let (judge, mut random) = (&mut judge, Random(SEED));
    let random = &mut random;
    let mut states = States { card, requests, judge, random, effort, count: Count::default() };
    states.look(range).with_context(|| operation.name)?;
    Ok(states.count)
}

/// Changes a data partition as a person at another machine would: its journal is replayed before.
pub(super) fn tamper(
    card: &Path,
    directory: &Path,
    change: impl FnOnce(&DiskCopy) -> Result<()>,
) -> Result<()> {
    let place = image::partitions(card)?.get(3).copied().context("there is no partition 4")?;
    let part = directory.join("tampered.part");
    let file = File::options().read(true).write(true).open(card)?;
    sparse_copy(&file, place.start, place.length, &part)?;
    let output = tool::output(tool::command("e2fsck").args(["-f", "-p"]).arg(&part))?;
    ensure!(matches!(output.status.code(), Some(0 | 1)), "e2fsck: {}", output.status);
    change(&DiskCopy::bare(part.clone(), directory)?)?;
    let from = File::open(&part)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < place.length {
        let count = usize::try_from(place.length - at)?.min(buffer.len());
        let bytes = buffer.get_mut(..count).unwrap_or_default();
        from.read_exact_at(bytes, at)?;
        file.write_all_at(bytes, place.start + at)?;
        at += count as u64;
    }
    Ok(fs::remove_file(part)?)
}
