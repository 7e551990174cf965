// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every order of events, over a small model of the firmware. What the model knows for certain is compared with
//! what status makes of selector, flag and log.

use super::borrowed;
use crate::{
    Slot,
    log::{Record, TRIAL, TRIAL_FAILED},
    state::{Act, Command, Facts, Selector, SlotFacts, Way, decide},
};
use proptest::prelude::*;
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// What happens from outside.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A command; the power is cut after so many acts, if that is before its end.
    Cut(Command, usize),
    /// The same, but only the tool is killed.
    Killed(Command, usize),
    /// A whole command; whether init comes to write its record in a trial that it starts.
    Whole(Command, bool),
    PowerCut,
    Reboot,
    /// init gives up a trial.
    TrialFails,
    /// A slot goes bad without anybody writing to it.
    Rot(Slot),
}

#[derive(Clone, Copy, Debug)]
struct Content {
    revision: u32,
    whole: bool,
    rotten: bool,
    /// Factory, committed, or made the default by a repair.
    good: bool,
}

/// The attempt as it really went.
#[derive(Clone, Debug, Default)]
struct Truth {
    slot: Option<Slot>,
    revision: u32,
    armed_in: u32,
    ran: bool,
    cancelled: bool,
    left: bool,
    commit_began: bool,
    committed: bool,
    repaired: bool,
    skipped: bool,
}

#[derive(Debug)]
struct World {
    default: Slot,
    flag: bool,
    contents: [Content; 2],
    booted: Slot,
    tryboot: bool,
    boot: u32,
    log: Vec<Record>,
    truth: Truth,
    revisions: u32,
    /// Whether the firmware tells of the flag, and whether it can be read.
    tells: bool,
    reads: bool,
}

fn index(slot: Slot) -> usize {
    usize::from(slot == Slot::B)
}

impl World {
    fn new(tells: bool, reads: bool) -> Self {
        let content = Content { revision: 1, whole: true, rotten: false, good: true };
        Self {
            default: Slot::A,
            flag: false,
            contents: [content; 2],
            booted: Slot::A,
            tryboot: false,
            boot: 1,
            log: Vec::new(),
            truth: Truth::default(),
            revisions: 1,
            tells,
            reads,
        }
    }

    fn boots(&self, slot: Slot) -> bool {
        let content = self.contents[index(slot)];
        content.whole && !content.rotten
    }

    fn in_trial(&self) -> bool {
        self.tryboot && self.booted != self.default && !self.truth.left
    }

    fn with<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let slots = [Slot::A, Slot::B].map(|slot| SlotFacts {
            revision: Some(self.contents[index(slot)].revision.to_string()),
            verified: if self.boots(slot) { Ok(()) } else { Err("differs".into()) },
        });
        let log: Vec<_> = self.log.iter().map(borrowed).collect();
        look(&Facts {
            selector: &Selector::Set { default: self.default, trial: Some(self.default.other()) },
            booted: Some(self.booted),
            tryboot: self.tells.then_some(self.tryboot),
            flag: self.reads.then_some(self.flag),
            boot_id: &self.boot.to_string(),
            slots: [&slots[0], &slots[1]],
            log: &log,
            firmware: &Ok(()),
            way: &Way::Mailbox,
        })
    }

    fn record(&mut self, event: &str, slot: Slot) {
        // the ring keeps 64
        if self.log.len() == 64 {
            self.log.remove(0);
        }
        self.log.push(Record {
            counter: 0,
            boot_id: self.boot.to_string(),
            slot: Some(slot),
            revision: self.contents[index(slot)].revision.to_string(),
            event: event.into(),
            message: String::new(),
        });
    }

    /// The firmware: the flag is cleared as it is read; what cannot be loaded is passed by.
    fn boot(&mut self, reaches_init: bool) {
        self.boot += 1;
        self.tryboot = core::mem::take(&mut self.flag);
        let wanted = if self.tryboot { self.default.other() } else { self.default };
        self.booted = if self.boots(wanted) { wanted } else { wanted.other() };
        self.truth.skipped = self.tryboot && self.booted == self.default;
        if self.tryboot && self.booted != self.default {
            if reaches_init {
                self.record(TRIAL, self.booted);
                self.truth.ran = true;
            } else {
                // the watchdog resets it
                self.boot(true);
            }
        }
    }

    fn act(&mut self, act: Act, torn: bool, reaches_init: bool) {
        match act {
            Act::Log(event, slot) => {
                self.record(event, slot);
                match event {
                    "armed" => {
                        let revision = self.contents[index(slot)].revision;
                        self.truth = Truth {
                            slot: Some(slot),
                            revision,
                            armed_in: self.boot,
                            ..Truth::default()
                        };
                    }
                    "cancelled" => self.truth.cancelled = true,
                    "rollback" => self.truth.left |= self.truth.slot == Some(slot),
                    "commit" => self.truth.commit_began = true,
                    "repair" => self.truth.repaired = true,
                    _ => {}
                }
            }
            Act::Select { default, trial } => {
                assert_ne!(default, trial);
                self.default = default;
                let committed = self.truth.commit_began && self.truth.slot == Some(default);
                self.truth.committed |= committed;
                if committed || self.truth.repaired {
                    self.contents[index(default)].good = true;
                }
            }
            Act::SetFlag => self.flag = true,
            Act::ClearFlag => self.flag = false,
            Act::Write(slot) => {
                assert!(slot != self.booted && slot != self.default, "wrote to {slot}");
                assert!(!self.in_trial() && !self.flag);
                self.revisions += 1;
                self.contents[index(slot)] =
                    Content { revision: self.revisions, whole: !torn, rotten: false, good: false };
            }
            Act::Reboot => self.boot(reaches_init),
        }
    }

    /// Does the first `most` acts of the command; whether that was not all.
    fn command(&mut self, command: Command, most: usize, reaches_init: bool) -> bool {
        let Ok(plan) = self.with(|facts| decide(facts, command)) else { return false };
        if command == Command::Commit && !plan.is_empty() {
            assert!(self.in_trial(), "committed what is no trial");
        }
        for act in plan.iter().take(most) {
            self.act(*act, false, reaches_init);
            self.check();
        }
        // a write is interrupted, other acts happen or not
        if let Some(act @ Act::Write(_)) = plan.get(most) {
            self.act(*act, true, reaches_init);
            self.check();
        }
        most < plan.len()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Cut(command, most) => {
                if self.command(command, most, true) {
                    self.flag = false;
                    self.boot(true);
                }
            }
            // what the tool could not finish cannot be told from the outside where the flag cannot be read
            Event::Killed(command, most) if self.reads => {
                self.command(command, most, true);
            }
            Event::Whole(command, reaches_init) => {
                self.command(command, usize::MAX, reaches_init);
            }
            Event::PowerCut => {
                self.flag = false;
                self.boot(true);
            }
            Event::Reboot => self.boot(true),
            Event::TrialFails if self.in_trial() => {
                self.record(TRIAL_FAILED, self.booted);
                self.boot(true);
            }
            // with a firmware that does not tell, passing by is not told from a trial
            Event::Rot(slot) if self.tells && self.boots(slot.other()) => {
                self.contents[index(slot)].rotten = true;
            }
            Event::Killed(..) | Event::TrialFails | Event::Rot(_) => {}
        }
    }

    fn expected(&self) -> Option<&'static str> {
        let truth = &self.truth;
        let slot = truth.slot?;
        Some(match truth {
            _ if self.default == slot => "committed",
            Truth { cancelled: true, .. } => "cancelled",
            Truth { left: true, .. } => "rolled-back",
            _ if self.in_trial() => "running",
            Truth { commit_began: true, repaired: true, .. } => "rolled-back",
            Truth { armed_in, .. } if *armed_in == self.boot && self.flag => "armed",
            Truth { armed_in, .. } if *armed_in == self.boot => "not-armed",
            Truth { commit_began: true, .. } | Truth { ran: true, .. } => "failed",
            Truth { skipped: true, .. } => "failed",
            _ => "never-started",
        })
    }

    /// What must hold between any two acts.
    fn check(&self) {
        let default = self.contents[index(self.default)];
        assert!(default.whole && default.good, "the default cannot be relied on: {self:?}");
        let status = self.with(|facts| facts.status());
        assert_eq!((status.default, status.booted), (Some(self.default), Some(self.booted)));
        assert_eq!(status.trial, self.in_trial(), "{self:?}");
    }

    /// What must hold when nobody is in the middle of anything.
    fn check_status(&self) {
        self.check();
        let status = self.with(|facts| facts.status());
        let attempt = status.attempt.as_ref();
        assert_eq!(attempt.map(|attempt| attempt.outcome.word()), self.expected(), "{self:?}");
        if let Some(attempt) = attempt {
            assert_eq!(Some(attempt.slot), self.truth.slot);
            assert_eq!(attempt.revision, format!("{}", self.truth.revision));
        }
        assert_eq!(status.armed, self.flag, "{self:?}");
    }
}

fn command() -> impl Strategy<Value = Command> {
    prop::sample::select(&[
        Command::Try { force: false },
        Command::Try { force: false },
        Command::Install { force: false },
        Command::Commit,
        Command::Rollback,
        Command::Cancel,
        Command::Repair,
    ])
}

fn event() -> impl Strategy<Value = Event> {
    let slot = prop::bool::ANY.prop_map(|b| if b { Slot::B } else { Slot::A });
    prop_oneof![
        3 => (command(), 0_usize..4).prop_map(|(command, most)| Event::Cut(command, most)),
        2 => (command(), 0_usize..4).prop_map(|(command, most)| Event::Killed(command, most)),
        6 => (command(), prop::bool::weighted(0.8)).prop_map(|(c, init)| Event::Whole(c, init)),
        1 => Just(Event::PowerCut),
        1 => Just(Event::Reboot),
        1 => Just(Event::TrialFails),
        1 => slot.prop_map(Event::Rot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
    #[test]
    fn every_order(
        tells: bool,
        reads: bool,
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut world = World::new(tells, reads);
        for event in events {
            world.happen(event);
            world.check_status();
        }
    }
}
