// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lint` and `boards` on small made-up images: one that is right, and one for each thing that can be wrong.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod commands;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod eeprom;
mod image;
mod revision;
mod slot;
mod uefi;

use std::collections::BTreeSet;

use ::image::lint::Finding;
use image::Image;

fn lint(image: &Image) -> Vec<Finding> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.img");
    image.write(&path);
    ::image::lint::lint(&path).unwrap().findings
}

/// These rules and no others fire; the first one with this place and text.
#[track_caller]
fn check(change: impl FnOnce(&mut Image), rules: &[&str], place: &str, what: &str) {
    check_on(Image::new(), change, rules, place, what);
}

/// The same on this image.
#[track_caller]
fn check_on(
    mut image: Image,
    change: impl FnOnce(&mut Image),
    rules: &[&str],
    place: &str,
    what: &str,
) {
    change(&mut image);
    let findings = lint(&image);
    let fired: BTreeSet<&str> = findings.iter().map(|finding| finding.rule).collect();
    assert_eq!(fired, rules.iter().copied().collect(), "{findings:#?}");
    let found =
        findings.iter().any(|f| f.rule == rules[0] && f.place == place && f.what.contains(what));
    assert!(found, "{findings:#?}");
}

#[test]
fn clean_image() {
    assert_eq!(lint(&Image::new()), []);
}

#[test]
fn clean_image_for_uefi() {
    assert_eq!(lint(&Image::uefi()), []);
}

#[track_caller]
fn check_clean(change: impl FnOnce(&mut Image)) {
    let mut image = Image::new();
    change(&mut image);
    assert_eq!(lint(&image), []);
}
