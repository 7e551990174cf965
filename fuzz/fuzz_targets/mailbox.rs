// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a firmware answers: a text ends inside of its room, and is what was asked for.
#![no_main]

use bootsel::eeprom::{bootconf, version::Version};
use uapi::vcio::{COMMAND_BYTES, PROPERTY_BYTES, command_answer, property_answer};

/// `GET_REBOOT_FLAGS`
const FLAGS: u32 = 0x0003_0064;

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    padded
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let answer = padded::<PROPERTY_BYTES>(bytes);
    if let Ok(value) = property_answer(FLAGS, &answer) {
        assert_eq!(answer[8..12], FLAGS.to_ne_bytes());
        assert_eq!(answer[20..24], value.to_ne_bytes());
    }
    let answer = padded::<COMMAND_BYTES>(bytes);
    let Ok(output) = command_answer(&answer) else { return };
    let text = output.as_bytes();
    assert!(answer[24..].starts_with(text) && answer[24 + text.len()] == 0);
    let Ok(text) = core::str::from_utf8(text) else { return };
    let _ = (Version::parse(text), bootconf::is_frozen(text), bootconf::is_chosen(text));
});
