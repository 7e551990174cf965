// SPDX-License-Identifier: MIT OR Apache-2.0

//! A board that is switched off at any moment, and whose ROM does as it likes.

use super::{NEW, OLD, facts, running};
use crate::eeprom::{
    Chip,
    attempts::{Attempts, LIMIT},
    decide::{Decision, Facts, Refusal, Update, decide},
    stage::State,
};
use proptest::prelude::*;
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// What a reset makes of files that are staged.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rom {
    /// recovery.bin writes the EEPROM and renames itself.
    Writes,
    /// It does not find it, or will not run it.
    PassesOver,
    /// It runs, and refuses the image.
    Refuses,
    /// The power is cut while it writes: all is as before, and the next reset comes.
    CutWhileWriting,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// The tool runs, and is interrupted after that many steps.
    Run(usize),
    Reset(Rom),
    /// A trial begins or ends, or is armed.
    Trial(bool),
    Armed(bool),
    /// Another image is put on the first partition.
    Ship(u32),
}

/// What outlives a reset, and what was seen.
#[derive(Clone, Debug)]
struct World {
    running: u32,
    files: State,
    attempts: String,
    shipped: u32,
    boot: u32,
    trial: bool,
    armed: bool,
    /// How often the newest version was staged.
    staged: u32,
    /// The mistake that [`the_order_matters`] makes.
    counts_late: bool,
}

impl World {
    fn new() -> Self {
        Self {
            running: OLD,
            files: State::AtRest,
            attempts: Attempts::default().to_string(),
            shipped: NEW,
            boot: 0,
            trial: false,
            armed: false,
            staged: 0,
            counts_late: false,
        }
    }

    fn decide(&self) -> Decision {
        let boot_id = format!("boot-{}", self.boot);
        let shipped =
            facts().shipped.map(|shipped| super::Shipped { version: self.shipped, ..shipped });
        decide(&Facts {
            running: running(self.running),
            files: Ok(self.files),
            attempts: Attempts::parse(&self.attempts),
            boot_id: &boot_id,
            shipped,
            is_trial: self.trial,
            is_armed: self.armed,
            ..facts()
        })
    }

    /// The tool, up to its end or for that many steps. What it decided last.
    fn run(&mut self, mut steps: usize) -> Option<Decision> {
        loop {
            let decision = self.decide();
            match decision {
                Decision::Restore => self.files = State::AtRest,
                Decision::Update(update) => {
                    let mut acts = [Self::count, Self::stage];
                    if self.counts_late {
                        acts.reverse();
                    }
                    for act in acts {
                        act(self, &update);
                        steps = steps.checked_sub(1)?;
                    }
                    continue;
                }
                done => return Some(done),
            }
            steps = steps.checked_sub(1)?;
        }
    }

    fn count(&mut self, update: &Update) {
        let attempts = Attempts::parse(&self.attempts).unwrap();
        self.attempts = attempts.next(update.to, &format!("boot-{}", self.boot)).to_string();
    }

    fn stage(&mut self, update: &Update) {
        assert_eq!(self.files, State::AtRest);
        assert!(!self.trial && !self.armed, "staged in a trial");
        self.files = State::Staged(update.chip);
        self.staged += 1;
    }

    fn reset(&mut self, rom: Rom) {
        self.boot += 1;
        let State::Staged(chip) = self.files else { return };
        match rom {
            Rom::Writes => (self.running, self.files) = (self.shipped, State::Recovered(chip)),
            Rom::Refuses => self.files = State::Recovered(chip),
            Rom::PassesOver | Rom::CutWhileWriting => {}
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            // a cut of power ends the boot
            Event::Run(steps) if self.run(steps).is_none() => self.reset(Rom::CutWhileWriting),
            Event::Run(_) => {}
            Event::Reset(rom) => self.reset(rom),
            Event::Trial(trial) => self.trial = trial,
            // nobody arms while files are staged
            Event::Armed(armed) => self.armed = armed && self.files == State::AtRest,
            Event::Ship(version) if self.files == State::AtRest && version > self.shipped => {
                (self.shipped, self.staged) = (version, 0);
            }
            Event::Ship(_) => {}
        }
    }

    /// Left alone, with a ROM that does the same at each reset: what is decided at last.
    fn settle(&mut self, rom: Rom) -> Decision {
        (self.trial, self.armed) = (false, false);
        for _ in 0..LIMIT + 2 {
            self.run(usize::MAX);
            self.reset(rom);
        }
        self.run(usize::MAX).unwrap()
    }
}

const ROMS: [Rom; 4] = [Rom::Writes, Rom::PassesOver, Rom::Refuses, Rom::CutWhileWriting];

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..6_usize).prop_map(Event::Run),
        2 => Just(Event::Run(usize::MAX)),
        4 => prop::sample::select(&ROMS[..]).prop_map(Event::Reset),
        1 => any::<bool>().prop_map(Event::Trial),
        1 => any::<bool>().prop_map(Event::Armed),
        1 => (NEW..NEW + 3).prop_map(Event::Ship),
    ]
}

/// Never more than the limit, and an end.
fn live(mut world: World, events: &[Event], rom: Rom) -> Result<(), String> {
    for event in events {
        world.event(*event);
        if world.staged > LIMIT {
            return Err(format!("staged {} times", world.staged));
        }
    }
    let decision = world.settle(rom);
    if world.staged > LIMIT || world.files != State::AtRest {
        return Err(format!("{world:?}"));
    }
    let expected = match decision {
        Decision::Current(running) => running == world.running && running >= Chip::Bcm2711.least(),
        Decision::Refused(Refusal::Exhausted(version, count)) => {
            version == world.shipped && count == LIMIT && world.running == OLD
        }
        _ => false,
    };
    let settled = world.clone();
    world.settle(rom);
    let unchanged = (world.files, &world.attempts, world.staged)
        == (settled.files, &settled.attempts, settled.staged);
    if expected && unchanged { Ok(()) } else { Err(format!("{decision:?} {world:?}")) }
}

proptest! {
    #[test]
    fn converges(events in prop::collection::vec(any_event(), 0..40), rom in prop::sample::select(&ROMS[..])) {
        let lived = live(World::new(), &events, rom);
        prop_assert!(lived.is_ok(), "{:?}", lived);
    }
}

/// Every order of few events, each interruption among them.
#[test]
fn every_order() {
    let events: Vec<Event> = (0..4)
        .map(Event::Run)
        .chain([Event::Run(usize::MAX)])
        .chain(ROMS.map(Event::Reset))
        .chain([Event::Trial(true), Event::Trial(false), Event::Armed(true)])
        .collect();
    let mut order = [0; 3];
    loop {
        let chosen = order.map(|at| events[at]);
        for rom in ROMS {
            assert_eq!(live(World::new(), &chosen, rom), Ok(()), "{chosen:?} {rom:?}");
        }
        let Some(digit) = order.iter().position(|at| at + 1 < events.len()) else { break };
        order[digit] += 1;
        order[..digit].fill(0);
    }
}

/// The model sees what a mistake costs: staged before it is counted, a cut of power in between is one too many.
#[test]
fn the_order_matters() {
    let cut = [Event::Run(0), Event::Run(0), Event::Run(0), Event::Run(0)];
    assert_eq!(live(World::new(), &cut, Rom::Refuses), Ok(()));
    let wrong = World { counts_late: true, ..World::new() };
    assert!(live(wrong, &cut, Rom::Refuses).is_err());
}

#[test]
fn a_good_one() {
    let mut world = World::new();
    assert!(matches!(world.run(usize::MAX), Some(Decision::Staged(_))));
    world.reset(Rom::CutWhileWriting);
    world.reset(Rom::Writes);
    assert_eq!(world.run(usize::MAX), Some(Decision::Current(NEW)));
    assert_eq!((world.staged, world.files), (1, State::AtRest));
}
