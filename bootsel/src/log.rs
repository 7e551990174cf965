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

use crate::{
    list::List,
    ptable::{crc32, put},
    slot,
    slot::Slot,
    text::{digits, find, hex_digit, number, of, split_once},
};
use alloc::string::String;

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

/// A trial came to the end of a stage of init, which the message names. The first is written as soon as DATA is mounted, the
/// last, `exec`, right before the new init is started.
pub const TRIAL: &str = "trial";
/// A trial is over: init could not go on, or nobody committed it in time. The message says why.
pub const TRIAL_FAILED: &str = "trial-failed";
/// init could not go on, and it was no trial. The message says why.
pub const RESCUE: &str = "rescue";
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
/// The kernel's panic line, found by `bootsel collect` in the boot after; slot and revision are those that panicked.
pub const PANIC: &str = "panic";
/// The machine was reset by its watchdog, seen by `bootsel collect` in the boot after; likewise.
pub const WATCHDOG: &str = "watchdog";
/// A boot after an armed trial that is not the trial: what is found from now on is of later boots. Written once, by
/// `bootsel collect`; slot and revision are those that were armed.
pub const RETURNED: &str = "returned";
/// The bootloader in the EEPROM: an update is about to be staged, was called off, or was made or not; the message says
/// which. Written by the tool, with the booted slot.
pub const EEPROM: &str = "eeprom";
/// The bootloader on an eMMC's boot partitions: one was written and waits for its slot's commit, or became active.
/// Written by the tool, with the slot and the revision that brought it.
pub const EMMC: &str = "emmc";

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
        // What was never written begins with no letter, and is most of a log: it costs no checksum.
        if head.first() != Some(&b'p') || *head != checksum(body) {
            return None;
        }
        let line = body.get(..find(body, b'\n').unwrap_or(body.len()))?;
        let mut rest = of(line).strip_prefix(' ')?;
        let mut field = |key| {
            let (value, after) = split_once(rest.strip_prefix(key)?, b' ')?;
            rest = after;
            Some(value)
        };
        let record = Self {
            counter: u32::try_from(number(field("counter=")?)?).ok()?,
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
        let mut line = Line::new(0);
        push(&mut line, " counter=", digits(self.counter.into(), &mut [0; 20]), true);
        push(&mut line, " boot_id=", self.boot_id.as_ref(), true);
        push(&mut line, " slot=", self.slot.map_or(slot::PLACEHOLDER, Slot::as_str), true);
        push(&mut line, " revision=", self.revision.as_ref(), true);
        push(&mut line, " event=", self.event.as_ref(), true);
        push(&mut line, " message=", self.message.as_ref(), false);
        line.push(b'\n');
        let mut record = [0; RECORD_BYTES];
        put(&mut record, CRC_END, &line);
        let crc = checksum(record.get(CRC_END..).unwrap_or_default());
        put(&mut record, 0, &crc);
        record
    }
}

/// What is left of the records, oldest first: at most the last 64. Torn ones and garbage are skipped;
/// bytes past the ring are not looked at.
pub fn parse(log: &[u8]) -> List<Record<&str>, RECORDS> {
    let none = Record { counter: 0, boot_id: "", slot: None, revision: "", event: "", message: "" };
    let mut found = List::new(none);
    for (place, bytes) in log.as_chunks::<RECORD_BYTES>().0.iter().take(RECORDS).enumerate() {
        if let Some(record) = Record::parse(bytes, place) {
            found.push(record);
        }
    }
    let Some(newest) = newest(&found) else { return found };
    // No sort: across the wrap two counters have no order, and its code is larger than this file's.
    let mut records = List::new(none);
    for back in (0..64).rev() {
        let counter = newest.wrapping_sub(back);
        if let Some(record) = found.iter().find(|record| record.counter == counter) {
            records.push(*record);
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

/// What stands before the body.
fn checksum(body: &[u8]) -> [u8; CRC_END] {
    let mut text = *b"pivot crc=00000000";
    let mut crc = crc32(body);
    // By hand: the formatting of padded hex is twice this file's size.
    for digit in text.iter_mut().rev().take(8) {
        *digit = hex_digit(crc);
        crc >>= 4;
    }
    text
}

/// What stands behind the checksum.
type Line = List<u8, { RECORD_BYTES - CRC_END }>;

/// A word, or the message in what is left of the record but the byte for the newline.
fn push(line: &mut Line, key: &str, text: &str, is_word: bool) {
    for byte in key.bytes() {
        line.push(byte);
    }
    let end = if is_word { line.len() + WORD_BYTES } else { RECORD_BYTES - CRC_END - 1 };
    // What is left of a word is ASCII, a message is cut between characters.
    let room = if is_word { text.len() } else { text.floor_char_boundary(end - line.len()) };
    for byte in text.bytes().take(room) {
        if line.len() == end {
            break;
        }
        let byte = match byte {
            b'!'..=b'~' => byte,
            // One for each character.
            0x80..=0xbf if is_word => continue,
            _ if is_word => b'_',
            0..=b' ' | 0x7f => b' ',
            // U+0080 to U+009F are control characters, too.
            0x80..=0x9f if line.last() == Some(&0xc2) => {
                line.pop();
                b' '
            }
            _ => byte,
        };
        line.push(byte);
    }
}

#[cfg(test)]
mod tests;
