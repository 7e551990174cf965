// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Chip, Error, File, RECOVERED, State, locate, restore, shipped, stage, state};
use crate::fat::{BLOCK, Volume};
use proptest::prelude::*;
use std::{collections::BTreeMap, string::ToString, vec::Vec};

use Chip::{Bcm2711, Bcm2712};

/// Name, attributes, length.
type Row = (&'static [u8; 11], u8, u32);

const LABEL: Row = (b"BOOTSEL    ", 0x08, 0);
const AUTOBOOT: Row = (b"AUTOBOOTTXT", 0x20, 512);
const CONFIG: Row = (b"CONFIG  TXT", 0x20, 0);
const PI4: [Row; 4] = [
    (b"EEPR2711IMG", 0x20, 524_288),
    (b"EEPR2711UPD", 0x20, 524_288),
    (b"EEPR2711SIG", 0x20, 97),
    (b"EEPR2711REC", 0x20, 100_140),
];
const PI5: [Row; 4] = [
    (b"EEPR2712IMG", 0x20, 2_097_152),
    (b"EEPR2712UPD", 0x20, 2_097_152),
    (b"EEPR2712SIG", 0x20, 97),
    (b"EEPR2712REC", 0x20, 105_396),
];

/// A block with these entries; every other byte of an entry says which one it is.
fn block(rows: &[Row]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let (entries, _) = block.as_chunks_mut::<32>();
    for (number, (entry, (name, attributes, bytes))) in (1..).zip(entries.iter_mut().zip(rows)) {
        entry.fill(number);
        entry[..11].copy_from_slice(*name);
        entry[11] = *attributes;
        entry[28..].copy_from_slice(&bytes.to_le_bytes());
    }
    block
}

fn rows() -> Vec<Row> {
    [&[LABEL, AUTOBOOT, CONFIG][..], &PI4, &PI5].concat()
}

/// As recovery.bin renames itself.
fn recovered(block: &[u8; BLOCK]) -> [u8; BLOCK] {
    let mut new = *block;
    let entry =
        new.as_chunks_mut::<32>().0.iter_mut().find(|entry| entry.starts_with(b"RECOVERYBIN"));
    entry.unwrap()[8..11].copy_from_slice(b"000");
    new
}

fn names(block: &[u8; BLOCK]) -> Vec<&str> {
    let entries = block.as_chunks::<32>().0.iter().take_while(|entry| entry[0] != 0);
    entries.map(|entry| core::str::from_utf8(&entry[..11]).unwrap()).collect()
}

#[test]
fn there_and_back() {
    let at_rest = block(&rows());
    assert_eq!(state(&at_rest), Ok(State::AtRest));
    assert_eq!(restore(&at_rest), Ok(at_rest));
    for (chip, first) in [(Bcm2711, 4), (Bcm2712, 8)] {
        let staged = stage(&at_rest, chip).unwrap();
        assert_eq!(state(&staged), Ok(State::Staged(chip)));
        let mut expected = names(&at_rest);
        expected[first..first + 3].copy_from_slice(&["PIEEPROMUPD", "PIEEPROMSIG", "RECOVERYBIN"]);
        assert_eq!(names(&staged), expected);
        // nothing but names: the files stay where they are
        let differ = staged.iter().zip(&at_rest).enumerate().filter(|(_, (new, old))| new != old);
        assert!(
            differ
                .map(|(at, _)| at)
                .all(|at| at % 32 < 11 && at / 32 >= first && at / 32 < first + 3)
        );
        assert_eq!(restore(&staged), Ok(at_rest));
        let recovered = recovered(&staged);
        assert_eq!(state(&recovered), Ok(State::Recovered(chip)));
        assert_eq!(restore(&recovered), Ok(at_rest));
        for other in Chip::ALL {
            assert_eq!(stage(&staged, other), Err(Error::Mixed));
            assert_eq!(stage(&recovered, other), Err(Error::Mixed));
        }
    }
}

#[test]
fn images_of_one_chip() {
    let at_rest = block(&PI4);
    let staged = stage(&at_rest, Bcm2711).unwrap();
    assert_eq!(state(&staged), Ok(State::Staged(Bcm2711)));
    assert_eq!(restore(&recovered(&staged)), Ok(at_rest));
    assert_eq!(stage(&at_rest, Bcm2712), Err(Error::Missing("EEPR2712.UPD")));
    assert_eq!(stage(&[0; BLOCK], Bcm2711), Err(Error::Missing("EEPR2711.UPD")));
    // ended before the files: what is left in erased entries counts for nothing
    let mut ended = at_rest;
    ended[0] = 0;
    assert_eq!(state(&ended), Ok(State::AtRest));
    assert_eq!(stage(&ended, Bcm2711), Err(Error::Missing("EEPR2711.UPD")));
}

/// The rows with one replaced.
fn with(at: usize, row: Row) -> Vec<Row> {
    let mut rows = rows();
    rows[at] = row;
    rows
}

#[track_caller]
fn refused(rows: &[Row], expected: &str) {
    let block = block(rows);
    let error = stage(&block, Bcm2711).unwrap_err();
    assert_eq!(error.to_string(), std::format!("eeprom files: {expected}"));
}

#[test]
fn refusals() {
    let long = |name: &str| std::format!("{name} has attributes or a long name");
    let length = |name: &str| std::format!("{name} has a length that such a file cannot have");
    refused(&with(4, (b"EEPR2711UPD", 0x20, 524_287)), &length("EEPR2711.UPD"));
    refused(&with(4, (b"EEPR2711UPD", 0x20, 2_097_152)), &length("EEPR2711.UPD"));
    refused(&with(5, (b"EEPR2711SIG", 0x20, 96)), &length("EEPR2711.SIG"));
    refused(&with(6, (b"EEPR2711REC", 0x20, 0)), &length("EEPR2711.REC"));
    refused(&with(6, (b"EEPR2711REC", 0x20, 1 << 21)), &length("EEPR2711.REC"));
    refused(&with(6, (b"EEPR2711RE ", 0x20, 9)), "no EEPR2711.REC");
    refused(&with(6, (b"\xe5EPR2711REC", 0x20, 9)), "no EEPR2711.REC");
    refused(&with(0, PI4[1]), "EEPR2711.UPD is there twice");
    for attributes in [0x01, 0x02, 0x04, 0x10, 0x21] {
        refused(&with(5, (b"EEPR2711SIG", attributes, 97)), &long("EEPR2711.SIG"));
    }
    refused(&with(5, (b"EEPR2711SIG", 0x08, 97)), "no EEPR2711.SIG");
    refused(&with(3, (b"Ae\0e\0p\0r\0\xff\xff", 0x0f, 0)), &long("EEPR2711.UPD"));
    // deleted: it belongs to nothing
    assert!(stage(&block(&with(3, (b"\xe5e\0e\0p\0r\0\xff\xff", 0x0f, 0))), Bcm2711).is_ok());
    assert!(stage(&block(&with(5, (b"EEPR2711SIG", 0, 97))), Bcm2711).is_ok());
    let mixed =
        "pieeprom.upd, pieeprom.sig and recovery.bin are not all there, or not staged by this tool";
    for name in [b"PIEEPROMUPD", b"PIEEPROMSIG", b"RECOVERYBIN", b"RECOVERY000", b"RECOVERY999"] {
        refused(&with(1, (name, 0x20, 97)), mixed);
    }
    assert!(stage(&block(&with(1, (b"RECOVERY00A", 0x20, 97))), Bcm2711).is_ok());
    refused(&with(1, (b"RECOVERYBIN", 0x10, 0)), &long("RECOVERY.BIN"));
}

/// Staged blocks that are not ours or are damaged.
#[test]
fn foreign() {
    let staged = stage(&block(&rows()), Bcm2711).unwrap();
    let both = |at: usize, row: Row| {
        let mut block = staged;
        let entry = &mut block[at * 32..(at + 1) * 32];
        entry[..11].copy_from_slice(row.0);
        entry[28..].copy_from_slice(&row.2.to_le_bytes());
        restore(&block)
    };
    assert_eq!(both(1, PI4[1]), Err(Error::Twice("EEPR2711.UPD")));
    assert_eq!(both(1, PI4[3]), Err(Error::Twice("EEPR2711.REC")));
    assert_eq!(both(1, (b"PIEEPROMUPD", 0x20, 5)), Err(Error::Twice("PIEEPROM.UPD")));
    assert_eq!(both(1, (b"RECOVERY000", 0x20, 5)), Err(Error::Mixed));
    assert_eq!(both(4, (b"PIEEPROMUPD", 0x20, 5)), Err(Error::Size("PIEEPROM.UPD")));
    assert_eq!(both(4, (b"PIEEPROMUPD", 0x20, 2_097_152)), Err(Error::Twice("EEPR2712.UPD")));
    assert_eq!(both(5, (b"PIEEPROMSIG", 0x20, 98)), Err(Error::Size("PIEEPROM.SIG")));
    assert_eq!(both(6, (b"RECOVERYBIN", 0x20, 0)), Err(Error::Size("RECOVERY.BIN")));
    assert_eq!(both(6, (b"SOMETHINGEL", 0x20, 0)), Err(Error::Mixed));
}

/// Short names that a directory can have, none of them with one of the firmware's or of rpi-eeprom-update's patterns.
#[test]
fn inert_names() {
    let watched = [
        "recovery.",
        "pieeprom.",
        "vl805.",
        "boot",
        "start",
        "fixup",
        "config",
        "cmdline",
        "tryboot",
    ];
    for chip in Chip::ALL {
        let names = File::ALL.map(|file| file.at_rest(chip));
        for name in names.into_iter().chain([shipped(chip)]) {
            let (base, extension) = name.split_once('.').unwrap();
            assert_eq!((base.len(), extension.len()), (8, 3), "{name}");
            assert!(name.contains(&chip.number().to_string()));
            let name = name.to_lowercase();
            assert!(watched.iter().all(|start| !name.starts_with(start)), "{name}");
        }
    }
    let (base, _) = File::Recovery.staged().split_once('.').unwrap();
    assert!(RECOVERED.starts_with(base));
}

/// A FAT16 of 5000 clusters whose root directory has two blocks.
struct Disk(BTreeMap<u64, [u8; BLOCK]>);

const ROOT: u64 = 512 * 41;

impl Disk {
    fn new(first: &[Row], second: &[Row]) -> Self {
        let mut boot = [0; BLOCK];
        // bytes of a sector, sectors of a cluster, reserved ones, tables, entries of the root, sectors of a table
        for (at, bytes) in [
            (11, [0, 2]),
            (13, [4, 1]),
            (15, [0, 2]),
            (17, [32, 0]),
            (22, [20, 0]),
            (510, [0x55, 0xaa]),
        ] {
            boot[at..at + 2].copy_from_slice(&bytes);
        }
        boot[14] = 1;
        let sectors: u16 = 43 + 5000 * 4;
        boot[19..21].copy_from_slice(&sectors.to_le_bytes());
        Self([(0, boot), (ROOT, block(first)), (ROOT + 512, block(second))].into())
    }

    fn locate(&self) -> Result<Option<u64>, std::string::String> {
        let mut read = |at: u64, block: &mut [u8; BLOCK]| {
            *block = self.0.get(&at).copied().unwrap_or([0; BLOCK]);
            Ok::<(), &str>(())
        };
        let volume = Volume::open(0, 43 * 512 + 5000 * 2048, &mut read).unwrap();
        locate(&volume, &mut read).map_err(|why| why.to_string())
    }
}

#[test]
fn places() {
    let filler = [CONFIG; 16];
    assert_eq!(Disk::new(&rows(), &[]).locate(), Ok(Some(ROOT)));
    assert_eq!(Disk::new(&filler, &rows()).locate(), Ok(Some(ROOT + 512)));
    assert_eq!(Disk::new(&[LABEL, AUTOBOOT], &[]).locate(), Ok(None));
    let apart = Err("the eeprom files' entries are not in one sector".to_string());
    let mut first = filler;
    first[15] = PI4[3];
    assert_eq!(Disk::new(&first, &PI4[1..3]).locate(), apart);
    first[15] = (b"RECOVERYBIN", 0x20, 9);
    assert_eq!(Disk::new(&first, &rows()).locate(), apart);
    // recovery.bin renamed itself into a new entry
    first[15] = (b"RECOVERY000", 0x20, 9);
    assert_eq!(Disk::new(&first, &rows()).locate(), apart);
}

fn any_row() -> impl Strategy<Value = Row> {
    let rows = [
        &rows()[..],
        &[
            (b"PIEEPROMUPD", 0x20, 524_288),
            (b"PIEEPROMUPD", 0x20, 2_097_152),
            (b"PIEEPROMSIG", 0x20, 97),
            (b"RECOVERYBIN", 0x20, 9),
            (b"RECOVERY000", 0x20, 9),
            (b"Al\0o\0n\0g\0\0\0", 0x0f, 9),
            (b"\xe5EPR2711REC", 0x20, 9),
        ],
    ]
    .concat();
    prop::sample::select(rows)
}

proptest! {
    /// Every directory is refused, or can be staged and restored to what it was, byte by byte.
    #[test]
    fn total(rows in prop::collection::vec(any_row(), 0..16), changes in prop::collection::vec((0..BLOCK, any::<u8>()), 0..3)) {
        let mut block = block(&rows);
        for (at, byte) in changes {
            block[at] = byte;
        }
        check_total(&block)?;
    }

    #[test]
    fn shuffled(rows in Just(rows()).prop_shuffle()) {
        let block = block(&rows);
        for chip in Chip::ALL {
            prop_assert_eq!(restore(&recovered(&stage(&block, chip).unwrap())), Ok(block));
        }
        check_total(&block)?;
    }
}

fn check_total(block: &[u8; BLOCK]) -> Result<(), TestCaseError> {
    for chip in Chip::ALL {
        if let Ok(staged) = stage(block, chip) {
            prop_assert_eq!(state(block), Ok(State::AtRest));
            prop_assert_eq!(state(&staged), Ok(State::Staged(chip)));
            prop_assert_eq!(restore(&staged), Ok(*block));
        }
    }
    if let Ok(restored) = restore(block) {
        prop_assert_eq!(state(&restored), Ok(State::AtRest));
        if let Ok(State::Staged(chip)) = state(block) {
            prop_assert_eq!(stage(&restored, chip), Ok(*block));
        }
    }
    Ok(())
}
