// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was parsed, changed and written leads where it was told to.
#![no_main]

use bootsel::autoboot::{Autoboot, BYTES};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(mut autoboot) = Autoboot::parse(bytes) else { return };
    if autoboot.set(3, 2).is_err() {
        return;
    }
    let Ok(written) = autoboot.to_bytes() else { return };
    assert_eq!(written.len(), BYTES);
    let again = Autoboot::parse(&written).expect("what we write can be read");
    assert_eq!((again.target(false), again.target(true)), (3, 2));
});
