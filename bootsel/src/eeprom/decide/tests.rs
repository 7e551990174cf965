// SPDX-License-Identifier: MIT OR Apache-2.0

mod model;

use super::{Decision, Facts, Medium, Refusal, Shipped, Update, Want, decide};
use crate::board::Board;
use crate::eeprom::{
    Chip,
    attempts::{Attempts, LIMIT},
    stage::{self, State},
    version::{Running, Version},
};
use std::string::ToString;

const OLD: u32 = 1_599_135_103;
const NEW: u32 = 1_779_045_198;
const BOOT: &str = "this";
const BOOTCONF: &str = "[all]\nBOOT_UART=0\nBOOT_ORDER=0xf41\n";

fn board(code: u32) -> Option<Board> {
    Some(Board::from_code(code).unwrap())
}

fn running(timestamp: u32) -> Running {
    Running::new(Some(timestamp), None)
}

/// A Pi 4 with the bootloader of 2020 and the files of 2026.
fn facts() -> Facts<'static> {
    Facts {
        board: board(0xb03112),
        medium: Medium::SdOrEmmc,
        running: running(OLD),
        bootconf: Some(BOOTCONF),
        is_signed: false,
        is_protected: false,
        manufacture: 0,
        is_off: false,
        want: Want::Least(Chip::Bcm2711.least()),
        shipped: Some(Shipped { version: NEW, manufacture: 1 }),
        files: Ok(State::AtRest),
        attempts: Some(Attempts::default()),
        limit: LIMIT,
        boot_id: BOOT,
        is_trial: false,
        is_armed: false,
        is_default: true,
    }
}

const FIRST: Update = Update { chip: Chip::Bcm2711, from: OLD, to: NEW, attempt: 1 };

/// What changes where the facts do.
#[track_caller]
fn check(change: impl Fn(&mut Facts<'_>), expected: Decision) {
    let mut changed = facts();
    change(&mut changed);
    assert_eq!(decide(&changed), expected);
}

#[track_caller]
fn refused(change: impl Fn(&mut Facts<'_>), expected: Refusal) {
    check(&change, Decision::Refused(expected));
    // a bootloader that is new enough is no matter of refusing
    let current = |facts: &mut Facts<'_>| {
        change(facts);
        facts.running = running(NEW);
    };
    check(current, Decision::Current(NEW));
    // nor does what is staged stay
    let staged = |facts: &mut Facts<'_>| {
        change(facts);
        facts.attempts = Some(Attempts { version: NEW, count: 1, boot_id: BOOT });
        facts.files = Ok(State::Staged(Chip::Bcm2711));
    };
    check(staged, Decision::Restore);
}

#[test]
fn wanted() {
    check(|_| (), Decision::Update(FIRST));
    check(|facts| facts.running = running(Chip::Bcm2711.least() - 1), {
        Decision::Update(Update { from: Chip::Bcm2711.least() - 1, ..FIRST })
    });
    let least = Chip::Bcm2711.least();
    check(|facts| facts.running = running(least), Decision::Current(least));
    let latest = |running_: u32| {
        move |facts: &mut Facts<'_>| {
            facts.want = Want::Shipped;
            facts.running = running(running_);
        }
    };
    check(latest(least), Decision::Update(Update { from: least, ..FIRST }));
    check(latest(NEW), Decision::Current(NEW));
    check(latest(NEW + 1), Decision::Current(NEW + 1));
    check(|facts| (facts.want, facts.shipped) = (Want::Shipped, None), Decision::Current(OLD));
    check(
        |facts| {
            facts.board = board(0xc04170);
            facts.want = Want::Least(Chip::Bcm2712.least());
        },
        Decision::Update(Update { chip: Chip::Bcm2712, ..FIRST }),
    );
}

#[test]
fn witnesses() {
    let mailbox = Version::parse("Sep  3 2020 13:11:43\ntimestamp 1599135103\n");
    let by = |device_tree| Running::new(device_tree, mailbox.as_ref());
    check(|facts| facts.running = by(None), Decision::Update(FIRST));
    // the device tree is believed, and both are shown
    check(|facts| facts.running = by(Some(NEW)), Decision::Current(NEW));
    check(|facts| facts.running = Running::default(), Decision::Refused(Refusal::Unknown));
}

#[test]
fn boards() {
    for code in [0x0010, 0x9000c1, 0xa02082, 0x902120] {
        check(|facts| facts.board = board(code), Decision::NoEeprom);
    }
    check(|facts| facts.board = None, Decision::NoEeprom);
    // a card that was staged in another board is put right in this one
    check(
        |facts| (facts.board, facts.files) = (board(0xa02082), Ok(State::Staged(Chip::Bcm2711))),
        Decision::Restore,
    );
    refused(|facts| facts.board = board(0xb03140), Refusal::ComputeModule);
    refused(|facts| facts.board = board(0xa03150), Refusal::ComputeModule);
    refused(|facts| facts.medium = Medium::Other, Refusal::Medium);
}

#[test]
fn owners() {
    refused(|facts| facts.is_off = true, Refusal::Off);
    refused(|facts| facts.is_signed = true, Refusal::Signed);
    refused(|facts| facts.is_protected = true, Refusal::Protected);
    refused(|facts| facts.bootconf = None, Refusal::Bootconf);
    refused(|facts| facts.bootconf = Some("[all]\nFREEZE_VERSION=1\n"), Refusal::Frozen);
    // what the bootloader does by itself is not what is done here
    check(|facts| facts.bootconf = Some("ENABLE_SELF_UPDATE=0\n"), Decision::Update(FIRST));
}

#[test]
fn trials() {
    refused(|facts| facts.is_trial = true, Refusal::Trial);
    refused(|facts| facts.is_armed = true, Refusal::Trial);
    refused(|facts| facts.is_default = false, Refusal::Trial);
}

#[test]
fn files() {
    refused(|facts| facts.shipped = None, Refusal::NoFiles);
    let least = Chip::Bcm2711.least();
    let shipped = |version, manufacture| Some(Shipped { version, manufacture });
    refused(|facts| facts.shipped = shipped(least - 1, 0), Refusal::Old(least - 1));
    check(
        |facts| facts.shipped = shipped(least, 0),
        Decision::Update(Update { to: least, ..FIRST }),
    );
    refused(|facts| facts.manufacture = 2, Refusal::Manufacture(1, 2));
    check(|facts| facts.manufacture = 1, Decision::Update(FIRST));
    let mixed = stage::Error::Mixed;
    check(|facts| facts.files = Err(mixed), Decision::Refused(Refusal::Files(mixed)));
    check(
        |facts| (facts.files, facts.running) = (Err(mixed), running(NEW)),
        Decision::Current(NEW),
    );
    check(|facts| facts.files = Ok(State::Recovered(Chip::Bcm2711)), Decision::Restore);
}

#[track_caller]
fn tried(attempts: Option<Attempts<'static>>, files: State, expected: Decision) {
    check(|facts| (facts.attempts, facts.files) = (attempts, Ok(files)), expected);
}

#[test]
fn attempts() {
    let of = |version, count, boot_id| Some(Attempts { version, count, boot_id });
    let second = Update { attempt: 2, ..FIRST };
    tried(of(NEW, 1, "before"), State::AtRest, Decision::Update(second));
    // counted in this boot and not staged: the power was not cut, something else failed
    tried(of(NEW, 1, BOOT), State::AtRest, Decision::Update(second));
    let never = |count| Decision::Refused(Refusal::Exhausted(NEW, count));
    tried(of(NEW, 2, "before"), State::AtRest, never(2));
    tried(of(NEW, u32::MAX, "before"), State::AtRest, never(u32::MAX - 1));
    tried(of(NEW - 1, 2, "before"), State::AtRest, Decision::Update(FIRST));
    tried(None, State::AtRest, Decision::Refused(Refusal::Attempts));
    let staged = State::Staged(Chip::Bcm2711);
    tried(of(NEW, 1, BOOT), staged, Decision::Staged(FIRST));
    tried(of(NEW, 2, BOOT), staged, Decision::Staged(second));
    tried(of(NEW, 1, "before"), staged, Decision::Restore);
    tried(of(NEW - 1, 1, BOOT), staged, Decision::Restore);
    tried(of(NEW, 1, BOOT), State::Staged(Chip::Bcm2712), Decision::Restore);
    tried(None, staged, Decision::Restore);
    tried(of(NEW, 1, BOOT), State::Recovered(Chip::Bcm2711), Decision::Restore);
    check(|facts| facts.limit = 0, never(0));
}

#[test]
fn words() {
    let mixed = Refusal::Files(stage::Error::Mixed);
    for (decision, word, text) in [
        (Decision::NoEeprom, "no-eeprom", "the board has no bootloader in an eeprom"),
        (Decision::Current(7), "current", "the bootloader of 7 is as wanted"),
        (
            Decision::Update(FIRST),
            "update",
            "update of the BCM2711's bootloader from 1599135103 to 1779045198, attempt 1",
        ),
        (
            Decision::Staged(FIRST),
            "staged",
            "update of the BCM2711's bootloader from 1599135103 to 1779045198, attempt 1: written at the next reset",
        ),
        (
            Decision::Refused(Refusal::Off),
            "refused",
            "no update of the bootloader: pivot.eeprom=off",
        ),
        (
            Decision::Refused(Refusal::Exhausted(7, 2)),
            "refused",
            "no update of the bootloader: 7 was tried 2 times and does not run: never again",
        ),
        (
            Decision::Refused(mixed),
            "refused",
            "no update of the bootloader: eeprom files: pieeprom.upd, pieeprom.sig and recovery.bin are not all there, or not staged by this tool",
        ),
    ] {
        assert_eq!((decision.word(), decision.to_string().as_str()), (word, text));
    }
}
