// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text cut at ASCII characters. core does that for all characters and patterns there are, in two KiB of PID 1.

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
    use super::{pop, split_once};
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

    #[test]
    fn no_ascii() {
        assert_eq!(split_once("ä=", b'='), Some(("ä", "")));
        assert_eq!(split_once("ä", 0xa4), None);
    }
}
