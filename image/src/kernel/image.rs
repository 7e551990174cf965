// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel image says of itself: for which processors it is, its release, its configuration.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::uefi::pe::Program;

/// First bytes of a gzip file.
const GZIP: &[u8] = &[0x1f, 0x8b, 8];
/// kernel: Documentation/arch/arm64/booting.rst
const ARM64_MAGIC_AT: usize = 56;
const ARM64_FLAGS_AT: usize = 24;
/// kernel: arch/arm/boot/compressed/head.S
const ZIMAGE_MAGIC: u32 = 0x016f_2818;
const ZIMAGE_MAGIC_AT: usize = 36;
/// No kernel is larger when it is unpacked; what claims to be ends here.
const PLAIN_MAX: u64 = 256 << 20;
/// What [`Kind::of`] looks at.
pub const HEAD: usize = 4096;

/// A kind of kernel image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A 64-bit kernel.
    Arm64 {
        /// KiB of a page: 4, 16, 64, or 0 where it does not say.
        page: u32,
        /// Whether it is packed with gzip.
        packed: bool,
    },
    /// A 64-bit kernel that unpacks itself, which only UEFI starts (kernel: `CONFIG_EFI_ZBOOT`).
    Zboot,
    /// A 32-bit kernel, a zImage: it unpacks itself.
    Arm,
}

impl Kind {
    /// By the first [`HEAD`] bytes; none where this is another thing.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<Self> {
        if !head.starts_with(GZIP) {
            return Self::of_plain(head, false);
        }
        let mut plain = [0; ARM64_MAGIC_AT + 4];
        GzDecoder::new(head).read_exact(&mut plain).ok()?;
        Self::of_plain(&plain, true)
    }

    fn of_plain(head: &[u8], packed: bool) -> Option<Self> {
        let word = |at: usize| crate::compress::le32(head, at);
        if word(ARM64_MAGIC_AT) == Some(u32::from_le_bytes(*b"ARM\x64")) {
            // bits 1 and 2 of the flags
            let page = [0, 4, 16, 64][(word(ARM64_FLAGS_AT)? >> 1 & 3) as usize];
            return Some(Self::Arm64 { page, packed });
        }
        if Program::of(head).is_some_and(|program| program.zboot) {
            return Some(Self::Zboot);
        }
        (word(ZIMAGE_MAGIC_AT) == Some(ZIMAGE_MAGIC)).then_some(Self::Arm)
    }
}

/// The kernel as it is in memory, where it was packed with gzip: by whoever ships it, or as the payload of a
/// zImage. As it is where it was packed in another way.
#[must_use]
pub fn plain(image: Vec<u8>) -> Vec<u8> {
    let starts = |at: &usize| image[*at..].starts_with(GZIP);
    // the code that unpacks a zImage comes before the payload and may hold these three bytes, too
    let unpacked = (0..image.len()).filter(starts).take(16).find_map(|at| {
        let mut out = Vec::new();
        let read = GzDecoder::new(&image[at..]).take(PLAIN_MAX).read_to_end(&mut out);
        (read.is_ok() && out.len() > image.len()).then_some(out)
    });
    unpacked.unwrap_or(image)
}

/// The release in the banner of a plain kernel (kernel: init/version-timestamp.c).
#[must_use]
pub fn release(plain: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let mut rest = plain;
    while let Some(at) = find(rest, BANNER) {
        rest = &rest[at + BANNER.len()..];
        let word: Vec<u8> =
            rest.iter().take(64).take_while(|byte| byte.is_ascii_graphic()).copied().collect();
        if word.first().is_some_and(u8::is_ascii_digit) {
            return String::from_utf8(word).ok();
        }
    }
    None
}

/// The configuration in a plain kernel, or in its module `configs` (kernel: kernel/configs.c, `CONFIG_IKCONFIG`).
#[must_use]
pub fn config(plain: &[u8]) -> Option<String> {
    const BEGIN: &[u8] = b"IKCFG_ST";
    let packed = &plain[find(plain, BEGIN)? + BEGIN.len()..];
    let mut text = String::new();
    GzDecoder::new(packed).take(PLAIN_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn arm64(flags: u8) -> Vec<u8> {
        let mut image = vec![0; 8192];
        image[24] = flags;
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }

    fn zimage() -> Vec<u8> {
        let mut image = vec![0; 64];
        image[36..40].copy_from_slice(&[0x18, 0x28, 0x6f, 0x01]);
        image
    }

    #[track_caller]
    fn check(head: &[u8], expected: Option<Kind>) {
        assert_eq!(Kind::of(head), expected);
    }

    #[test]
    fn kinds() {
        check(&arm64(0b0010), Some(Kind::Arm64 { page: 4, packed: false }));
        check(&arm64(0b1101), Some(Kind::Arm64 { page: 16, packed: false }));
        check(&gzip(&arm64(0b1010)), Some(Kind::Arm64 { page: 4, packed: true }));
        check(&zimage(), Some(Kind::Arm));
        check(&gzip(&zimage()), Some(Kind::Arm));
        check(b"MZ\x90\0", None);
        check(&gzip(b"short"), None);
        check(b"", None);
    }

    #[test]
    fn what_is_inside() {
        let mut kernel =
            b"Linux version %s\n\0Linux version 6.6.31-v7+ (someone@host)\0IKCFG_ST".to_vec();
        kernel.extend(gzip(b"CONFIG_ARM=y\n"));
        kernel.extend(b"IKCFG_ED");
        kernel.resize(100_000, 0);
        let mut zimage = zimage();
        zimage.extend([&[0x1f, 0x8b, 8, 0xff], gzip(&kernel).as_slice(), b"appended"].concat());
        let plain = plain(zimage);
        assert_eq!(plain, kernel);
        assert_eq!(release(&plain).as_deref(), Some("6.6.31-v7+"));
        assert_eq!(config(&plain).as_deref(), Some("CONFIG_ARM=y\n"));
    }

    #[test]
    fn nothing_inside() {
        assert_eq!(plain(b"x".to_vec()), b"x");
        assert_eq!(release(b"Linux version %s"), None);
        assert_eq!(config(b"IKCFG_ST\x1f\x8b\x08broken"), None);
    }
}
