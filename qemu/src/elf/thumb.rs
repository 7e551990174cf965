// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a program of ARM and Thumb code has no instruction newer than an ARM1176's.
//!
//! Read from the instructions: the linker takes a program's attributes from one of its parts. Encodings: Arm Architecture
//! Reference Manual ARMv7-A (DDI 0406), chapters A5, A6 and A8.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::read::elf::ElfFile32;
use object::{Object, ObjectSection, ObjectSymbol};

/// Where code of a kind, or data among it, begins: `$a`, `$t`, `$d` (ELF for the Arm Architecture, 5.5.5).
type Mark = (u64, Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Arm,
    Data,
    Thumb,
}

/// How much of either there is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) arm: usize,
    pub(crate) thumb: usize,
}

/// Looks at every instruction of a program that has its symbols.
pub(crate) fn check(program: &Path) -> Result<Code> {
    let data = fs::read(program)?;
    let file = ElfFile32::<object::Endianness>::parse(&*data)?;
    let text = file.section_by_name(".text").context("no .text")?;
    let (address, text) = (text.address(), text.data()?);
    let mut marks: Vec<Mark> = file
        .symbols()
        .filter_map(|symbol| Some((symbol.address(), kind(symbol.name().ok()?)?)))
        .filter(|(place, _)| (address..address + text.len() as u64).contains(place))
        .collect();
    marks.sort_unstable();
    ensure!(!calls_the_kernels_helpers(text), "calls the kernel's helpers for atomic operations");
    let mut code = Code::default();
    for (number, (start, kind)) in marks.iter().enumerate() {
        let end = marks.get(number + 1).map_or(address + text.len() as u64, |mark| mark.0);
        let place = |place: u64| usize::try_from(place - address).unwrap_or(usize::MAX);
        let part = text.get(place(*start)..place(end)).context("a mark beyond the code")?;
        let found = match kind {
            Kind::Arm => newer_arm(part),
            Kind::Thumb => newer_thumb(part),
            Kind::Data => None,
        };
        ensure!(found.is_none(), "an instruction newer than ARMv6 after {start:#x}: {found:x?}");
        match kind {
            Kind::Arm => code.arm += part.len(),
            Kind::Thumb => code.thumb += part.len(),
            Kind::Data => {}
        }
    }
    ensure!(code.thumb > 0, "no mark of Thumb code");
    Ok(code)
}

/// A mark's name may go on after a dot.
fn kind(name: &str) -> Option<Kind> {
    match name.split('.').next()? {
        "$a" => Some(Kind::Arm),
        "$d" => Some(Kind::Data),
        "$t" => Some(Kind::Thumb),
        _ => None,
    }
}

/// Bits that are looked at, and what they are in an instruction that an ARM1176 lacks.
const NEWER_ARM: [(u32, u32); 11] = [
    (0x0FB0_0000, 0x0300_0000), // MOVW, MOVT
    (0x0FE0_0070, 0x07C0_0010), // BFC, BFI
    (0x0FA0_0070, 0x07A0_0050), // SBFX, UBFX
    (0x0FF0_00F0, 0x0060_0090), // MLS
    (0x0FFF_0FF0, 0x06FF_0F30), // RBIT
    (0x0FD0_F0F0, 0x0710_F010), // SDIV, UDIV
    (0xFFFF_FFC0, 0xF57F_F040), // DMB, DSB, ISB
    (0x0E00_0E00, 0x0C00_0A00), // VFP: loads and stores
    (0x0F00_0E00, 0x0E00_0A00), // VFP: the others
    (0xFE00_0000, 0xF200_0000), // NEON
    (0xFF10_0000, 0xF400_0000), // NEON: loads and stores
];

fn newer_arm(code: &[u8]) -> Option<u32> {
    let (words, _) = code.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    words.find(|word| NEWER_ARM.iter().any(|(bits, value)| word & bits == *value))
}

/// Whether an address of the page is there that a kernel may leave out. (Linux: arch/arm/Kconfig, `KUSER_HELPERS`;
/// Documentation/arch/arm/kernel_user_helpers.rst)
fn calls_the_kernels_helpers(code: &[u8]) -> bool {
    let (words, _) = code.as_chunks::<4>();
    words.iter().any(|word| u32::from_le_bytes(*word) >> 8 == 0x00FF_FF0F)
}

/// Thumb-2, that is: instructions of 32 bits but `BL` and `BLX`, `CBZ`, `CBNZ`, `IT` and the hints. Those two are in the first
/// Thumb set two halves of 16 bits, `11110` and then `11111` or `11101`.
fn newer_thumb(code: &[u8]) -> Option<u32> {
    let (halves, _) = code.as_chunks::<2>();
    let mut halves = halves.iter().map(|half| u16::from_le_bytes(*half));
    while let Some(half) = halves.next() {
        let is_newer = match half >> 11 {
            0b11110 => !halves.next().is_some_and(|next| matches!(next >> 11, 0b11111 | 0b11101)),
            0b11101 | 0b11111 => true,
            _ => half & 0xF500 == 0xB100 || half & 0xFF00 == 0xBF00,
        };
        if is_newer {
            return Some(half.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{calls_the_kernels_helpers, newer_arm, newer_thumb};

    /// As LLVM's assembler makes them for an ARM1176, and for a Cortex-A7.
    #[test]
    fn what_an_arm1176_has_and_what_it_lacks() {
        let old: [u32; 8] = [
            0xE3A0_B000, // mov r11, #0
            0xE92D_4010, // push {r4, lr}
            0xEF00_0000, // svc 0
            0xE190_1F9F, // ldrex r1, [r0]
            0xEE07_0FBA, // mcr p15, 0, r0, c7, c10, 5
            0xE6FF_0070, // uxth r0, r0
            0xE080_1392, // umull r1, r0, r2, r3
            0xFA00_0001, // blx
        ];
        for word in old {
            assert_eq!(newer_arm(&word.to_le_bytes()), None, "{word:#x}");
        }
        let new: [u32; 9] = [
            0xE300_0001, // movw r0, #1
            0xE340_0001, // movt r0, #1
            0xE7E7_0050, // ubfx r0, r0, #0, #8
            0xE7C7_0011, // bfi r0, r1, #0, #8
            0xE060_2190, // mls r0, r0, r1, r2
            0xE6FF_0F30, // rbit r0, r0
            0xE730_F110, // udiv r0, r0, r1
            0xF57F_F05B, // dmb ish
            0xEE30_0A00, // vadd.f32 s0, s0, s0
        ];
        for word in new {
            assert_eq!(newer_arm(&word.to_le_bytes()), Some(word), "{word:#x}");
        }
    }

    #[test]
    fn helpers() {
        assert!(calls_the_kernels_helpers(&[0, 0, 0, 0, 0xC0, 0x0F, 0xFF, 0xFF]));
        assert!(!calls_the_kernels_helpers(&[0, 0, 0xC0, 0x0F, 0xFF, 0xFF, 0, 0]));
    }

    #[test]
    fn thumb_of_16_bits_alone() {
        let bytes =
            |halves: &[u16]| halves.iter().flat_map(|h| h.to_le_bytes()).collect::<Vec<_>>();
        // push {r4, lr}; bl; blx; svc 0; b; uxtb r0, r0; rev r0, r0; pop {r4, pc}
        let old = [0xB510, 0xF000, 0xF801, 0xF000, 0xE802, 0xDF00, 0xE7FE, 0xB2C0, 0xBA00, 0xBD10];
        assert_eq!(newer_thumb(&bytes(&old)), None);
        // movw r0, #1; ldr.w r0, [r1]; dmb; a long bl; cbz r0; cbnz r0; it eq; nop.n
        let new: [&[u16]; 8] = [
            &[0xF240, 0x0001],
            &[0xF8D1, 0x0000],
            &[0xF3BF, 0x8F5B],
            &[0xF000, 0xD001],
            &[0xB100],
            &[0xB900],
            &[0xBF08],
            &[0xBF00],
        ];
        for code in new {
            assert!(newer_thumb(&bytes(code)).is_some(), "{code:x?}");
        }
    }
}
