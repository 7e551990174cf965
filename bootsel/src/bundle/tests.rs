// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Error, Member, Order};
use crate::manifest::Manifest;
use proptest::prelude::{any, prop_assert, proptest};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const BOOT_BYTES: u64 = 1 << 20;
/// 1 MiB, 1/256 of it, and 1024.
const BOOT_MOST: u64 = 1_053_696;
const GOOD: [(&str, u64); 5] =
    [("manifest", 400), ("manifest.minisig", 300), ("boot.img.zst", 9000), ("b", 20), ("a", 10)];

fn line(name: &str, bytes: u64) -> String {
    format!("{}  {bytes}  {name}\n", "0".repeat(64))
}

fn manifest(keys: &str, files: &[(&str, u64)]) -> Manifest {
    let files: String = files.iter().map(|(name, bytes)| line(name, *bytes)).collect();
    let text = format!("format=1\nrevision=r2\nversion=2\n{keys}\n{files}");
    Manifest::parse(text.as_bytes()).unwrap()
}

/// Not in the order of the alphabet: that of the manifest counts.
fn usual() -> Manifest {
    manifest("slot_letter=11\n", &[("b", 20), ("boot.img", BOOT_BYTES), ("a", 10)])
}

/// All members, the manifest verified after the signature, and the end.
fn drive(members: &[(&str, u64)]) -> Result<Vec<Member>, Error> {
    let mut order = Order::default();
    let mut out = Vec::new();
    for (name, bytes) in members {
        let member = order.member(name, *bytes)?;
        if member == Member::Signature {
            order.trust(usual())?;
        }
        out.push(member);
    }
    order.end()?;
    Ok(out)
}

#[track_caller]
fn refuse(members: &[(&str, u64)], expected: &str) {
    assert_eq!(drive(members).unwrap_err().to_string(), expected);
}

fn replaced(number: usize, member: (&'static str, u64)) -> Vec<(&'static str, u64)> {
    let mut members = GOOD.to_vec();
    members[number] = member;
    members
}

#[test]
fn complete() {
    let files = usual().files;
    let file = |number: usize| Member::File(files[number].clone());
    let expected = [Member::Manifest, Member::Signature, Member::Boot, file(0), file(2)];
    assert_eq!(drive(&GOOD).unwrap(), expected);
}

#[test]
fn cut_short() {
    let missing = ["manifest", "manifest.minisig", "boot.img.zst", "b", "a"];
    for (count, name) in missing.into_iter().enumerate() {
        refuse(&GOOD[..count], &format!("ends too early: {name} is missing"));
    }
}

#[test]
fn in_another_order() {
    for number in 0..4 {
        let mut members = GOOD;
        members.swap(number, number + 1);
        let (name, expected) = (members[number].0, GOOD[number].0);
        refuse(&members, &format!("{name} is where {expected} has to be"));
    }
    refuse(&GOOD[1..], "manifest.minisig is where manifest has to be");
    refuse(&replaced(3, ("a", 10)), "a is where b has to be");
}

#[test]
fn twice_unknown_or_more() {
    for (number, member) in GOOD.into_iter().enumerate() {
        let mut members = GOOD.to_vec();
        members.insert(number + 1, member);
        refuse(&members, &format!("{} is there twice", member.0));
        members.remove(number + 1);
        members.push(member);
        refuse(&members, &format!("{} is there twice", member.0));
    }
    refuse(&replaced(4, ("c", 10)), "c is not listed in manifest");
    refuse(&replaced(2, ("c", 10)), "c is not listed in manifest");
    // the plain volume is listed, and is no member
    refuse(&replaced(2, ("boot.img", 10)), "boot.img is not listed in manifest");
    refuse(&[&GOOD[..], &[("c", 0)]].concat(), "c is not listed in manifest");
    refuse(&replaced(0, ("c", 10)), "c is where manifest has to be");
    refuse(&replaced(1, ("c", 10)), "c is where manifest.minisig has to be");
}

#[test]
fn sizes() {
    drive(&replaced(0, ("manifest", 65_536))).unwrap();
    refuse(&replaced(0, ("manifest", 65_537)), "manifest has 65537 bytes instead of 65536 at most");
    refuse(
        &replaced(1, ("manifest.minisig", 1025)),
        "manifest.minisig has 1025 bytes instead of 1024 at most",
    );
    drive(&replaced(2, ("boot.img.zst", BOOT_MOST))).unwrap();
    refuse(
        &replaced(2, ("boot.img.zst", BOOT_MOST + 1)),
        "boot.img.zst has 1053697 bytes instead of 1053696 at most",
    );
    for bytes in [0, 9, 11, u64::MAX] {
        refuse(&replaced(4, ("a", bytes)), &format!("a has {bytes} bytes instead of 10"));
    }
}

#[test]
fn nothing_without_a_verified_signature() {
    let mut order = Order::default();
    assert_eq!(order.trust(usual()), Err(Error::NotVerified));
    order.member("manifest", 1).unwrap();
    assert_eq!(order.trust(usual()), Err(Error::NotVerified));
    order.member("manifest.minisig", 1).unwrap();
    assert_eq!(order.member("boot.img.zst", 1), Err(Error::NotVerified));
    assert_eq!(order.end(), Err(Error::NotVerified));
    order.trust(usual()).unwrap();
    assert_eq!(order.trust(usual()), Err(Error::NotVerified));
    order.member("boot.img.zst", 1).unwrap();
}

#[test]
fn manifests_of_no_bundle() {
    #[track_caller]
    fn check(keys: &str, files: &[(&str, u64)], expected: &str) {
        let mut order = Order::default();
        order.member("manifest", 1).unwrap();
        order.member("manifest.minisig", 1).unwrap();
        let error = order.trust(manifest(keys, files)).unwrap_err().to_string();
        assert_eq!(error, format!("manifest {expected}"));
    }
    let boot = ("boot.img", 12);
    let long = "x".repeat(101);
    check("slot_letter=11\n", &[("a", 1)], "lists no boot.img");
    check("", &[boot], "has no slot_letter within boot.img");
    check("slot_letter=12\n", &[boot], "has no slot_letter within boot.img");
    check("slot_letter=+1\n", &[boot], "has no slot_letter within boot.img");
    check("slot_letter=1\n", &[boot, ("boot.img.zst", 1)], "lists a file that no bundle can hold");
    check("slot_letter=1\n", &[boot, (&long, 1)], "lists a file that no bundle can hold");
}

proptest! {
    /// One order and one set of sizes is accepted, and nothing panics.
    #[test]
    fn only_the_good_one(
        picked in proptest::collection::vec((0_usize..8, any::<bool>()), 0..8),
    ) {
        let names = ["manifest", "manifest.minisig", "boot.img.zst", "b", "a", "boot.img", "", "../x"];
        let sizes = [400, 300, 9000, 20, 10, 1, 1, 1];
        let members: Vec<_> =
            picked.iter().map(|(n, right)| (names[*n], if *right { sizes[*n] } else { u64::MAX })).collect();
        prop_assert!(drive(&members).is_err() || members == GOOD);
    }

    #[test]
    fn any_names(members in proptest::collection::vec(("\\PC{0,20}", any::<u64>()), 0..6)) {
        let members: Vec<_> = members.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        prop_assert!(drive(&members).is_err());
    }
}
