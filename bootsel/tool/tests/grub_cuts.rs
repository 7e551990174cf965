// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool is ended before each of its calls that change something, on a disk that GRUB boots and on one that a
//! Raspberry Pi boots, too: whatever starts next is a slot that was good, and the next commands bring it in order.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;
mod traced;
mod uefi;

use bootsel::Slot;
use device::revision;
use traced::firmware::Firmware;
use traced::{End, run};
use uefi::{Uefi, block};

const TRY: [&str; 2] = ["try", "--no-reboot"];
const A: &str = "pivot_default=a\npivot_trial=\n";
const B: &str = "pivot_default=b\npivot_trial=\n";

/// Both kinds of disk, as they are after these steps.
fn prepared(prepare: impl Fn(&mut Uefi)) -> [Uefi; 2] {
    [Uefi::new(), Uefi::both()].map(|mut uefi| {
        prepare(&mut uefi);
        uefi
    })
}

fn others_default(uefi: &Uefi, both: bool) -> Option<u8> {
    both.then(|| uefi.device.autoboot().default())
}

/// Ends the command everywhere; `judge` is given the device, whether it has both selectors, and whether the command came
/// to its end. How often it was ended.
fn everywhere(
    prepare: impl Fn(&mut Uefi),
    arguments: &[&str],
    judge: impl Fn(&mut Uefi, bool, bool),
) -> usize {
    let mut firmware = Firmware::new(0, 0, "");
    let (mut points, mut ended) = (0, [false; 2]);
    for until in 1.. {
        for (kind, uefi) in prepared(&prepare).iter_mut().enumerate() {
            if !ended[kind] {
                let end = run(&uefi.device, arguments, &mut firmware, Some(until));
                ended[kind] = match end {
                    End::Exited(outcome) => outcome.code == 0,
                    End::Killed(_) => false,
                };
                points += usize::from(!ended[kind]);
                judge(uefi, kind == 1, ended[kind]);
            }
        }
        if ended == [true; 2] {
            break;
        }
    }
    points
}

fn in_trial(uefi: &mut Uefi) {
    uefi.device.done(&TRY);
    assert_eq!(uefi.boot(), (Slot::B, true));
}

/// What is between the two selectors is brought in order by the next commit of the default slot.
fn in_order(uefi: &mut Uefi, both: bool) {
    let (slot, trial) = uefi.boot();
    assert!(!trial);
    uefi.device.done(&["commit"]);
    uefi.says(if slot == Slot::A { A } else { B });
    if let Some(other) = others_default(uefi, both) {
        assert_eq!(u32::from(other), slot.partition());
    }
    let warnings = &uefi.device.status()["warnings"];
    assert_eq!(warnings.as_array().map(Vec::len), Some(0), "{warnings}");
}

#[test]
fn commit() {
    let points = everywhere(in_trial, &["commit"], |uefi, both, ended| {
        let other = others_default(uefi, both);
        let (slot, trial) = uefi.boot();
        assert!(!trial && (slot == Slot::B || !ended));
        // GRUB's selector is the running one's, and the first
        assert!(slot == Slot::B || other.is_none_or(|other| other == 2));
        in_order(uefi, both);
    });
    assert!(points >= 8, "{points}");
}

#[test]
fn arming() {
    let points = everywhere(
        |_| {},
        &TRY,
        |uefi, both, ended| {
            let armed = uefi.device.status()["armed"] == true;
            assert!(armed || !ended);
            let expected = if armed { (Slot::B, true) } else { (Slot::A, false) };
            assert_eq!(uefi.boot(), expected);
            in_order(uefi, both);
        },
    );
    assert!(points >= 8, "{points}");
    let armed = |uefi: &mut Uefi| drop(uefi.device.done(&TRY));
    everywhere(armed, &["cancel"], |uefi, both, ended| {
        let (slot, trial) = uefi.boot();
        assert!(slot == Slot::A || trial && !ended);
        in_order(uefi, both);
    });
}

#[test]
fn rollback() {
    everywhere(
        |_| {},
        &["rollback", "--no-reboot"],
        |uefi, both, ended| {
            let (slot, trial) = uefi.boot();
            assert!(!trial && (slot == Slot::B || !ended));
            in_order(uefi, both);
        },
    );
}

/// The first slot that could be started is, until the block is whole again.
#[test]
fn repair() {
    let second = format!("{A}# {}\npivot_default=b\n", "x".repeat(600));
    for damaged in [vec![0; 1024], block(&second), block(&format!("{B}{A}"))] {
        let damage = |uefi: &mut Uefi| {
            uefi.overwrite(&damaged);
            uefi.boot();
        };
        everywhere(damage, &["repair"], |uefi, both, ended| {
            let problem = &uefi.device.status()["selector_problem"];
            assert!(problem.is_null() || !ended, "{problem}");
            uefi.boot();
            uefi.device.done(&["repair"]);
            in_order(uefi, both);
        });
    }
}

/// The slot that is written starts at no time, and can be written again.
#[test]
fn install() {
    let prepare = |uefi: &mut Uefi| drop(uefi.device.bundle(&revision("2", 2)));
    for kind in [Uefi::new, Uefi::both] {
        for until in (1..60).step_by(7) {
            let mut uefi = kind();
            prepare(&mut uefi);
            let bundle = uefi.device.path("2.bundle");
            let install = ["install", bundle.to_str().unwrap()];
            let mut firmware = Firmware::new(0, 0, "");
            run(&uefi.device, &install, &mut firmware, Some(until));
            uefi.says(A);
            assert_eq!(uefi.boot(), (Slot::A, false));
            uefi.device.done(&install);
            uefi.device.done(&TRY);
            assert_eq!(uefi.boot(), (Slot::B, true));
        }
    }
}
