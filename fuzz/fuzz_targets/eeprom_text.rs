// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the firmware says, and the small files about the EEPROM.
#![no_main]

use bootsel::eeprom::{attempts::Attempts, bootconf, lz4, signature, version::Version};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((content, rest)) = lz4::unpack(bytes, 1 << 16) {
        assert!(content.len() <= 1 << 16 && bytes.ends_with(rest));
    }
    if let Ok(signature::Signature { sha256, timestamp: Some(time), chip: Some(chip) }) =
        signature::Signature::parse(bytes)
        && let Some(written) = signature::write(&sha256, time, chip)
    {
        assert_eq!(signature::Signature::parse(&written).unwrap().sha256, sha256);
    }
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let _ = Version::parse(text);
    let _ = (bootconf::is_frozen(text), bootconf::is_chosen(text), bootconf::self_update(text));
    if let Some(attempts) = Attempts::parse(text) {
        assert_eq!(Attempts::parse(&attempts.to_string()), Some(attempts));
    }
});
