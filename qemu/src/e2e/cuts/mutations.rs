// SPDX-License-Identifier: MIT OR Apache-2.0
//! That the rules would notice: the shipped program runs without one of its barriers (strace makes the system call seem
//! to have worked), once for each; and in the recorded requests of the program as it is the writes before and after a
//! barrier are swapped. In every one of these a cut must be found that breaks the rule that the barrier is there for.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::look::Bench;
use super::operations::{self as of, Operation};
use super::session::{Session, Step, look};
use super::states::Effort;
use super::world::World;
use super::{Beginning, beginning};
use crate::cargo;
use crate::e2e::fixture::Fixture;
use crate::image::Partition;
use crate::recorder::{Request, SECTOR};

/// Enough to find what is wrong; each run ends there.
const EFFORT: Effort = Effort { torn: 0, single: 64, chance: 64 };
/// What a barrier could be, as strace shows it.
const SYNCS: [&str; 4] = ["fdatasync(", "fsync(", "sync(", "syncfs("];
/// How a record of the log begins.
const RECORD: &[u8] = b"pivot crc=";

pub(super) fn case(fixture: &Fixture, directory: &Path, world: World) -> Result<String> {
    let device = fixture.cuts(world)?;
    let bootsel = cargo::BOOTSEL_HOST.shipped()?;
    let beginning = beginning(device)?;
    let work = || -> Result<String> {
        let mut bench = Bench::new(device, bootsel, directory)?;
        let (mut without, mut swapped) = (0, 0);
        let sessions = sessions(&beginning, world, fixture.all);
        for (number, (start, tryboot, steps)) in sessions.into_iter().enumerate() {
            let directory = directory.join(format!("{number}"));
            let mut turn = 1;
            without += loop {
                let session = Session::record(device, start, tryboot, &steps, &directory)?;
                let noticed = match unsynced(&session, &mut bench, &directory) {
                    Err(why) if why.is::<Unnoticed>() && turn < RECORDINGS => None,
                    noticed => Some(noticed?),
                };
                std::fs::remove_dir_all(&directory)?;
                if let Some(noticed) = noticed {
                    break noticed;
                }
                turn += 1;
            };
        }
        let kept = directory.join("kept");
        let kept = Session::record(device, &beginning.first.end, true, world.story().kept, &kept)?;
        for session in [&beginning.first, &kept] {
            swapped += swaps(session, &mut bench, directory)?;
        }
        Ok(format!("noticed: {without} barriers left out, {swapped} pairs of writes swapped"))
    };
    // the mount namespace is a thread's
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.map_err(|_| anyhow!("a thread panicked"))?
}

/// Runs of the guest in which each barrier of each command is missing once; of the commands that an update needs, in the
/// ordinary run.
fn sessions(beginning: &Beginning, world: World, all: bool) -> Vec<(&Path, bool, Vec<Step>)> {
    let story = world.story();
    let first = beginning.first.start.as_path();
    let kept = beginning.first.end.as_path();
    let crowded = beginning.crowded.as_path();
    let mut sessions = Vec::new();
    let stories = [
        (first, false, story.first),
        (kept, true, story.kept),
        (kept, true, story.given_up),
        (crowded, false, story.crowded),
    ];
    for (start, tryboot, steps) in stories.into_iter().take(if all { 4 } else { 2 }) {
        let turns: Vec<_> = steps.iter().enumerate().map(|(at, _)| turns(steps, at)).collect();
        for number in 0..turns.iter().map(|turns| turns.end).max().unwrap_or_default() {
            let without = |(step, turns): (&Step, &Range<usize>)| match step {
                Step::Last(_) => vec![Step::Word(of::BOOT)],
                Step::Cut(operation) if turns.contains(&number) => {
                    let barrier = operation.barriers.get(number - turns.start);
                    let without = |barrier| Step::Without(operation, barrier);
                    // what it left in memory is no business of the next one
                    vec![barrier.copied().map_or(*step, without), Step::Word(of::SYNC)]
                }
                _ => vec![*step],
            };
            let lazy = [Step::Word(of::LAZY)].into_iter();
            let steps = lazy.chain(steps.iter().zip(&turns).flat_map(without)).collect();
            sessions.push((start, tryboot, steps));
        }
    }
    sessions
}

/// In which of the runs a step lacks a barrier: each command begins one run later than the one before it, so that never
/// two of them lack the one behind their record. The second would have another past.
fn turns(steps: &[Step], at: usize) -> Range<usize> {
    let of = |step: &Step| match step {
        // the same with another revision: once is enough
        Step::Cut(operation) if operation.removes != Some(2) => operation.barriers.len(),
        _ => 0,
    };
    let before = steps.get(..at).unwrap_or_default().iter().filter(|step| of(step) > 0).count();
    before..before + steps.get(at).map_or(0, of)
}

/// Each command that lacks a barrier has a state that the barrier's rule forbids.
fn unsynced(session: &Session, bench: &mut Bench<'_>, directory: &Path) -> Result<u32> {
    let mut count = 0;
    for (step, range) in session.ranges() {
        let Step::Without(operation, barrier) = step else { continue };
        let of::Barrier { call, path, breaks, .. } = barrier;
        left_out(session, operation, barrier)?;
        let requests = &session.recording.requests;
        let what = format!("{} without its {call} of {path}", operation.name);
        let found = breaks_a_rule(session, bench, operation, requests, range, directory);
        let found = found.with_context(|| what.clone())?;
        ensure!(found.contains(breaks), "{what}: {found}");
        count += 1;
    }
    Ok(count)
}

/// The error of the first bad state.
fn breaks_a_rule(
    session: &Session,
    bench: &mut Bench<'_>,
    operation: &'static Operation,
    requests: &[Request],
    range: Range<usize>,
    directory: &Path,
) -> Result<String> {
    let mut card = session.card(bench.device, directory.join("card.img"), range.start)?;
    match look(&mut card, requests, bench, operation, range, EFFORT) {
        Err(why) => Ok(format!("{why:#}")),
        Ok(count) => Err(Unnoticed(count.all()).into()),
    }
}

/// How often a command is recorded until a barrier's absence shows: on a busy machine the guest's kernel may have written in
/// time by itself what the barrier would have made it write.
const RECORDINGS: usize = 3;

/// In none of so many states.
#[derive(Debug)]
struct Unnoticed(u32);

impl fmt::Display for Unnoticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no rule is broken in any of {} states", self.0)
    }
}

impl std::error::Error for Unnoticed {}

/// That the right call was left out, and that the command has no barriers but those of the table.
fn left_out(session: &Session, operation: &Operation, barrier: of::Barrier) -> Result<()> {
    let ran = session.recording.report.ran.iter().find(|ran| {
        let words = ran.command.join(",");
        words.starts_with("/etc/without,") && words.ends_with(&format!(",{}", operation.words))
    });
    let said = &ran.with_context(|| format!("{} was not run", operation.name))?.stderr;
    // strace: the call, blanks up to a column, its result
    let is_call = |line: &&str| {
        let result = line.split_once(')').map(|(_, result)| result.trim_start());
        SYNCS.iter().any(|call| line.starts_with(call))
            && result.is_some_and(|result| result.starts_with("= "))
    };
    let calls: Vec<&str> = said.lines().filter(is_call).collect();
    let expected = operation.barriers.iter().map(|one| {
        let injected = if *one == barrier { "(INJECTED)" } else { "" };
        (one.call, one.path, injected)
    });
    let fits = |(line, (call, path, injected)): (&&str, (&str, &str, &str))| {
        line.starts_with(&format!("{call}("))
            && line.contains(&format!("<{path}"))
            && line.ends_with("(INJECTED)") != injected.is_empty()
    };
    let all = calls.len() == operation.barriers.len() && calls.iter().zip(expected).all(fits);
    ensure!(all, "{} without {barrier:?}: its barriers were {calls:#?}", operation.name);
    Ok(())
}

/// Each pair of writes around a barrier, swapped, has a state that a rule forbids.
fn swaps(session: &Session, bench: &mut Bench<'_>, directory: &Path) -> Result<u32> {
    let mut count = 0;
    let partitions = &bench.device.factory.partitions;
    let places = [0, 2].map(|index| partitions.get(index).copied());
    let [Some(selector), Some(slot_b)] = places else { bail!("partitions are missing") };
    for (step, range) in session.ranges() {
        let Step::Cut(operation) = step else { continue };
        let all = &session.recording.requests;
        for (one, other) in pairs(operation, all, range.clone(), selector, slot_b)? {
            let mut requests = all.clone();
            requests.swap(one, other);
            let found =
                breaks_a_rule(session, bench, operation, &requests, range.clone(), directory);
            let places = (one - range.start, other - range.start);
            found.with_context(|| format!("{}: requests {places:?} swapped", operation.name))?;
            count += 1;
        }
    }
    Ok(count)
}

/// The last write before a barrier and the first behind it, for each barrier between two writes.
fn pairs(
    operation: &Operation,
    requests: &[Request],
    range: Range<usize>,
    selector: Partition,
    slot_b: Partition,
) -> Result<Vec<(usize, usize)>> {
    let is_log = |request: &Request| matches!(request, Request::Write(_, bytes) if bytes.starts_with(RECORD));
    let start = slot_b.start;
    let which = |is: &dyn Fn(&Request) -> bool| -> Vec<usize> {
        range.clone().filter(|number| requests.get(*number).is_some_and(is)).collect()
    };
    let log = which(&is_log);
    let none = || format!("{}: a write was not found", operation.name);
    let first_of = |all: &[usize]| all.first().copied().with_context(none);
    let last_of = |all: &[usize]| all.last().copied().with_context(none);
    match operation.barriers.len() {
        2 => {
            let end = selector.start + selector.length;
            let act = which(&|request| request.touches(selector.start, end));
            Ok(vec![(first_of(&log)?, first_of(&act)?)])
        }
        5 => {
            let sector = which(&|request| request.touches(start, start + SECTOR as u64));
            let (zeros, boot) = (first_of(&sector)?, last_of(&sector)?);
            let stream = which(&|request| request.touches(start, start + slot_b.length));
            let next = stream.iter().copied().find(|number| *number > zeros).with_context(none)?;
            let flush = which(&|request| *request == Request::Flush);
            let flush = flush.iter().copied().rfind(|number| *number < boot).with_context(none)?;
            let writes = which(&|request| matches!(request, Request::Write(..)));
            let before = writes.iter().copied().rfind(|number| *number < flush);
            Ok(vec![
                (first_of(&log)?, zeros),
                (zeros, next),
                (before.with_context(none)?, boot),
                (boot, last_of(&log)?),
            ])
        }
        _ => Ok(Vec::new()),
    }
}
