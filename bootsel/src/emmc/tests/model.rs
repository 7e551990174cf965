// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every order of installs, trials, commits, commands by hand and cuts of power, over a device with two slots and an eMMC
//! with two boot partitions. A cut comes between any two things that are written.

use super::super::note::{Hash, Note, With};
use super::super::shipped::{Follow, follow};
use super::super::{Boot, EXT_CSD_BYTES, ExtCsd};
use crate::Slot;
use crate::state::ThisBoot;
use proptest::prelude::*;
use std::vec::Vec;
use std::{format, vec};

/// What a boot partition holds: the image of that number, or nothing that starts.
type Content = Option<u8>;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A revision with that bootloader, or none.
    Install(Option<u8>),
    Try,
    Commit,
    Rollback,
    Repair,
    /// What a system does at its start.
    Collect,
    Boot,
    WriteByHand(u8),
    SwitchByHand,
}

#[derive(Debug)]
struct World {
    default: Slot,
    booted: Slot,
    armed: bool,
    /// The revision of each slot, and the bootloader that it brought; none where it cannot be booted.
    slots: [Option<(u32, Option<u8>)>; 2],
    ext_csd: ExtCsd,
    partitions: [Content; 2],
    note: Option<Note>,
    /// Revisions made so far.
    made: u32,
    /// What has to be active once that slot is committed and nothing is cut.
    owed: Option<(Slot, u8)>,
    /// What may be active: what was, what a committed revision brought, what somebody made active by hand.
    right: Vec<u8>,
    /// Things that are written until the power is cut.
    left: usize,
}

/// The power was cut.
struct Cut;

fn index(slot: Slot) -> usize {
    usize::from(slot == Slot::B)
}

fn number(boot: Boot) -> usize {
    boot.of([0, 1])
}

fn hash(image: u8) -> Hash {
    Hash([image; 32])
}

impl World {
    fn new() -> Self {
        let mut bytes = [0; EXT_CSD_BYTES];
        (bytes[179], bytes[192], bytes[226]) = (0x48, 8, 8);
        Self {
            default: Slot::A,
            booted: Slot::A,
            armed: false,
            slots: [Some((1, None)); 2],
            ext_csd: ExtCsd::parse(&bytes),
            partitions: [Some(0), Some(0)],
            note: None,
            made: 1,
            owed: None,
            right: vec![0],
            left: usize::MAX,
        }
    }

    /// Before anything is written.
    fn writes(&mut self) -> Result<(), Cut> {
        self.check();
        self.left = self.left.checked_sub(1).ok_or(Cut)?;
        Ok(())
    }

    fn active(&self) -> Content {
        self.partitions[number(self.ext_csd.inactive().unwrap().other())]
    }

    /// The active partition starts, with what has a right to be there.
    fn check(&self) {
        let active = self.active();
        assert!(active.is_some_and(|image| self.right.contains(&image)), "{self:?}");
    }

    fn boot(&mut self) {
        let wanted = if self.armed { self.default.other() } else { self.default };
        // a firmware goes on to the other slot where one cannot be booted
        let holds = self.slots[index(wanted)].is_some();
        (self.booted, self.armed) = (if holds { wanted } else { wanted.other() }, false);
    }

    fn revision(&self) -> u32 {
        self.slots[index(self.booted)].map_or(0, |(revision, _)| revision)
    }

    fn follows(&self) -> Follow {
        let Some(note) = &self.note else { return Follow::Nothing };
        let trial = self.booted != self.default;
        let (default, booted) = (Some(self.default), Some(self.booted));
        let (tryboot, pending, boot_id) = (Some(trial), false, "now");
        let boot = ThisBoot { default, booted, tryboot, pending, boot_id, log: &[] };
        follow(note, &boot, &format!("{}", self.revision()), self.armed)
    }

    /// As the tool does it: both partitions are read, and what is active already is done.
    fn switch(&mut self, wanted: Hash) -> Result<bool, Cut> {
        let found = self.partitions.map(|content| content.map(hash));
        let Ok(plan) = self.ext_csd.decide_switch(&Some(wanted), &found) else { return Ok(false) };
        if let Some(switch) = plan {
            assert!(self.booted == self.default && !self.armed, "in a trial: {self:?}");
            self.writes()?;
            self.ext_csd.partition_config = switch.value;
        }
        Ok(true)
    }

    fn follow(&mut self) -> Result<(), Cut> {
        let Some(note) = self.note.clone().filter(|_| self.follows() == Follow::Due) else {
            return Ok(());
        };
        // only now what the default slot brought has a right
        self.right.extend(self.slots[index(self.default)].and_then(|(_, image)| image));
        assert!(self.switch(note.sha256)?, "what is due is not there: {self:?}");
        self.writes()?;
        self.note = Some(Note { with: None, ..note });
        if self.owed.is_some_and(|(slot, _)| slot == self.default) {
            self.owed = None;
        }
        Ok(())
    }

    /// What waits waits no more.
    fn forget(&mut self, is_meant: impl Fn(&With) -> bool) -> Result<(), Cut> {
        let Some(note) = self.note.clone() else { return Ok(()) };
        if note.with.as_ref().is_some_and(is_meant) {
            self.writes()?;
            self.note = Some(Note { with: None, ..note });
        }
        Ok(())
    }

    fn write(&mut self, image: u8, with: Option<With>) -> Result<(), Cut> {
        let to = self.ext_csd.may_write(4096, |_| 4096).unwrap();
        self.writes()?;
        self.partitions[number(to)] = None;
        self.writes()?;
        self.partitions[number(to)] = Some(image);
        self.writes()?;
        self.note = Some(Note { partition: to, bytes: 4096, sha256: hash(image), with });
        Ok(())
    }

    fn install(&mut self, image: Option<u8>) -> Result<(), Cut> {
        if self.booted != self.default || self.armed {
            return Ok(());
        }
        let target = self.default.other();
        if image.is_some() {
            self.follow()?;
        }
        let brings = image.filter(|image| self.active() != Some(*image));
        self.writes()?;
        self.slots[index(target)] = None;
        self.owed = self.owed.filter(|(slot, _)| *slot != target);
        self.forget(|with| with.slot == target)?;
        self.made += 1;
        let revision = format!("{}", self.made).parse().unwrap();
        if let Some(image) = brings {
            // whatever waited there is gone
            self.owed = None;
            self.write(image, Some(With { slot: target, revision }))?;
        }
        self.writes()?;
        self.slots[index(target)] = Some((self.made, image));
        self.owed = brings.map(|image| (target, image)).or(self.owed);
        Ok(())
    }

    fn act(&mut self, event: Event) -> Result<(), Cut> {
        let trial = self.booted != self.default;
        let whole = |world: &Self, slot| world.slots[index(slot)].is_some();
        match event {
            Event::Install(image) => self.install(image),
            Event::Try if !trial && whole(self, self.default.other()) => {
                self.writes()?;
                self.armed = true;
                Ok(())
            }
            Event::Commit | Event::Repair => {
                if trial && whole(self, self.booted) {
                    self.writes()?;
                    self.default = self.booted;
                }
                self.follow()
            }
            Event::Rollback if trial => {
                self.boot();
                Ok(())
            }
            Event::Rollback if !self.armed && whole(self, self.default.other()) => {
                self.writes()?;
                self.default = self.default.other();
                self.boot();
                Ok(())
            }
            Event::Collect => {
                self.follow()?;
                self.is_done();
                Ok(())
            }
            Event::Boot => {
                self.boot();
                Ok(())
            }
            Event::WriteByHand(image) if !trial && !self.armed => {
                self.owed = None;
                self.forget(|_| true)?;
                self.write(image, None)
            }
            Event::SwitchByHand if !trial && !self.armed => {
                let Some(note) = self.note.clone() else { return Ok(()) };
                self.right.push(note.sha256.0[0]);
                if self.switch(note.sha256)? {
                    self.owed = None;
                    self.forget(|_| true)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Nothing is owed to the slot that is committed and runs.
    fn is_done(&self) {
        let rests = self.booted == self.default && !self.armed;
        if let Some((slot, image)) = self.owed.filter(|(slot, _)| rests && *slot == self.default) {
            assert_eq!(self.active(), Some(image), "slot {slot} {self:?}");
        }
        assert!(self.follows() != Follow::Due, "{self:?}");
    }

    fn happen(&mut self, event: Event, until: usize) {
        self.left = until;
        if self.act(event).is_err() {
            self.boot();
        }
        self.left = usize::MAX;
        self.check();
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => proptest::option::weighted(0.8, 1_u8..4).prop_map(Event::Install),
        4 => Just(Event::Try),
        4 => Just(Event::Boot),
        4 => Just(Event::Commit),
        1 => Just(Event::Rollback),
        1 => Just(Event::Repair),
        2 => Just(Event::Collect),
        1 => (1_u8..4).prop_map(Event::WriteByHand),
        1 => Just(Event::SwitchByHand),
    ]
}

/// Mostly to their end.
fn cut() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(usize::MAX), 2 => 0_usize..7]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
    #[test]
    fn every_order(events in prop::collection::vec((event(), cut()), 1..40)) {
        let mut world = World::new();
        for (event, until) in events {
            world.happen(event, until);
        }
        // and a quiet end: whatever waits for the default slot is there
        world.happen(Event::Boot, usize::MAX);
        world.happen(Event::Collect, usize::MAX);
    }
}
