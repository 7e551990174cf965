// SPDX-License-Identifier: MIT OR Apache-2.0

//! GRUB, and disks that two kinds of machines boot.

use super::{A_DEFAULT, B_DEFAULT, Case, INSTALL, TRY, case, trial};
use crate::{
    Slot,
    state::{Act, Command, Loader, Outcome, Selector, Way, decide},
};

const A: Selector = Selector::Set { default: Slot::A, trial: Some(Slot::B) };
const B: Selector = Selector::Set { default: Slot::B, trial: Some(Slot::A) };
const A_TOO: Act = Act::SelectOther { default: Slot::A, trial: Slot::B };
const B_TOO: Act = Act::SelectOther { default: Slot::B, trial: Slot::A };

fn grub(case: Case) -> Case {
    Case { loader: Loader::Grub, way: Way::Grubenv, ..case }
}

fn with(other: Selector, case: Case) -> Case {
    Case { other: Some(other), ..case }
}

#[test]
fn both_selectors() {
    let (commit, clear) = (Act::Log("commit", Slot::B), Act::ClearFlag);
    for of in [grub, |case| case] {
        of(trial()).plans(Command::Commit, &[commit, B_DEFAULT, clear]);
        with(A, of(trial())).plans(Command::Commit, &[commit, B_DEFAULT, B_TOO, clear]);
        // whatever it says, it says the same then
        with(B, of(trial())).plans(Command::Commit, &[commit, B_DEFAULT, B_TOO, clear]);
        let rollback = Act::Log("rollback", Slot::A);
        let plan = [rollback, B_DEFAULT, B_TOO, Act::Reboot];
        with(A, of(case())).plans(Command::Rollback, &plan);
        with(A, of(trial()))
            .plans(Command::Rollback, &[Act::Log("rollback", Slot::B), clear, Act::Reboot]);
        // as it was cut between the two
        with(B, of(case())).plans(Command::Commit, &[A_TOO]);
        with(A, of(case())).plans(Command::Commit, &[]);
        let mut damaged = with(B, of(case()));
        damaged.slots[0].verified = Err("differs".into());
        damaged.plans(Command::Commit, &[]);
    }
}

#[test]
fn a_slot_that_either_names_is_not_written() {
    let why =
        "slot b is the default in grubenv; `bootsel commit` makes slot a the default there, too";
    with(B, case()).refuses(INSTALL, why);
    let broken = with(Selector::Broken("torn".into()), case());
    broken.refuses(INSTALL, "torn, and slot b may be what another machine boots; `bootsel repair`");
    with(B, grub(case())).refuses(INSTALL, "slot b is the default in autoboot.txt");
    let free = with(A, case()).with(|facts| decide(facts, INSTALL));
    assert!(free.is_ok());
}

#[test]
fn repairs() {
    let repair = Act::Log("repair", Slot::A);
    let broken = || Selector::Broken("torn".into());
    with(broken(), case()).plans(Command::Repair, &[repair, A_TOO]);
    with(B, case()).plans(Command::Repair, &[repair, A_TOO]);
    with(A, case()).plans(Command::Repair, &[]);
    let own = Case { selector: broken(), ..case() };
    with(A, own.clone()).plans(Command::Repair, &[repair, A_DEFAULT, Act::ClearFlag]);
    let plan = [repair, A_DEFAULT, A_TOO, Act::ClearFlag];
    with(B, own).plans(Command::Repair, &plan);
    let mut damaged = with(broken(), case());
    damaged.slots[0].verified = Err("differs".into());
    damaged.refuses(Command::Repair, "slot a is booted and does not verify");
}

#[test]
fn a_trial_waits_for_grub() {
    let waits = with(A, Case { pending: true, ..case() });
    waits.refuses(INSTALL, "armed: `bootsel cancel`");
    waits.refuses(TRY, "armed in grubenv, for another machine");
    waits.plans(Command::Cancel, &[Act::ClearFlag, Act::Log("cancelled", Slot::B)]);
    let armed = grub(Case { pending: true, flag: Some(true), ..case() });
    armed.plans(TRY, &[Act::Log("armed", Slot::B), Act::SetFlag, Act::Reboot]);
    let later = armed.log("armed", "before", Slot::B);
    later.ended(&Outcome::Failed(
        "GRUB left it armed: it could not save grubenv, or was passed by".into(),
    ));
}

#[test]
fn what_is_not_shown() {
    let old = grub(Case { firmware: Err("grub.cfg is old".into()), ..case() });
    old.refuses(TRY, "grub.cfg is old: GRUB is not shown to know of trials");
    assert_eq!([Loader::Tryboot, Loader::Grub].map(Loader::as_str), ["tryboot", "grub"]);
}
