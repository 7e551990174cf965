// SPDX-License-Identifier: MIT OR Apache-2.0

//! `/pivot/log/init.log` on DATA: a ring of 64 records of 512 bytes in a file that never changes its
//! size, so that writing needs no free space and a cut of power hurts one record. `strings` reads it:
//!
//! ```text
//! pivot crc=1a2b3c4d counter=7 boot_id=5c9b.. slot=a revision=12 event=booted message=..
//! ```
//!
//! The checksum stands at byte 10 and covers what follows it, to the end of the 512 bytes. There is
//! no clock: the counter gives the order. It also gives the place, counter modulo 64, which holds
//! across its wrap. The log is a witness and decides nothing but the one-shot fallback.

use crate::{ptable::crc32, slot, slot::Slot, text::split_once};
use alloc::{format, string::String, vec::Vec};

/// Bytes of a record: what a disk writes at once.
pub const RECORD_BYTES: usize = 512;
/// Records in the ring. A power of two: the counter's wrap must not move the places.
pub const RECORDS: usize = 64;
/// Bytes of the file.
pub const BYTES: usize = RECORD_BYTES * RECORDS;

/// The event written when all is done but executing the new init.
pub const BOOTED: &str = "booted";
/// The event written before the one-shot reboot into the other slot. Where it cannot be written
/// there must be no such reboot: nothing would count it.
pub const FALLBACK: &str = "fallback";

/// A trial reached init: the first thing that init does of which a later boot knows.
pub const TRIAL: &str = "trial";
/// init could not go on with a trial.
pub const TRIAL_FAILED: &str = "trial-failed";
/// A trial is about to be started; `slot` is the one that will be tried. Written by the tool, as those below, each
/// before what it announces: the log never decides, so that an announcement whose act a cut of power prevented does
/// no harm.
pub const ARMED: &str = "armed";
/// The trial was called off before its reboot.
pub const CANCELLED: &str = "cancelled";
/// The slot becomes the default, from inside its trial.
pub const COMMIT: &str = "commit";
/// The slot was given up: its trial ended by request, or the other one becomes the default again.
pub const ROLLBACK: &str = "rollback";
/// The slot becomes the default because it boots and verifies, and the default does not.
pub const REPAIR: &str = "repair";
/// A revision is about to be written to the slot.
pub const INSTALL: &str = "install";
/// It was, and was read back.
pub const INSTALLED: &str = "installed";

/// `pivot crc=` and eight digits.
const CRC_END: usize = 18;
/// Longest boot id, revision and event. A message has 240 bytes at least.
const WORD_BYTES: usize = 64;

/// One thing that happened. Its text is owned where it is put together and borrowed where it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<S = String> {
    /// Place in the order; wraps. Chosen by [`next`].
    pub counter: u32,
    /// `/proc/sys/kernel/random/boot_id`: which boot it happened in.
    pub boot_id: S,
    /// The booted slot, where it was known; in a record of the tool the slot that it speaks of.
    pub slot: Option<Slot>,
    /// The revision; empty where there was none.
    pub revision: S,
    /// One word: [`BOOTED`], [`FALLBACK`], or any other.
    pub event: S,
    /// Free text for a person, on one line.
    pub message: S,
}

impl<'a> Record<&'a str> {
    /// `None` for what is torn, was never written, or stands where its counter does not belong.
    fn parse(bytes: &'a [u8; RECORD_BYTES], place: usize) -> Option<Self> {
        let (head, body) = bytes.split_first_chunk::<CRC_END>()?;
        if !head.starts_with(b"pivot crc=") || head.as_slice() != checksum(body).as_bytes() {
            return None;
        }
        let line = body.split(|byte| *byte == b'\n').next()?;
        let mut rest = core::str::from_utf8(line).ok()?.strip_prefix(' ')?;
        let mut field = |key| {
            let (value, after) = split_once(rest.strip_prefix(key)?, b' ')?;
            rest = after;
            Some(value)
        };
        let record = Self {
            counter: u32::try_from(field("counter=")?.parse::<u64>().ok()?).ok()?,
            boot_id: field("boot_id=")?,
            slot: Slot::from_cmdline(field("slot=")?).ok()?,
            revision: field("revision=")?,
            event: field("event=")?,
            message: rest.strip_prefix("message=")?,
        };
        (place_of(record.counter) == place).then_some(record)
    }
}

impl<S: AsRef<str>> Record<S> {
    fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let mut body = format!(" counter={}", u64::from(self.counter));
        push(&mut body, " boot_id=", self.boot_id.as_ref(), true);
        push(&mut body, " slot=", self.slot.map_or(slot::PLACEHOLDER, Slot::as_str), true);
        push(&mut body, " revision=", self.revision.as_ref(), true);
        push(&mut body, " event=", self.event.as_ref(), true);
        push(&mut body, " message=", self.message.as_ref(), false);
        body.push('\n');
        let mut body = body.into_bytes();
        body.resize(RECORD_BYTES - CRC_END, 0);
        let mut record = [0; RECORD_BYTES];
        let text = checksum(&body);
        for (to, from) in record.iter_mut().zip(text.as_bytes().iter().chain(&body)) {
            *to = *from;
        }
        record
    }
}

/// What is left of the records, oldest first: at most the last 64. Torn ones and garbage are skipped;
/// bytes past the ring are not looked at.
pub fn parse(log: &[u8]) -> Vec<Record<&str>> {
    let mut found = Vec::new();
    for (place, bytes) in log.as_chunks::<RECORD_BYTES>().0.iter().take(RECORDS).enumerate() {
        if let Some(record) = Record::parse(bytes, place) {
            found.push(record);
        }
    }
    let Some(newest) = newest(&found) else { return found };
    // No sort: across the wrap two counters have no order, and its code is larger than this file's.
    let mut records = Vec::new();
    for back in (0..64).rev() {
        let counter = newest.wrapping_sub(back);
        if let Some(place) = found.iter().position(|record| record.counter == counter) {
            records.push(found.swap_remove(place));
        }
    }
    records
}

/// Where the next record goes in the file, and its bytes: words are cut to 64 bytes, the message to
/// what fits, and what would break the line is replaced. It takes the place of the oldest. `None`
/// where the file is shorter than the ring: writing would have to find space.
pub fn next<S: AsRef<str>>(log: &[u8], mut record: Record<S>) -> Option<(u64, [u8; RECORD_BYTES])> {
    if log.len() < BYTES {
        return None;
    }
    record.counter = newest(&parse(log)).map_or(0, |newest| newest.wrapping_add(1));
    let offset = place_of(record.counter).checked_mul(RECORD_BYTES)?;
    Some((u64::try_from(offset).ok()?, record.to_bytes()))
}

/// Whether the one-shot reboot into the other slot was used and no boot came to its end since, in
/// either slot: two slots that both cannot boot must not send the device to and fro forever.
pub fn fallback_used(records: &[Record<&str>]) -> bool {
    let mut newest_first = records.iter().rev().map(|record| record.event);
    newest_first.find(|event| [BOOTED, FALLBACK].contains(event)) == Some(FALLBACK)
}

fn newest(records: &[Record<&str>]) -> Option<u32> {
    let newer = |a: u32, b: u32| if b.wrapping_sub(a) < 1 << 31 { b } else { a };
    records.iter().map(|record| record.counter).reduce(newer)
}

fn place_of(counter: u32) -> usize {
    usize::try_from(counter).unwrap_or(0) % RECORDS
}

fn checksum(body: &[u8]) -> String {
    let crc = crc32(body);
    let mut text = String::from("pivot crc=");
    // By hand: the formatting of padded hex is twice this file's size.
    for shift in (0..32).step_by(4).rev() {
        text.extend(char::from_digit((crc >> shift) & 15, 16));
    }
    text
}

/// A word, or the message in what is left of the record but the byte for the newline.
fn push(line: &mut String, key: &str, text: &str, is_word: bool) {
    line.push_str(key);
    let end = if is_word { line.len() + WORD_BYTES } else { RECORD_BYTES - CRC_END - 1 };
    for char in text.chars() {
        let char = match char {
            _ if is_word && !char.is_ascii_graphic() => '_',
            _ if char.is_control() => ' ',
            _ => char,
        };
        if line.len() + char.len_utf8() > end {
            break;
        }
        line.push(char);
    }
}

#[cfg(test)]
mod tests;
