// SPDX-License-Identifier: MIT OR Apache-2.0
//! fnmatch(3) with no flags, as libkmod matches module aliases: `*`, `?`, `[a-z]`, `[!a-z]`, `\` takes the next
//! byte as it is, `/` and a leading dot are ordinary. Classes like `[:alpha:]` are not known: no alias has one.

/// How many steps may still be made: one number bounds all the work that bytes from disk can cause.
#[derive(Debug)]
pub(crate) struct Fuel(pub(crate) usize);

/// The steps are used up.
#[derive(Debug)]
pub(crate) struct Empty;

impl Fuel {
    pub(crate) fn burn(&mut self, steps: usize) -> Result<(), Empty> {
        self.0 = self.0.checked_sub(steps).ok_or(Empty)?;
        Ok(())
    }
}

/// Whether `pattern` matches the whole of `text`.
pub(crate) fn matches(pattern: &[u8], text: &[u8], fuel: &mut Fuel) -> Result<bool, Empty> {
    let (mut pattern, mut text) = (pattern, text);
    // Behind the last `*`: where to go on when it takes one byte more. An earlier one need never take more.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        fuel.burn(1)?;
        if let Some((b'*', behind)) = pattern.split_first() {
            star = Some((behind, text));
            pattern = behind;
            continue;
        }
        let Some((byte, rest)) = text.split_first() else { return Ok(pattern.is_empty()) };
        if let Some(behind) = element(pattern, *byte, fuel)? {
            (pattern, text) = (behind, rest);
        } else if let Some((behind, [_, shorter @ ..])) = star {
            star = Some((behind, shorter));
            (pattern, text) = (behind, shorter);
        } else {
            return Ok(false);
        }
    }
}

/// The pattern behind its first element, if that element matches `byte`.
fn element<'a>(pattern: &'a [u8], byte: u8, fuel: &mut Fuel) -> Result<Option<&'a [u8]>, Empty> {
    Ok(match pattern {
        [b'?', behind @ ..] => Some(behind),
        [b'[', set @ ..] => match bracket(set, byte, fuel)? {
            Some((true, behind)) => Some(behind),
            Some((false, _)) => None,
            // Never closed: an ordinary `[`.
            None => (byte == b'[').then_some(set),
        },
        [b'\\', literal, behind @ ..] | [literal, behind @ ..] => {
            (*literal == byte).then_some(behind)
        }
        [] => None,
    })
}

/// Whether `byte` is in the set that begins behind a `[`, and what is behind its `]`; None without one.
fn bracket<'a>(
    set: &'a [u8],
    byte: u8,
    fuel: &mut Fuel,
) -> Result<Option<(bool, &'a [u8])>, Empty> {
    let (negated, mut set) = match set {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, set),
    };
    let (mut found, mut first) = (false, true);
    loop {
        fuel.burn(1)?;
        // A `]` in the first place is a member.
        if let ([b']', behind @ ..], false) = (set, first) {
            return Ok(Some((found != negated, behind)));
        }
        first = false;
        let Some((low, rest)) = member(set) else { return Ok(None) };
        let range = match rest {
            [b'-', b']', ..] => None,
            [b'-', end @ ..] => member(end),
            _ => None,
        };
        let (high, rest) = range.unwrap_or((low, rest));
        found |= (low..=high).contains(&byte);
        set = rest;
    }
}

/// The first byte of a set, a `\` taken off, and the rest.
fn member(set: &[u8]) -> Option<(u8, &[u8])> {
    match set {
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => Some((*byte, rest)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let found = matches(pattern.as_bytes(), text.as_bytes(), &mut Fuel(100_000)).unwrap();
        assert_eq!(found, expected, "{pattern} {text}");
    }

    #[test]
    fn table() {
        check("", "", true);
        check("", "a", false);
        check("a", "", false);
        check("abc", "abc", true);
        check("abc", "abd", false);
        check("*", "", true);
        check("*", "anything/.at all", true);
        check("a*", "a", true);
        check("*a", "ba", true);
        check("*a", "ab", false);
        check("a*b*c", "a1b2bc", true);
        check("a*b*c", "a1c2b", false);
        check("**a**", "xxaxx", true);
        check("?", "", false);
        check("a?c", "abc", true);
        check("[abc]", "b", true);
        check("[abc]", "d", false);
        check("[a-c]x", "bx", true);
        check("[!a-c]", "b", false);
        check("[^a-c]", "d", true);
        check("[]a]", "]", true);
        check("[]a]", "a", true);
        check("[!]a]", "b", true);
        check("[a-]", "-", true);
        check("[-a]", "-", true);
        check("[c-a]", "b", false);
        check("[abc", "[abc", true);
        check("[abc", "a", false);
        check("[", "[", true);
        check("\\*", "*", true);
        check("\\*", "a", false);
        check("[\\]]", "]", true);
        check("\\", "\\", true);
        check("*[0-9]", "abc5", true);
        check("*[0-9]", "abc5x", false);
    }

    #[test]
    fn modaliases() {
        check(
            "pci:v00001AF4d*sv*sd*bc*sc*i*",
            "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00",
            true,
        );
        check("virtio:d00000002v*", "virtio:d00000002v00001AF4", true);
        check("virtio:d00000002v*", "virtio:d00000001v00001AF4", false);
        check("of:N*T*Cbrcm,bcm2835-sdhostC*", "of:NmmcT(null)Cbrcm,bcm2835-sdhost", false);
        check("usb:v0421p[0-9]*d0[2-9]*", "usb:v0421p9d05dc", true);
    }

    #[test]
    fn ends_on_hostile_patterns() {
        let text = "a".repeat(1000);
        let pattern = "*".to_owned() + &"a".repeat(500) + "b";
        assert!(matches(pattern.as_bytes(), text.as_bytes(), &mut Fuel(10_000)).is_err());
        let pattern = "*[".to_owned() + &"x".repeat(1000);
        assert!(matches(pattern.as_bytes(), text.as_bytes(), &mut Fuel(10_000)).is_err());
    }

    use std::borrow::ToOwned;
    use std::string::String;

    /// The same, written as the definition reads: exponential, for short texts only.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', p)), None) => naive(p, text),
            (Some((b'*', p)), Some((_, t))) => naive(p, text) || naive(pattern, t),
            (Some((b'?', p)), Some((_, t))) => naive(p, t),
            (Some((a, p)), Some((b, t))) => a == b && naive(p, t),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            let found = matches(pattern.as_bytes(), text.as_bytes(), &mut Fuel(100_000)).unwrap();
            proptest::prop_assert_eq!(found, naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn never_panics(pattern: std::vec::Vec<u8>, text: std::vec::Vec<u8>) {
            let _ = matches(&pattern, &text, &mut Fuel(100_000));
        }

        #[test]
        fn never_panics_on_brackets(pattern in r"[\[\]!^a\\*?-]{0,40}", text in r"[\[\]a-]{0,40}") {
            let _: (String, _) = (pattern.clone(), matches(pattern.as_bytes(), text.as_bytes(), &mut Fuel(100_000)));
        }
    }
}
