// SPDX-License-Identifier: MIT OR Apache-2.0
//! fnmatch(3) with no flags, as libkmod matches module aliases: `*`, `?`, `[a-z]`, `[!a-z]`; `/` and a leading dot are
//! ordinary. Not known, for no alias of the kernel has them: escapes with `\`, classes like `[:alpha:]`.

/// Whether `pattern` matches the whole of `text`. It takes at most the product of their lengths in steps.
pub(crate) fn matches(mut pattern: &[u8], mut text: &[u8]) -> bool {
    // Behind the last `*`: where to go on when it takes one byte more. An earlier one need never take more.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', behind @ ..] = pattern {
            star = Some((behind, text));
            pattern = behind;
            continue;
        }
        let Some((byte, rest)) = text.split_first() else { return pattern.is_empty() };
        if let Some(behind) = element(pattern, *byte) {
            (pattern, text) = (behind, rest);
        } else if let Some((behind, [_, shorter @ ..])) = star {
            star = Some((behind, shorter));
            (pattern, text) = (behind, shorter);
        } else {
            return false;
        }
    }
}

/// The pattern behind its first element, if that element matches `byte`.
fn element(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (first, behind) = pattern.split_first()?;
    let ordinary = || (*first == byte).then_some(behind);
    match first {
        b'?' => Some(behind),
        // One that is never closed is ordinary.
        b'[' => set(behind, byte).map_or_else(ordinary, |(found, rest)| found.then_some(rest)),
        _ => ordinary(),
    }
}

/// Whether `byte` is in the set that begins behind a `[`, and what is behind its `]`; None without one.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, pattern) = match pattern {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    // A `]` in the first place is a member.
    let more = pattern.iter().skip(1).position(|byte| *byte == b']')?;
    let (mut members, behind) = pattern.split_at_checked(more.saturating_add(1))?;
    let mut found = false;
    while let [low, rest @ ..] = members {
        let (high, rest) = match rest {
            [b'-', high, rest @ ..] => (high, rest),
            _ => (low, rest),
        };
        found |= (low..=high).contains(&&byte);
        members = rest;
    }
    Some((found != negated, behind.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let found = matches(pattern.as_bytes(), text.as_bytes());
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
        check("[]", "[]", true);
        check("[!]", "[!]", true);
        check("[]", "]", false);
        check("a\\*", "a\\b", true);
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
            let found = matches(pattern.as_bytes(), text.as_bytes());
            proptest::prop_assert_eq!(found, naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn never_panics(pattern: std::vec::Vec<u8>, text: std::vec::Vec<u8>) {
            matches(&pattern, &text);
        }

        #[test]
        fn never_panics_on_brackets(pattern in r"[\[\]!^a*?-]{0,40}", text in r"[\[\]a-]{0,40}") {
            matches(pattern.as_bytes(), text.as_bytes());
        }
    }
}
