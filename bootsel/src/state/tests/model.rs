// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every order of events, over a small model of what a Raspberry Pi's firmware and our script for GRUB do. What the model
//! knows for certain is compared with what status makes of selector, flag and log.

mod judge;
mod world;

use crate::{
    Slot,
    log::TRIAL_FAILED,
    state::{Act, Command, Loader, decide},
};
use proptest::prelude::*;
use std::vec;
use world::{Left, OVERDUE, World, index};

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
    /// What a timer of the system asks for; the power is cut before the restart, or not.
    Deadline(bool),
    /// A restart in which the default's revision cannot be used: init restarts into the other slot, once.
    Fallback,
    /// The kernel of what runs panics.
    Panic,
    /// It hangs, and the watchdog resets.
    Hang,
    /// A slot goes bad without anybody writing to it.
    Rot(Slot),
    /// Partition 1 can be written by GRUB, or not.
    Saves(bool),
    /// The disk is put into a machine of the other kind.
    Moved,
}

impl World {
    /// Does the first `most` acts of the command; whether that was not all.
    fn command(&mut self, command: Command, most: usize, reaches_init: bool) -> bool {
        let Ok(plan) = self.with(|facts| decide(facts, command)) else { return false };
        let selects = |act: &Act| matches!(act, Act::Select { .. });
        if command == Command::Commit && plan.iter().any(selects) {
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
                    self.power_off();
                    self.boot(true);
                }
            }
            // what the tool could not finish cannot be told from the outside where the flag cannot be read
            Event::Killed(command, most) if self.is_read() => {
                self.command(command, most, true);
            }
            Event::Whole(command, reaches_init) => {
                self.command(command, usize::MAX, reaches_init);
            }
            Event::PowerCut => {
                self.power_off();
                self.boot(true);
            }
            Event::Reboot => self.boot(true),
            Event::TrialFails if self.in_trial() => {
                self.record(TRIAL_FAILED, self.booted);
                self.boot(true);
            }
            Event::Deadline(cut) => {
                let overdue = self.with(|facts| facts.this_boot().uncommitted());
                assert_eq!(overdue.is_some(), self.in_trial(), "{self:?}");
                let Some(slot) = overdue else { return };
                self.record(TRIAL_FAILED, slot);
                self.log.last_mut().unwrap().message = OVERDUE.into();
                self.truth.overdue = true;
                self.check_status();
                if cut {
                    self.power_off();
                }
                self.boot(true);
            }
            Event::Fallback => {
                self.breaks = true;
                self.boot(true);
            }
            Event::Panic => self.boot_after(true, Left::Panic),
            Event::Hang => self.boot_after(true, Left::Watchdog),
            // with a firmware that does not tell, passing by is not told from a trial
            Event::Rot(slot) if self.tells && self.boots(slot.other()) => {
                self.contents[index(slot)].rotten = true;
            }
            Event::Saves(can) => self.saves = can,
            Event::Moved if self.both => {
                self.power_off();
                self.loader = self.loader.other();
                self.boot(true);
            }
            Event::Killed(..) | Event::TrialFails | Event::Rot(_) | Event::Moved => {}
        }
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
        1 => prop::bool::ANY.prop_map(Event::Deadline),
        1 => Just(Event::Fallback),
        1 => Just(Event::Panic),
        1 => Just(Event::Hang),
        1 => slot.prop_map(Event::Rot),
        1 => prop::bool::weighted(0.7).prop_map(Event::Saves),
        1 => Just(Event::Moved),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, ..ProptestConfig::default() })]
    #[test]
    fn every_order(
        grub: bool,
        both: bool,
        tells: bool,
        reads: bool,
        events in prop::collection::vec(event(), 1..40),
    ) {
        let loader = if grub { Loader::Grub } else { Loader::Tryboot };
        let mut world = World::new(loader, both, tells, reads);
        for event in events {
            world.happen(event);
            world.check_status();
        }
    }
}
