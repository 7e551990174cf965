// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must be true of a card after every cut.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::card::{Card, Content};
use super::look::{Bench, Facts};
use super::operations::{A, B, Operation};
use super::world::{PowerOn, World};

/// One in so many looks at the data partition reads every revision, and asks e2fsck, too.
const DEEP: u32 = 16;
/// One in so many states is verified by `bootsel verify`.
const VERIFIED: u32 = 40;

/// Judges the states of one operation.
#[derive(Debug)]
pub(super) struct Judge<'b, 'a> {
    bench: &'b mut Bench<'a>,
    operation: &'static Operation,
    /// How often the log had the announcement, and `installed`, before the operation.
    before: [usize; 2],
    states: u32,
}

/// How far the operation has come in a state, as its announcement and its acts tell.
#[derive(Clone, Copy, Debug)]
struct Progress {
    announced: bool,
    done: bool,
}

impl<'b, 'a> Judge<'b, 'a> {
    /// With the card as it is before the operation.
    pub(super) fn new(
        bench: &'b mut Bench<'a>,
        operation: &'static Operation,
        card: &mut Card<'_>,
    ) -> Result<Self> {
        let facts = bench.look(card, |_| true)?;
        let count = |event: &str| facts.data.events.get(event).copied().unwrap_or_default();
        let before = [count(operation.announced.unwrap_or_default()), count("installed")];
        let judge = Self { bench, operation, before, states: 0 };
        let now = judge.progress(&facts)?;
        ensure!(!now.announced && !now.done, "{}: done before it began", operation.name);
        Ok(judge)
    }

    /// Judges a state. `over`: the command has ended, and what it did must be there.
    pub(super) fn judge(&mut self, card: &mut Card<'_>, over: bool) -> Result<()> {
        self.states += 1;
        let installs = self.operation.install.map(|[_, after]| after.to_string());
        let all = self.bench.mounts.is_multiple_of(DEEP);
        let mounts = self.bench.mounts;
        let facts = self.bench.look(card, |name| all || installs.as_deref() == Some(name))?;
        let progress = self.progress(&facts)?;
        self.boots(&facts)?;
        self.selects(&facts)?;
        self.other_slot(&facts)?;
        self.log(&facts, progress)?;
        self.status(&facts, progress)?;
        self.status_after_trial(&facts)?;
        if over {
            self.is_over(&facts, progress)?;
        }
        if self.states.is_multiple_of(VERIFIED) && self.verifies(&facts) {
            self.bench.verify(card)?;
        }
        if all && self.bench.mounts != mounts {
            self.bench.check_mounted()?;
        }
        Ok(())
    }

    /// The command has said that it is done.
    fn is_over(&self, facts: &Facts, progress: Progress) -> Result<()> {
        let [_, installed] = self.before;
        let told = facts.data.events.get("installed").is_some_and(|count| *count > installed);
        let there = match self.operation {
            Operation { announced: None, .. } => true,
            Operation { install: Some(_), removes, .. } => {
                let left = removes.is_some_and(|id| facts.data.has(id));
                progress.done && told && !left
            }
            _ => progress.done && progress.announced,
        };
        ensure!(
            there,
            "the command has ended, and a cut of power takes back what it did: {facts:?}"
        );
        Ok(())
    }

    fn progress(&self, facts: &Facts) -> Result<Progress> {
        let [_, slot_b] = facts.slots;
        let [before, _] = self.before;
        let event = self.operation.announced.unwrap_or_default();
        let announced = facts.data.events.get(event).is_some_and(|count| *count > before);
        let [from, to] =
            [0, 1].map(|i| [pick(self.operation.default, i), pick(self.operation.trial, i)]);
        let selector = facts.power_on.selector;
        ensure!(
            selector == from || selector == to,
            "the selector says {selector:?}, which is neither {from:?} nor {to:?}"
        );
        let done = match self.operation.install {
            Some([_, after]) => slot_b == Content::Whole(after),
            None if from != to => selector == to,
            None => announced,
        };
        Ok(Progress { announced, done })
    }

    /// What is started is whole, with its revision, and the slot of the default, which is whole in any case.
    fn boots(&self, facts: &Facts) -> Result<()> {
        let PowerOn { selector, boots, .. } = &facts.power_on;
        self.is_whole(facts, boots.partition)?;
        if self.operation.rotten {
            return Ok(());
        }
        let (due, trial) = self.bench.device.world.due(*selector);
        let is_due = (boots.partition, boots.trial) == (due, trial);
        ensure!(is_due, "{boots:?} boots, and partition {due} should, trial: {trial}");
        if !trial {
            return Ok(());
        }
        let [default, _] = *selector;
        self.is_whole(facts, default)?;
        let Some((then, _)) = &facts.then else { bail!("the trial is not taken out") };
        let back = (then.partition, then.trial) == (default, false);
        ensure!(back, "partition {default} is the default, and after the trial boots {then:?}");
        Ok(())
    }

    /// The boot after a trial that was cut before its init could write anything.
    fn status_after_trial(&self, facts: &Facts) -> Result<()> {
        let Some((_, status)) = &facts.then else { return Ok(()) };
        let outcome = status.pointer("/attempt/outcome").and_then(Value::as_str);
        let is = |name: &str| status.get(name).and_then(Value::as_bool) == Some(true);
        let told = outcome == Some("never-started") && !is("trial") && !is("armed");
        ensure!(told, "status, after a trial that nothing is known of: {status}");
        Ok(())
    }

    fn is_whole(&self, facts: &Facts, partition: u32) -> Result<()> {
        let content = slot(facts, partition);
        let Content::Whole(id) = content else {
            bail!("partition {partition} is to boot and holds {content:?}");
        };
        match facts.data.revisions.get(&id.to_string()) {
            Some(Ok(())) => {}
            other => bail!("partition {partition} holds revision {id}, which is {other:?} on DATA"),
        }
        let boots = &facts.power_on.boots;
        if boots.partition == partition {
            let letter = if partition == A { "a" } else { "b" };
            let words = [format!("pivot.slot={letter}"), format!("pivot.revision={id}")];
            let has = |word: &str| boots.cmdline.split(' ').any(|found| found == word);
            let right = words.iter().all(|word| has(word)) && has("pivot.trial") == boots.trial;
            ensure!(right, "its command line is {}", boots.cmdline);
        }
        Ok(())
    }

    /// A trial never leads to the default, unless it did so before.
    fn selects(&self, facts: &Facts) -> Result<()> {
        if self.bench.device.world == World::Grub {
            // GRUB's model knows no other blocks
            return Ok(());
        }
        let [default, trial] = facts.power_on.selector;
        let was = pick(self.operation.default, 0) == pick(self.operation.trial, 0);
        ensure!(default != trial || was, "a trial leads to the default");
        let known = [A, B].contains(&default) && [A, B].contains(&trial);
        ensure!(known, "autoboot.txt names partition {default} and {trial}");
        Ok(())
    }

    /// A slot that can be read is whole, and a trial of it finds its revision.
    fn other_slot(&self, facts: &Facts) -> Result<()> {
        for partition in [A, B] {
            if slot(facts, partition) != Content::Blank {
                self.is_whole(facts, partition)?;
            }
        }
        let PowerOn { selector: [default, _], target, tries, .. } = &facts.power_on;
        if default != target && slot(facts, *target) != Content::Blank && !self.operation.rotten {
            match tries {
                Ok(chosen) if chosen.partition == *target => {}
                other => bail!("a trial would start {other:?}"),
            }
        }
        Ok(())
    }

    /// What is announced comes after its announcement.
    fn log(&self, facts: &Facts, progress: Progress) -> Result<()> {
        let Operation { name, install, removes, announced, acts_first, .. } = self.operation;
        let [_, slot_b] = facts.slots;
        let [_, installed] = self.before;
        if let Some([before, after]) = *install {
            let staged = facts.data.revisions.contains_key(&format!("{after}.new"));
            let removed = removes.is_some_and(|id| !facts.data.has(id));
            let begun =
                slot_b != Content::Whole(before) || staged || facts.data.has(after) || removed;
            ensure!(!begun || progress.announced, "{name} has begun, and the log does not say so");
            let told = facts.data.events.get("installed").is_some_and(|count| *count > installed);
            ensure!(!told || progress.done, "the log says installed, and slot b holds {slot_b:?}");
        }
        let acts = announced.is_some() && install.is_none();
        let first = !acts || *acts_first || !progress.done || progress.announced;
        ensure!(first, "{name} is not in the log");
        let last = !acts_first || !progress.announced || progress.done;
        ensure!(last, "{name} is announced before it is done");
        for id in facts.data.revisions.keys() {
            let known = ["1", "2", "3", ".removed"].contains(&id.as_str()) || id.ends_with(".new");
            let garbage = removes.is_some_and(|id| !matches!(id, 1..=3));
            ensure!(known || garbage || id == "0", "DATA has a revision {id}");
        }
        Ok(())
    }

    /// The tool says what is there, and how the last trial ended.
    fn status(&self, facts: &Facts, progress: Progress) -> Result<()> {
        let status = &facts.status;
        let letter = |partition| if partition == A { "a" } else { "b" };
        let is = |pointer: &str, value: Value| {
            let found = status.pointer(pointer).unwrap_or(&Value::Null);
            ensure!(
                *found == value,
                "status: {pointer} is {found}, and should be {value}: {status}"
            );
            Ok(())
        };
        let PowerOn { selector: [default, _], boots, .. } = &facts.power_on;
        let default = (*default != 0).then(|| letter(*default));
        is("/selector", self.bench.device.world.name().into())?;
        is("/default", default.into())?;
        is("/booted", letter(boots.partition).into())?;
        is("/trial", boots.trial.into())?;
        is("/armed", false.into())?;
        let problem = status.pointer("/selector_problem").is_some_and(Value::is_string);
        ensure!(problem == default.is_none(), "status: the selector's problem: {status}");
        for partition in [A, B] {
            let name = letter(partition);
            let content = slot(facts, partition);
            is(&format!("/slots/{name}/complete"), matches!(content, Content::Whole(_)).into())?;
            if let Content::Whole(id) = content {
                is(&format!("/slots/{name}/revision"), id.to_string().into())?;
            }
        }
        let Progress { announced, done } = progress;
        let after = match (self.operation.acts_first, announced, done) {
            (false, _, true) | (true, true, _) => 2,
            (false, true, false) | (true, false, true) => 1,
            (_, false, false) => 0,
        };
        let outcome = self.operation.outcome.get(after).copied().unwrap_or_default();
        let outcome = if outcome.is_empty() { Value::Null } else { outcome.into() };
        let found = status.pointer("/attempt/outcome").unwrap_or(&Value::Null);
        ensure!(
            *found == outcome,
            "status: the last trial {found}, and should be {outcome}: {status}"
        );
        Ok(())
    }

    /// Whether `bootsel verify` must find nothing.
    fn verifies(&self, facts: &Facts) -> bool {
        facts.slots.iter().all(|content| matches!(content, Content::Whole(_)))
    }
}

fn pick(pair: [u32; 2], index: usize) -> u32 {
    pair.get(index).copied().unwrap_or_default()
}

fn slot(facts: &Facts, partition: u32) -> Content {
    let [a, b] = facts.slots;
    if partition == A { a } else { b }
}

/// For a person who looks at what failed: the state as a file.
pub(super) fn keep(card: &Card<'_>, directory: &Path) -> String {
    let path = directory.join("bad.img");
    match crate::tool::copy_sparse(&card.path, &path) {
        Ok(()) => format!("the card is {}", path.display()),
        Err(why) => format!("the card was not kept: {why:#}"),
    }
}
