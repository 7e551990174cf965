// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{BLOCK, Header, header, padding};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::string::ToString;
use std::vec::Vec;

/// A header by hand (POSIX.1-1988, 10.1.1): GNU tar's way of writing the numbers.
fn block(name: &str, bytes: &str) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\x00");
    put(124, bytes.as_bytes());
    put(136, b"00000000000\x00");
    put(156, b"0");
    put(257, b"ustar\x0000");
    sign(block)
}

/// The block with its checksum put right.
fn sign(mut block: [u8; BLOCK]) -> [u8; BLOCK] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let text = std::format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(text.as_bytes());
    block
}

fn with(at: usize, bytes: &[u8]) -> [u8; BLOCK] {
    let mut block = block("manifest", "00000000001\0");
    block[at..at + bytes.len()].copy_from_slice(bytes);
    sign(block)
}

#[track_caller]
fn accept(block: &[u8; BLOCK], name: &str, bytes: u64) {
    assert_eq!(header(block), Ok(Some(Header { name, bytes })));
}

#[track_caller]
fn refuse(block: &[u8; BLOCK], expected: &str) {
    assert_eq!(header(block).unwrap_err().to_string(), expected);
}

#[test]
fn plain_files() {
    accept(&block("manifest", "00000001234\0"), "manifest", 0o1234);
    accept(
        &block("modules_6.12+rpt-v8.squashfs", "77777777777 "),
        "modules_6.12+rpt-v8.squashfs",
        (1 << 33) - 1,
    );
    accept(&block("a", "1\0\0\0\0\0\0\0\0\0\0\0"), "a", 1);
    accept(&block("a", "777777777777"), "a", (1 << 36) - 1);
    let longest = "x".repeat(100);
    accept(&block(&longest, "00000000000\0"), &longest, 0);
    // others write the checksum with seven digits and a NUL
    let mut seven = block("a", "00000000000\0");
    let digits: [u8; 6] = seven[148..154].try_into().unwrap();
    seven[148] = b'0';
    seven[149..155].copy_from_slice(&digits);
    seven[155] = 0;
    accept(&seven, "a", 0);
}

#[test]
fn zeros_are_an_end() {
    assert_eq!(header(&[0; BLOCK]), Ok(None));
    let mut almost = [0; BLOCK];
    almost[511] = 1;
    refuse(&almost, "not a ustar archive");
}

#[test]
fn names_that_are_none() {
    let names: [&str; 13] = [
        "",
        ".",
        "..",
        ".hidden",
        "/etc/passwd",
        "../manifest",
        "a/b",
        "manifest/",
        "./manifest",
        "a b",
        "a\nb",
        "a\\b",
        "größe",
    ];
    for name in names {
        refuse(&block(name, "00000000001\0"), "not a plain file name");
    }
    // something behind the NUL that another reader may take for part of it
    refuse(&with(9, b"x"), "not a plain file name");
    refuse(&with(99, b"x"), "not a plain file name");
    refuse(&with(0, b"\0"), "not a plain file name");
    refuse(&with(0, b"\xff"), "not a plain file name");
}

#[test]
fn numbers_that_are_none() {
    for size in [
        "            ",
        "\0\0\0\0\0\0\0\0\0\0\0\0",
        "0000000000x\0",
        "00000000008\0",
        "-0000000001\0",
        "+0000000001\0",
        " 0000000001\0",
        "0000 000001\0",
        "00001\x00000001\0",
        "0x000000001\0",
    ] {
        refuse(&block("a", size), "the size is not an octal number");
    }
    // base 256, as GNU tar writes sizes above 8 GiB; positive and negative
    refuse(&with(124, b"\x80\0\0\0\0\0\0\0\0\0\0\x01"), "the size is not an octal number");
    refuse(
        &with(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        "the size is not an octal number",
    );
}

#[test]
fn everything_but_regular_files() {
    // hard link, symlink, devices, directory, fifo, contiguous, long name and link, sparse, pax, old regular file
    for kind in *b"1234567LKSgxVMN\0" {
        refuse(&with(156, &[kind]), "not a regular file");
    }
    refuse(&with(157, b"x"), "a link target or the first half of a long name");
    refuse(&with(345, b"x"), "a link target or the first half of a long name");
    refuse(&with(499, b"x"), "a link target or the first half of a long name");
    // GNU tar's own format, version 7's, and a wrong version
    for magic in [b"ustar  \0", b"\0\0\0\0\0\0\0\0", b"ustar\x0001", b"ustar\0\0\0"] {
        refuse(&with(257, magic), "not a ustar archive");
    }
}

#[test]
fn checksum_is_checked() {
    let good = block("manifest", "00000000001\0");
    for at in (0..BLOCK).filter(|at| !(257..265).contains(at)) {
        let mut bad = good;
        bad[at] = bad[at].wrapping_add(1);
        assert!(header(&bad).is_err(), "byte {at}");
    }
    let mut none = good;
    none[148..156].fill(b' ');
    refuse(&none, "wrong checksum");
}

#[test]
fn padding_to_blocks() {
    let padded: Vec<usize> = [0, 1, 511, 512, 513, u64::MAX].map(padding).into();
    assert_eq!(padded, [0, 511, 1, 0, 511, 1]);
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), BLOCK)) {
        let block: [u8; BLOCK] = bytes.try_into().unwrap();
        prop_assert!(header(&block).is_err());
    }

    /// Whatever a changed byte makes of a header, its checksum put right: it is refused, or means a plain file.
    #[test]
    fn changed_bytes(changes in proptest::collection::vec((0..BLOCK, any::<u8>()), 1..6)) {
        let mut block = block("manifest", "00000000001\0");
        for (at, byte) in changes {
            block[at] = byte;
        }
        if let Ok(Some(found)) = header(&sign(block)) {
            prop_assert!(!found.name.is_empty() && found.name.len() <= 100 && found.bytes < 1 << 36);
            prop_assert!(!found.name.contains(['/', '\0']) && !found.name.starts_with('.'));
        }
    }

    #[test]
    fn what_was_written_is_read(name in "[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99}", bytes in 0_u64..1 << 33) {
        let block = block(&name, &std::format!("{bytes:011o}\0"));
        prop_assert_eq!(header(&block), Ok(Some(Header { name: &name, bytes })));
    }
}
