// SPDX-License-Identifier: MIT OR Apache-2.0
//! A block of the directory: it is refused, or what is staged can be taken back to the very bytes.
#![no_main]

use bootsel::eeprom::{
    Chip,
    stage::{State, restore, stage, state},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut block = [0; 512];
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
    }
    for chip in Chip::ALL {
        if let Ok(staged) = stage(&block, chip) {
            assert_eq!(state(&staged), Ok(State::Staged(chip)));
            assert_eq!(restore(&staged), Ok(block));
        }
    }
    if let Ok(restored) = restore(&block) {
        assert_eq!(state(&restored), Ok(State::AtRest));
    }
});
