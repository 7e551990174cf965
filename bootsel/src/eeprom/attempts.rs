// SPDX-License-Identifier: MIT OR Apache-2.0

//! How often a version was tried: `/pivot/state/eeprom` on DATA, one line. The log forgets, this may not.
//!
//! ```text
//! version=1779045198 attempts=1 boot_id=5c9b8a0e-6f0c-4a0b-9a55-0d5b8a4c3e21
//! ```
//!
//! It is on the disk before the files are staged: what a cut of power leaves is an attempt that is counted and was none,
//! never one that was not counted.

use core::fmt;

use crate::text::{pop, split_once};

/// Name of the file.
pub const NAME: &str = "eeprom";
/// It is at most this long.
pub const MAX_BYTES: usize = 256;
/// As often a version is staged, where nothing else is asked for.
pub const LIMIT: u32 = 2;

/// What was tried last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts<'a> {
    /// The image's build time; zero where nothing was tried.
    pub version: u32,
    /// How often.
    pub count: u32,
    /// The boot in which it was staged last.
    pub boot_id: &'a str,
}

impl<'a> Attempts<'a> {
    /// `None` for what is no such line. A file that is not there is the default; one that cannot be read is none, too.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut rest = text.strip_suffix('\n').filter(|line| line.len() < MAX_BYTES)?;
        let mut field = |key| {
            let (name, value) = split_once(pop(&mut rest, b' ')?, b'=')?;
            (name == key).then_some(value)
        };
        let version = field("version")?.parse().ok()?;
        let count = field("attempts")?.parse().ok()?;
        let boot_id = field("boot_id")?;
        rest.is_empty().then_some(Self { version, count, boot_id })
    }

    /// How often this version was tried.
    pub fn of(&self, version: u32) -> u32 {
        if self.version == version { self.count } else { 0 }
    }

    /// With one attempt more.
    #[must_use]
    pub fn next<'b>(&self, version: u32, boot_id: &'b str) -> Attempts<'b> {
        Attempts { version, count: self.of(version).saturating_add(1), boot_id }
    }
}

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, count, boot_id } = self;
        writeln!(f, "version={version} attempts={count} boot_id={boot_id}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempts, MAX_BYTES};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use std::{format, string::ToString};

    #[test]
    fn lines() {
        let line = "version=1779045198 attempts=1 boot_id=5c9b8a0e-6f0c\n";
        let attempts = Attempts::parse(line).unwrap();
        assert_eq!((attempts.of(1_779_045_198), attempts.of(1_779_045_199)), (1, 0));
        assert_eq!(
            attempts.next(1_779_045_198, "x").to_string(),
            "version=1779045198 attempts=2 boot_id=x\n"
        );
        assert_eq!(attempts.next(7, "x").to_string(), "version=7 attempts=1 boot_id=x\n");
        assert_eq!(Attempts::default().of(0), 0);
        let most = Attempts { count: u32::MAX, ..attempts };
        assert_eq!(most.next(1_779_045_198, "x").count, u32::MAX);
        for wrong in [
            "",
            "\n",
            line.trim_end(),
            "version=1 attempts=1\n",
            "version=1 attempts= boot_id=x\n",
            "version=-1 attempts=1 boot_id=x\n",
            "attempts=1 version=1 boot_id=x\n",
            "version=1 attempts=4294967296 boot_id=x\n",
            "version=1 attempts=1 boot_id=x y=1\n",
            &format!("version=1 attempts=1 boot_id={}\n", "x".repeat(MAX_BYTES)),
        ] {
            assert_eq!(Attempts::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn back_again(version: u32, count: u32, boot_id in "[0-9a-f-]{0,64}") {
            let attempts = Attempts { version, count, boot_id: &boot_id };
            let text = attempts.to_string();
            prop_assert!(text.len() <= MAX_BYTES);
            prop_assert_eq!(Attempts::parse(&text), Some(attempts));
        }

        #[test]
        fn any_text(text in "\\PC{0,80}\n?") {
            let _ = Attempts::parse(&text);
        }
    }
}
