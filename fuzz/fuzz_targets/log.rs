// SPDX-License-Identifier: MIT OR Apache-2.0
//! A record that was added to any log is its last.
#![no_main]

use bootsel::log::{Record, next, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut log = bytes.to_vec();
    log.resize(bootsel::log::BYTES as usize, 0);
    let record =
        Record { counter: 0, boot_id: "b", slot: None, revision: "r", event: "e", message: "m" };
    let (at, written) = next(&log, record).expect("the log is long enough");
    let at = at as usize;
    log[at..at + written.len()].copy_from_slice(&written);
    let records = parse(&log);
    assert!(records.len() <= 64);
    assert_eq!(records.last().map(|last| (last.event, last.message)), Some(("e", "m")));
});
