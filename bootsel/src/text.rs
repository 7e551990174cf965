// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text cut at ASCII characters, and put together. core does that for all characters, patterns, widths and numbers that
//! there are, in five KiB of PID 1.

use alloc::string::String;
use core::fmt::{self, Write as _};

/// Text, as the macro of this name in alloc makes it. That one reckons how long it will be and can panic.
#[macro_export]
macro_rules! format {
    ($($text:tt)*) => { $crate::text::format(core::format_args!($($text)*)) };
}

/// What [`format!`](crate::format!) calls.
pub fn format(text: fmt::Arguments<'_>) -> String {
    let mut made = Made(String::new());
    // Made::write_str never fails.
    let _ = made.write_fmt(text);
    made.0
}

/// A text in the making: String's own writer has a second function for characters.
struct Made(String);

impl fmt::Write for Made {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        Ok(())
    }
}

/// A number that displays in decimal digits and nothing else: core's has widths, signs and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal(pub u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The longest is u64::MAX.
        let mut digits = [b'0'; 20];
        let (mut rest, mut start) = (self.0, digits.len());
        for (place, digit) in digits.iter_mut().enumerate().rev() {
            if rest == 0 && start < 20 {
                break;
            }
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            (rest, start) = (rest / 10, place);
        }
        f.write_str(
            digits.get(start..).and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default(),
        )
    }
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
    use super::{Decimal, has_controls, pop, split_once};
    use proptest::prelude::{prop_assert_eq, proptest};
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
    }

    proptest! {
        #[test]
        fn controls(text in "[\u{1}\u{1f}\u{7f}\u{80}\u{9f}\u{a0} a~\u{c2}\u{240}\u{1f980}]{0,4}") {
            prop_assert_eq!(has_controls(&text), text.chars().any(char::is_control));
        }
    }

    #[test]
    fn numbers() {
        for number in [0, 1, 9, 10, 99, 100, 1 << 32, u64::MAX - 1, u64::MAX] {
            assert_eq!(crate::format!("<{}>", Decimal(number)), std::format!("<{number}>"));
        }
    }

    #[test]
    fn no_ascii() {
        assert_eq!(split_once("ä=", b'='), Some(("ä", "")));
        assert_eq!(split_once("ä", 0xa4), None);
    }
}
