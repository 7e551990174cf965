// SPDX-License-Identifier: MIT OR Apache-2.0
//! A member for each line, `name size`: one sequence is accepted.
#![no_main]

use bootsel::bundle::{Member, Order};
use bootsel::manifest::Manifest;

const MANIFEST: &[u8] = include_bytes!("../../bootsel/signed/src/tests/manifest");

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut order = Order::default();
    let mut names = Vec::new();
    for line in text.lines() {
        let (name, bytes) = line.split_once(' ').unwrap_or((line, "5"));
        match order.member(name, bytes.parse().unwrap_or(5)) {
            Ok(Member::Signature) => order.trust(Manifest::parse(MANIFEST).unwrap()).unwrap(),
            Ok(_) => {}
            Err(_) => return,
        }
        names.push(name);
    }
    if order.end().is_ok() {
        assert_eq!(names, ["manifest", "manifest.minisig", "boot.img.zst", "root.squashfs"]);
    }
});
