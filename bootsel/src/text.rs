// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text cut at ASCII characters, and put together. core does that for all characters, widths, signs and kinds of numbers
//! that there are, in five KiB of PID 1.

/// Puts each word into its place, a `{}` of the pattern, as far as the buffer goes.
pub fn fill<'a>(buffer: &'a mut [u8], pattern: &str, words: &[&str]) -> &'a str {
    let mut length = 0;
    let mut put = |text: &str| {
        let room = buffer.get_mut(length..).unwrap_or_default();
        let bytes = text.as_bytes();
        let bytes = bytes.get(..room.len()).unwrap_or(bytes);
        if let Some(room) = room.get_mut(..bytes.len()) {
            // Not byte by byte: most of what is copied in a boot is copied here.
            room.copy_from_slice(bytes);
        }
        length += bytes.len();
    };
    let (mut rest, mut words) = (pattern, words.iter());
    while let Some((before, behind)) = split_once(rest, b'{') {
        put(before);
        let place = behind.strip_prefix('}');
        put(if place.is_some() { words.next().copied().unwrap_or_default() } else { "{" });
        rest = place.unwrap_or(behind);
    }
    put(rest);
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

/// How many places a pattern has.
pub const fn places(pattern: &str) -> usize {
    let (mut rest, mut count) = (pattern.as_bytes(), 0);
    while let [first, behind @ ..] = rest {
        if let ([b'{'], [b'}', ..]) = ([*first], behind) {
            count += 1;
        }
        rest = behind;
    }
    count
}

/// The decimal digits of a number.
pub fn digits(number: u64, buffer: &mut [u8; 20]) -> &str {
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
    let place = text.bytes().position(|byte| byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
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

        #[test]
        fn filled_as_format_does_it(a: String, b: String, room in 0..40_usize) {
            let whole = std::format!("a {a}{b}; {a}ä");
            let mut buffer = [0; 400];
            let buffer = buffer.get_mut(..room.min(whole.len())).unwrap();
            let found = fill(buffer, "a {}{}; {}ä", &[&a, &b, &a]);
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
        assert_eq!(fill(&mut [0; 9], "{}{", &["{}"]), "{}{");
        assert_eq!(fill(&mut [0; 9], "{}-{}", &["a"]), "a-");
        assert_eq!(["", "{}", "{{}", "a{}{}b{", "}{"].map(places), [0, 1, 1, 2, 0]);
    }

    #[test]
    fn no_ascii() {
        assert_eq!(split_once("ä=", b'='), Some(("ä", "")));
        assert_eq!(split_once("ä", 0xa4), None);
    }
}
