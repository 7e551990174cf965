// SPDX-License-Identifier: MIT OR Apache-2.0

//! One name, looked for among the entries of a directory: as the short one, or as the long one before it.

use super::{DIRECTORY, ENTRY, File, LABEL, LONG};

/// UTF-16 units in an entry of a long name, and where they stand.
const UNITS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// Set in the number of a long name's last part, which comes first.
const LAST: u8 = 0x40;

/// What an entry is.
#[derive(Debug)]
pub(super) enum Found {
    /// Not the one.
    No,
    /// Nothing follows.
    End,
    /// The file.
    File(File),
}

/// The state of the search.
#[derive(Debug)]
pub(super) struct Search<'a> {
    name: &'a str,
    /// Number of the long name's part that comes next and the checksum of the short name that it belongs to, as long
    /// as everything matched.
    long: Option<(u8, u8)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(name: &'a str) -> Self {
        Self { name, long: None }
    }

    /// Looks at the next entry.
    pub(super) fn look(&mut self, entry: &[u8; ENTRY]) -> Found {
        let [first, .., _, _, _, _] = *entry;
        let attributes = byte(entry, 11);
        match first {
            0 => return Found::End,
            // deleted
            0xe5 => self.long = None,
            _ if attributes & 0x3f == LONG => self.part(entry, first),
            _ => {
                let long = self.long.take() == Some((0, checksum(entry)));
                let file = attributes & (DIRECTORY | LABEL) == 0;
                if file && (long || self.is_short(entry)) {
                    let cluster = u32::from(half(entry, 20)) << 16 | u32::from(half(entry, 26));
                    let bytes = u32::from(half(entry, 30)) << 16 | u32::from(half(entry, 28));
                    return Found::File(File { bytes, entry: 0, first: cluster });
                }
            }
        }
        Found::No
    }

    /// A part of a long name: they come from the last to the first.
    fn part(&mut self, entry: &[u8; ENTRY], number: u8) {
        let sum = byte(entry, 13);
        let order = number & !LAST;
        let expected = match self.long {
            _ if number & LAST != 0 => usize::from(order) == self.name.len().div_ceil(UNITS.len()),
            Some((next, known)) => order == next && known == sum,
            None => false,
        };
        let matches = expected && order > 0 && self.part_matches(entry, order);
        self.long = matches.then_some((order.wrapping_sub(1), sum));
    }

    /// ASCII only: every name that is looked for is.
    fn part_matches(&self, entry: &[u8; ENTRY], order: u8) -> bool {
        let skipped = usize::from(order.saturating_sub(1)).saturating_mul(UNITS.len());
        let mut expected = self.name.bytes().skip(skipped);
        let mut ended = false;
        UNITS.into_iter().all(|at| {
            let unit = half(entry, at);
            match expected.next() {
                Some(byte) => u8::try_from(unit).is_ok_and(|unit| unit.eq_ignore_ascii_case(&byte)),
                None if ended => unit == 0xffff,
                None => {
                    ended = true;
                    unit == 0
                }
            }
        })
    }

    fn is_short(&self, entry: &[u8; ENTRY]) -> bool {
        let (base, extension) = self.name.rsplit_once('.').unwrap_or((self.name, ""));
        let same = |at: usize, room: usize, part: &str| {
            let padded = part.bytes().chain(core::iter::repeat(b' ')).take(room);
            part.len() <= room
                && entry.iter().skip(at).zip(padded).all(|(a, b)| a.eq_ignore_ascii_case(&b))
        };
        same(0, 8, base) && same(8, 3, extension)
    }
}

/// Ties the long name to the short one.
fn checksum(entry: &[u8; ENTRY]) -> u8 {
    entry.iter().take(11).fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

fn byte(entry: &[u8; ENTRY], at: usize) -> u8 {
    entry.get(at).copied().unwrap_or(0)
}

fn half(entry: &[u8; ENTRY], at: usize) -> u16 {
    u16::from_le_bytes([byte(entry, at), byte(entry, at.saturating_add(1))])
}
