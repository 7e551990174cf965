// SPDX-License-Identifier: MIT OR Apache-2.0

//! A device: its firmware, what its slots hold, and how its last attempt really went.

use super::super::borrowed;
use crate::{
    Slot,
    log::{Record, TRIAL},
    state::{
        Act, Facts, Loader, Selector, SlotFacts, Way,
        evidence::{self, Reset},
    },
};
use std::{
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

/// A selector, and whether the next boot is to be a trial: the firmware's flag, or the variable beside the default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) default: Slot,
    pub(super) flag: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) loader: Loader,
    /// Of tryboot and of GRUB.
    pub(super) chosen: [Chosen; 2],
    /// Whether the disk has both.
    pub(super) both: bool,
    /// Whether GRUB can save.
    pub(super) saves: bool,
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
    /// Whether a Raspberry Pi's firmware tells of the flag, and whether it can be read.
    pub(super) tells: bool,
    pub(super) reads: bool,
}

pub(super) fn index(slot: Slot) -> usize {
    usize::from(slot == Slot::B)
}

impl World {
    pub(super) fn new(loader: Loader, both: bool, tells: bool, reads: bool) -> Self {
        let content = Content { revision: 1, whole: true, rotten: false, good: true };
        Self {
            loader,
            chosen: [Chosen { default: Slot::A, flag: false }; 2],
            both,
            saves: true,
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

    pub(super) fn of(&self, loader: Loader) -> &Chosen {
        &self.chosen[usize::from(loader == Loader::Grub)]
    }

    fn change(&mut self, loader: Loader) -> &mut Chosen {
        &mut self.chosen[usize::from(loader == Loader::Grub)]
    }

    pub(super) fn default(&self) -> Slot {
        self.of(self.loader).default
    }

    pub(super) fn flag(&self) -> bool {
        self.of(self.loader).flag
    }

    /// The firmware's flag is gone with the power, GRUB's variable is on the disk.
    pub(super) fn power_off(&mut self) {
        self.change(Loader::Tryboot).flag = false;
    }

    fn told(&self) -> bool {
        self.tells || self.loader == Loader::Grub
    }

    /// In a selector that is there.
    fn is_pending(&self) -> bool {
        (self.both || self.loader == Loader::Grub) && self.of(Loader::Grub).flag
    }

    pub(super) fn is_read(&self) -> bool {
        self.reads || self.loader == Loader::Grub
    }

    pub(super) fn boots(&self, slot: Slot) -> bool {
        let content = self.contents[index(slot)];
        content.whole && !content.rotten
    }

    pub(super) fn in_trial(&self) -> bool {
        self.tryboot && self.booted != self.default() && !self.fell_back && !self.truth.left
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let slots = [Slot::A, Slot::B].map(|slot| SlotFacts {
            revision: Some(self.contents[index(slot)].revision.to_string()),
            verified: if self.boots(slot) { Ok(()) } else { Err("differs".into()) },
            starts: Ok(()),
        });
        let log: Vec<_> = self.log.iter().map(borrowed).collect();
        let set = |loader| {
            let default = self.of(loader).default;
            Selector::Set { default, trial: Some(default.other()) }
        };
        let other = self.both.then(|| set(self.loader.other()));
        look(&Facts {
            loader: self.loader,
            selector: &set(self.loader),
            other: other.as_ref(),
            booted: Some(self.booted),
            tryboot: self.told().then_some(self.tryboot),
            flag: self.is_read().then_some(self.flag()),
            pending: self.is_pending(),
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
            let armed = armed && self.truth.slot == Some(finding.slot);
            let armed = armed || self.is_blamed(finding.slot);
            self.truth.seen |= armed && finding.event != "returned" && !self.truth.cancelled;
            self.record(finding.event, finding.slot);
        }
    }

    /// GRUB left the trial armed, and the slot ran as what it fell back to, or a cut hid that the trial was called off:
    /// what happened since may be said to be of the trial, as long as the log does not say that it is over.
    fn is_blamed(&self, slot: Slot) -> bool {
        let mut since = self.log.iter().rev().take_while(|record| record.event != "armed");
        let ends = ["returned", "cancelled", "fallback"];
        let over = since.any(|record| ends.contains(&record.event.as_str()));
        let grub = self.both || self.loader == Loader::Grub;
        grub && !over && self.truth.slot == Some(slot)
    }

    pub(super) fn boot(&mut self, reaches_init: bool) {
        self.boot_after(reaches_init, Left::Nothing);
    }

    /// What the loader starts, and whether as a trial. A Raspberry Pi's firmware clears the flag as it reads it, and passes
    /// by what cannot be loaded. GRUB takes a trial only where it could save that it did, and starts what it falls back
    /// to without the word for it.
    fn load(&mut self) {
        let Chosen { default, flag } = *self.of(self.loader);
        let grub = self.loader == Loader::Grub;
        let trial = flag && (self.saves || !grub);
        if trial || !grub {
            self.change(self.loader).flag = false;
        }
        let wanted = if trial { default.other() } else { default };
        self.booted = if self.boots(wanted) { wanted } else { wanted.other() };
        self.tryboot = trial && (!grub || self.booted == wanted);
        self.truth.skipped = self.tryboot && self.booted == default;
    }

    pub(super) fn boot_after(&mut self, reaches_init: bool, left: Left) {
        let in_trial = self.tryboot && self.booted != self.default() && !self.fell_back;
        let of = self.booted;
        let breaks = core::mem::take(&mut self.breaks);
        self.fell_back = false;
        self.boot += 1;
        self.load();
        let other = self.default().other();
        let can = self.loader == Loader::Tryboot && self.boots(other);
        if breaks && self.booted != other && can && self.contents[index(other)].good {
            return self.fall_back();
        }
        if self.tryboot && self.booted != self.default() {
            if reaches_init {
                self.record(TRIAL, self.booted);
                self.truth.ran = true;
            } else {
                return self.boot_after(true, Left::Watchdog);
            }
        }
        self.collect(of, in_trial, left);
    }

    /// init's one-shot restart, counted until a boot comes to its end. GRUB does not see the reboot's argument.
    fn fall_back(&mut self) {
        self.record("fallback", self.booted);
        self.boot += 1;
        (self.tryboot, self.fell_back, self.booted) = (true, true, self.default().other());
        self.truth.skipped = false;
        self.record("booted", self.booted);
        self.collect(self.default(), false, Left::Nothing);
    }

    /// One sector: with GRUB the trial is called off, too.
    fn select(&mut self, loader: Loader, default: Slot) {
        let chosen = self.change(loader);
        *chosen = Chosen { default, flag: chosen.flag && loader == Loader::Tryboot };
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
                self.select(self.loader, default);
                let committed = self.truth.commit_began && self.truth.slot == Some(default);
                self.truth.committed |= committed;
                if committed || self.truth.repaired {
                    self.contents[index(default)].good = true;
                }
            }
            Act::SelectOther { default, trial } => {
                assert!(default != trial && self.both);
                self.select(self.loader.other(), default);
            }
            Act::SetFlag => self.change(self.loader).flag = true,
            Act::ClearFlag => self.chosen.iter_mut().for_each(|chosen| chosen.flag = false),
            Act::Write(slot) => {
                assert!(slot != self.booted && slot != self.default(), "wrote to {slot}");
                assert!(!self.both || slot != self.of(self.loader.other()).default);
                assert!(!self.in_trial() && !self.chosen.iter().any(|chosen| chosen.flag));
                self.revisions += 1;
                self.contents[index(slot)] =
                    Content { revision: self.revisions, whole: !torn, rotten: false, good: false };
            }
            Act::Reboot => self.boot(reaches_init),
        }
    }
}
