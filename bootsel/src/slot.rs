// SPDX-License-Identifier: MIT OR Apache-2.0

//! The two boot slots.

use core::{fmt, str::FromStr};

/// A boot slot: partition 2 (`a`) or 3 (`b`) of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `BOOT_A`, partition 2.
    A,
    /// `BOOT_B`, partition 3.
    B,
}

/// What `pivot.slot=` holds in a boot image that no slot has been chosen for yet: one image serves
/// both slots, and installing sets this byte.
pub const PLACEHOLDER: &str = "_";

impl Slot {
    /// `a` or `b`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The slot that this one is not.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The number of its partition.
    pub fn partition(self) -> u32 {
        match self {
            Self::A => 2,
            Self::B => 3,
        }
    }

    /// The value of `pivot.slot=`: a slot, or nothing where the placeholder still stands.
    ///
    /// # Errors
    /// When it is neither a slot nor the placeholder.
    pub fn from_cmdline(value: &str) -> Result<Option<Self>, Error> {
        if value == PLACEHOLDER { Ok(None) } else { value.parse().map(Some) }
    }
}

impl FromStr for Slot {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => Err(Error),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that names no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a slot: neither a nor b")
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::{Error, Slot};
    use std::string::ToString;

    #[track_caller]
    fn check(value: &str, expected: Result<Option<Slot>, Error>) {
        assert_eq!(Slot::from_cmdline(value), expected);
    }

    #[test]
    fn cmdline() {
        check("a", Ok(Some(Slot::A)));
        check("b", Ok(Some(Slot::B)));
        check("_", Ok(None));
        for wrong in ["", "A", "B", "c", "aa", "a ", "__", "ä"] {
            check(wrong, Err(Error));
        }
        assert_eq!("_".parse::<Slot>(), Err(Error));
    }

    #[test]
    fn text_and_other() {
        for slot in [Slot::A, Slot::B] {
            assert_eq!(slot.to_string().parse(), Ok(slot));
            assert_ne!(slot.other(), slot);
            assert_eq!(slot.other().other(), slot);
        }
    }
}
