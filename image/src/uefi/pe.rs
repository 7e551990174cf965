// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a UEFI program says of itself in its headers. (Microsoft: PE Format; kernel: arch/arm64/kernel/efi-header.S,
//! drivers/firmware/efi/libstub/zboot-header.S)

use crate::compress::le32;

/// Offset of the offset of the PE header.
const PE_AT: usize = 0x3c;
/// `IMAGE_FILE_MACHINE_ARM64`
const ARM64: u32 = 0xaa64;
/// `IMAGE_SUBSYSTEM_EFI_APPLICATION`
const APPLICATION: u32 = 10;
/// The optional header of 64-bit programs.
const PE32_PLUS: u32 = 0x20b;

/// A UEFI program for 64-bit Arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Whether there is a signature in it; whose it is, is not looked at.
    pub signed: bool,
    /// Whether it is a kernel that unpacks itself.
    pub zboot: bool,
}

impl Program {
    /// By its first bytes; none where this is another thing.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| le32(bytes, at);
        let half = |at: usize| Some(word(at)? & 0xffff);
        let pe = usize::try_from(word(PE_AT)?).ok()?;
        let at = |offset: usize| pe.checked_add(offset);
        // the COFF header follows the four bytes of the signature, the optional header its twenty
        let right = bytes.starts_with(b"MZ")
            && word(pe)? == u32::from_le_bytes(*b"PE\0\0")
            && half(at(4)?)? == ARM64
            && half(at(24)?)? == PE32_PLUS
            && half(at(24 + 68)?)? == APPLICATION;
        // the fifth data directory: the certificates; it may be left out
        let directories = word(at(24 + 108)?)?;
        let signed = directories > 4 && word(at(24 + 112 + 4 * 8 + 4)?)? > 0;
        right.then_some(Self { signed, zboot: bytes.get(4..8) == Some(b"zimg") })
    }
}

/// The version that a program gives for a component in its table for revocations: `grub,3,Free Software
/// Foundation,grub,2.06,https://...`. (shim: SBAT.md)
#[must_use]
pub fn sbat(bytes: &[u8], component: &str) -> Option<String> {
    let key = format!("\n{component},");
    let at = bytes.windows(key.len()).position(|window| window == key.as_bytes())?;
    let line = bytes.get(at + 1..)?.split(|byte| *byte == b'\n').next()?;
    let version = line.split(|byte| *byte == b',').nth(4)?;
    String::from_utf8(version.to_vec()).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The headers of a UEFI program, and what follows.
    pub(crate) fn program(machine: u16, subsystem: u16, signed: bool, tail: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 0x200];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(PE_AT, &0x40_u32.to_le_bytes());
        put(0x40, b"PE\0\0");
        put(0x44, &machine.to_le_bytes());
        put(0x58, &0x20b_u16.to_le_bytes());
        put(0x58 + 68, &subsystem.to_le_bytes());
        put(0x58 + 108, &16_u32.to_le_bytes());
        put(0x58 + 112 + 36, &u32::from(signed).to_le_bytes());
        out.extend(tail);
        out
    }

    #[track_caller]
    fn check(bytes: &[u8], signed: Option<bool>) {
        assert_eq!(Program::of(bytes).map(|program| program.signed), signed);
    }

    #[test]
    fn headers() {
        check(&program(0xaa64, 10, false, b""), Some(false));
        check(&program(0xaa64, 10, true, b""), Some(true));
        check(&program(0x8664, 10, true, b""), None);
        check(&program(0xaa64, 3, true, b""), None);
        check(&program(0xaa64, 10, true, b"")[..0x80], None);
        check(b"MZ", None);
        check(b"", None);
        let mut far = program(0xaa64, 10, true, b"");
        far[PE_AT..PE_AT + 4].copy_from_slice(&[0xff; 4]);
        check(&far, None);
        let mut zboot = program(0xaa64, 10, true, b"");
        zboot[4..8].copy_from_slice(b"zimg");
        assert!(Program::of(&zboot).is_some_and(|program| program.zboot));
    }

    #[test]
    fn versions() {
        let table = b"\0sbat,1,SBAT Version,sbat,1,x\ngrub,5,Free Software Foundation,grub,2.06,https://x/\n\
                      grub.debian,5,Debian,grub2,2.06-13+deb12u2,https://x/\n\0";
        assert_eq!(sbat(table, "grub").as_deref(), Some("2.06"));
        assert_eq!(sbat(table, "grub.debian").as_deref(), Some("2.06-13+deb12u2"));
        assert_eq!(sbat(table, "shim"), None);
        assert_eq!(sbat(b"\ngrub,5", "grub"), None);
    }
}
