// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole bundle as a stream, checksums put right. Content is bounded by what there is.
#![no_main]

use std::io::Read;

use bootsel::tar::BLOCK;
use signed::Head;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    }
    let Ok(mut bundle) = Head::read(&bytes[..]).and_then(Head::unverified) else { return };
    let mut read = 0;
    while let Ok(Some(_)) = bundle.next_member() {
        read += bundle.by_ref().bytes().map_while(Result::ok).count();
    }
    assert!(read <= bytes.len());
});
