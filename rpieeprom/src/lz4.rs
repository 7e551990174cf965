// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames of LZ4, written plainly: a block of one byte over and over is packed, every other is stored as it is.
//! (lz4: `doc/lz4_Frame_format.md` 1.6, `doc/lz4_Block_format.md`.)

/// Magic number; version 1 with independent blocks; blocks of 64 KiB at most; the checksum of the two bytes before.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
/// The largest block.
const BLOCK: usize = 64 << 10;
/// A block that is stored.
const STORED: u32 = 1 << 31;
/// Literals that a block has to end with, one that a copy needs before it, and the least that a copy has.
const END: usize = 5;
const SHORTEST: usize = 4;
/// No copy begins in the last twelve bytes.
const LEAST: usize = 1 + 12;

/// Packs bytes.
#[must_use]
pub fn frame(content: &[u8]) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    for block in content.chunks(BLOCK) {
        let packed = run(block);
        let (length, bytes) = match &packed {
            Some(packed) => (word(packed.len()), packed.as_slice()),
            None => (word(block.len()) | STORED, block),
        };
        out.extend(length.to_le_bytes());
        out.extend(bytes);
    }
    out.extend([0; 4]);
    out
}

fn word(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(0)
}

/// A block that is one byte over and over: the byte, a copy of what is one byte before, five bytes as they are.
fn run(block: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = block.split_first()?;
    if block.len() < LEAST || rest.iter().any(|byte| byte != first) {
        return None;
    }
    let more = block.len() - 1 - END - SHORTEST;
    // one literal, and a length of 15 and what follows
    let mut out = vec![1 << 4 | u8::try_from(more.min(15)).unwrap_or(15), *first, 1, 0];
    if let Some(mut more) = more.checked_sub(15) {
        while more >= 255 {
            out.push(255);
            more -= 255;
        }
        out.push(u8::try_from(more).unwrap_or(0));
    }
    out.push(u8::try_from(END << 4).unwrap_or(0));
    out.extend([*first; END]);
    Some(out)
}
