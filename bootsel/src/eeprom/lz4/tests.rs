// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{copy, unpack};
use proptest::prelude::*;
use std::{string::ToString, vec::Vec};

const MOST: usize = 1 << 16;

/// By lz4 1.10: `-9 --content-size --no-frame-crc`, as images have it.
const HELLO: &[u8] = b"\x04\x22M\x18h@$\x00\x00\x00\x00\x00\x00\x00\xec\x10\x00\x00\x00ohello \x06\x00\x06Pello\x0a\x00\x00\x00\x00";
/// `-B4 -BX`: checksums of the block and of the content, and no size.
const SUMS: &[u8] = b"\x04\x22M\x18t@\xbd\x10\x00\x00\x00ohello \x06\x00\x06Pello\x0a\x1fz\xf8\x92\x00\x00\x00\x00S\xce\x996";
/// Too short to be made smaller.
const STORED: &[u8] =
    b"\x04\x22M\x18h@\x06\x00\x00\x00\x00\x00\x00\x00Y\x06\x00\x00\x80stored\x00\x00\x00\x00";
/// 5000 times a letter: lengths that go on, and a copy of what it wrote itself.
const LONG: &[u8] = b"\x04\x22M\x18h@\x91\x13\x00\x00\x00\x00\x00\x00\xf1\x22\x00\x00\x00\x1fa\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x87\x90end of it\x00\x00\x00\x00";

#[track_caller]
fn check(frame: &[u8], most: usize, expected: Result<&[u8], &str>) {
    let unpacked = unpack(frame, most);
    let unpacked = unpacked.map(|(content, rest)| {
        assert_eq!(rest, b"");
        content
    });
    let expected = expected.map(<[u8]>::to_vec).map_err(|why| std::format!("lz4 {why}"));
    assert_eq!(unpacked.map_err(|why| why.to_string()), expected);
}

#[test]
fn by_lz4() {
    let hello = b"hello hello hello hello hello hello\n";
    let long = [&[b'a'; 5000][..], b"end of it"].concat();
    check(HELLO, MOST, Ok(hello));
    check(SUMS, MOST, Ok(hello));
    check(STORED, MOST, Ok(b"stored"));
    check(LONG, MOST, Ok(&long));
    check(b"\x04\x22M\x18d@\xa7\x00\x00\x00\x00\x05]\xcc\x02", MOST, Ok(b""));
    // not one byte more than allowed
    check(HELLO, hello.len(), Ok(hello));
    check(LONG, long.len(), Ok(&long));
    check(STORED, 6, Ok(b"stored"));
}

/// A frame with some of its bytes replaced.
fn changed(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn refused() {
    let too_long = "is longer than any part of an image";
    check(HELLO, 35, Err(too_long));
    check(LONG, 5008, Err(too_long));
    check(STORED, 5, Err(too_long));
    for (frame, sums) in [(HELLO, 0), (SUMS, 1), (LONG, 0)] {
        for length in 0..frame.len() {
            assert!(unpack(&frame[..length], MOST).is_err(), "{length} of {sums}");
        }
    }
    check(&changed(HELLO, 0, b"\x05"), MOST, Err("does not begin as a frame does"));
    let version = "is of another version, or needs a dictionary";
    check(&changed(HELLO, 4, b"\xa8"), MOST, Err(version));
    check(&changed(HELLO, 4, b"\x69"), MOST, Err(version));
    check(&changed(HELLO, 6, b"\x25"), MOST, Err("has another length than it says"));
    // the offset of the first copy: six bytes are there
    let before = "refers to what is before its start";
    check(&changed(HELLO, 26, b"\x07\x00"), MOST, Err(before));
    check(&changed(HELLO, 26, b"\x00\x00"), MOST, Err(before));
    check(&changed(HELLO, 15, b"\xff\xff\xff\x7f"), MOST, Err("is cut off"));
}

/// What would be too long is not made first: a few bytes can ask for hundreds of MiB.
#[test]
fn nothing_is_copied_in_vain() {
    let mut out = b"ab".to_vec();
    assert!(copy(&mut out, 2, 4, 5).is_err());
    assert_eq!(out, b"ab");
    assert_eq!(copy(&mut out, 2, 3, 5), Ok(()));
    assert_eq!(out, b"ababa");
}

/// One step of a block: literals, then a copy from so far back, so long.
type Step = (Vec<u8>, u16, usize);

fn length(value: usize, bytes: &mut Vec<u8>) -> u8 {
    if let Some(mut rest) = value.checked_sub(15) {
        while rest >= 255 {
            bytes.push(255);
            rest -= 255;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    u8::try_from(value.min(15)).unwrap()
}

/// A block of these steps and what it stands for.
fn block(steps: &[Step], last: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut packed, mut content) = (Vec::new(), Vec::new());
    for (literals, back, copied) in steps {
        content.extend(literals);
        let back = usize::from(*back) % content.len().max(1) + 1;
        let (mut more, mut after) = (Vec::new(), Vec::new());
        let token = length(literals.len(), &mut more) << 4 | length(*copied, &mut after);
        packed.push(token);
        packed.extend(more);
        packed.extend(literals);
        packed.extend(u16::try_from(back).unwrap().to_le_bytes());
        packed.extend(after);
        for _ in 0..copied + 4 {
            content.push(content[content.len() - back]);
        }
    }
    let mut more = Vec::new();
    packed.push(length(last.len(), &mut more) << 4);
    packed.extend(more);
    packed.extend(last);
    content.extend(last);
    (packed, content)
}

fn frame(packed: &[u8]) -> Vec<u8> {
    let mut frame = b"\x04\x22M\x18\x60\x40\x00".to_vec();
    frame.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
    frame.extend(packed);
    frame.extend([0; 4]);
    frame
}

proptest! {
    #[test]
    fn any_block(
        steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), any::<u16>(), 0..600_usize), 0..12),
        last in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (packed, content) = block(&steps, &last);
        let bytes = [&frame(&packed)[..], b"rest"].concat();
        prop_assert_eq!(unpack(&bytes, MOST), Ok((content.clone(), &b"rest"[..])));
        if let Some(less) = content.len().checked_sub(1) {
            prop_assert!(unpack(&bytes, less).is_err());
        }
    }

    /// Whatever it is: an end, and never more than allowed.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), most in 0..10_000_usize) {
        if let Ok((content, _)) = unpack(&frame(&bytes), most) {
            prop_assert!(content.len() <= most);
        }
        let _ = unpack(&bytes, most);
    }
}
