// SPDX-License-Identifier: MIT OR Apache-2.0

mod both;
mod evidence;
mod model;

use super::{Act, Command, Facts, Loader, Outcome, Selector, SlotFacts, Way, decide};
use crate::{Slot, log::Record};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Facts that can be changed one by one; slot a is booted and the default.
#[derive(Clone, Debug)]
struct Case {
    loader: Loader,
    selector: Selector,
    other: Option<Selector>,
    booted: Option<Slot>,
    tryboot: Option<bool>,
    flag: Option<bool>,
    pending: bool,
    slots: [SlotFacts; 2],
    log: Vec<Record>,
    firmware: Result<(), String>,
    way: Way,
}

const TRY: Command = Command::Try { force: false };
const INSTALL: Command = Command::Install { force: false };
const NOW: &str = "now";

fn case() -> Case {
    let slot = |revision: &str| SlotFacts {
        revision: Some(revision.into()),
        verified: Ok(()),
        starts: Ok(()),
    };
    Case {
        loader: Loader::Tryboot,
        selector: Selector::Set { default: Slot::A, trial: Some(Slot::B) },
        other: None,
        booted: Some(Slot::A),
        tryboot: Some(false),
        flag: Some(false),
        pending: false,
        slots: [slot("1"), slot("2")],
        log: Vec::new(),
        firmware: Ok(()),
        way: Way::Mailbox,
    }
}

/// Slot b runs for trial.
fn trial() -> Case {
    Case { booted: Some(Slot::B), tryboot: Some(true), ..case() }.log("armed", "before", Slot::B)
}

impl Case {
    fn log(mut self, event: &str, boot_id: &str, slot: Slot) -> Self {
        self.log.push(Record {
            counter: u32::try_from(self.log.len()).unwrap(),
            boot_id: boot_id.into(),
            slot: Some(slot),
            revision: "2".into(),
            event: event.into(),
            message: format!("what {event} says"),
        });
        self
    }

    fn with<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let log: Vec<_> = self.log.iter().map(borrowed).collect();
        let [a, b] = &self.slots;
        look(&Facts {
            loader: self.loader,
            selector: &self.selector,
            other: self.other.as_ref(),
            booted: self.booted,
            tryboot: self.tryboot,
            flag: self.flag,
            pending: self.pending,
            boot_id: NOW,
            slots: [a, b],
            log: &log,
            firmware: &self.firmware,
            way: &self.way,
        })
    }

    #[track_caller]
    fn plans(&self, command: Command, expected: &[Act]) {
        let plan = self.with(|facts| decide(facts, command));
        assert_eq!(plan.as_deref(), Ok(expected), "{command:?}");
    }

    #[track_caller]
    fn refuses(&self, command: Command, why: &str) {
        let refusal = self.with(|facts| decide(facts, command)).unwrap_err().to_string();
        assert!(refusal.contains(why), "{refusal}");
    }

    #[track_caller]
    fn ended(&self, expected: &Outcome) {
        let attempt = self.with(|facts| facts.status()).attempt.unwrap();
        assert_eq!((attempt.slot, attempt.revision.as_str()), (Slot::B, "2"));
        assert_eq!(attempt.outcome, *expected);
    }
}

fn borrowed(record: &Record) -> Record<&str> {
    Record {
        counter: record.counter,
        boot_id: &record.boot_id,
        slot: record.slot,
        revision: &record.revision,
        event: &record.event,
        message: &record.message,
    }
}

const B_DEFAULT: Act = Act::Select { default: Slot::B, trial: Slot::A };
const A_DEFAULT: Act = Act::Select { default: Slot::A, trial: Slot::B };

#[test]
fn plans() {
    let (b_armed, set, clear, reboot) =
        (Act::Log("armed", Slot::B), Act::SetFlag, Act::ClearFlag, Act::Reboot);
    case().plans(TRY, &[b_armed, set, reboot]);
    let no_target = Case { selector: Selector::Set { default: Slot::A, trial: None }, ..case() };
    no_target.plans(TRY, &[b_armed, A_DEFAULT, set, reboot]);
    trial().plans(Command::Commit, &[Act::Log("commit", Slot::B), B_DEFAULT, clear]);
    trial().plans(Command::Rollback, &[Act::Log("rollback", Slot::B), clear, reboot]);
    case().plans(Command::Rollback, &[Act::Log("rollback", Slot::A), B_DEFAULT, reboot]);
    let armed = Case { flag: Some(true), ..case() };
    armed.plans(Command::Cancel, &[clear, Act::Log("cancelled", Slot::B)]);
    let write = [Act::Log("install", Slot::B), Act::Write(Slot::B), Act::Log("installed", Slot::B)];
    case().plans(INSTALL, &write);
    // what is as asked already
    case().plans(Command::Commit, &[]);
    case().plans(Command::Cancel, &[]);
    case().plans(Command::Repair, &[]);
}

#[test]
fn repairs() {
    let plan = [Act::Log("repair", Slot::B), B_DEFAULT, Act::ClearFlag];
    let mut walked = Case { booted: Some(Slot::B), ..case() };
    walked.refuses(Command::Repair, "slot a is the default and verifies");
    walked.slots[0].verified = Err("boot.img differs".into());
    walked.plans(Command::Repair, &plan);
    walked.selector = Selector::Broken("autoboot.txt is empty".into());
    walked.plans(Command::Repair, &plan);
    walked.refuses(TRY, "autoboot.txt is empty; if this slot is good, `bootsel repair`");
    walked.slots[1].verified = Err("root.squashfs differs".into());
    walked.refuses(Command::Repair, "does not verify: root.squashfs differs");
    trial().refuses(Command::Repair, "runs for trial");
    let no_target = Case { selector: Selector::Set { default: Slot::A, trial: None }, ..case() };
    let plan = [Act::Log("repair", Slot::A), A_DEFAULT, Act::ClearFlag];
    no_target.plans(Command::Repair, &plan);
}

#[test]
fn refusals() {
    for command in [TRY, INSTALL] {
        trial().refuses(command, "slot b runs for trial");
        Case { booted: Some(Slot::B), ..case() }.refuses(command, "neither may be changed");
        Case { booted: None, ..case() }.refuses(command, "which slot is booted is not known");
        let old = Case { firmware: Err("bootcode.bin is old".into()), ..case() };
        old.refuses(command, "bootcode.bin is old: the firmware is not shown");
    }
    let force = Command::Try { force: true };
    let upstream = Case { way: Way::Unknown("no /dev/vcio".into()), ..case() };
    upstream.refuses(TRY, "no /dev/vcio: nothing shows that this kernel passes");
    assert!(upstream.with(|facts| decide(facts, force)).is_ok());
    let mut other_board = case();
    other_board.slots[1].starts = Err("pi4b would not boot".into());
    other_board.refuses(TRY, "slot b: pi4b would not boot; install another revision there, or try");
    assert!(other_board.with(|facts| decide(facts, force)).is_ok());
    other_board.refuses(Command::Rollback, "was never committed");
    assert!(
        other_board
            .log("commit", "before", Slot::B)
            .with(|facts| decide(facts, Command::Rollback))
            .is_ok()
    );
    let mut broken = case();
    broken.slots[1].verified = Err("no cmdline.txt".into());
    broken.refuses(force, "slot b cannot be tried: no cmdline.txt; install");
    broken.refuses(Command::Rollback, "nothing to go back to: slot b: no cmdline.txt");
    let armed = Case { flag: Some(true), ..case() };
    armed.refuses(INSTALL, "armed: `bootsel cancel`");
    armed.refuses(Command::Rollback, "armed: `bootsel cancel`");
    let walked = Case { booted: Some(Slot::B), ..case() };
    walked.refuses(Command::Commit, "was not started as a trial");
    walked.refuses(Command::Rollback, "is the default already");
    trial().refuses(Command::Cancel, "`bootsel rollback` ends it");
    case().log("installed", "before", Slot::B).refuses(Command::Rollback, "never committed");
    case()
        .log("trial-failed", "before", Slot::B)
        .plans(Command::Rollback, &[Act::Log("rollback", Slot::A), B_DEFAULT, Act::Reboot]);
}

#[test]
fn outcomes() {
    let armed = || case().log("armed", "before", Slot::B);
    assert_eq!(case().with(|facts| facts.status()).attempt, None);
    armed().ended(&Outcome::NeverStarted);
    Case { flag: Some(true), ..case() }.log("armed", NOW, Slot::B).ended(&Outcome::Armed);
    case().log("armed", NOW, Slot::B).ended(&Outcome::NotArmed);
    trial().ended(&Outcome::Running);
    trial().log("rollback", NOW, Slot::B).ended(&Outcome::RolledBack);
    Case { selector: Selector::Set { default: Slot::B, trial: None }, ..trial() }
        .ended(&Outcome::Committed);
    armed().log("cancelled", "before", Slot::B).ended(&Outcome::Cancelled);
    let failed = |why: &str| Outcome::Failed(why.into());
    armed()
        .log("trial", "tried", Slot::B)
        .ended(&failed("not committed; it came as far as: what trial says"));
    armed()
        .log("rescue", "tried", Slot::B)
        .ended(&failed("not committed; the last that its init wrote is rescue: what rescue says"));
    armed()
        .log("trial", "tried", Slot::B)
        .log("trial-failed", "tried", Slot::B)
        .log("fallback", "later", Slot::B)
        .ended(&failed("what trial-failed says"));
    armed()
        .log("commit", "tried", Slot::B)
        .ended(&failed("the power was cut while it was being committed"));
    Case { tryboot: Some(true), ..armed() }
        .ended(&failed("the firmware had the flag and started the default"));
    // the kernel knows better than init, and who ended it best
    let panicked = armed().log("trial", "tried", Slot::B).log("watchdog", "later", Slot::B);
    panicked.ended(&failed("what watchdog says; it came as far as: what trial says"));
    let panicked = panicked.log("panic", "later", Slot::B).log("returned", "later", Slot::B);
    panicked.ended(&failed("what panic says; it came as far as: what trial says"));
    let both = armed().log("trial-failed", "tried", Slot::B).log("panic", "later", Slot::B);
    both.ended(&failed("what trial-failed says"));
    armed().log("panic", "later", Slot::B).ended(&failed(
        "what panic says; its init had written nothing, so it may have been before the trial",
    ));
    // of another boot, and of no trial
    armed()
        .log("returned", "later", Slot::B)
        .log("panic", "last", Slot::A)
        .ended(&Outcome::NeverStarted);
    // what the tool says of the slot later was not written in it
    armed().log("install", "later", Slot::B).ended(&Outcome::NeverStarted);
}

/// The default was broken, and init set the flag itself: a slot that runs for want of a better one is never left.
#[test]
fn the_fallback_is_no_trial() {
    let fell = Case { booted: Some(Slot::B), tryboot: Some(true), ..case() };
    let fell = fell.log("armed", "first", Slot::B).log("fallback", "before", Slot::A);
    for fell in [fell.clone(), fell.log("booted", NOW, Slot::B)] {
        assert!(!fell.with(|facts| facts.status()).trial);
        fell.refuses(Command::Commit, "was not started as a trial");
        fell.ended(&Outcome::NeverStarted);
    }
    // it came to its end, and a trial is one again
    let later = trial().log("fallback", "x", Slot::A).log("booted", "y", Slot::B);
    let later = later.log("armed", "z", Slot::B);
    assert!(later.with(|facts| facts.status()).trial);
}

#[test]
fn firmware_that_does_not_tell() {
    let silent = Case { tryboot: None, ..trial() };
    assert!(silent.with(|facts| facts.status()).trial);
    let later = silent.log("rescue", "between", Slot::A);
    assert!(!later.with(|facts| facts.status()).trial);
    let walked = Case { tryboot: None, booted: Some(Slot::B), ..case() };
    assert!(!walked.with(|facts| facts.status()).trial);
}
