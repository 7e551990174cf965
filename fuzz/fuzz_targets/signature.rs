// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key and signature, with a line `--` between them: no such pair signs anything but the known one.
#![no_main]

use signed::Keys;

const MANIFEST: &[u8] = include_bytes!("../../bootsel/signed/src/tests/manifest");
const KEY: &str = include_str!("../../bootsel/signed/src/tests/a.pub");

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (key, signature) = text.split_once("--\n").unwrap_or((KEY, text));
    let mut keys = Keys::default();
    let _ = keys.add("key", key);
    let _ = keys.verify(MANIFEST, signature.as_bytes());
    let _ = keys.verify(b"", signature.as_bytes());
});
