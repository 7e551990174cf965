// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each command does, or why it does nothing.

use super::{Facts, Loader, Selector, SlotFacts, Way, attempt};
use crate::{
    Slot,
    log::{ARMED, CANCELLED, COMMIT, INSTALL, INSTALLED, REPAIR, ROLLBACK},
};
use alloc::{borrow::ToOwned, format, string::String, vec, vec::Vec};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start the other slot once.
    Try {
        /// Although nothing shows that kernel and firmware know of trials.
        force: bool,
    },
    /// Make the slot on trial the default.
    Commit,
    /// Leave this slot.
    Rollback,
    /// Call off a trial that did not begin.
    Cancel,
    /// Make the booted slot the default, because the default does not boot.
    Repair,
    /// Write a new revision to the other slot.
    Install {
        /// Although nothing shows that the firmware knows of trials.
        force: bool,
    },
}

/// One thing to do. They are done in their order, each is on the disk before the next begins, and the first that
/// fails is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Write a record about a slot.
    Log(&'static str, Slot),
    /// Overwrite the selector's sector.
    Select {
        /// The slot that boots.
        default: Slot,
        /// The slot that a trial starts; always the other one.
        trial: Slot,
    },
    /// The same with the selector of the loader that does not run here.
    SelectOther {
        /// The slot that boots.
        default: Slot,
        /// The slot that a trial starts.
        trial: Slot,
    },
    /// Ask for a trial: set the firmware's one-shot flag, or GRUB's variable.
    SetFlag,
    /// Call it off, wherever it was asked for.
    ClearFlag,
    /// Make a slot unbootable, write the revision, then the slot, its first sector last.
    Write(Slot),
    /// Restart, with what the flag says.
    Reboot,
}

/// What to do; nothing where it is as asked already.
pub type Plan = Vec<Act>;

/// Why a command does nothing, and what can be done instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Refusal {}

/// Decides.
///
/// # Errors
/// The command is refused, and nothing may be changed.
pub fn decide(facts: &Facts<'_>, command: Command) -> Result<Plan, Refusal> {
    let booted = facts.booted.ok_or_else(|| {
        Refusal(
            "which slot is booted is not known: the command line has no pivot.slot=a or b; boot a slot that \
             pivot-image or bootsel install wrote"
                .to_owned(),
        )
    })?;
    match command {
        Command::Try { force } => start_trial(facts, booted, force),
        Command::Commit => commit(facts, booted),
        Command::Rollback => rollback(facts, booted),
        Command::Cancel => cancel(facts),
        Command::Repair => repair(facts, booted),
        Command::Install { force } => install(facts, booted, force),
    }
}

fn refuse<T>(why: String) -> Result<T, Refusal> {
    Err(Refusal(why))
}

/// Makes a slot the default in every selector that there is, that of the running loader first.
fn select(facts: &Facts<'_>, default: Slot) -> impl Iterator<Item = Act> + use<> {
    let trial = default.other();
    let other = facts.other.map(|_| Act::SelectOther { default, trial });
    [Act::Select { default, trial }].into_iter().chain(other)
}

/// The default slot and whether a trial starts the other one.
fn selected(facts: &Facts<'_>) -> Result<(Slot, bool), Refusal> {
    match facts.selector {
        Selector::Set { default, trial } => Ok((*default, *trial == Some(default.other()))),
        Selector::Broken(why) => {
            refuse(format!("{why}; if this slot is good, `bootsel repair` makes it the default"))
        }
    }
}

fn no_trial_running(facts: &Facts<'_>, what: &str) -> Result<(), Refusal> {
    match facts.trial() {
        None => Ok(()),
        Some(slot) => refuse(format!(
            "slot {slot} runs for trial, and {what} would leave no way back; `bootsel commit` keeps it, `bootsel \
             rollback` leaves it"
        )),
    }
}

/// Both commands that lead to a trial want the default slot booted: the other one is then neither.
fn default_is_booted(booted: Slot, default: Slot) -> Result<(), Refusal> {
    if booted == default {
        return Ok(());
    }
    refuse(format!(
        "slot {booted} is booted and slot {default} is the default: neither may be changed; reboot into the default, \
         or `bootsel repair` if it does not boot"
    ))
}

fn firmware_knows(facts: &Facts<'_>, force: bool) -> Result<(), Refusal> {
    let does_not = match facts.loader {
        Loader::Tryboot => "the firmware is not shown to know tryboot_a_b",
        Loader::Grub => "GRUB is not shown to know of trials",
    };
    match facts.firmware {
        Err(why) if !force => {
            refuse(format!("{why}: {does_not}; update it, or try all the same with --force"))
        }
        _ => Ok(()),
    }
}

fn start_trial(facts: &Facts<'_>, booted: Slot, force: bool) -> Result<Plan, Refusal> {
    let (default, leads) = selected(facts)?;
    no_trial_running(facts, "another trial")?;
    default_is_booted(booted, default)?;
    let target = default.other();
    let SlotFacts { verified, starts, .. } = facts.slot(target);
    if let Err(why) = verified {
        return refuse(format!("slot {target} cannot be tried: {why}; install a revision there"));
    }
    if let Err(why) = starts
        && !force
    {
        return refuse(format!(
            "slot {target}: {why}; install another revision there, or try all the same with --force"
        ));
    }
    firmware_knows(facts, force)?;
    if facts.pending && facts.loader != Loader::Grub {
        return refuse(
            "a trial is armed in grubenv, for another machine: `bootsel cancel` calls it off"
                .to_owned(),
        );
    }
    if let Way::Unknown(why) = facts.way
        && !force
    {
        return refuse(format!(
            "{why}: nothing shows that this kernel passes the tryboot flag on, and the reboot would be an ordinary \
             one; use a Raspberry Pi kernel, or try all the same with --force"
        ));
    }
    let mut plan = vec![Act::Log(ARMED, target)];
    if !leads {
        plan.push(Act::Select { default, trial: target });
    }
    plan.extend([Act::SetFlag, Act::Reboot]);
    Ok(plan)
}

fn commit(facts: &Facts<'_>, booted: Slot) -> Result<Plan, Refusal> {
    let (default, _) = selected(facts)?;
    if booted == default {
        return Ok(finish(facts, default));
    }
    if facts.trial() != Some(booted) {
        return refuse(format!(
            "slot {booted} was not started as a trial, so there is nothing to commit; slot {default} is the default: \
             reboot into it, or `bootsel repair` if it does not boot"
        ));
    }
    if let Err(why) = &facts.slot(booted).verified {
        return refuse(format!(
            "slot {booted} runs and does not verify: {why}; `bootsel rollback`"
        ));
    }
    let mut plan = vec![Act::Log(COMMIT, booted)];
    plan.extend(select(facts, booted));
    plan.push(Act::ClearFlag);
    Ok(plan)
}

/// The power was cut between the two selectors, or somebody wrote one of them: the other one follows.
fn finish(facts: &Facts<'_>, default: Slot) -> Plan {
    let trial = default.other();
    let behind = matches!(facts.other, Some(Selector::Set { default, .. }) if *default == trial);
    let verified = facts.slot(default).verified.is_ok();
    if behind && verified { vec![Act::SelectOther { default, trial }] } else { Vec::new() }
}

fn rollback(facts: &Facts<'_>, booted: Slot) -> Result<Plan, Refusal> {
    let (default, _) = selected(facts)?;
    if facts.trial().is_some() {
        return Ok(vec![Act::Log(ROLLBACK, booted), Act::ClearFlag, Act::Reboot]);
    }
    let other = booted.other();
    if default == other {
        return refuse(format!(
            "slot {other} is the default already: reboot, or `bootsel repair` if it does not boot"
        ));
    }
    if facts.armed() {
        return refuse(format!("a trial of slot {other} is armed: `bootsel cancel` calls it off"));
    }
    if let Err(why) = &facts.slot(other).verified {
        return refuse(format!("there is nothing to go back to: slot {other}: {why}"));
    }
    if !attempt::was_good(facts, other) {
        return refuse(format!(
            "slot {other} holds a revision that was never committed: `bootsel try` starts it once"
        ));
    }
    let mut plan = vec![Act::Log(ROLLBACK, booted)];
    plan.extend(select(facts, other));
    plan.push(Act::Reboot);
    Ok(plan)
}

fn cancel(facts: &Facts<'_>) -> Result<Plan, Refusal> {
    if let Some(slot) = facts.trial() {
        return refuse(format!("slot {slot} runs for trial: `bootsel rollback` ends it"));
    }
    if !facts.armed() && !facts.pending {
        return Ok(Vec::new());
    }
    let target = facts.default_slot().or(facts.booted).map_or(Slot::A, Slot::other);
    Ok(vec![Act::ClearFlag, Act::Log(CANCELLED, target)])
}

fn repair(facts: &Facts<'_>, booted: Slot) -> Result<Plan, Refusal> {
    no_trial_running(facts, "a repair")?;
    let selected = selected(facts).ok();
    let (right, trial) = (selected == Some((booted, true)), booted.other());
    let wanted = Selector::Set { default: booted, trial: Some(trial) };
    let other = facts.other.filter(|other| **other != wanted);
    if right && other.is_none() {
        return Ok(Vec::new());
    }
    if let Err(why) = &facts.slot(booted).verified {
        return refuse(format!(
            "slot {booted} is booted and does not verify: {why}; it cannot become the default"
        ));
    }
    if let Some((default, _)) = selected
        && default != booted
        && facts.slot(default).verified.is_ok()
        && facts.slot(default).starts.is_ok()
    {
        return refuse(format!(
            "slot {default} is the default and verifies: there is nothing to repair; reboot, and `bootsel rollback` \
             there if slot {booted} is wanted"
        ));
    }
    let mut plan = vec![Act::Log(REPAIR, booted)];
    plan.extend((!right).then_some(Act::Select { default: booted, trial }));
    plan.extend(other.map(|_| Act::SelectOther { default: booted, trial }));
    plan.extend((!right).then_some(Act::ClearFlag));
    Ok(plan)
}

/// The selector of another kind of machine that this disk boots, too.
fn free_in_other(facts: &Facts<'_>, target: Slot) -> Result<(), Refusal> {
    let file = facts.loader.other().selector();
    match facts.other {
        Some(Selector::Set { default, .. }) if *default == target => refuse(format!(
            "slot {target} is the default in {file}; `bootsel commit` makes slot {} the default there, too",
            target.other()
        )),
        Some(Selector::Broken(why)) => refuse(format!(
            "{why}, and slot {target} may be what another machine boots; `bootsel repair` makes slot {} the default \
             there, too",
            target.other()
        )),
        _ => Ok(()),
    }
}

fn install(facts: &Facts<'_>, booted: Slot, force: bool) -> Result<Plan, Refusal> {
    let (default, _) = selected(facts)?;
    no_trial_running(facts, "writing the other slot")?;
    default_is_booted(booted, default)?;
    let target = default.other();
    if facts.armed() || facts.pending {
        return refuse(format!("a trial of slot {target} is armed: `bootsel cancel` calls it off"));
    }
    free_in_other(facts, target)?;
    firmware_knows(facts, force)?;
    Ok(vec![Act::Log(INSTALL, target), Act::Write(target), Act::Log(INSTALLED, target)])
}
