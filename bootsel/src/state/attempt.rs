// SPDX-License-Identifier: MIT OR Apache-2.0

//! What became of the last trial.

use super::{Facts, Loader, ThisBoot};
use crate::{
    Slot,
    log::{
        ARMED, CANCELLED, COMMIT, EEPROM, EMMC, FALLBACK, INSTALL, INSTALLED, PANIC, REPAIR,
        RETURNED, ROLLBACK, Record, TRIAL, TRIAL_FAILED, WATCHDOG, fallback_used,
    },
};
use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
};

/// A trial that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The slot that was to be tried.
    pub slot: Slot,
    /// Its revision.
    pub revision: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next boot will be it.
    Armed,
    /// It was to be armed in this boot, and the flag is not set.
    NotArmed,
    /// This is it.
    Running,
    /// The slot is the default.
    Committed,
    /// Called off before its reboot.
    Cancelled,
    /// Ended by request, or the slot was left later.
    RolledBack,
    /// A normal boot came instead, and init never ran in the slot. No failure: it may be armed again.
    NeverStarted,
    /// It ran, or could not be started by the firmware, and was not committed: why.
    Failed(String),
}

impl Outcome {
    /// One word for machines.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Armed => "armed",
            Self::NotArmed => "not-armed",
            Self::Running => "running",
            Self::Committed => "committed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled-back",
            Self::NeverStarted => "never-started",
            Self::Failed(_) => "failed",
        }
    }

    /// One sentence for people.
    pub fn sentence(&self) -> String {
        let text = match self {
            Self::Armed => "the next boot is its trial",
            Self::NotArmed => "arming it was interrupted; the flag is not set",
            Self::Running => "its trial is running, not committed",
            Self::Committed => "committed",
            Self::Cancelled => "cancelled before the reboot",
            Self::RolledBack => "rolled back by request",
            Self::NeverStarted => {
                "never started: the power was cut before, the flag did not arrive, or the slot's kernel could not be loaded; \
                 it may be armed again"
            }
            Self::Failed(why) => return format!("failed: {why}"),
        };
        text.to_owned()
    }
}

/// The last record of that event, and what follows it.
fn split<'a, 'r>(
    log: &'a [Record<&'r str>],
    event: &str,
) -> Option<(&'a Record<&'r str>, &'a [Record<&'r str>])> {
    let at = log.iter().rposition(|record| record.event == event)?;
    log.get(at..)?.split_first()
}

/// The last attempt.
pub(super) fn last(facts: &Facts<'_>) -> Option<Attempt> {
    let (armed, later) = split(facts.log, ARMED)?;
    let slot = armed.slot?;
    let outcome = outcome(facts, slot, armed, later);
    Some(Attempt { slot, revision: armed.revision.to_owned(), outcome })
}

fn outcome(facts: &Facts<'_>, slot: Slot, armed: &Record<&str>, later: &[Record<&str>]) -> Outcome {
    let has = |event: &str| later.iter().any(|record| record.event == event);
    // arming needs another default, so that it was committed, whatever else is known
    if facts.default_slot() == Some(slot) {
        return Outcome::Committed;
    }
    if has(CANCELLED) {
        return Outcome::Cancelled;
    }
    if facts.trial() == Some(slot) {
        return Outcome::Running;
    }
    if has(ROLLBACK) || has(COMMIT) && has(REPAIR) {
        return Outcome::RolledBack;
    }
    if armed.boot_id == facts.boot_id {
        return if facts.armed() { Outcome::Armed } else { Outcome::NotArmed };
    }
    if has(COMMIT) {
        return Outcome::Failed("the power was cut while it was being committed".to_owned());
    }
    match failure(slot, armed, later) {
        Some(why) => Outcome::Failed(why),
        None if facts.tryboot == Some(true) && facts.default_slot() == facts.booted => {
            Outcome::Failed("the firmware had the flag and started the default".to_owned())
        }
        None if facts.loader == Loader::Grub && facts.flag == Some(true) => Outcome::Failed(
            "GRUB left it armed: it could not save grubenv, or was passed by".to_owned(),
        ),
        None => Outcome::NeverStarted,
    }
}

/// Whether the record was written by a boot of the slot after it was armed, or of what that boot left. What the tool
/// wrote about a slot says nothing of where it ran.
fn ran_in(record: &Record<&str>, slot: Slot, armed_in: &str) -> bool {
    let of_tool =
        [ARMED, CANCELLED, COMMIT, ROLLBACK, REPAIR, INSTALL, INSTALLED, RETURNED, EEPROM, EMMC];
    record.slot == Some(slot) && record.boot_id != armed_in && !of_tool.contains(&record.event)
}

/// Why the trial failed, if it ran: who ended it knows best, then the kernel, then the watchdog. How far its init came
/// is always known.
fn failure(slot: Slot, armed: &Record<&str>, later: &[Record<&str>]) -> Option<String> {
    // what follows is of later boots, unless GRUB took the trial only then
    let mut parts = later.split(|record| [FALLBACK, RETURNED].contains(&record.event));
    let first = parts.next()?;
    let is_trial =
        |record: &Record<&str>| record.event == TRIAL && ran_in(record, slot, armed.boot_id);
    let later = [first].into_iter().chain(parts).find(|part| part.iter().any(is_trial));
    let later = later.unwrap_or(first);
    let mut given_up = later.iter().filter(|record| record.event == TRIAL_FAILED);
    if let Some(record) = given_up.find(|record| !record.message.is_empty()) {
        return Some(record.message.to_string());
    }
    let of_trial = || later.iter().filter(|record| ran_in(record, slot, armed.boot_id));
    let last = of_trial().next_back()?;
    let found = |event| of_trial().find(|record| record.event == event);
    let stage = of_trial().rfind(|record| record.event == TRIAL).map(|record| record.message);
    let reached = match stage {
        Some("") => "it came as far as its init".to_owned(),
        Some(stage) => format!("it came as far as: {stage}"),
        None => "its init had written nothing, so it may have been before the trial".to_owned(),
    };
    Some(match (found(PANIC), found(WATCHDOG), stage) {
        (Some(panic), _, _) => format!("{}; {reached}", panic.message),
        (_, Some(reset), _) if reset.message.is_empty() => {
            format!("the watchdog reset the machine; {reached}")
        }
        (_, Some(reset), _) => format!("{}; {reached}", reset.message),
        (_, _, Some(_)) => format!("not committed; {reached}"),
        _ if last.message.is_empty() => {
            format!("not committed; the last that its init wrote is {}", last.event)
        }
        _ => format!(
            "not committed; the last that its init wrote is {}: {}",
            last.event, last.message
        ),
    })
}

/// The trial that this boot is one after, where the log does not say yet that it is: its slot and revision.
pub(super) fn returns_from<'a>(boot: &ThisBoot<'a>) -> Option<(Slot, &'a str)> {
    let (armed, later) = split(boot.log, ARMED)?;
    let slot = armed.slot?;
    let over = later.iter().any(|record| [CANCELLED, RETURNED].contains(&record.event));
    // a slot that the firmware falls back to runs without the flag
    let other = boot.booted != Some(slot) || boot.tryboot == Some(false);
    let passed = armed.boot_id != boot.boot_id && !boot.pending;
    let after = other && boot.default != Some(slot) && passed;
    (after && !over).then_some((slot, armed.revision))
}

/// Whether the log says that the boot after this one is a trial: for machines whose flag cannot be read.
pub(super) fn armed_in(log: &[Record<&str>], boot_id: &str) -> bool {
    let Some((armed, later)) = split(log, ARMED) else { return false };
    let called_off = later.iter().any(|record| [CANCELLED, ROLLBACK].contains(&record.event));
    armed.boot_id == boot_id && !called_off
}

/// Whether the log says that this boot of the slot is the trial that was armed last: for firmware that does not tell.
pub fn expected_in(log: &[Record<&str>], boot_id: &str, booted: Slot) -> bool {
    let Some((armed, later)) = split(log, ARMED) else { return false };
    let none_between = later.iter().all(|record| record.boot_id == boot_id);
    armed.slot == Some(booted) && armed.boot_id != boot_id && none_between
}

/// Whether the one-shot fallback led to this boot: as init decides it, before this boot wrote anything.
pub(super) fn fell_back(log: &[Record<&str>], boot_id: &str) -> bool {
    let here = log.iter().position(|record| record.boot_id == boot_id);
    fallback_used(log.get(..here.unwrap_or(log.len())).unwrap_or_default())
}

/// Whether the log says that the slot was given up in this boot: what runs on is no trial any more.
pub(super) fn given_up(log: &[Record<&str>], boot_id: &str, slot: Slot) -> bool {
    log.iter().any(|record| {
        record.event == ROLLBACK && record.slot == Some(slot) && record.boot_id == boot_id
    })
}

/// Whether the slot's content was ever committed: what was installed or tried since was not.
pub(super) fn was_good(facts: &Facts<'_>, slot: Slot) -> bool {
    // the last trial made no default of it, or it was left since
    if split(facts.log, ARMED).is_some_and(|(armed, _)| armed.slot == Some(slot)) {
        return false;
    }
    let about = [ARMED, COMMIT, ROLLBACK, REPAIR, INSTALL, INSTALLED];
    let mut newest = facts.log.iter().rev().filter(|record| about.contains(&record.event));
    let last = newest.find(|record| record.slot == Some(slot)).map(|record| record.event);
    match last {
        // such as slot b of a new image: nothing but the builder vouches for it
        None => facts.slot(slot).starts.is_ok(),
        Some(event) => [COMMIT, REPAIR].contains(&event),
    }
}
