// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

#[track_caller]
fn refusal(bytes: &[u8]) -> String {
    match Facts::read(bytes) {
        Ok(facts) => facts.check().unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn aligned_static_program() {
    let facts = Facts::read(&fixture::aarch64(0x10000, None)).unwrap();
    assert_eq!(facts.machine, Machine::Aarch64);
    facts.check().unwrap();
    let facts = Facts::read(&fixture::arm()).unwrap();
    assert_eq!(facts.machine, Machine::Arm);
    facts.check().unwrap();
}

#[test]
fn refused_programs() {
    assert!(refusal(&fixture::aarch64(0x1000, None)).contains("max-page-size=65536"));
    let dynamic = fixture::aarch64(0x10000, Some("/lib/ld-linux-aarch64.so.1"));
    assert!(refusal(&dynamic).contains("/lib/ld-linux-aarch64.so.1"));
    assert_eq!(refusal(b"#!/bin/sh\n"), "not an ELF file");
    assert_eq!(refusal(b""), "not an ELF file");
    assert_eq!(refusal(b"\x7fELF\x02\x01\x01"), "not an ELF file");
}

#[track_caller]
fn check_architecture(attributes: &[u8], expected: Option<u64>) {
    let facts = Facts::read(&fixture::arm_with(attributes)).unwrap();
    assert_eq!(facts.arm_architecture, expected);
}

#[test]
fn build_attributes() {
    check_architecture(&[], None);
    check_architecture(&[8, 1], None);
    check_architecture(&[6, 6], Some(6));
    check_architecture(&[5, b'6', 0, 6, 10], Some(10));
    // rustc's begin with Tag_conformance, a string.
    check_architecture(b"\x43\x32\x2e\x30\x39\0\x06\x06\x08\x01", Some(6));
    check_architecture(b"\x20\x01gnu\0\x06\x09", Some(9));
    // Tag_nodefaults is a number, Tag_also_compatible_with a string; tags of two bytes go by their parity.
    check_architecture(b"\x40\x00\x41\x06\x0a\0\x80\x01\x05\x81\x01\x06\x0a\0\x06\x04", Some(4));
    let twice = [&fixture::attributes(&[6, 6])[..], &fixture::attributes(&[6, 10])[1..]].concat();
    let facts = Facts::read(&fixture::arm_with_section(&twice)).unwrap();
    assert_eq!(facts.arm_architecture, Some(10));
}

#[track_caller]
fn check_armv6(attributes: &[u8], expected: Result<(), &str>) {
    let facts = Facts::read(&fixture::arm_with(attributes)).unwrap();
    let answer = facts.check_armv6().map_err(|error| error.to_string());
    match expected {
        Ok(()) => assert_eq!(answer, Ok(())),
        Err(part) => assert!(answer.clone().unwrap_err().contains(part), "{answer:?}"),
    }
}

#[test]
fn what_an_arm1176_runs() {
    for runs in [4, 6, 7, 9] {
        check_armv6(&[6, runs], Ok(()));
    }
    for newer in [8, 10, 11, 14] {
        check_armv6(&[6, newer], Err("a newer processor than ARMv6"));
    }
    check_armv6(&[], Err("does not say"));
}

#[test]
fn broken_attributes_are_refused() {
    let whole = fixture::attributes(&[5, b'6', 0, 6, 6]);
    assert!(Facts::read(&fixture::arm_with_section(&whole)).is_ok());
    // An empty section says nothing; so does one that ends behind its version.
    for length in 2..whole.len() {
        assert!(Facts::read(&fixture::arm_with_section(&whole[..length])).is_err(), "{length}");
    }
    for section in [&b"B"[..], b"A\xff\xff\xff\xffaeabi\0", b"A\x04\0\0\0", b"A\0\0\0\0"] {
        assert!(Facts::read(&fixture::arm_with_section(section)).is_err(), "{section:?}");
    }
    // A string without end, a number without end, a part that is longer than its vendor's.
    for attributes in [&[5, b'6'][..], &[6], &[6, 0x80], &[0x80]] {
        let file = fixture::arm_with(attributes);
        assert!(Facts::read(&file).is_err(), "{attributes:?}");
    }
}

#[test]
fn cut_short_anywhere_is_no_panic() {
    for whole in [fixture::aarch64(0x10000, Some("/lib/ld.so")), fixture::arm()] {
        for length in 0..whole.len() {
            let _ = Facts::read(&whole[..length]);
        }
    }
}
