// SPDX-License-Identifier: MIT OR Apache-2.0

//! A device: its firmware, what its slots hold, and how its last attempt really went.

use super::super::borrowed;
use crate::{
    Slot,
    log::{Record, TRIAL},
    state::{
        Act, Facts, Outcome, Selector, SlotFacts, Way,
        evidence::{self, Reset},
    },
};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) revision: u32,
    pub(super) whole: bool,
    pub(super) rotten: bool,
    /// Factory, committed, or made the default by a repair.
    pub(super) good: bool,
}

/// The attempt as it really went.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) slot: Option<Slot>,
    pub(super) revision: u32,
    pub(super) armed_in: u32,
    pub(super) ran: bool,
    pub(super) cancelled: bool,
    pub(super) left: bool,
    pub(super) commit_began: bool,
    pub(super) committed: bool,
    pub(super) repaired: bool,
    pub(super) skipped: bool,
    /// A panic or a reset of its own was found.
    pub(super) seen: bool,
    pub(super) overdue: bool,
}

pub(super) const OVERDUE: &str = "not committed within 600 s";

/// What a boot leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Panic,
    Watchdog,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) default: Slot,
    pub(super) flag: bool,
    pub(super) contents: [Content; 2],
    pub(super) booted: Slot,
    pub(super) tryboot: bool,
    pub(super) boot: u32,
    pub(super) log: Vec<Record>,
    pub(super) truth: Truth,
    pub(super) revisions: u32,
    /// The default's revision cannot be used in the next boot of it.
    pub(super) breaks: bool,
    /// That is why the other slot runs.
    pub(super) fell_back: bool,
    /// Whether the firmware tells of the flag, and whether it can be read.
    pub(super) tells: bool,
    pub(super) reads: bool,
}

pub(super) fn index(slot: Slot) -> usize {
    usize::from(slot == Slot::B)
}

impl World {
    pub(super) fn new(tells: bool, reads: bool) -> Self {
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
            breaks: false,
            fell_back: false,
            tells,
            reads,
        }
    }

    pub(super) fn boots(&self, slot: Slot) -> bool {
        let content = self.contents[index(slot)];
        content.whole && !content.rotten
    }

    pub(super) fn in_trial(&self) -> bool {
        self.tryboot && self.booted != self.default && !self.fell_back && !self.truth.left
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
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

    pub(super) fn record(&mut self, event: &str, slot: Slot) {
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

    /// `bootsel collect`, early in each boot. The log knows whose boot the one before was.
    pub(super) fn collect(&mut self, of: Slot, trial: bool, left: Left) {
        let panics = [("panic".to_string(), None)];
        let panics = &panics[..usize::from(left == Left::Panic)];
        let status = if left == Left::Watchdog { 0x20 } else { 0 };
        let reset = Reset { bootstatus: Some(status), ..Reset::default() };
        let findings =
            self.with(|facts| evidence::findings(&facts.this_boot(), "booted", panics, reset));
        for finding in findings {
            if finding.event != "returned" && trial {
                assert_eq!(finding.slot, of, "{left:?} {self:?}");
                self.truth.seen = true;
            }
            // between arming and the restart, or between the restart and init: nobody can tell
            let armed = self.truth.armed_in + 1 == self.boot && !self.in_trial();
            self.truth.seen |= armed && finding.event != "returned" && !self.truth.cancelled;
            self.record(finding.event, finding.slot);
        }
    }

    pub(super) fn boot(&mut self, reaches_init: bool) {
        self.boot_after(reaches_init, Left::Nothing);
    }

    /// The firmware: the flag is cleared as it is read; what cannot be loaded is passed by.
    pub(super) fn boot_after(&mut self, reaches_init: bool, left: Left) {
        let in_trial = self.tryboot && self.booted != self.default && !self.fell_back;
        let of = self.booted;
        let breaks = core::mem::take(&mut self.breaks);
        self.fell_back = false;
        self.boot += 1;
        self.tryboot = core::mem::take(&mut self.flag);
        let wanted = if self.tryboot { self.default.other() } else { self.default };
        self.booted = if self.boots(wanted) { wanted } else { wanted.other() };
        self.truth.skipped = self.tryboot && self.booted == self.default;
        let other = self.default.other();
        if breaks && self.booted != other && self.boots(other) && self.contents[index(other)].good {
            return self.fall_back();
        }
        if self.tryboot && self.booted != self.default {
            if reaches_init {
                self.record(TRIAL, self.booted);
                self.truth.ran = true;
            } else {
                return self.boot_after(true, Left::Watchdog);
            }
        }
        self.collect(of, in_trial, left);
    }

    /// init's one-shot restart, counted until a boot comes to its end.
    fn fall_back(&mut self) {
        self.record("fallback", self.booted);
        self.boot += 1;
        (self.tryboot, self.fell_back, self.booted) = (true, true, self.default.other());
        self.truth.skipped = false;
        self.record("booted", self.booted);
        self.collect(self.default, false, Left::Nothing);
    }

    pub(super) fn act(&mut self, act: Act, torn: bool, reaches_init: bool) {
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

    pub(super) fn expected(&self) -> Option<&'static str> {
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
            Truth { skipped: true, .. } | Truth { seen: true, .. } => "failed",
            _ => "never-started",
        })
    }

    /// What must hold between any two acts.
    pub(super) fn check(&self) {
        let default = self.contents[index(self.default)];
        assert!(default.whole && default.good, "the default cannot be relied on: {self:?}");
        let status = self.with(|facts| facts.status());
        assert_eq!((status.default, status.booted), (Some(self.default), Some(self.booted)));
        assert_eq!(status.trial, self.in_trial(), "{self:?}");
    }

    /// What must hold when nobody is in the middle of anything.
    pub(super) fn check_status(&self) {
        self.check();
        let status = self.with(|facts| facts.status());
        let attempt = status.attempt.as_ref();
        assert_eq!(attempt.map(|attempt| attempt.outcome.word()), self.expected(), "{self:?}");
        if let Some(attempt) = attempt {
            assert_eq!(Some(attempt.slot), self.truth.slot);
            assert_eq!(attempt.revision, format!("{}", self.truth.revision));
            if let Truth { overdue: true, commit_began: false, .. } = self.truth
                && let Outcome::Failed(why) = &attempt.outcome
            {
                assert_eq!(why, OVERDUE);
            }
        }
        assert_eq!(status.armed, self.flag, "{self:?}");
    }
}
