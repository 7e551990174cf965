// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever the selector, the firmware and a log say, no command writes to a slot that is needed, or makes a slot the
//! default that does not verify.
//!
//! Input: a line of letters, each for what they say of one fact; then a line for each record, `event slot boot message`.
#![no_main]

use bootsel::Slot;
use bootsel::log::Record;
use bootsel::state::{Act, Command, Facts, Loader, Selector, SlotFacts, Way, decide};

const COMMANDS: [Command; 8] = [
    Command::Try { force: false },
    Command::Try { force: true },
    Command::Commit,
    Command::Rollback,
    Command::Cancel,
    Command::Repair,
    Command::Install { force: false },
    Command::Install { force: true },
];

fn slot(letter: Option<&str>) -> Option<Slot> {
    letter?.parse().ok()
}

fn record(line: &str) -> Record<&str> {
    let mut words = line.splitn(4, ' ');
    let event = words.next().unwrap_or_default();
    let slot = slot(words.next());
    let mut word = || words.next().unwrap_or_default();
    Record { counter: 0, event, slot, boot_id: word(), revision: "1", message: word() }
}

fn check(facts: &Facts<'_>, command: Command, plan: &[Act]) {
    let status = facts.status();
    for act in plan {
        match *act {
            Act::Write(slot) => {
                assert!(status.booted.is_some() && status.booted != Some(slot));
                assert!(status.default.is_some() && status.default != Some(slot));
                assert!(!status.trial && !status.armed && !facts.pending);
                match facts.other {
                    Some(Selector::Set { default, .. }) => assert_ne!(*default, slot),
                    Some(Selector::Broken(_)) => panic!("slot {slot} may be a default"),
                    None => {}
                }
            }
            Act::SelectOther { default, trial } => {
                assert!(facts.other.is_some() && default != trial);
                assert!(facts.slot(default).verified.is_ok(), "{default} is damaged");
            }
            Act::Select { default, trial } => {
                assert_ne!(default, trial);
                let new = status.default != Some(default);
                assert!(!new || facts.slot(default).verified.is_ok(), "{default} is damaged");
            }
            Act::SetFlag => {
                let target = status.default.expect("a trial without a default").other();
                assert!(facts.slot(target).verified.is_ok() && status.booted == status.default);
                let asked = command != Command::Try { force: false };
                assert!(asked || facts.slot(target).starts.is_ok(), "{target} would not start");
            }
            _ => {}
        }
    }
    let selects = plan.iter().any(|act| matches!(act, Act::Select { .. }));
    if command == Command::Commit && selects {
        assert!(status.trial, "committed what is no trial");
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let mut letters = lines.next().unwrap_or_default().chars();
    let mut letter = || letters.next().unwrap_or_default();
    let mut known = || match letter() {
        'a' | '1' => Some(true),
        'b' | '0' => Some(false),
        _ => None,
    };
    let mut slot = || known().map(|a| if a { Slot::A } else { Slot::B });
    let selector = match slot() {
        Some(default) => Selector::Set { default, trial: slot().filter(|trial| *trial != default) },
        None => Selector::Broken("torn".into()),
    };
    let booted = slot();
    let (tryboot, flag) = (known(), known());
    let mut told = || known().unwrap_or(true).then_some(()).ok_or_else(|| "broken".to_owned());
    let verified = [(); 2].map(|()| told());
    let firmware = told();
    let way = told().map_or_else(Way::Unknown, |()| Way::Mailbox);
    // what is not said is a Raspberry Pi's disk
    let loader = if told().is_ok() { Loader::Tryboot } else { Loader::Grub };
    let pending = told().is_err();
    let other = match letters.next() {
        Some('a') => Some(Selector::Set { default: Slot::A, trial: Some(Slot::B) }),
        Some('b') => Some(Selector::Set { default: Slot::B, trial: Some(Slot::A) }),
        Some('x') => Some(Selector::Broken("torn".into())),
        _ => None,
    };
    let slots = verified.map(|verified| {
        let starts = if letters.next() == Some('x') { Err("has no kernel".into()) } else { Ok(()) };
        SlotFacts { revision: Some("1".into()), verified, starts }
    });
    let log: Vec<_> = lines.map(record).collect();
    let facts = Facts {
        loader,
        selector: &selector,
        other: other.as_ref(),
        booted,
        tryboot,
        flag,
        pending,
        boot_id: "now",
        slots: [&slots[0], &slots[1]],
        log: &log,
        firmware: &firmware,
        way: &way,
    };
    if let Some(attempt) = facts.status().attempt {
        assert!(!attempt.outcome.word().is_empty() && !attempt.outcome.sentence().is_empty());
    }
    for command in COMMANDS {
        if let Ok(plan) = decide(&facts, command) {
            check(&facts, command, &plan);
        }
    }
});
