// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeMap;

use super::*;
use rpieeprom::{Release, Section, build};

use Chip::{Bcm2711, Bcm2712};

/// 2026-05-17 20:13:18 in London.
const TIME: u32 = 1_779_045_198;

fn made(chip: Chip, time: u32) -> Release {
    let chip = match chip {
        Bcm2711 => rpieeprom::Chip::Bcm2711,
        Bcm2712 => rpieeprom::Chip::Bcm2712,
    };
    Release::new(chip, time)
}

/// By `date -u -d @N +%F`.
#[test]
fn dates() {
    for (seconds, expected) in [
        (0, "1970-01-01"),
        (951_782_399, "2000-02-28"),
        (951_782_400, "2000-02-29"),
        (951_868_800, "2000-03-01"),
        (RENAMES, "2021-09-27"),
        (Bcm2711.least(), "2022-11-25"),
        (1_709_164_800, "2024-02-29"),
        (Bcm2712.least(), "2024-05-13"),
        (1_735_689_599, "2024-12-31"),
        (TIME, "2026-05-17"),
        (u32::MAX, "2106-02-07"),
    ] {
        assert_eq!(date(seconds), expected);
        assert_eq!(rpieeprom::Date::of(seconds).to_string(), expected);
    }
}

#[track_caller]
fn refused(result: Result<impl Sized>, why: &str) {
    let error = format!("{:#}", result.err().unwrap());
    assert!(error.contains(why), "{error}");
}

#[test]
fn images() {
    for chip in Chip::ALL {
        let release = Release { manufacture: Some(3), ..made(chip, TIME) };
        let version = image(chip, &release.image()).unwrap();
        assert_eq!(version.to_string(), format!("{chip} of 2026-05-17 (1779045198)"));
        assert_eq!((version.build_timestamp, version.manufacture), (TIME, 3));
        let least = chip.least();
        assert!(image(chip, &made(chip, least).image()).is_ok());
        let why =
            format!("({}): slots can be tried with one of {} ({least})", least - 1, date(least));
        refused(image(chip, &made(chip, least - 1).image()), &why);
        refused(image(chip, &release.image()[1..]), "no eeprom has so many");
        refused(image(chip, &vec![0xff; release.image().len()]), "no bootconf.txt in it");
    }
    refused(image(Bcm2711, &made(Bcm2712, TIME).image()), "is for BCM2712, by its length, and not");
    // a byte of a part
    let mut damaged = made(Bcm2711, TIME).image();
    let at = damaged.windows(8).position(|window| window == b"bootmain").unwrap();
    damaged[at + 1000] ^= 1;
    refused(image(Bcm2711, &damaged), "has not the content that its hash is of");
}

#[test]
fn recoveries() {
    for chip in Chip::ALL {
        let bytes = made(chip, TIME).recovery();
        recovery(chip, &bytes).unwrap();
        recovery(chip, &made(chip, RENAMES).recovery()).unwrap();
        let old = made(chip, RENAMES - 1).recovery();
        refused(recovery(chip, &old), "was built on 2021-09-26: it does not rename itself");
        let without = |word: &str| {
            let at = bytes.windows(word.len()).position(|w| w == word.as_bytes()).unwrap();
            let mut bytes = bytes.clone();
            bytes[at] = 0;
            bytes
        };
        for word in WORDS {
            refused(recovery(chip, &without(word)), &format!("there is no {word} in it"));
        }
        refused(recovery(chip, &without("BUILD_TIMESTAMP=")), "does not say when it was built");
        refused(recovery(chip, b""), "does not begin with 512 zeros");
        refused(recovery(chip, &bytes[2..]), "does not begin with 512 zeros");
        refused(recovery(chip, &[&[0; 600][..], b"\0x"].concat()), "no pieeprom.upd in it");
    }
    let why = "is for BCM2711, and not for BCM2712";
    refused(recovery(Bcm2712, &made(Bcm2711, TIME).recovery()), why);
    let both = [&made(Bcm2711, TIME).recovery()[..], b"\x002712\0"].concat();
    assert!(recovery(Bcm2711, &both).is_ok() && recovery(Bcm2712, &both).is_ok());
    // that of a Pi 5 does not say its number in 2026, and did before
    assert!(recovery(Bcm2711, &made(Bcm2712, TIME).recovery()).is_ok());
}

type Files = BTreeMap<&'static str, Vec<u8>>;

/// As partition 1 has them.
fn partition(chip: Chip) -> Files {
    let bytes = made(chip, TIME).image();
    let version = image(chip, &bytes).unwrap();
    let [update, signature, program] = FILES.map(|file| file.at_rest(chip));
    [
        (shipped(chip), bytes.clone()),
        (update, bytes.clone()),
        (signature, sign(chip, &bytes, &version).unwrap()),
        (program, made(chip, TIME).recovery()),
    ]
    .into()
}

fn found(files: &Files) -> Vec<Shipped> {
    let read = |name: &str| Ok(files.get(name).cloned());
    find(read).into_iter().map(|(_, shipped)| shipped).collect()
}

#[test]
fn whole_sets() {
    assert_eq!(found(&Files::new()), []);
    let mut both = partition(Bcm2711);
    let [one] = &found(&both)[..] else { panic!() };
    assert_eq!((one.chip.as_str(), &one.problems[..]), ("BCM2711", &[][..]));
    assert_eq!(one.to_string(), "BCM2711 of 2026-05-17 (1779045198)");
    both.append(&mut partition(Bcm2712));
    let [_, other] = &found(&both)[..] else { panic!() };
    assert_eq!((other.chip.as_str(), &other.problems[..]), ("BCM2712", &[][..]));
    // a device has carried its configuration over, and signed with a later time
    let bytes = Image::parse(&both["EEPR2711.UPD"]).unwrap().replace_bootconf(b"[all]\n").unwrap();
    let signature = signature::write(&sha256(&bytes), TIME + 5, Bcm2711).unwrap();
    both.insert("EEPR2711.UPD", bytes);
    both.insert("EEPR2711.SIG", signature.to_vec());
    assert!(found(&both).iter().all(|shipped| shipped.problems.is_empty()));
}

/// One file of a whole set is another: these are the problems.
#[track_caller]
fn problems(name: &'static str, bytes: Option<Vec<u8>>, expected: &[(&str, &str)]) {
    let mut files = partition(Bcm2711);
    match bytes {
        Some(bytes) => files.insert(name, bytes),
        None => files.remove(name),
    };
    let [shipped] = &found(&files)[..] else { panic!() };
    let problems: Vec<_> =
        shipped.problems.iter().map(|(name, what)| (*name, what.as_str())).collect();
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for ((name, what), (expected_name, expected)) in problems.iter().zip(expected) {
        assert!(name == expected_name && what.contains(expected), "{problems:?}");
    }
}

#[test]
fn damaged_sets() {
    let (image, update, signature, program) =
        ("EEPR2711.IMG", "EEPR2711.UPD", "EEPR2711.SIG", "EEPR2711.REC");
    for name in [image, update, signature, program] {
        problems(name, None, &[(name, "is missing")]);
    }
    problems(image, Some(vec![0; 9]), &[(image, "9 bytes, no eeprom has so many")]);
    let other = "has not the sha256 of EEPR2711.UPD";
    let newer = made(Bcm2711, TIME + 86_400).image();
    let release = "is of 2026-05-18, and what was shipped of 2026-05-17";
    problems(update, Some(newer.clone()), &[(update, release), (signature, other)]);
    problems(update, Some(vec![0; 9]), &[(update, "no eeprom has so many"), (signature, other)]);
    problems(signature, Some(b"x".to_vec()), &[(signature, "has 1 bytes, expected 97")]);
    problems(signature, Some(vec![b'x'; 97]), &[(signature, "the first line is no sha256")]);
    let bytes = partition(Bcm2711)[update].clone();
    let signed = |time, chip| signature::write(&sha256(&bytes), time, chip).map(Vec::from);
    problems(signature, signed(TIME - 1, Bcm2711), &[(signature, "has a ts before the image")]);
    problems(signature, signed(TIME, Bcm2712), &[(signature, "does not say target-soc: 2711")]);
    problems(program, Some(b"MZ".to_vec()), &[(program, "is no recovery.bin")]);
    let read = |name: &str| if name == image { Err("bad".to_owned()) } else { Ok(None) };
    assert_eq!(find(read).len(), 0);
    let small = build(524_288, &[Section::bootcode(b"\0BUILD_TIMESTAMP=1779045198\0")]);
    problems(image, Some(small), &[(image, "no bootconf.txt in it")]);
}

/// Two tables of the same boards, written apart: `rpifw` decides what they boot, `bootsel` runs on them.
#[test]
fn tables_of_boards_agree() {
    let mut types = BTreeMap::<u8, Vec<&str>>::new();
    for known in rpifw::BOARDS {
        let read = board(known).unwrap();
        types.entry(read.kind).or_default().push(known.model);
        assert_eq!(u32::from(read.kind), known.type_code, "{}", known.name);
        assert_eq!(format!("{:?}", read.chip), format!("{:?}", known.chip), "{}", known.name);
        let rest = known.model.strip_prefix(read.model());
        let variant = |rest: &str| rest.is_empty() || rest == "+" || rest.starts_with(", ");
        assert!(rest.is_some_and(variant), "{} is {}", known.model, read.model());
        assert_eq!(read.eeprom().is_some(), known.chip.has_eeprom(), "{}", known.name);
        let number = read.eeprom().map(Chip::number);
        let expected = [(rpifw::Chip::Bcm2711, 2711), (rpifw::Chip::Bcm2712, 2712)];
        let expected = expected.into_iter().find(|(chip, _)| *chip == known.chip);
        assert_eq!(number, expected.map(|(_, number)| number), "{}", known.name);
    }
    // all codes: no type has a name in one table alone
    for kind in 0..=u8::MAX {
        for processor in 0..16 {
            let code = 1 << 23 | processor << 12 | u32::from(kind) << 4;
            let Some(read) = Board::from_code(code) else {
                assert!(processor > 4, "{code:x}");
                continue;
            };
            let named = !read.model().contains("not known");
            assert_eq!(named, types.contains_key(&kind), "{code:x}: {}", read.model());
        }
    }
    // and the counted codes are of boards that are there
    for code in 0..=0xff {
        let Some(read) = Board::from_code(code) else { continue };
        let models = types.get(&read.kind).unwrap();
        assert!(models.iter().any(|model| model.starts_with(read.model())), "{code:x}");
        assert_eq!(read.eeprom(), None, "{code:x}");
    }
}

#[test]
fn whose_eeprom_is_written() {
    assert_eq!(boards(Bcm2711).collect::<Vec<_>>(), ["pi4b", "pi400"]);
    let pi5 = ["pi5", "pi5-d0", "cm5", "cm5l", "pi500", "pi500+"];
    assert_eq!(boards(Bcm2712).collect::<Vec<_>>(), pi5);
}

#[test]
fn any_of_them() {
    for name in ["EEPR2711.IMG", "EEPR2712.REC", "PIEEPROM.SIG", "RECOVERY.BIN"] {
        assert!(is_any(|known| known == name), "{name}");
    }
    assert!(!is_any(|known| known == "bootcode.bin"));
}
