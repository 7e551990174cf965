// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Autoboot, BYTES, Error, has_word};
use proptest::prelude::*;
use std::{format, string::String, vec::Vec};

/// The example of `config_txt/autoboot.adoc`.
const EXAMPLE: &str = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n";

/// Default, trial, tryboot_a_b.
#[track_caller]
fn check(text: &str, expected: (u8, u8, bool)) {
    let file = Autoboot::parse(text.as_bytes()).unwrap();
    assert_eq!((file.target(false), file.target(true), file.tryboot_a_b()), expected);
    assert_eq!(file.default(), expected.0);
}

#[test]
fn what_the_documentation_shows() {
    check(EXAMPLE, (2, 3, true));
    // "Updated autoboot.txt" of the same page
    check("[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n", (3, 2, true));
    check("", (0, 0, false));
    check("boot_partition=2", (2, 2, false));
    check("[tryboot]\nboot_partition=3", (0, 3, false));
    check("[none]\nboot_partition=2\n[all]\nboot_partition=4", (4, 4, false));
}

#[test]
fn forms_of_lines() {
    check(&EXAMPLE.replace('\n', "\r\n"), (2, 3, true));
    check(EXAMPLE.trim_end(), (2, 3, true));
    check("\n\n# boot_partition=5\n  [all]\n boot_partition=2 \n", (2, 2, false));
    check("[ALL]\nboot_partition=2\n[TryBoot]\nboot_partition=3", (2, 3, false));
    check(&format!("{EXAMPLE}\0"), (2, 3, true));
    check("boot_partition=0\ntryboot_a_b=0", (0, 0, false));
    check("boot_partition=63", (63, 63, false));
}

#[test]
fn later_lines_win() {
    check("boot_partition=2\nboot_partition=3", (3, 3, false));
    check("[tryboot]\nboot_partition=3\n[all]\nboot_partition=2", (2, 2, false));
    check("[tryboot]\ntryboot_a_b=1\n[all]\nboot_partition=2", (2, 2, true));
    check("tryboot_a_b=1\n[tryboot]\ntryboot_a_b=0", (0, 0, false));
}

#[test]
fn unknown_sections_never_hold() {
    check("[pi4]\nboot_partition=3\n[all]\ntryboot_a_b=1", (0, 0, true));
    check("[pi4]\n[tryboot]\nboot_partition=3", (0, 0, false));
    check("[none]\nboot_partition=99", (0, 0, false));
    check("[tryboot\nboot_partition=3", (3, 3, false));
    check("boot_partition_x=3\nBOOT_PARTITION=3", (0, 0, false));
}

#[track_caller]
fn refused(bytes: &[u8], expected: Error) {
    assert_eq!(Autoboot::parse(bytes), Err(expected));
}

#[test]
fn refusals() {
    refused(&[b'#'; 513], Error::TooLong(513));
    refused(b"boot_partition=2\0\nboot_partition=3", Error::Nul);
    for value in ["", "64", "256", "-1", "+2", "2 3", "0x2", "two", "\u{fc}"] {
        refused(format!("[all]\nboot_partition={value}").as_bytes(), Error::Value(2));
    }
    refused(b"boot_partition=\xff", Error::Value(1));
    refused(b"tryboot_a_b", Error::Value(1));
}

#[track_caller]
fn written(text: &[u8], default: u8, trial: u8, expected: &[u8]) {
    let mut file = Autoboot::parse(text).unwrap();
    file.set(default, trial).unwrap();
    let bytes = file.to_bytes().unwrap();
    let (head, filler) = bytes.split_at(expected.len());
    assert_eq!(head, expected, "{}", String::from_utf8_lossy(head));
    let (last, filler) = filler.split_last().unwrap();
    assert!(*last == b'\n' && filler.iter().all(|byte| *byte == b'#'));
    assert_eq!(Autoboot::parse(&bytes), Ok(file));
}

#[test]
fn written_files() {
    written(b"", 2, 3, EXAMPLE.as_bytes());
    let swapped = b"[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n";
    written(EXAMPLE.as_bytes(), 3, 2, swapped);
    let bytes = Autoboot::new(2, 3).unwrap().to_bytes().unwrap();
    assert_eq!(&bytes[..EXAMPLE.len()], EXAMPLE.as_bytes());
    assert_eq!(bytes.len(), BYTES);
    // the filler is not taken for a line of somebody else's
    written(&bytes, 2, 3, EXAMPLE.as_bytes());
}

#[test]
fn what_is_not_ours_is_kept() {
    written(
        b"# caf\xe9\r\n[pi4]\nboot_partition=7\n[all]\nboot_partition=2\n[tryboot]\nnew=1\nold=0",
        2,
        3,
        b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n# caf\xe9\n\
          [all]\n[pi4]\nboot_partition=7\n[all]\n[tryboot]\nnew=1\nold=0\n",
    );
    written(b"x=1", 2, 3, format!("{EXAMPLE}[all]\nx=1\n").as_bytes());
}

#[test]
fn what_does_not_fit_is_left_out() {
    // 64 bytes are ours, "[all]" and its end 6: 441 of the line and its end fill the rest
    for (length, fits) in [(439, true), (440, true), (441, true), (442, false), (445, false)] {
        let line = "x".repeat(length);
        let bytes = {
            let mut file = Autoboot::parse(line.as_bytes()).unwrap();
            file.set(2, 3).unwrap();
            file.to_bytes().unwrap()
        };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(text.contains(&line), fits, "{length}");
        assert!(text.ends_with('\n') && text.starts_with(EXAMPLE));
    }
}

#[test]
fn partitions_that_cannot_be() {
    let mut file = Autoboot::new(2, 3).unwrap();
    assert_eq!(file.set(2, 2), Err(Error::Same(2)));
    assert_eq!(file.set(0, 2), Err(Error::Partition(0)));
    assert_eq!(file.set(2, 64), Err(Error::Partition(64)));
    assert_eq!(file, Autoboot::new(2, 3).unwrap());
    assert_eq!(Autoboot::parse(b"boot_partition=2").unwrap().to_bytes(), Err(Error::Same(2)));
}

#[track_caller]
fn word(file: &[u8], word: &str, expected: bool) {
    assert_eq!(has_word(file, word), expected);
}

#[test]
fn whole_words() {
    word(b"x\0tryboot_a_b\0y", "tryboot_a_b", true);
    word(b"tryboot", "tryboot", true);
    word(b"\0[tryboot]\0", "tryboot", true);
    word(b"\0tryboot.txt\0", "tryboot", false);
    word(b"\0tryboot_a_b\0", "tryboot", false);
    word(b"\0tryboot.txt\0tryboot\0", "tryboot", true);
    word(b"tryboo", "tryboot", false);
    word(b"", "tryboot", false);
}

proptest! {
    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        let _ = Autoboot::parse(&bytes);
    }

    #[test]
    fn round_trip(
        default in 1_u8..=31,
        trial in 32_u8..=63,
        lines in prop::collection::vec("(\\[(all|none|tryboot|pi4)\\]|# ?[a-z]{1,9}|[a-z]{1,9}=[0-9])", 0..20),
    ) {
        let mut file = Autoboot::parse(lines.join("\n").as_bytes()).unwrap();
        file.set(default, trial).unwrap();
        let bytes = file.to_bytes().unwrap();
        prop_assert_eq!(Autoboot::parse(&bytes), Ok(file));
    }
}
