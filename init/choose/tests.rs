// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Candidate, Choice, Facts, State, revision};
use bootsel::Slot;
use mount::text;
use std::{slice::from_ref, vec, vec::Vec};

fn broken(root_usable: bool) -> State {
    State::Broken { reason: "root.squashfs is cut off", root_usable }
}

fn candidate(id: &'static str, version: u64, state: State) -> Candidate {
    Candidate { id, version, was_tried: false, state }
}

fn decide(
    candidates: &[Candidate],
    trial: bool,
    slot: Option<Slot>,
    fallback_used: bool,
) -> Choice {
    let wanted = "5";
    revision(&Facts { wanted, candidates, release: "6.12.1", trial, slot, fallback_used })
}

/// A committed slot a that has not fallen back.
#[track_caller]
fn check(candidates: &[Candidate], expected: Choice) {
    assert_eq!(decide(candidates, false, Some(Slot::A), false), expected);
}

fn boot(id: &'static str, degraded: Option<&'static str>) -> Choice {
    Choice::Boot { id, degraded }
}

fn fail(reason: &'static str) -> Choice {
    Choice::Fail { reason }
}

fn other_slot(slot: Slot, reason: &'static str) -> Choice {
    Choice::OtherSlot { slot, reason }
}

fn rescue(reason: &'static str) -> Choice {
    Choice::Rescue { reason }
}

#[test]
fn committed_and_complete() {
    let other = candidate("9", 9, State::Complete);
    check(&[other, candidate("5", 5, State::Complete)], boot("5", None));
    check(&[candidate("5", 0, State::Complete)], boot("5", None));
}

#[test]
fn committed_without_modules_boots_on() {
    let wanted = candidate("5", 5, State::NoModulesImage);
    let degraded = Some("revision 5: no modules image for 6.12.1");
    check(from_ref(&wanted), boot("5", degraded));
    check(&[candidate("4", 4, State::Complete), wanted], boot("5", degraded));
}

#[test]
fn committed_and_broken_takes_another_revision() {
    let instead = |id: &'static str, why: &str| {
        boot(id, Some(text!("revision 5: {}; revision {} instead", why, id)))
    };
    let four = candidate("4", 4, State::Complete);
    let (cut, gone) = ("root.squashfs is cut off", "not there");
    check(from_ref(&four), instead("4", gone));
    check(&[candidate("5", 5, broken(false)), four], instead("4", cut));
    check(&[candidate("5", 5, broken(true)), four], instead("4", cut));
    // The highest version, not the first; then the id.
    let three = candidate("3", 6, State::Complete);
    check(&[four, three, candidate("2", 5, State::Complete)], instead("3", gone));
    check(&[candidate("b", 4, State::Complete), four], instead("b", gone));
    check(&[four, candidate("b", 4, State::Complete)], instead("b", gone));
    // Without this kernel's modules, or broken, it is none.
    let no_modules = candidate("9", 9, State::NoModulesImage);
    check(&[no_modules, candidate("8", 8, broken(true)), four], instead("4", gone));
}

#[test]
fn committed_and_nothing_complete() {
    let cut = "revision 5: root.squashfs is cut off";
    let gone = "revision 5: not there";
    let no_modules = candidate("9", 9, State::NoModulesImage);
    let (usable, unusable) = (candidate("5", 5, broken(true)), candidate("5", 5, broken(false)));
    check(&[], other_slot(Slot::B, gone));
    check(from_ref(&no_modules), other_slot(Slot::B, gone));
    check(from_ref(&usable), other_slot(Slot::B, cut));
    let b = Some(Slot::B);
    assert_eq!(decide(from_ref(&unusable), false, b, false), other_slot(Slot::A, cut));
    // Once.
    assert_eq!(decide(from_ref(&usable), false, b, true), boot("5", Some(cut)));
    let tried = "revision 5: root.squashfs is cut off; the other slot was tried";
    assert_eq!(decide(from_ref(&unusable), false, b, true), rescue(tried));
    let tried = "revision 5: not there; the other slot was tried";
    assert_eq!(decide(&[no_modules], false, b, true), rescue(tried));
    // Which one would the other slot be?
    assert_eq!(decide(&[usable], false, None, false), boot("5", Some(cut)));
    let unknown = "revision 5: root.squashfs is cut off; which slot this is is not known";
    assert_eq!(decide(&[unusable], false, None, false), rescue(unknown));
}

#[test]
fn trial() {
    let four = candidate("4", 4, State::Complete);
    let check = |state: Option<State>, expected: Choice| {
        let mut candidates = vec![four];
        candidates.extend(state.map(|state| candidate("5", 5, state)));
        for slot in [None, Some(Slot::A), Some(Slot::B)] {
            for used in [false, true] {
                assert_eq!(decide(&candidates, true, slot, used), expected);
            }
        }
    };
    check(Some(State::Complete), boot("5", None));
    check(Some(State::NoModulesImage), fail("revision 5: no modules image for 6.12.1"));
    check(Some(broken(true)), fail("revision 5: root.squashfs is cut off"));
    check(Some(broken(false)), fail("revision 5: root.squashfs is cut off"));
    check(None, fail("revision 5: not there"));
}

/// What must hold for every combination of facts, whatever the table above forgot.
#[test]
fn invariants() {
    let states = || {
        [None, Some(State::Complete), Some(State::NoModulesImage), Some(broken(true))]
            .into_iter()
            .chain([Some(broken(false))])
    };
    let mut seen = 0;
    for (wanted, first) in states().flat_map(|wanted| states().map(move |s| (wanted, s))) {
        for (second, bits) in states().flat_map(|second| (0..12).map(move |b| (second, b))) {
            let (trial, used) = (bits & 1 != 0, bits & 2 != 0);
            let slot = [None, Some(Slot::A), Some(Slot::B)][bits / 4];
            let candidates: Vec<Candidate> = [("4", first), ("5", wanted)]
                .into_iter()
                .chain([("6", second)])
                .filter_map(|(id, state)| Some(candidate(id, 1, state?)))
                .collect();
            invariant(&decide(&candidates, trial, slot, used), &candidates, trial, slot, used);
            seen += 1;
        }
    }
    assert_eq!(seen, 5 * 5 * 5 * 12);
}

#[track_caller]
fn invariant(
    choice: &Choice,
    candidates: &[Candidate],
    trial: bool,
    slot: Option<Slot>,
    used: bool,
) {
    let state = |id: &str| candidates.iter().find(|c| c.id == id).map(|c| &c.state);
    let complete = |id: &str| state(id) == Some(&State::Complete);
    match choice {
        Choice::Boot { id, degraded: None } => assert!(*id == "5" && complete("5")),
        Choice::Boot { id, degraded: Some(_) } => {
            assert!(!trial && !complete("5"));
            let usable = matches!(
                state("5"),
                Some(State::NoModulesImage | State::Broken { root_usable: true, .. })
            );
            assert!(if *id == "5" { usable } else { complete(id) });
        }
        Choice::OtherSlot { slot: to, .. } => {
            assert!(!trial && !used && Some(to.other()) == slot);
            assert!(!candidates.iter().any(|c| c.state == State::Complete));
        }
        Choice::Rescue { .. } => {
            assert!(!trial && (used || slot.is_none()));
            assert!(!candidates.iter().any(|c| c.state == State::Complete));
        }
        Choice::Fail { .. } => assert!(trial && !complete("5")),
    }
}
