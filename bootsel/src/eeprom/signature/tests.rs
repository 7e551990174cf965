// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{BYTES, Chip, Error, FIRST_TIME, Signature, time, write};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::{format, string::String, vec::Vec};

/// Of no bytes: the value that FIPS 180 readers know by heart, in the form of rpi-eeprom-digest -c 2712.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
                     ts: 1779916375\n\
                     target-soc: 2712\n";

#[track_caller]
fn check(text: &str, expected: Result<(Option<u32>, Option<Chip>), Error>) {
    let parsed = Signature::parse(text.as_bytes());
    assert_eq!(parsed.map(|signature| (signature.timestamp, signature.chip)), expected, "{text}");
}

#[test]
fn reading() {
    let first = EMPTY.lines().next().unwrap();
    let signature = Signature::parse(EMPTY.as_bytes()).unwrap();
    assert_eq!(&signature.sha256[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    assert_eq!(signature.sha256[31], 0x55);
    check(EMPTY, Ok((Some(1_779_916_375), Some(Chip::Bcm2712))));
    // until 2020 the hash was all there was, with or without the end of its line; carriage returns by Windows
    check(first, Ok((None, None)));
    check(&format!("{first}\n"), Ok((None, None)));
    check(&format!("{first}\r\nts: 7\r\n"), Ok((Some(7), None)));
    check(&first.to_uppercase(), Ok((None, None)));
    let rsa = "ab".repeat(256);
    check(
        &format!("{EMPTY}rsa2048: {rsa}\nnew: x\n\nline\n"),
        Ok((Some(1_779_916_375), Some(Chip::Bcm2712))),
    );
    check("", Err(Error::Hash));
    check(first.strip_prefix('e').unwrap(), Err(Error::Hash));
    check(&format!("{first}0"), Err(Error::Hash));
    check(&format!("{first}00"), Err(Error::Hash));
    check(&first.replace('c', "g"), Err(Error::Hash));
    check(&format!("{first}\nts: \n"), Err(Error::Time));
    check(&format!("{first}\nts: 4294967296\n"), Err(Error::Time));
    check(&format!("{first}\ntarget-soc: 2837\n"), Err(Error::Chip));
    check(&format!("{EMPTY}ts: 1779916375\n"), Err(Error::Twice));
    check(&format!("{EMPTY}target-soc: 2712\n"), Err(Error::Twice));
    check(&format!("{EMPTY}{}", "x".repeat(4096)), Err(Error::Text));
    assert_eq!(Signature::parse(&[0xff; 64]), Err(Error::Text));
}

#[test]
fn writing() {
    let sha256 = Signature::parse(EMPTY.as_bytes()).unwrap().sha256;
    assert_eq!(write(&sha256, 1_779_916_375, Chip::Bcm2712).unwrap(), EMPTY.as_bytes());
    assert_eq!(write(&sha256, FIRST_TIME - 1, Chip::Bcm2712), None);
}

#[test]
fn times() {
    assert_eq!(time(0, None, 5), 5);
    assert_eq!(time(9, None, 5), 9);
    assert_eq!(time(9, Some(9), 5), 10);
    assert_eq!(time(9, Some(3), 5), 9);
    assert_eq!(time(0, Some(u32::MAX), 5), u32::MAX);
}

proptest! {
    #[test]
    fn back_again(sha256: [u8; 32], timestamp in FIRST_TIME.., of_2711: bool) {
        let chip = if of_2711 { Chip::Bcm2711 } else { Chip::Bcm2712 };
        let bytes = write(&sha256, timestamp, chip).unwrap();
        prop_assert_eq!(bytes.len(), BYTES);
        let expected = Signature { sha256, timestamp: Some(timestamp), chip: Some(chip) };
        prop_assert_eq!(Signature::parse(&bytes), Ok(expected));
        prop_assert!(String::from_utf8(bytes.to_vec()).is_ok_and(|text| text.lines().count() == 3));
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0..97_usize) {
        let mut text: Vec<u8> = EMPTY.into();
        text.truncate(at);
        text.extend(bytes);
        let _ = Signature::parse(&text);
    }

    /// Not before any of what it has to be after.
    #[test]
    fn never_stale(now: u32, updated: u32, built: u32) {
        let time = time(now, Some(updated), built);
        prop_assert!(time >= now && time >= built && (time > updated || updated == u32::MAX));
    }
}
