// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot volume of a slot, unpacked as it comes.

use std::io::Read;

use bootsel::Slot;
use bootsel::bundle::WINDOW_LOG_MAX;
use bootsel::manifest::{self, Manifest};
use ruzstd::decoding::StreamingDecoder;
use sha2::{Digest, Sha256};

use super::Progress;
use crate::area::{Area, CHUNK, SECTOR};
use crate::error::{Error, Result, failed};
use crate::slot::{placeholder, set_letter};

/// What no firmware takes for a boot sector.
pub(super) const NO_BOOT_SECTOR: [u8; SECTOR] = [0; SECTOR];

/// A stream that remembers why it could not be read: what unpacks it says what that did to itself.
struct Remembers<R> {
    stream: R,
    why: Option<String>,
}

impl<R: Read> Read for Remembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer).inspect_err(|why| self.why = Some(why.to_string()))
    }
}

/// Writes everything but the first sector, and gives that back. What came is compared with the manifest.
pub(super) fn write(
    packed: impl Read,
    area: &Area,
    manifest: &Manifest,
    boot: &manifest::File,
    slot: Slot,
) -> Result<[u8; SECTOR]> {
    let mut packed = Remembers { stream: packed, why: None };
    let written = unpack(&mut packed, area, manifest, boot, slot);
    written.map_err(|why| packed.why.map_or(why, failed("boot.img.zst")))
}

fn unpack(
    packed: impl Read,
    area: &Area,
    manifest: &Manifest,
    boot: &manifest::File,
    slot: Slot,
) -> Result<[u8; SECTOR]> {
    let cannot = || "boot.img.zst";
    let mut progress = Progress::new("the boot partition", boot.bytes);
    let mut plain = StreamingDecoder::new_with_max_window_size(packed, 1 << WINDOW_LOG_MAX)
        .map_err(failed(cannot()))?;
    let letter = manifest.slot_letter().unwrap_or(u64::MAX);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut beginning = NO_BOOT_SECTOR;
    let mut at = 0_u64;
    loop {
        let count = fill(&mut plain, &mut buffer).map_err(failed(cannot()))?;
        let part = buffer.get_mut(..count).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        if at + part.len() as u64 > boot.bytes {
            return Err(Error::Failed(format!(
                "boot.img.zst holds more than {} bytes",
                boot.bytes
            )));
        }
        hash.update(&part);
        if let Some(byte) = place(letter, at).and_then(|place| part.get_mut(place)) {
            if *byte != placeholder() {
                return Err(Error::Failed("boot.img has no slot letter in its place".to_owned()));
            }
            *byte = set_letter(slot);
        }
        if at == 0 {
            for (to, from) in beginning.iter_mut().zip(part.iter_mut()) {
                *to = std::mem::take(from);
            }
        }
        area.write(at, part)?;
        at += part.len() as u64;
        progress.at(at);
    }
    let found: [u8; 32] = hash.finalize().into();
    if at != boot.bytes || found != boot.sha256 {
        return Err(Error::Failed("boot.img is not what the manifest says".to_owned()));
    }
    Ok(beginning)
}

fn place(letter: u64, at: u64) -> Option<usize> {
    usize::try_from(letter.checked_sub(at)?).ok()
}

/// As much as there is, up to the buffer's length.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut have = 0;
    while let Some(rest) = buffer.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest)? {
            0 => break,
            count => have += count,
        }
    }
    Ok(have)
}
