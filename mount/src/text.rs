// SPDX-License-Identifier: MIT OR Apache-2.0
//! The texts of a boot: put together once, there until its end.

use bootsel::text::{digits, fill};
use uapi::memory;

/// Text with words in the places of a pattern: `text!("cannot open {}: {}", path, why)`.
#[macro_export]
macro_rules! text {
    ($pattern:literal $(, $word:expr)* $(,)?) => {{
        const {
            let words = <[&str]>::len(&[$(stringify!($word)),*]);
            assert!($crate::text::places($pattern) == words, "a word for each place");
        }
        $crate::text_of!($crate::text::pattern!($pattern), $(AsRef::<str>::as_ref(&$word)),*)
    }};
}

/// Most texts have one word or two, which are handed over in registers.
#[doc(hidden)]
#[macro_export]
macro_rules! text_of {
    ($pattern:expr, $one:expr) => { $crate::text::with_one($pattern, $one) };
    ($pattern:expr, $one:expr, $two:expr) => { $crate::text::with_two($pattern, $one, $two) };
    ($pattern:expr, $($word:expr),*) => { $crate::text::text($pattern, &[$($word),*]) };
}

pub use bootsel::{pattern, text::places};

/// What [`text!`](crate::text!) calls, for one word.
#[inline(never)]
pub fn with_one(pattern: &str, one: &str) -> &'static str {
    text(pattern, &[one])
}

/// The same for two.
#[inline(never)]
pub fn with_two(pattern: &str, one: &str, two: &str) -> &'static str {
    text(pattern, &[one, two])
}

/// The same for any number.
#[inline(never)]
pub fn text(pattern: &str, words: &[&str]) -> &'static str {
    let length = words.iter().fold(pattern.len(), |length, word| length.saturating_add(word.len()));
    fill(memory::bytes(length), pattern, words)
}

/// A number in decimal digits.
pub fn decimal(number: u64) -> &'static str {
    digits(number, memory::bytes(20))
}

/// The same for what a 32-bit call gave or takes.
pub fn decimal32(number: u32) -> &'static str {
    decimal(number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_their_places() {
        assert_eq!(text!("none"), "none");
        assert_eq!(text!("{}{} of {}", "a", "", decimal(18)), "a of 18");
        assert_eq!(decimal32(u32::MAX), "4294967295");
    }
}
