// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Chip, Error, Image, Kind, MAX_FILE_BYTES, RESERVED};
use proptest::prelude::*;
use rpieeprom::Section as Made;
use std::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

fn made(magic: u32, name: &str, content: &[u8]) -> Made {
    Made::new(magic, name, content)
}

/// What it is read as.
fn kind(made: &Made) -> Kind<'_> {
    match made.magic {
        0x55aa_f00f => Kind::Bootcode,
        0x55aa_feef => Kind::Padding,
        0x55aa_f11f => Kind::File(&made.name),
        0x55aa_f22f | 0x55aa_f33f => Kind::Part(&made.name),
        0x55aa_f44f => Kind::Lz4(&made.name),
        other => Kind::Other(other),
    }
}

/// As the bootloader of 2026-05-17 says it.
const TEXTS: &[u8] =
    b"OUT\0\0\0\0VERSION:224877da\0DATE: 2026/05/17\0TIME: 20:13:18\0BUILD_TIMESTAMP=1779045198\0MFG_VER: 1\0\0";

fn bootcode(texts: &[u8]) -> Made {
    made(0x55aa_f00f, "", texts)
}

fn bootconf(text: &[u8]) -> Made {
    made(0x55aa_f11f, "bootconf.txt", text)
}

fn pad(bytes: usize) -> Made {
    made(0x55aa_feef, "", &vec![0xff; bytes])
}

fn build(chip: Chip, sections: &[Made]) -> Vec<u8> {
    rpieeprom::build(usize::try_from(chip.image_bytes()).unwrap(), sections)
}

const CONFIG: &[u8] = b"[all]\nBOOT_UART=0\nBOOT_ORDER=0xf41\n";

fn plain() -> Vec<Made> {
    vec![bootcode(TEXTS), pad(40), made(0x55aa_f11f, "pubkey.bin", &[0; 512]), bootconf(CONFIG)]
}

/// A frame by lz4 1.10 and a hash that the test below takes for that of its content.
const HELLO: &[u8] = b"\x04\x22M\x18h@$\x00\x00\x00\x00\x00\x00\x00\xec\x10\x00\x00\x00ohello \x06\x00\x06Pello\x0a\x00\x00\x00\x00";

#[test]
fn versions() {
    let image = build(Chip::Bcm2711, &plain());
    let image = Image::parse(&image).unwrap();
    assert_eq!((image.chip, image.build_timestamp), (Chip::Bcm2711, 1_779_045_198));
    assert_eq!((image.commit, image.date), (Some("224877da"), Some("2026/05/17")));
    assert_eq!((image.manufacture, image.bootconf()), (1, CONFIG));
    // 2020-03-04
    let texts =
        b"\0VERSION:a445ea4f\0DATE: Mar  4 2020\0TIME: 14:24:08\0BUILD_TIMESTAMP=1583331848\0";
    let image = build(Chip::Bcm2711, &[bootcode(texts), bootconf(b"")]);
    let image = Image::parse(&image).unwrap();
    assert_eq!((image.build_timestamp, image.date), (1_583_331_848, Some("Mar  4 2020")));
    // the form of 2019; a text that only looks like the version, as some of 2020 have it
    let old = b"\0BUILD_TIMESTAMP=1563195595\0\0\0VERSION:iPXE\0X_VERSION:aaaaaaaa\0VERSION:514670a2\0Jul 15 2019\0";
    let image = build(Chip::Bcm2712, &[bootcode(old), bootconf(b"")]);
    let image = Image::parse(&image).unwrap();
    assert_eq!((image.chip, image.build_timestamp), (Chip::Bcm2712, 1_563_195_595));
    assert_eq!((image.commit, image.date, image.manufacture), (Some("514670a2"), None, 0));
}

/// On BCM2712 the bootloader has room for two copies; the first one counts, wherever its texts lie.
#[test]
fn copies() {
    let length = |made: &[Made]| made.iter().map(|one| one.bytes().len()).sum::<usize>();
    let copy = |texts: &[u8], config: &[u8]| {
        let program = [vec![0; 0x1_1000], texts.to_vec()].concat();
        [made(0x55aa_f11f, "bootsys", &program), bootconf(config)]
    };
    let mut sections = vec![bootcode(b"\0BUILD_TIMESTAMP=1500000000\0"), bootconf(b"[none]\n")];
    sections.push(pad(0x1_0000 - 8 - length(&sections)));
    sections.extend(copy(TEXTS, CONFIG));
    sections.push(pad(0x10_7000 - 8 - length(&sections)));
    sections.extend(copy(b"\0BUILD_TIMESTAMP=1600000000\0MFG_VER: 9\0", b"[second]\n"));
    let bytes = build(Chip::Bcm2712, &sections);
    let image = Image::parse(&bytes).unwrap();
    assert_eq!((image.build_timestamp, image.date), (1_779_045_198, Some("2026/05/17")));
    assert_eq!((image.manufacture, image.bootconf()), (1, CONFIG));
    let new = image.replace_bootconf(&[b'#'; MAX_FILE_BYTES]).unwrap();
    let new = Image::parse(&new).unwrap();
    assert_eq!((new.build_timestamp, new.bootconf()), (1_779_045_198, &[b'#'; MAX_FILE_BYTES][..]));
    assert_eq!(new.sections().filter(|one| one.at >= 0x10_7000).count(), 2);
}

#[track_caller]
fn refused(sections: &[Made], expected: &str) {
    let image = build(Chip::Bcm2711, sections);
    let error = Image::parse(&image).unwrap_err().to_string();
    assert_eq!(error, format!("eeprom image: {expected}"));
}

#[test]
fn refusals() {
    let once = "it does not say once which version it is";
    for texts in [
        &b""[..],
        b"\0BUILD_TIMESTAMP=177904519\0",
        b"\0BUILD_TIMESTAMP=9999999999\0",
        b"\0BUILD_TIMESTAMP=+779045198\0",
        b"\0XBUILD_TIMESTAMP=1779045198\0",
        b"\0BUILD_TIMESTAMP=1779045198\0BUILD_TIMESTAMP=1779045198\0",
        b"\0BUILD_TIMESTAMP=1779045198\0MFG_VER: x\0",
    ] {
        refused(&[bootcode(texts), bootconf(CONFIG)], once);
    }
    // in what is nobody's, a device's own, or no text
    for other in [pad(8), made(0x55aa_feef, "", TEXTS), made(0x55aa_f44f, "bootmain", TEXTS)] {
        refused(&[bootcode(b""), other, bootconf(TEXTS)], once);
    }
    refused(&[bootcode(TEXTS)], "no bootconf.txt in it");
    refused(&[], "no bootconf.txt in it");
    refused(
        &[bootcode(TEXTS), bootconf(CONFIG), bootconf(CONFIG)],
        "section at 0xa8 is a second bootconf.txt",
    );
    let place = "is boot code in another place than the start";
    refused(&[bootconf(CONFIG), bootcode(TEXTS)], &format!("section at 0x0 {place}"));
    refused(&[bootcode(TEXTS), bootcode(TEXTS)], &format!("section at 0x68 {place}"));
    refused(&[bootcode(TEXTS), made(0x55ab_f00f, "", b"")], "section at 0x68 has no header");
    refused(
        &[bootcode(TEXTS), made(0x55aa_f33f, "a\u{7f}", b""), bootconf(CONFIG)],
        "section at 0x68 has no name",
    );
    for length in [0, 1, 524_287, 524_289, 1 << 20] {
        assert_eq!(Image::parse(&vec![0xff; length]).err(), Some(Error::Length(length)));
    }
}

/// One word of an image of [`plain`] sections replaced.
#[track_caller]
fn damaged(at: usize, word: u32, expected: &str) {
    let mut image = build(Chip::Bcm2711, &plain());
    image[at..at + 4].copy_from_slice(&word.to_be_bytes());
    let error = Image::parse(&image).unwrap_err().to_string();
    assert_eq!(error, format!("eeprom image: {expected}"));
}

#[test]
fn damage() {
    damaged(4, 0x7_efff, "section at 0x0 is longer than the image");
    damaged(4, u32::MAX, "section at 0x0 is longer than the image");
    damaged(4, 8, "section at 0x10 has no header");
    damaged(0, 0, "no bootconf.txt in it");
    // of the file pubkey.bin
    damaged(0x9c, 15, "section at 0x98 has no name");
    // up to what is reserved is allowed
    let mut image = build(Chip::Bcm2711, &plain());
    let at = Image::parse(&image).unwrap().sections().last().unwrap().at;
    let most = u32::try_from(image.len() - RESERVED - at - 8).unwrap();
    image[at + 4..at + 8].copy_from_slice(&most.to_be_bytes());
    assert!(Image::parse(&image).is_ok());
    image[at + 4..at + 8].copy_from_slice(&(most + 1).to_be_bytes());
    assert_eq!(Image::parse(&image).err(), Some(Error::Section(at, "is longer than the image")));
}

#[test]
fn parts() {
    let part = |hash: u8| {
        let content = [HELLO, &[hash; 32]].concat();
        [bootcode(TEXTS), made(0x55aa_f44f, "bootmain", &content), bootconf(CONFIG)]
    };
    // a hash for the test: the sum of the bytes
    let sum =
        |content: &[u8]| [content.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)); 32];
    let right = sum(b"hello hello hello hello hello hello\n")[0];
    let verify = |sections: &[Made]| {
        let image = build(Chip::Bcm2711, sections);
        Image::parse(&image).unwrap().verify_parts(sum).map_err(|why| why.to_string())
    };
    assert_eq!(verify(&part(right)), Ok(1));
    assert_eq!(verify(&plain()), Ok(0));
    let wrong = "eeprom image: section at 0x68 has not the content that its hash is of";
    assert_eq!(verify(&part(right ^ 1)), Err(wrong.into()));
    let mut cut = part(right);
    cut[1].content.truncate(HELLO.len() - 1);
    assert_eq!(verify(&cut), Err("eeprom image: part at 0x68: lz4 is cut off".into()));
}

/// Whole releases as they are laid out on both chips, each of them with parts that are verified by their SHA-256.
#[test]
fn releases() {
    for (chip, made) in Chip::ALL.into_iter().zip(rpieeprom::Chip::ALL) {
        let release = rpieeprom::Release {
            manufacture: Some(2),
            ..rpieeprom::Release::new(made, 1_779_045_198)
        };
        let bytes = release.image();
        let image = Image::parse(&bytes).unwrap();
        assert_eq!((image.chip, image.build_timestamp), (chip, 1_779_045_198));
        assert_eq!((image.date, image.manufacture), (Some("2026/05/17"), 2));
        assert_eq!(image.bootconf(), release.bootconf.as_bytes());
        let sha256 = |content: &[u8]| <sha2::Sha256 as sha2::Digest>::digest(content).into();
        assert_eq!(image.verify_parts(sha256), Ok(2));
        let new = image.replace_bootconf(b"[all]\n").unwrap();
        assert_eq!(Image::parse(&new).unwrap().verify_parts(sha256), Ok(2));
    }
}

#[track_caller]
fn replaced(sections: &[Made], text: &[u8], expected: &[Made]) {
    let image = build(Chip::Bcm2711, sections);
    let new = Image::parse(&image).unwrap().replace_bootconf(text).unwrap();
    assert!(new == build(Chip::Bcm2711, expected));
    // and back
    let back = Image::parse(&new).unwrap().replace_bootconf(CONFIG).unwrap();
    let again = Image::parse(&back).unwrap();
    assert_eq!(again.bootconf(), CONFIG);
    assert!(again.replace_bootconf(text).unwrap() == new);
}

#[test]
fn other_configurations() {
    let [code, _, key, _] = &plain()[..] else { panic!() };
    let (code, key) = (code.clone(), key.clone());
    let (short, long) = (b"[all]\n".to_vec(), vec![b'#'; MAX_FILE_BYTES]);
    for text in [&short, &long, &Vec::new()] {
        // the last section, as on a Pi 4
        replaced(&plain(), text, &[code.clone(), pad(40), key.clone(), bootconf(text)]);
        // padding behind it, as on a Pi 5: it shrinks and grows, and what comes after stays
        let made = bootconf(CONFIG).bytes().len() + pad(4100).bytes().len();
        let rest = made - bootconf(text).bytes().len() - 8;
        let before = [code.clone(), bootconf(CONFIG), pad(4100), pad(8), key.clone()];
        replaced(&before, text, &[code.clone(), bootconf(text), pad(rest), pad(8), key.clone()]);
    }
    // no room for the header of padding
    let before = [code.clone(), bootconf(CONFIG), key.clone()];
    replaced(&before, &[b'#'; 40], &[code.clone(), bootconf(&[b'#'; 40]), key.clone()]);
}

#[test]
fn no_room() {
    let image =
        build(Chip::Bcm2711, &[bootcode(TEXTS), bootconf(CONFIG), made(0x55aa_f11f, "x", b"")]);
    let image = Image::parse(&image).unwrap();
    let error = |text: &[u8]| image.replace_bootconf(text).err();
    assert_eq!(error(&[b'#'; 40]), None);
    assert_eq!(error(&[b'#'; 41]), Some(Error::Bootconf(41)));
    let image = build(Chip::Bcm2712, &plain());
    let image = Image::parse(&image).unwrap();
    assert_eq!(image.replace_bootconf(&[b'#'; MAX_FILE_BYTES]).err(), None);
    let most = MAX_FILE_BYTES + 1;
    assert_eq!(image.replace_bootconf(&vec![b'#'; most]).err(), Some(Error::Bootconf(most)));
    assert_eq!(image.replace_bootconf(b"A\0").err(), Some(Error::Bootconf(2)));
    // not a byte of what is reserved
    let filler = 524_288 - RESERVED - bootcode(TEXTS).bytes().len() - 8 - 64;
    let image = build(Chip::Bcm2711, &[bootcode(TEXTS), pad(filler), bootconf(CONFIG)]);
    let image = Image::parse(&image).unwrap();
    assert_eq!(image.replace_bootconf(&[b'#'; 40]).err(), None);
    assert_eq!(image.replace_bootconf(&[b'#'; 41]).err(), Some(Error::Bootconf(41)));
}

fn any_section() -> impl Strategy<Value = Made> {
    let magic = prop::sample::select(vec![
        0x55aa_feef,
        0x55aa_f11f,
        0x55aa_f22f,
        0x55aa_f33f,
        0x55aa_f44f,
        0x55aa_f77f_u32,
    ]);
    let content = prop::collection::vec(any::<u8>(), 0..3000);
    (magic, "[a-z0-9.]{0,12}", content).prop_map(|(magic, name, content)| {
        let named = !matches!(magic, 0x55aa_feef | 0x55aa_f77f);
        Made { magic, name: if named { name } else { String::new() }, content }
    })
}

fn any_sections() -> impl Strategy<Value = Vec<Made>> {
    let config = prop::collection::vec(1..=255_u8, 0..MAX_FILE_BYTES);
    let sections = prop::collection::vec(any_section(), 0..10);
    (sections, config, any::<prop::sample::Index>()).prop_map(|(mut sections, config, at)| {
        let at = at.index(sections.len() + 1);
        sections.insert(at, bootconf(&config));
        sections.insert(0, bootcode(TEXTS));
        sections
    })
}

/// What was built, as it is read.
fn as_read(image: &Image<'_>) -> Vec<(String, Vec<u8>)> {
    image.sections().map(|one| (format!("{:?}", one.kind), one.content.to_vec())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn what_was_built(sections in any_sections(), large: bool) {
        let chip = if large { Chip::Bcm2712 } else { Chip::Bcm2711 };
        let image = build(chip, &sections);
        let parsed = Image::parse(&image).unwrap();
        let expected: Vec<_> =
            sections.iter().map(|one| (format!("{:?}", kind(one)), one.content.clone())).collect();
        prop_assert_eq!(as_read(&parsed), expected);
        let config = sections.iter().find(|one| one.name == "bootconf.txt").unwrap();
        prop_assert_eq!(parsed.bootconf(), &config.content);
    }

    /// Every other section but padding keeps each byte and its place.
    #[test]
    fn replaced_alone(sections in any_sections(), text in prop::collection::vec(1..=255_u8, 0..MAX_FILE_BYTES)) {
        let image = build(Chip::Bcm2711, &sections);
        let old = Image::parse(&image).unwrap();
        let Ok(bytes) = old.replace_bootconf(&text) else { return Ok(()) };
        prop_assert_eq!(bytes.len(), image.len());
        let new = Image::parse(&bytes).unwrap();
        prop_assert_eq!(new.bootconf(), &text);
        prop_assert_eq!(new.build_timestamp, old.build_timestamp);
        let others = |image: &Image<'_>| -> Vec<_> {
            let others = image.sections().filter(|one| ![Kind::File("bootconf.txt"), Kind::Padding].contains(&one.kind));
            others.map(|one| (one.at, format!("{:?}", one.kind), one.content.to_vec())).collect()
        };
        prop_assert_eq!(others(&new), others(&old));
        // nothing before it changed, and nothing of what is reserved
        let at = new.sections().find(|one| one.kind == Kind::File("bootconf.txt")).unwrap().at;
        let reserved = image.len() - RESERVED;
        prop_assert!(image[..at] == bytes[..at] && image[reserved..] == bytes[reserved..]);
    }

    #[test]
    fn any_damage(sections in any_sections(), changes in prop::collection::vec((0..20_000_usize, any::<u8>()), 1..20)) {
        let mut image = build(Chip::Bcm2711, &sections);
        for (at, byte) in changes {
            image[at] = byte;
        }
        if let Ok(parsed) = Image::parse(&image) {
            let _ = parsed.verify_parts(|_| [0; 32]);
            if let Ok(new) = parsed.replace_bootconf(b"[all]\n") {
                prop_assert_eq!(Image::parse(&new).unwrap().bootconf(), b"[all]\n");
            }
        }
    }
}
