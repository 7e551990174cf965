// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Case, NOW, case, trial};
use crate::{
    Slot,
    state::evidence::{Finding, Reset, booted_in, findings, panic_line},
};
use proptest::prelude::*;
use std::{format, string::String, string::ToString, vec::Vec};

#[track_caller]
fn line(log: &str, expected: Option<&str>) {
    assert_eq!(panic_line(log.as_bytes()).as_deref(), expected);
}

#[test]
fn panic_lines() {
    // as ramoops keeps it, of Linux 6.12 on arm64
    let log = "Panic#1 Part1\n\
        <6>[    3.104913] Run /nothing as init process\n\
        <0>[    3.119245] Kernel panic - not syncing: Requested init /nothing failed (error -2).\n\
        <4>[    3.121201] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 6.12.95+deb12-arm64 #1\n\
        <0>[    3.129997] ---[ end Kernel panic - not syncing: Requested init /nothing failed (error -2). ]---\n";
    line(log, Some("Kernel panic - not syncing: Requested init /nothing failed (error -2)"));
    let oops = "<1>[ 9.1] Unable to handle kernel NULL pointer dereference at virtual address 0\r\n\
        <0>[ 9.2] Internal error: Oops: 0000000096000044 [#1] SMP\n";
    line(oops, Some("Unable to handle kernel NULL pointer dereference at virtual address 0"));
    let both = format!("{oops}<0>[ 9.3] Kernel panic - not syncing: Oops: Fatal exception\n");
    let expected = "Kernel panic - not syncing: Oops: Fatal exception: Unable to handle kernel NULL pointer \
        dereference at virtual address 0";
    line(&both, Some(expected));
    line("<6>[ 1.0] all is well\n", None);
    line("", None);
}

#[test]
fn whose_log() {
    let log = b"[ 0.0] Kernel command line: pivot.slot=a pivot.slot=b pivot.revision=2.1 panic=5\n[ 1.0] x\n";
    assert_eq!(booted_in(log), Some((Slot::B, "2.1".to_string())));
    assert_eq!(booted_in(b"Kernel command line: pivot.slot=_\n"), None);
    assert_eq!(booted_in(b"pivot.slot=b\n"), None);
}

#[track_caller]
fn reset(reset: Reset, expected: Option<&str>) {
    assert_eq!(reset.by_watchdog().as_deref(), expected);
}

#[test]
fn resets() {
    let nothing = Reset { bootstatus: Some(0), rsts: Some(0x1000), unclean: true };
    reset(nothing, None);
    let card = "the watchdog reset the machine (bootstatus 0x8020)";
    reset(Reset { bootstatus: Some(0x8020), ..nothing }, Some(card));
    let rsts = "the watchdog or a panic reset the machine (reset status 0x1020, and nothing was unmounted)";
    reset(Reset { rsts: Some(0x1020), ..nothing }, Some(rsts));
    // an ordered restart
    reset(Reset { rsts: Some(0x1020), unclean: false, ..nothing }, None);
    // partition 63 of a halt sets every other bit
    reset(Reset { rsts: Some(0x555), ..nothing }, None);
}

const CARD: Reset = Reset { bootstatus: Some(0x20), rsts: None, unclean: false };

#[track_caller]
fn found(case: &Case, expected: &[(&str, Slot, &str)]) {
    let panics = [("Kernel panic - not syncing: x".to_string(), None)];
    let findings = case.with(|facts| findings(&facts.this_boot(), "1", &panics, CARD));
    let of = |f: &Finding| (f.event, f.slot, f.revision.clone());
    let found: Vec<_> = findings.iter().map(of).collect();
    let expected: Vec<_> =
        expected.iter().map(|(event, slot, id)| (*event, *slot, (*id).to_string())).collect();
    assert_eq!(found, expected);
}

#[test]
fn whose_boot() {
    found(&case(), &[("panic", Slot::A, "1"), ("watchdog", Slot::A, "1")]);
    let after = case().log("armed", "before", Slot::B).log("trial", "tried", Slot::B);
    let of_trial =
        [("panic", Slot::B, "2"), ("watchdog", Slot::B, "2"), ("returned", Slot::B, "2")];
    found(&after, &of_trial);
    found(
        &after.log("returned", "between", Slot::B),
        &[("panic", Slot::A, "1"), ("watchdog", Slot::A, "1")],
    );
    // in the trial it is what armed it
    found(&trial(), &[("panic", Slot::A, ""), ("watchdog", Slot::A, "")]);
    // once in a boot
    found(&case().log("watchdog", NOW, Slot::A), &[("panic", Slot::A, "1")]);
    // the log of a panic that says whose it is
    let known = [("panic".to_string(), Some((Slot::B, "7".to_string())))];
    let of = case().with(|facts| findings(&facts.this_boot(), "1", &known, Reset::default()));
    assert_eq!((of[0].slot, of[0].revision.as_str()), (Slot::B, "7"));
}

proptest! {
    #[test]
    fn any_log(bytes: Vec<u8>, panic: String) {
        let mut log = bytes;
        log.extend(b"\nBUG: ");
        log.extend(panic.as_bytes());
        let line = panic_line(&log).unwrap();
        prop_assert!(line.len() <= 200 && !line.chars().any(char::is_control));
        let _ = booted_in(&log);
    }
}
