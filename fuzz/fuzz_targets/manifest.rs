// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was parsed is written as it was.
#![no_main]

use bootsel::manifest::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes) {
        assert_eq!(manifest.to_string().as_bytes(), bytes);
        assert!(manifest.revision().is_some() && manifest.version().is_some());
    }
});
