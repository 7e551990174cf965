// SPDX-License-Identifier: MIT OR Apache-2.0
//! A header is refused or means a plain file. The fuzzer does not have to find the checksum.
#![no_main]

use bootsel::tar::{BLOCK, header};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some(mut block) = bytes.first_chunk::<BLOCK>().copied() else { return };
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    if let Ok(Some(found)) = header(&block) {
        assert!(
            !found.name.is_empty() && !found.name.starts_with('.') && !found.name.contains('/')
        );
        assert!(found.bytes < 1 << 36);
    }
});
