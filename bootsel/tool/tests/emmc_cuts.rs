// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bootsel emmc` is ended before each of its calls that change something, and asked to end there: the active boot
//! partition is always a whole image, what is half written looks like none, and the next command closes what was left open.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod card;
mod device;
mod traced;

use card::{Emmc, Step, image, old};

/// Its header lies behind the first chunk that is compared, and it ends within a sector.
const HEADER: usize = 33 << 10;

fn new() -> Vec<u8> {
    image(HEADER, 200_003, "new")
}

fn is_new(bytes: &[u8]) -> bool {
    bytes.starts_with(&new())
}

/// Whatever was done, boot0 is what it was, and boot1 is not active unless it is whole; it is none where it is not.
#[track_caller]
fn judge(emmc: &Emmc) {
    assert!(emmc.holds(0) == old(0) && emmc.force_ro(0));
    let other = emmc.holds(1);
    let whole = other == old(1) || is_new(&other);
    assert!(whole || other[HEADER..HEADER + 512] == [0; 512]);
    match emmc.card.active() {
        Some(0) => {}
        Some(1) => assert!(is_new(&other)),
        other => assert_eq!(other, Some(0)),
    }
    assert!(emmc.card.ext_csd[179] & 0x47 == 0x40);
}

/// The same command again brings it to its end; once there, it changes nothing.
#[test]
fn killed() {
    let mut emmc = Emmc::new();
    let file = &emmc.file("new.img", &new());
    for command in ["update", "write"] {
        let (mut points, mut open, mut half) = (0, 0, 0);
        for until in 1.. {
            emmc.reset();
            let code = emmc.killed(&[command, file], until);
            judge(&emmc);
            open += usize::from(!emmc.force_ro(1));
            half += usize::from(!is_new(&emmc.holds(1)) && emmc.holds(1) != old(1));
            let active = emmc.card.active();
            // what closes it need not write
            if active == Some(0) && !emmc.note().exists() {
                assert_eq!(emmc.run(&["switch"]).code, 1);
                assert!(emmc.force_ro(1));
                judge(&emmc);
            }
            emmc.done(&[command, file]);
            judge(&emmc);
            let expected = if command == "update" { Some(1) } else { Some(0) };
            assert_eq!((emmc.card.active(), is_new(&emmc.holds(1))), (expected, true));
            assert!(emmc.card.switches.len() <= 1);
            if let Some(code) = code {
                assert_eq!((code, active), (0, expected));
                break;
            }
            points += 1;
        }
        assert!(points >= 12 && open >= 8 && half >= 5, "{points} {open} {half}");
    }
}

#[test]
fn killed_while_switching() {
    let mut emmc = Emmc::new();
    let file = &emmc.file("new.img", &new());
    for until in 1.. {
        emmc.reset();
        emmc.done(&["write", file]);
        let code = emmc.killed(&["switch"], until);
        judge(&emmc);
        emmc.done(&["switch"]);
        judge(&emmc);
        assert_eq!((emmc.card.active(), emmc.card.switches.len()), (Some(1), 1));
        if code.is_some() {
            assert!(until >= 2);
            break;
        }
    }
}

/// A signal that comes while the partition is open is held back until it is closed.
#[test]
fn terminated() {
    let mut emmc = Emmc::new();
    let file = &emmc.file("new.img", &new());
    let (mut early, mut late) = (0, 0);
    for until in 1.. {
        emmc.reset();
        let code = emmc.terminated(&["update", file], until);
        judge(&emmc);
        assert!(emmc.force_ro(1), "{until}");
        let other = emmc.holds(1);
        assert!(other == old(1) || is_new(&other), "{until}");
        if code == 0 {
            break;
        }
        // as a shell says SIGTERM
        assert_eq!(code, 128 + 15);
        early += usize::from(other == old(1));
        late += usize::from(is_new(&other));
    }
    assert!(early >= 1 && late >= 8, "{early} {late}");
}

/// What an eMMC whose power is cut may have: of what was written since the last barrier any sectors, and the register
/// with or without them.
struct Cut {
    boot1: Vec<u8>,
    switched: bool,
}

/// One thing that reaches the medium by itself.
#[derive(Clone)]
enum Piece {
    Sector(usize, Vec<u8>),
    Switch,
}

impl Cut {
    fn take(&mut self, piece: &Piece) {
        match piece {
            Piece::Sector(at, bytes) => self.boot1[*at..at + bytes.len()].copy_from_slice(bytes),
            Piece::Switch => self.switched = true,
        }
    }

    /// Whole where it is active; where it is not, old, whole, or nothing that an SoC takes for an image.
    fn is_good(&self) -> bool {
        let whole = is_new(&self.boot1);
        let none = self.boot1[HEADER..HEADER + 512] == [0; 512];
        whole || !self.switched && (none || self.boot1 == old(1))
    }
}

/// What was done between two barriers, a list for each.
fn epochs(steps: &[Step]) -> Vec<Vec<Piece>> {
    let mut epochs = vec![Vec::new()];
    for step in steps {
        let last = epochs.last_mut().unwrap();
        match step {
            Step::Write(at, bytes) => {
                let sectors = bytes.chunks(512).enumerate();
                last.extend(sectors.map(|(n, part)| Piece::Sector(at + n * 512, part.to_vec())));
            }
            Step::Switch => last.push(Piece::Switch),
            Step::Sync => epochs.push(Vec::new()),
        }
    }
    epochs
}

/// How many states there are that are not good, of all that were looked at: at any place, each piece alone, all but each,
/// all up to each, and some by chance.
fn bad_states(steps: &[Step]) -> (usize, usize) {
    let (mut done, mut bad, mut all) = (Vec::new(), 0, 0);
    for epoch in epochs(steps) {
        let count = epoch.len();
        let alone = (0..count).map(|n| vec![n]);
        let but = (0..count).map(|n| (0..count).filter(|other| *other != n).collect());
        let up_to = (0..=count).map(|n| (0..n).collect());
        let mut seed = 1_u32;
        let mut chance = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed >> 31 == 1
        };
        let some: Vec<Vec<usize>> =
            (0..50).map(|_| (0..count).filter(|_| chance()).collect()).collect();
        for taken in alone.chain(but).chain(up_to).chain(some) {
            let mut cut = Cut { boot1: old(1), switched: false };
            done.iter().for_each(|piece| cut.take(piece));
            taken.iter().for_each(|n| cut.take(&epoch[*n]));
            (all, bad) = (all + 1, bad + usize::from(!cut.is_good()));
        }
        done.extend(epoch);
    }
    (bad, all)
}

/// The power is cut anywhere, and the eMMC had written what it liked of what was under way. Each barrier is needed.
#[test]
fn sectors_in_any_order() {
    let mut emmc = Emmc::new();
    let file = &emmc.file("new.img", &new());
    emmc.done(&["update", file]);
    let steps = emmc.card.steps.clone();
    let (bad, all) = bad_states(&steps);
    assert!(bad == 0 && all > 1000, "{bad} of {all}");
    let barriers: Vec<_> = (0..steps.len()).filter(|n| matches!(steps[*n], Step::Sync)).collect();
    assert_eq!(barriers.len(), 3);
    for barrier in barriers {
        let mut without = steps.clone();
        without.remove(barrier);
        assert!(bad_states(&without).0 > 0, "step {barrier} is not needed");
    }
}
