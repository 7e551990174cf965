// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Board, Chip};
use crate::eeprom;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use Chip::{Bcm2711, Bcm2712, Bcm2835, Bcm2836, Bcm2837};

/// Codes in use, with what the documentation's table says of them.
#[rustfmt::skip]
const IN_USE: [(u32, &str, Chip, u8, u32); 44] = [
    (0x0002, "1 Model B", Bcm2835, 0, 256), (0x0003, "1 Model B", Bcm2835, 0, 256),
    (0x0006, "1 Model B", Bcm2835, 0, 256), (0x0007, "1 Model A", Bcm2835, 0, 256),
    (0x0009, "1 Model A", Bcm2835, 0, 256), (0x000d, "1 Model B", Bcm2835, 0, 512),
    (0x000f, "1 Model B", Bcm2835, 0, 512), (0x0010, "1 Model B+", Bcm2835, 2, 512),
    (0x0011, "Compute Module 1", Bcm2835, 0, 512), (0x0012, "1 Model A+", Bcm2835, 1, 256),
    (0x0013, "1 Model B+", Bcm2835, 2, 512), (0x0014, "Compute Module 1", Bcm2835, 0, 512),
    (0x900021, "1 Model A+", Bcm2835, 1, 512), (0x900032, "1 Model B+", Bcm2835, 2, 512),
    (0xa01041, "2 Model B", Bcm2836, 1, 1024), (0xa21041, "2 Model B", Bcm2836, 1, 1024),
    (0xa02042, "2 Model B", Bcm2837, 2, 1024), (0xa22042, "2 Model B", Bcm2837, 2, 1024),
    (0x900061, "Compute Module 1", Bcm2835, 1, 512), (0xa02082, "3 Model B", Bcm2837, 2, 1024),
    (0xa52082, "3 Model B", Bcm2837, 2, 1024), (0x900092, "Zero", Bcm2835, 2, 512),
    (0x920093, "Zero", Bcm2835, 3, 512), (0xa020a0, "Compute Module 3", Bcm2837, 0, 1024),
    (0x9000c1, "Zero W", Bcm2835, 1, 512), (0xa020d4, "3 Model B+", Bcm2837, 4, 1024),
    (0x9020e0, "3 Model A+", Bcm2837, 0, 512), (0xa02100, "Compute Module 3+", Bcm2837, 0, 1024),
    (0xa03111, "4 Model B", Bcm2711, 1, 1024), (0xb03112, "4 Model B", Bcm2711, 2, 2048),
    (0xd03114, "4 Model B", Bcm2711, 4, 8192), (0xc03115, "4 Model B", Bcm2711, 5, 4096),
    (0x902120, "Zero 2 W", Bcm2837, 0, 512), (0xc03130, "400", Bcm2711, 0, 4096),
    (0xa03140, "Compute Module 4", Bcm2711, 0, 1024), (0xb03141, "Compute Module 4", Bcm2711, 1, 2048),
    (0xa03150, "Compute Module 4S", Bcm2711, 0, 1024), (0xb04170, "5", Bcm2712, 0, 2048),
    (0xe04171, "5", Bcm2712, 1, 16384), (0xd04180, "Compute Module 5", Bcm2712, 0, 8192),
    (0xd04190, "500", Bcm2712, 0, 8192), (0xe04190, "500", Bcm2712, 0, 16384),
    (0xb041a0, "Compute Module 5 Lite", Bcm2712, 0, 2048), (0x9021b0, "Compute Module 0", Bcm2837, 0, 512),
];

#[test]
fn in_use() {
    for (code, model, chip, revision, memory) in IN_USE {
        let board = Board::from_code(code).unwrap();
        assert_eq!(board.model().strip_prefix("Raspberry Pi "), Some(model), "{code:x}");
        assert_eq!((board.chip, board.revision), (chip, revision), "{code:x}");
        assert_eq!(board.memory, Some(memory), "{code:x}");
        // warranty void, and no overvoltage: bits above the fields change nothing
        let flags = if code < 0x100 { 1 << 24 } else { 1 << 25 | 1 << 31 };
        assert_eq!(Board::from_code(code | flags), Some(board), "{code:x}");
    }
}

#[track_caller]
fn check(code: u32, eeprom: Option<eeprom::Chip>, recovery: bool, vl805: bool) {
    let board = Board::from_code(code).unwrap();
    assert_eq!(board.eeprom(), eeprom);
    assert_eq!((board.runs_recovery(), board.has_vl805_eeprom()), (recovery, vl805));
}

#[test]
fn eeproms() {
    let (pi4, pi5) = (Some(eeprom::Chip::Bcm2711), Some(eeprom::Chip::Bcm2712));
    check(0xb03111, pi4, true, true);
    check(0xb03112, pi4, true, true);
    check(0xb03114, pi4, true, false);
    check(0xc03130, pi4, true, false);
    check(0xb03140, pi4, false, false);
    check(0xb03150, pi4, false, false);
    for code in [0xc04170, 0xd04180, 0xd04190, 0xe041a0] {
        check(code, pi5, true, false);
    }
    for code in [0x000e, 0x9000c1, 0xa01041, 0xa02082, 0x902120, 0x9021b0] {
        check(code, None, false, false);
    }
}

#[test]
fn no_boards() {
    // no number of the old style, processor 5
    for code in [0, 1, 0x0a, 0x0b, 0x0c, 0x16, 0x0070_0000, 0xc05170, u32::MAX] {
        assert_eq!(Board::from_code(code), None, "{code:x}");
    }
    // memory 7: "other"
    assert_eq!(Board::from_code(0xf04170).unwrap().memory, None);
    assert_eq!(Board::from_code(0x0015).unwrap().memory, None);
}

proptest! {
    /// The fields are where the documentation has them, whatever else a code of the new style holds.
    #[test]
    fn fields(high in 0..64_u32, memory in 0..8_u32, maker in 0..16_u32, chip in 0..5_u32, kind: u8, revision in 0..16_u8) {
        let code = high << 26 | 1 << 23 | memory << 20 | maker << 16 | chip << 12
            | u32::from(kind) << 4 | u32::from(revision);
        let board = Board::from_code(code).unwrap();
        prop_assert_eq!((board.kind, board.revision), (kind, revision));
        prop_assert_eq!(board.chip as u32, chip);
        prop_assert_eq!(board.memory, (memory < 7).then(|| 256 << memory));
        prop_assert_eq!(board.eeprom().is_some(), chip >= 3);
        prop_assert!(board.model().starts_with("Raspberry Pi"));
    }

    #[test]
    fn any_code(code in any::<u32>()) {
        let Some(board) = Board::from_code(code) else { return Ok(()) };
        prop_assert!(board.eeprom().is_some() || !board.runs_recovery());
    }
}
