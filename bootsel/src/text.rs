// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text cut at ASCII characters, and put together. core does that for all characters, widths, signs and kinds of numbers
//! that there are, in five KiB of PID 1.

/// A text with places for words, for [`fill`]: in the source a place is `{}`, in the program one byte.
#[macro_export]
macro_rules! pattern {
    ($pattern:literal) => {
        const {
            const MARKED: [u8; $pattern.len() - $crate::text::places($pattern)] =
                $crate::text::marked($pattern);
            $crate::text::checked(&MARKED)
        }
    };
}

/// Puts each word into its place of a [`pattern!`](crate::pattern!), as far as the buffer goes.
pub fn fill<'a>(buffer: &'a mut [u8], pattern: &str, words: &[&str]) -> &'a str {
    let (mut length, mut words) = (0, words.iter());
    for byte in pattern.bytes() {
        let room = buffer.get_mut(length..).unwrap_or_default();
        if byte == PLACE {
            let word = words.next().copied().unwrap_or_default().as_bytes();
            let word = word.get(..room.len()).unwrap_or(word);
            if let Some(room) = room.get_mut(..word.len()) {
                // Not byte by byte: most of what is copied in a boot is copied here.
                room.copy_from_slice(word);
            }
            length += word.len();
        } else if let Some(place) = room.first_mut() {
            *place = byte;
            length += 1;
        }
    }
    valid(buffer.get(..length).unwrap_or_default())
}

/// Bytes as text; empty where they are none.
#[inline(never)]
pub fn of(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

/// The text that bytes begin with: a character that is cut is left out.
fn valid(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes)
        .or_else(|why| core::str::from_utf8(bytes.get(..why.valid_up_to()).unwrap_or_default()))
        .unwrap_or_default()
}

/// What stands for a place: no text of ours has a control character of that number.
const PLACE: u8 = 1;

/// How many places a pattern has.
pub const fn places(pattern: &str) -> usize {
    let (mut rest, mut count) = (pattern.as_bytes(), 0);
    while let [first, behind @ ..] = rest {
        assert!(*first != PLACE, "the byte stands for a place");
        if let ([b'{'], [b'}', ..]) = ([*first], behind) {
            count += 1;
        }
        rest = behind;
    }
    count
}

/// A pattern with one byte for each of its places.
#[doc(hidden)]
pub const fn marked<const BYTES: usize>(pattern: &str) -> [u8; BYTES] {
    let mut marked = [PLACE; BYTES];
    let (mut rest, mut left) = (pattern.as_bytes(), marked.as_mut_slice());
    loop {
        (rest, left) = match (rest, left) {
            ([b'{', b'}', behind @ ..], [_, left @ ..]) => (behind, left),
            ([byte, behind @ ..], [place, left @ ..]) => {
                *place = *byte;
                (behind, left)
            }
            _ => return marked,
        };
    }
}

/// The bytes of a text of which ASCII was replaced by ASCII.
#[doc(hidden)]
#[expect(clippy::panic, reason = "the compiler calls it, and stops there")]
pub const fn checked(bytes: &'static [u8]) -> &'static str {
    match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("not UTF-8"),
    }
}

/// The decimal digits of a number: at most 20, and no more than there is room for.
pub fn digits(number: u64, buffer: &mut [u8]) -> &str {
    let (mut rest, mut start) = (number, buffer.len());
    for (place, digit) in buffer.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        (rest, start) = (rest / 10, place);
        if rest == 0 {
            break;
        }
    }
    of(buffer.get(start..).unwrap_or_default())
}

/// A number in decimal digits, without a sign.
pub fn number(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// The lower-case digit of the four lowest bits.
pub fn hex_digit(number: u32) -> u8 {
    b"0123456789abcdef".get((number & 15) as usize).copied().unwrap_or_default()
}

/// Whether there is a control character in the text: ASCII's, DEL, and U+0080 to U+009F.
pub fn has_controls(text: &str) -> bool {
    let mut before = 0;
    text.bytes().any(|byte| {
        let after = core::mem::replace(&mut before, byte);
        matches!((after, byte), (_, ..b' ' | 0x7f) | (0xc2, 0x80..=0x9f))
    })
}

/// What is before and behind the first `at`, an ASCII character.
pub fn split_once(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = find(text.as_bytes(), at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// Where the byte is for the first time: eight are looked at in one step.
#[inline(never)]
pub fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    const ONES: u64 = u64::MAX / 0xff;
    let (words, rest) = bytes.as_chunks::<8>();
    let wanted_ones = u64::from(wanted) * ONES;
    let mut place = 0;
    for word in words {
        // A byte that is the wanted one is zero, and the lowest zero is the lowest byte that borrows.
        let differs = u64::from_le_bytes(*word) ^ wanted_ones;
        let borrows = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        if borrows != 0 {
            return Some(place + (borrows.trailing_zeros() / 8) as usize);
        }
        place += 8;
    }
    Some(place + rest.iter().position(|byte| *byte == wanted)?)
}

/// Takes the next word that is not empty off a list; `None` when there is no more.
pub fn pop<'a>(list: &mut &'a str, separator: u8) -> Option<&'a str> {
    while !list.is_empty() {
        let (word, rest) = split_once(list, separator).unwrap_or((list, ""));
        *list = rest;
        if !word.is_empty() {
            return Some(word);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{digits, fill, has_controls, places, pop, split_once};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use std::{string::String, vec::Vec};

    proptest! {
        #[test]
        fn as_core_does_it(text: String, at in 0..128_u8) {
            prop_assert_eq!(split_once(&text, at), text.split_once(char::from(at)));
            let mut rest = text.as_str();
            let words: Vec<&str> = core::iter::from_fn(|| pop(&mut rest, at)).collect();
            let expected: Vec<&str> =
                text.split(char::from(at)).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(words, expected);
        }

        // Neighbours of what is looked for: one that borrows from the next must not be found.
        #[test]
        fn found_as_core_does_it(
            bytes in proptest::collection::vec(proptest::sample::select(std::vec![
                0, 1, 0x3c, 0x3d, 0x3e, 0x7f, 0x80, 0xbd, 0xff,
            ]), 0..40),
            wanted in proptest::sample::select(std::vec![0, 1, 0x3d, 0x80, 0xff]),
        ) {
            let expected = bytes.iter().position(|byte| *byte == wanted);
            prop_assert_eq!(super::find(&bytes, wanted), expected);
        }

        #[test]
        fn filled_as_format_does_it(a: String, b: String, room in 0..40_usize) {
            let whole = std::format!("a {a}{b}; {a}ä");
            let mut buffer = [0; 400];
            let buffer = buffer.get_mut(..room.min(whole.len())).unwrap();
            let found = fill(buffer, pattern!("a {}{}; {}ä"), &[&a, &b, &a]);
            prop_assert!(whole.starts_with(found));
            prop_assert!(found.len() + 4 > room.min(whole.len()), "{found:?}");
        }

        #[test]
        fn numbers(number: u64, few in 0..64_u32, text in "[0-9]{0,22}|[-+ 0-9a]{0,4}") {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(super::number(&text), text.parse().ok().filter(|_| is_plain));
            for number in [number, number >> few] {
                let mut buffer = [0; 20];
                prop_assert_eq!(digits(number, &mut buffer), std::format!("{number}"));
            }
        }
    }

    proptest! {
        #[test]
        fn controls(text in "[\u{1}\u{1f}\u{7f}\u{80}\u{9f}\u{a0} a~\u{c2}\u{240}\u{1f980}]{0,4}") {
            prop_assert_eq!(has_controls(&text), text.chars().any(char::is_control));
        }
    }

    #[test]
    fn limits() {
        for (number, text) in [(0, "0"), (10, "10"), (u64::MAX, "18446744073709551615")] {
            assert_eq!(digits(number, &mut [0; 20]), text);
        }
        assert_eq!(fill(&mut [0; 9], pattern!("{}{"), &["{}"]), "{}{");
        assert_eq!(fill(&mut [0; 9], pattern!("{}-{}"), &["a"]), "a-");
        assert_eq!(["", "{}", "{{}", "a{}{}b{", "}{"].map(places), [0, 1, 1, 2, 0]);
    }

    #[test]
    fn no_ascii() {
        assert_eq!(split_once("ä=", b'='), Some(("ä", "")));
        assert_eq!(split_once("ä", 0xa4), None);
    }
}
