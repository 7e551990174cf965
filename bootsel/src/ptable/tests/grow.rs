// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is written when the last partition grows, and every state that a cut of power can leave.

use super::sparse::{MIB, Plan, START, Sparse, on_gpt, on_mbr};
use super::{DISK, fat32, four, gpt_entry, guid};
use crate::ptable::grow::Refusal;
use crate::ptable::{gpt, mbr};
use proptest::prelude::{prop_assert, prop_assert_eq, prop_assume, proptest};
use std::{vec, vec::Vec};

#[track_caller]
fn check(disk: &Sparse, expected: Result<Option<u64>, Refusal>) {
    let found = disk.plan(4, START * u64::from(disk.block));
    assert_eq!(found.map(|plan| plan.map(|plan| plan.length)), expected);
}

/// A card of 29 GiB, and what is too little to be worth it.
#[test]
fn it_grows_to_a_whole_mib_with_one_left() {
    let start = START * 512;
    check(&on_gpt(512, 131_072, 29 << 30), Ok(Some((29 << 30) - MIB - start)));
    check(&on_mbr(131_072, 29 << 30), Ok(Some((29 << 30) - MIB - start)));
    check(&on_mbr(131_072, (29 << 30) + 5 * 512), Ok(Some((29 << 30) - MIB - start)));
    check(&on_gpt(4096, 131_072, 29 << 30), Ok(Some((29 << 30) - MIB - START * 4096)));
    check(&on_gpt(512, 131_072, 64 * MIB), Ok(None));
    check(&on_gpt(512, 131_072, 72 * MIB), Ok(None));
    check(&on_gpt(512, 131_072, 73 * MIB), Ok(Some(72 * MIB - start)));
    check(&on_mbr(131_072, 72 * MIB), Ok(None));
    check(&on_mbr(131_072, 73 * MIB), Ok(Some(72 * MIB - start)));
    // A card that is smaller than its image.
    check(&on_mbr(131_072, 40 * MIB), Ok(None));
    check(&on_gpt(512, 131_072, 40 * MIB), Ok(None));
}

#[test]
fn an_mbr_ends_at_two_tib() {
    check(&on_mbr(131_072, 3 << 40), Ok(Some((2 << 40) - START * 512)));
    let full = u32::try_from((1_u64 << 32) - START).unwrap();
    let data = mbr::Entry { kind: 0x83, ..fat32(u32::try_from(START).unwrap(), full) };
    let head = mbr::write(1, &[fat32(1, 9), fat32(10, 9), fat32(20, 9), data]).unwrap();
    check(&Sparse { block: 512, bytes: 3 << 40, pieces: vec![(0, head.to_vec())] }, Ok(None));
}

#[test]
fn of_an_mbr_four_bytes_change() {
    let mut disk = on_mbr(131_072, 29 << 30);
    let before = disk.read(0, 512).unwrap();
    let Plan { writes, .. } = disk.plan(4, START * 512).unwrap().unwrap();
    let [(0, sector)] = &writes[..] else { panic!("{writes:?}") };
    assert_eq!(sector.len(), 512);
    let differ: Vec<usize> = (0..512).filter(|at| sector[*at] != before[*at]).collect();
    assert!(differ.iter().all(|at| (506..510).contains(at)), "{differ:?}");
    disk.write(&writes[0]);
    check(&disk, Ok(None));
    // A logical block is written whole.
    let large = Sparse { block: 4096, ..on_mbr(131_072, 29 << 30) };
    let Plan { writes, .. } = large.plan(4, START * 4096).unwrap().unwrap();
    assert_eq!((writes.len(), writes[0].1.len()), (1, 4096));
}

#[test]
fn refusals() {
    let gpt = |entries: &[gpt::Entry]| {
        let (head, _) = gpt::build(512, 131_072, guid(DISK), entries).unwrap();
        Sparse { block: 512, bytes: 1 << 30, pieces: vec![(0, head)] }
    };
    let [one, two, three, data] = four();
    let next = gpt_entry(5, data.last + 1, data.last + 1, "");
    check(&gpt(&[data.clone(), next]), Err(Refusal::NotLast));
    check(&gpt(&[one, two, three]), Err(Refusal::Another));
    let moved = gpt::Entry { first: START + 1, ..data.clone() };
    check(&gpt(&[moved]), Err(Refusal::Another));
    // Nobody writes a table with an overlap: the third is made longer, and the checksums right.
    let mut overlap = on_gpt(512, 131_072, 1 << 30);
    let head = &mut overlap.pieces[1].1;
    head[1024 + 2 * 128 + 40..][..8].copy_from_slice(&START.to_le_bytes());
    let crc = crate::ptable::crc32(&head[1024..]);
    gpt::put_places(&mut head[512..1024], 1, 131_071, 2, crc);
    check(&overlap, Err(Refusal::Overlap));

    let mbr = |entry: mbr::Entry, unused: u32| {
        let mut disk = on_mbr(131_072, 1 << 30);
        let head = &mut disk.pieces[0].1;
        head[446 + 8..][..4].copy_from_slice(&entry.start.to_le_bytes());
        head[446 + 12..][..4].copy_from_slice(&(entry.sectors - unused).to_le_bytes());
        disk
    };
    check(&mbr(fat32(131_072, 5), 0), Err(Refusal::NotLast));
    check(&mbr(fat32(131_071, 5), 0), Err(Refusal::Overlap));
    check(&mbr(fat32(5, 200_000), 0), Err(Refusal::Overlap));
    check(&mbr(fat32(200_000, 5), 5), Ok(Some(1023 * MIB - START * 512)));
    let disk = on_mbr(131_072, 1 << 30);
    assert_eq!(disk.plan(4, START * 512 + 512), Err(Refusal::Another));
    // A logical partition is not in this sector.
    assert_eq!(disk.plan(5, START * 512), Err(Refusal::Another));
    assert_eq!(disk.plan(0, START * 512), Err(Refusal::Another));
    check(&Sparse { pieces: Vec::new(), ..disk.clone() }, Err(Refusal::Damaged));
    check(&Sparse { bytes: 511, ..disk.clone() }, Err(Refusal::Unreadable));
    check(&Sparse { block: 0, ..disk.clone() }, Err(Refusal::Unreadable));
    check(&Sparse { block: 8192, ..disk }, Err(Refusal::Unreadable));
}

#[test]
fn a_damaged_gpt_is_left_alone() {
    let mut disk = on_gpt(512, 131_072, 1 << 30);
    disk.pieces[1].1[1024 + 40] ^= 1;
    check(&disk, Err(Refusal::Damaged));
}

/// A table that Linux takes and that is not what tools make is not mistaken for a damaged one: at the end of the disk
/// there may be a right one, of what was on the card before.
#[test]
fn an_unusual_gpt_is_left_alone() {
    let mut disk = on_gpt(512, 131_072, 1 << 30);
    let stale = on_gpt(512, (1 << 30) / 512, 1 << 30);
    let head = &mut disk.pieces[1].1;
    head[512 + 80..][..4].copy_from_slice(&64_u32.to_le_bytes());
    let crc = crate::ptable::crc32(&head[1024..][..64 * 128]);
    gpt::put_places(&mut head[512..1024], 1, 131_071, 2, crc);
    check(&disk, Err(Refusal::Unusual));
    disk.pieces.push(stale.pieces[2].clone());
    check(&disk, Err(Refusal::Unusual));
    // Its partition begins before the first sector that one may have: with the last such sector put right it would be
    // no table at all.
    let mut disk = on_gpt(512, 131_072, 1 << 30);
    let head = &mut disk.pieces[1].1;
    head[512 + 40..][..16].copy_from_slice(&[0x7f; 16]);
    let crc = crate::ptable::crc32(&head[1024..][..128 * 128]);
    gpt::put_places(&mut head[512..1024], 1, 131_071, 2, crc);
    check(&disk, Err(Refusal::Unusual));
    // A usual one does not look at that either.
    let mut disk = on_gpt(512, 131_072, 1 << 30);
    let expected = disk.plan(4, START * 512);
    disk.pieces.push(stale.pieces[2].clone());
    assert_eq!(disk.plan(4, START * 512), expected);
}

/// The states between: every number of whole writes, and every number of blocks of the next.
fn states(disk: &Sparse, writes: &[(u64, Vec<u8>)]) -> Vec<Sparse> {
    let block = usize::try_from(disk.block).unwrap();
    let (mut states, mut done) = (vec![disk.clone()], disk.clone());
    for (offset, bytes) in writes {
        for end in (block..=bytes.len()).step_by(block) {
            let mut state = done.clone();
            state.write(&(*offset, bytes[..end].to_vec()));
            states.push(state);
            // The other order: a disk may write the end of a request first.
            let mut state = done.clone();
            let from = bytes.len() - end;
            state.write(&(offset + u64::try_from(from).unwrap(), bytes[from..].to_vec()));
            states.push(state);
        }
        done.write(&(*offset, bytes.clone()));
    }
    states
}

/// How many states have no readable partition 4, or one that is neither the old nor the new one.
fn bad_states(disk: &Sparse, plan: &Plan) -> usize {
    let old = disk.seen().unwrap();
    let new = (old.0, old.0 + plan.length / u64::from(disk.block) - 1);
    let wrong = |state: &&Sparse| !state.seen().is_some_and(|seen| [old, new].contains(&seen));
    states(disk, &plan.writes).iter().filter(wrong).count()
}

/// What sfdisk and sgdisk say of states: partition 4's start stays, its end is the old or the new one.
#[track_caller]
fn judged_by_tools(name: &str, disk: &Sparse) {
    let plan = disk.plan(4, START * 512).unwrap().unwrap();
    let old = disk.seen().unwrap();
    let sectors = [old.1 - START + 1, plan.length / 512];
    // Between two of them only unused entries are written.
    let states = states(disk, &plan.writes);
    let ends = states.len().saturating_sub(9);
    for (number, state) in states.iter().enumerate().filter(|(at, _)| at % 7 == 0 || *at >= ends) {
        let mut file = super::tools::Disk::new(&std::format!("{name}-{number}"), state.bytes);
        state.pieces.iter().for_each(|(offset, bytes)| file.write(*offset, bytes));
        let Some(text) = file.run("sfdisk", &["--dump"], "") else { return };
        let known = sectors.iter().any(|sectors| {
            text.contains(&std::format!("start={START:>12}, size={sectors:>12}, type="))
        });
        assert!(known, "state {number}: {text}");
    }
    let mut file = super::tools::Disk::new(name, disk.bytes);
    let writes = disk.pieces.iter().chain(&plan.writes);
    writes.for_each(|(offset, bytes)| file.write(*offset, bytes));
    if let Some(text) = file.run("sfdisk", &["--verify"], "") {
        assert!(text.contains("No errors detected"), "{text}");
    }
    if mbr::is_protective(&disk.read(0, 512).unwrap())
        && let Some(text) = file.run("sgdisk", &["-v"], "")
    {
        assert!(text.contains("No problems found") && !text.contains("Caution"), "{text}");
    }
}

#[test]
fn tools_see_the_old_partition_or_the_new_one() {
    judged_by_tools("grow-mbr", &on_mbr(131_072, 1 << 30));
    judged_by_tools("grow-gpt", &on_gpt(512, 131_072, 1 << 30));
}

fn cut_anywhere(disk: &Sparse) {
    let start = START * u64::from(disk.block);
    let whole = disk.plan(4, start).unwrap().unwrap();
    assert_eq!(bad_states(disk, &whole), 0);
    let mut end = disk.clone();
    whole.writes.iter().for_each(|write| end.write(write));
    check(&end, Ok(None));
    for (number, mut state) in states(disk, &whole.writes).into_iter().enumerate() {
        // Where the first table is damaged, one boot mends it with what the second says.
        for _ in 0..2 {
            if let Some(next) = state.plan(4, start).unwrap() {
                // Cut once more; every eleventh for the sake of time.
                assert!(number % 11 != 0 || bad_states(&state, &next) == 0);
                next.writes.iter().for_each(|write| state.write(write));
            }
        }
        check(&state, Ok(None));
        assert_eq!(state.seen(), end.seen());
        for (offset, bytes) in &whole.writes {
            assert!(state.read(*offset, bytes.len()) == end.read(*offset, bytes.len()));
        }
    }
}

#[test]
fn a_cut_leaves_the_old_partition_or_the_new_one_and_is_finished() {
    cut_anywhere(&on_gpt(512, 131_072, 1 << 30));
    cut_anywhere(&on_gpt(4096, 131_072, 1 << 30));
    cut_anywhere(&on_mbr(131_072, 1 << 30));
}

/// The suite can fail: the first table before the second, and the second where the first still has to be whole.
#[test]
fn the_other_order_is_found() {
    let disk = on_gpt(512, 131_072, 1 << 30);
    let mut plan = disk.plan(4, START * 512).unwrap().unwrap();
    assert_eq!(plan.writes.len(), 3);
    plan.writes.reverse();
    assert!(bad_states(&disk, &plan) > 0);
    plan.writes.reverse();
    // Not written at all.
    plan.writes.remove(0);
    assert!(bad_states(&disk, &plan) > 0);
}

/// What a half-done growth has right already is not written again.
#[test]
fn only_what_differs_is_written() {
    let mut disk = on_gpt(512, 131_072, 1 << 30);
    let whole = disk.plan(4, START * 512).unwrap().unwrap();
    disk.write(&whole.writes[0]);
    let rest = disk.plan(4, START * 512).unwrap().unwrap();
    assert_eq!(rest.writes, whole.writes[1..]);
    // The first table torn: it alone is made anew, from the second.
    disk.write(&whole.writes[1]);
    let (offset, bytes) = &whole.writes[2];
    disk.write(&(*offset, bytes[..512].to_vec()));
    let mend = disk.plan(4, START * 512).unwrap().unwrap();
    assert_eq!(mend, rest);
}

proptest! {
    #[test]
    fn any_disk(image in 32_768..500_000_u64, disk in 16..4_000_000_u64, block in 0..4_u32) {
        let block = 512 << block;
        let mut sparse = on_gpt(block, image, (1 << 40) + disk * u64::from(block));
        let start = START * u64::from(block);
        prop_assume!(image * u64::from(block) < 1 << 40);
        let plan = sparse.plan(4, start).unwrap().unwrap();
        prop_assert_eq!((start + plan.length) % MIB, 0);
        prop_assert!(start + plan.length <= sparse.bytes - MIB);
        prop_assert!(start + plan.length > sparse.bytes - 2 * MIB);
        plan.writes.iter().for_each(|write| sparse.write(write));
        prop_assert_eq!(sparse.plan(4, start), Ok(None));
        prop_assert_eq!(sparse.seen().unwrap().0, START);
    }

    /// Hostile tables give a refusal or a plan that stays on the disk, never a panic.
    #[test]
    fn any_bytes(place in 0..17_408_usize, byte: u8, crc: bool, disk in 0..(4_u64 << 40), gpt: bool) {
        let mut sparse = if gpt { on_gpt(512, 131_072, 1 << 30) } else { on_mbr(131_072, 1 << 30) };
        sparse.bytes = disk;
        let piece = usize::from(gpt);
        let head = &mut sparse.pieces[piece].1;
        let place = place % head.len();
        head[place] = byte;
        if crc && gpt {
            let sum = crate::ptable::crc32(&head[1024..]);
            gpt::put_places(&mut head[512..1024], 1, 131_071, 2, sum);
        }
        for number in 0..6 {
            if let Ok(Some(plan)) = sparse.plan(number, START * 512) {
                prop_assert!(START * 512 + plan.length <= disk);
                for (offset, bytes) in plan.writes {
                    prop_assert!(offset + u64::try_from(bytes.len()).unwrap() <= disk);
                }
            }
        }
    }
}
