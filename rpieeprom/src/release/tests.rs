// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Date, Release};
use crate::{Chip, lz4, noise};

/// By `date -u -d @N +%F`.
#[test]
fn dates() {
    for (seconds, expected) in [
        (0, "1970-01-01"),
        (951_782_400, "2000-02-29"),
        (1_666_090_664, "2022-10-18"),
        (1_709_164_800, "2024-02-29"),
        (1_735_689_599, "2024-12-31"),
        (1_735_689_600, "2025-01-01"),
        (1_779_045_198, "2026-05-17"),
        (u32::MAX, "2106-02-07"),
    ] {
        assert_eq!(Date::of(seconds).to_string(), expected);
    }
}

/// Places of words in bytes.
fn places(bytes: &[u8], word: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(word)).collect()
}

/// Offsets as in the images of 2026-05.
#[test]
fn images() {
    for (chip, bytes) in [(Chip::Bcm2711, 524_288), (Chip::Bcm2712, 2_097_152)] {
        let release = Release { manufacture: Some(1), ..Release::new(chip, 1_779_045_198) };
        let image = release.image();
        assert_eq!((image.len(), release.name().as_str()), (bytes, "pieeprom-2026-05-17.bin"));
        assert_eq!(image, release.image());
        assert!(image.starts_with(&[0x55, 0xaa, 0xf0, 0x0f]));
        assert_eq!(places(&image, b"\0BUILD_TIMESTAMP=1779045198\0").len(), 1);
        assert_eq!(places(&image, b"\0DATE: 2026/05/17\0TIME: 19:13:18\0").len(), 1);
        assert_eq!(places(&image, b"\0MFG_VER: 1\0").len(), 1);
        assert_eq!(places(&image, b"bootconf.txt\0\0\0\0[all]\n").len(), 1);
        assert!(image[bytes - 8192..].iter().all(|byte| *byte == 0xff));
        let recovery = release.recovery();
        assert_eq!(places(&recovery, b"\0pieeprom.upd\0").len(), 1);
        assert_eq!(places(&recovery, b"2711").len(), usize::from(chip == Chip::Bcm2711));
        assert!(recovery[..512].iter().all(|byte| *byte == 0));
        assert_ne!(image, Release::new(chip, 1_779_045_199).image());
    }
    let image = Release::new(Chip::Bcm2712, 1_779_045_198).image();
    assert_eq!(places(&image, b"\x55\xaa\xf1\x1f")[1], 0x1_0000, "bootsys");
}

/// These are what `lz4 -d` unpacks to the bytes.
#[test]
fn frames() {
    let zeros = b"\x04\x22\x4d\x18\x60\x40\x82\x0b\0\0\0\x1f\0\x01\0\x03\x50\0\0\0\0\0\0\0\0\0";
    assert_eq!(lz4::frame(&[0; 28]), zeros);
    let stored = b"\x04\x22\x4d\x18\x60\x40\x82\x02\0\0\x80ab\0\0\0\0";
    assert_eq!(lz4::frame(b"ab"), stored);
    assert_eq!(lz4::frame(b"")[7..], [0; 4]);
    // 255 and 255 and none: the length of a run is told to its end
    assert_eq!(lz4::frame(&vec![9; 10 + 15 + 510]).len(), 7 + 4 + 4 + 3 + 6 + 4);
    assert!(lz4::frame(&noise(1, 200_000)).len() > 200_000);
}
