// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{BOOTED, BYTES, FALLBACK, RECORD_BYTES, RECORDS, Record, fallback_used, next, parse};
use crate::Slot;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use std::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

const BOOT_ID: &str = "5c9b8a0e-6f0c-4a0b-9a55-0d5b8a4c3e21";

fn record(event: &str, message: &str) -> Record {
    Record {
        counter: 0,
        boot_id: BOOT_ID.to_owned(),
        slot: Some(Slot::A),
        revision: "2026.11-3".to_owned(),
        event: event.to_owned(),
        message: message.to_owned(),
    }
}

fn append(log: &mut [u8], record: Record) {
    append_torn(log, record, RECORD_BYTES);
}

/// Only the first bytes of the record reach the disk.
fn append_torn(log: &mut [u8], record: Record, written: usize) {
    let (offset, bytes) = next(log, record).unwrap();
    let offset = usize::try_from(offset).unwrap();
    log[offset..offset + written].copy_from_slice(&bytes[..written]);
}

/// A log whose newest record has this counter.
fn log_at(counter: u32) -> Vec<u8> {
    let mut log = vec![0; BYTES];
    let place = counter as usize % RECORDS * RECORD_BYTES;
    let bytes = Record { counter, ..record(BOOTED, "") }.to_bytes();
    log[place..place + RECORD_BYTES].copy_from_slice(&bytes);
    log
}

fn counters(log: &[u8]) -> Vec<u32> {
    parse(log).iter().map(|record| record.counter).collect()
}

#[track_caller]
fn check_message(message: &str, expected: &str) {
    let mut log = vec![0; BYTES];
    append(&mut log, record("event", message));
    assert_eq!(parse(&log)[0].message, expected);
}

#[test]
fn bytes_on_disk() {
    let (offset, bytes) = next(&[0; BYTES], record(BOOTED, "root: ext4")).unwrap();
    let line = " counter=0 boot_id=5c9b8a0e-6f0c-4a0b-9a55-0d5b8a4c3e21 slot=a \
                revision=2026.11-3 event=booted message=root: ext4\n";
    assert_eq!(offset, 0);
    assert_eq!(&bytes[18..18 + line.len()], line.as_bytes());
    assert!(bytes[18 + line.len()..].iter().all(|byte| *byte == 0));
    // `python3 -c 'import zlib; print(hex(zlib.crc32(line.ljust(494, b"\0"))))'`
    assert_eq!(&bytes[..18], b"pivot crc=faf7b1b7");
}

#[test]
fn empty_and_short() {
    assert!(parse(&[]).is_empty());
    assert!(parse(&[0; BYTES]).is_empty());
    assert_eq!(next(&[], record("event", "")), None);
    assert_eq!(next(&[0; BYTES - 1], record("event", "")), None);
    assert!(next(&[0xff; BYTES + 4096], record("event", "")).is_some());
}

#[test]
fn ring() {
    let mut log = vec![0; BYTES];
    for n in 0..140_u32 {
        append(&mut log, record("event", &n.to_string()));
        let oldest = (n + 1).saturating_sub(64);
        assert_eq!(counters(&log), (oldest..=n).collect::<Vec<_>>());
        assert_eq!(parse(&log).last().unwrap().message, n.to_string());
    }
    assert_eq!(log.len(), BYTES);
    // What lies past the ring is not read.
    log.extend_from_slice(&Record { counter: 140, ..record("event", "") }.to_bytes());
    assert_eq!(parse(&log).last().unwrap().counter, 139);
}

#[test]
fn counter_wraps() {
    for start in [u32::MAX - 1, u32::MAX - 63, u32::MAX - 64, 0x7fff_ffff, u32::MAX] {
        let mut log = log_at(start);
        let mut expected = vec![start];
        for _ in 0..70 {
            append(&mut log, record("event", ""));
            expected.push(expected.last().unwrap().wrapping_add(1));
            let oldest = expected.len().saturating_sub(64);
            assert_eq!(counters(&log), expected[oldest..]);
        }
    }
}

#[test]
fn messages() {
    check_message("", "");
    check_message("  two = three message=x ", "  two = three message=x ");
    check_message("a\nb\r\n\tc\0d\u{1b}[2J\u{85}", "a b   c d [2J ");
    // 494 bytes after the checksum, 102 before the message, one for the newline.
    let room = 494 - 102 - 1;
    check_message(&"x".repeat(1000), &"x".repeat(room));
    check_message(&"ä".repeat(1000), &"ä".repeat(room / 2));
    check_message(&("x".to_owned() + &"ä".repeat(1000)), &("x".to_owned() + &"ä".repeat(195)));
    check_message(&"😀".repeat(1000), &"😀".repeat(room / 4));
}

#[test]
fn hostile_words() {
    let mut log = vec![0; BYTES];
    let word = "a b\n\0=ä".to_owned();
    let revision = "r".repeat(1000);
    let (boot_id, event) = (word.clone(), "e".repeat(1000));
    append(&mut log, Record { boot_id, event, revision, slot: None, ..record("", "m") });
    let read = parse(&log)[0];
    assert_eq!((read.boot_id, read.slot), ("a_b__=_", None));
    assert_eq!((read.revision, read.event), (&*"r".repeat(64), &*"e".repeat(64)));
    assert_eq!(read.message, "m");
    // The longest of everything leaves the message 240 bytes.
    let longest = "😀".repeat(64);
    let record = Record {
        counter: u32::MAX,
        boot_id: longest.clone(),
        slot: None,
        revision: longest.clone(),
        event: longest,
        message: "x".repeat(512),
    };
    let place = u32::MAX as usize % RECORDS;
    assert_eq!(Record::parse(&record.to_bytes(), place).unwrap().message, "x".repeat(240));
}

#[test]
fn torn_at_every_byte() {
    let mut full = vec![0; BYTES];
    for n in 0..70 {
        append(&mut full, record("event", &format!("record {n}")));
    }
    let before = counters(&full);
    // Every byte of the text, some of the zeros after it.
    for written in (0..160).chain((160..RECORD_BYTES).step_by(50)) {
        let mut log = full.clone();
        append_torn(&mut log, record("other", "a longer message"), written);
        // Either the oldest was not touched yet, or it is lost; the new one is not there, but where
        // all that was missing of it were bytes that both have.
        let after = counters(&log);
        assert!(after == before || after == before[1..] || after.last() == Some(&70));
        // And the next one takes the same place.
        let lost = after.last() == Some(&69);
        append(&mut log, record("event", "again"));
        assert_eq!(counters(&log).last(), Some(if lost { &70 } else { &71 }));
    }
}

#[test]
fn a_record_in_the_wrong_place_is_garbage() {
    let mut log = vec![0; BYTES];
    append(&mut log, record("event", ""));
    let copy: Vec<u8> = log[..RECORD_BYTES].to_vec();
    log[RECORD_BYTES..2 * RECORD_BYTES].copy_from_slice(&copy);
    assert_eq!(counters(&log), [0]);
    log[..RECORD_BYTES].fill(0);
    assert_eq!(counters(&log), []);
}

#[test]
fn newest_of_two_far_from_each_other() {
    for start in [0, 5, u32::MAX - 1] {
        let newest = start.wrapping_add((1 << 31) - 1);
        let mut log = log_at(start);
        let place = newest as usize % RECORDS * RECORD_BYTES;
        log[place..place + RECORD_BYTES]
            .copy_from_slice(&log_at(newest)[place..place + RECORD_BYTES]);
        assert_eq!(counters(&log), [newest]);
    }
}

#[test]
fn one_fallback() {
    #[track_caller]
    fn check(events: &[&str], expected: bool) {
        let records: Vec<Record<&str>> =
            events.iter().map(|event| Record { event: *event, ..Record::default() }).collect();
        assert_eq!(fallback_used(&records), expected);
    }
    check(&[], false);
    check(&[BOOTED], false);
    check(&[BOOTED, FALLBACK], true);
    check(&[BOOTED, FALLBACK, "rescue", "trial", ""], true);
    check(&[FALLBACK, BOOTED], false);
    check(&[FALLBACK, BOOTED, "rescue"], false);
    check(&[FALLBACK, FALLBACK], true);
    check(&["fallbacks", "BOOTED"], false);
}

proptest! {
    #[test]
    fn round_trip(
        counter: u32, slot in any::<bool>(), boot_id in "[!-~]{0,64}", revision in "[!-~]{0,64}",
        event in "[!-~]{0,64}", message in "\\PC{0,60}",
    ) {
        let slot = slot.then_some(Slot::B);
        let (boot_id, revision) = (boot_id.as_str(), revision.as_str());
        let (event, message) = (event.as_str(), message.as_str());
        let record = Record { counter, boot_id, slot, revision, event, message };
        let place = counter as usize % RECORDS;
        let bytes = record.to_bytes();
        prop_assert_eq!(Record::parse(&bytes, place), Some(record));
    }

    #[test]
    fn one_wrong_byte(place in 0..RECORD_BYTES, byte: u8, message in "\\PC{0,60}") {
        let mut bytes = record("event", &message).to_bytes();
        let same = std::mem::replace(&mut bytes[place], byte) == byte;
        prop_assert_eq!(Record::parse(&bytes, 0).is_some(), same);
    }

    #[test]
    fn arbitrary_text_makes_one_line(
        boot_id: String, revision: String, event: String, message: String,
    ) {
        let record = Record { boot_id, revision, event, message, ..Record::default() };
        let bytes = record.to_bytes();
        let text = core::str::from_utf8(&bytes).unwrap().trim_end_matches('\0');
        prop_assert_eq!(text.find('\n'), Some(text.len() - 1));
        prop_assert!(Record::parse(&bytes, 0).is_some());
    }

    #[test]
    fn arbitrary_bytes(garbage in proptest::collection::vec(any::<u8>(), 0..1200)) {
        let mut log = vec![0; BYTES];
        log[..garbage.len()].copy_from_slice(&garbage);
        prop_assert!(parse(&log).is_empty());
        parse(&garbage);
        append(&mut log, record("event", ""));
        prop_assert_eq!(counters(&log), [0]);
    }
}

proptest! {
    // These sum whole logs many times.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 16))]

    /// Right checksums do not make the counters plausible. As long as half of them is free there is
    /// a newest one.
    #[test]
    fn arbitrary_counters(
        start: u32, steps in proptest::collection::vec(0..u32::MAX / 2, 1..80),
        wild in proptest::collection::vec(any::<u32>(), 0..3),
    ) {
        let mut log = vec![0; BYTES];
        let mut write = |counter: u32| {
            let place = counter as usize % RECORDS * RECORD_BYTES;
            let bytes = Record { counter, ..record("event", "") }.to_bytes();
            log[place..place + RECORD_BYTES].copy_from_slice(&bytes);
        };
        for step in &steps {
            write(start.wrapping_add(*step));
        }
        if wild.is_empty() {
            append(&mut log, record("event", "new"));
            prop_assert!(parse(&log).last().is_some_and(|last| last.message == "new"));
            return Ok(());
        }
        wild.into_iter().for_each(&mut write);
        append(&mut log, record("event", "new"));
        prop_assert!(parse(&log).len() <= RECORDS);
    }

    /// Any cuts of power: every record that was written whole and is not overwritten is there, in
    /// its order, and the newest is the last.
    #[test]
    fn cuts_of_power(start: u32, cuts in proptest::collection::vec(0..=2 * RECORD_BYTES, 1..150)) {
        let mut log = log_at(start);
        let mut whole = vec![String::new()];
        for (n, written) in cuts.into_iter().enumerate() {
            let message = format!("{n} {}", "x".repeat(n % 7));
            append_torn(&mut log, record("event", &message), written.min(RECORD_BYTES));
            if written >= RECORD_BYTES {
                whole.push(message);
            }
            let read: Vec<String> =
                parse(&log).iter().map(|record| record.message.to_owned()).collect();
            let last = read.last() == whole.last();
            // A cut in the zeros at the end of a record may have changed nothing.
            let complete = read.last() == Some(&format!("{n} {}", "x".repeat(n % 7)));
            if complete && !last {
                whole.push(read.last().unwrap().clone());
            }
            let kept = read.len().min(whole.len());
            prop_assert!(read.len() >= whole.len().min(RECORDS - 1));
            prop_assert_eq!(&read[read.len() - kept..], &whole[whole.len() - kept..]);
        }
    }
}
