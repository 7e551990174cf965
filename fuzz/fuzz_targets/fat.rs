// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume whose blocks come again and again: also small inputs make a FAT32. The work is bounded.
#![no_main]

use bootsel::fat::{BLOCK, Volume};

/// 65,536 entries of the root directory, and a table for 64 MiB of clusters, in blocks.
const MOST: u64 = 400_000;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let blocks = bytes.as_chunks::<BLOCK>().0;
    let mut count = 0_u64;
    let mut read = |at: u64, block: &mut [u8; BLOCK]| {
        count += 1;
        let here = (at / BLOCK as u64) as usize % blocks.len().max(1);
        *block = *blocks.get(here).ok_or("empty")?;
        Ok::<(), &str>(())
    };
    let Ok(volume) = Volume::open(0, 64 << 20, &mut read) else { return };
    for name in ["autoboot.txt", "config.txt", "a long name.txt"] {
        if let Ok(Some(file)) = volume.find(name, &mut read) {
            let sum =
                |extents: Vec<bootsel::fat::Extent>| extents.iter().map(|one| one.bytes).sum();
            if let Ok(bytes) = volume.extents(&file, &mut read).map(sum) {
                assert_eq!(u64::from(file.bytes), bytes);
            }
            if let Ok(at) = volume.one_sector(&file, 512, &mut read) {
                assert_eq!(at % BLOCK as u64, 0);
            }
        }
    }
    assert!(count < MOST, "{count} blocks were read");
});
