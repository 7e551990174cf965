// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was taken of a block is in what is written, and what is kept of any block is taken.
#![no_main]

use bootsel::Slot;
use bootsel::grubenv::{Fragment, Grubenv, filler};

fn block(found: &Grubenv) -> Vec<u8> {
    [found.to_sector(), filler()].concat()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = core::str::from_utf8(bytes)
        && let Ok(fragment) = Fragment::parse(text)
    {
        assert_eq!(Fragment::parse(&fragment.to_string()), Ok(fragment));
    }
    let kept = Grubenv::salvage(bytes, Slot::B);
    assert_eq!(Grubenv::parse(&block(&kept)).as_ref(), Ok(&kept));
    // the filler need not be found by chance
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().max(1024), b'#');
    let Ok(mut found) = Grubenv::parse(&padded) else { return };
    assert_eq!(padded[512..], filler());
    found.select(found.default().other());
    found.arm(true);
    assert_eq!(Grubenv::parse(&block(&found)), Ok(found));
});
