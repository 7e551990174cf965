// SPDX-License-Identifier: MIT OR Apache-2.0

//! `grub.cfg` in a slot: what GRUB's script on partition 1 takes from there. Three lines of one form, so that what boots
//! can be known without a GRUB.
//!
//! ```text
//! set pivot_kernel="/vmlinuz"
//! set pivot_initrd="/initrd /early.img"
//! set pivot_cmdline="pivot.revision=7 panic=5"
//! ```

use crate::text::split_once;
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

const KERNEL: &str = "pivot_kernel";
const INITRD: &str = "pivot_initrd";
const CMDLINE: &str = "pivot_cmdline";

/// What a slot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// An EFI image in the slot's root directory, with a slash before its name.
    pub kernel: String,
    /// The archives, likewise.
    pub initrds: Vec<String>,
    /// The kernel's command line, without `pivot.slot=` and `pivot.trial`, which GRUB adds.
    pub cmdline: String,
}

impl Fragment {
    /// Reads the three lines; comments and empty lines may stand between them.
    ///
    /// # Errors
    /// Where a line is missing, is there twice, is another one, or has something in its quotes that is more than text to
    /// GRUB.
    pub fn parse(text: &str) -> Result<Self, BadFragment> {
        let mut values = [None; 3];
        let lines = (1..).zip(text.lines());
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = setting(line).ok_or(BadFragment::Line(number))?;
            let place = [KERNEL, INITRD, CMDLINE].iter().position(|own| *own == name);
            let place = place.and_then(|place| values.get_mut(place));
            let place = place.filter(|place| place.is_none()).ok_or(BadFragment::Line(number))?;
            *place = Some(value);
        }
        let [kernel, initrds, cmdline] = values;
        let missing = |name| move || BadFragment::Missing(name);
        let initrds = initrds.ok_or_else(missing(INITRD))?.split_ascii_whitespace();
        let fragment = Self {
            kernel: kernel.ok_or_else(missing(KERNEL))?.to_string(),
            initrds: initrds.map(ToString::to_string).collect(),
            cmdline: cmdline.ok_or_else(missing(CMDLINE))?.to_string(),
        };
        fragment.check()?;
        Ok(fragment)
    }

    /// Whether it can be written, and is read as it was meant.
    ///
    /// # Errors
    /// As [`Fragment::parse`].
    pub fn check(&self) -> Result<(), BadFragment> {
        let file = |path: &str| {
            path.strip_prefix('/').is_some_and(|name| !name.is_empty() && !name.contains('/'))
        };
        for path in [&self.kernel].into_iter().chain(&self.initrds) {
            if !file(path) || path.contains(' ') || !is_text(path) {
                return Err(BadFragment::Path(path.clone()));
            }
        }
        let mut words = self.cmdline.split_ascii_whitespace();
        let added = |word: &&str| {
            let key = split_once(word, b'=').map_or(*word, |(key, _)| key);
            ["pivot.slot", "pivot.trial"].contains(&key)
        };
        match words.find(added) {
            Some(word) => Err(BadFragment::Word(word.to_string())),
            None if !is_text(&self.cmdline) => Err(BadFragment::Missing(CMDLINE)),
            None => Ok(()),
        }
    }
}

/// Nothing that GRUB's double quotes do not take as it is.
fn is_text(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"$\\".contains(&byte))
}

/// `set NAME="VALUE"`
fn setting(line: &str) -> Option<(&str, &str)> {
    let (name, value) = split_once(line.strip_prefix("set ")?, b'=')?;
    let value = value.strip_prefix('"')?.strip_suffix('"')?;
    is_text(value).then_some((name, value))
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "set {KERNEL}=\"{}\"", self.kernel)?;
        writeln!(f, "set {INITRD}=\"{}\"", self.initrds.join(" "))?;
        writeln!(f, "set {CMDLINE}=\"{}\"", self.cmdline)
    }
}

/// Why a fragment is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadFragment {
    /// The line that is none of the three, or is one again.
    Line(usize),
    /// The name that is not set, or not to text.
    Missing(&'static str),
    /// No name of a file in the root directory.
    Path(String),
    /// A word that GRUB adds itself.
    Word(String),
}

impl fmt::Display for BadFragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(
                f,
                "line {number}: expected set NAME=\"VALUE\", once each for {KERNEL}, {INITRD} and {CMDLINE}"
            ),
            Self::Missing(name) => write!(f, "it does not set {name}"),
            Self::Path(path) => write!(f, "\"{path}\" is not / and the name of a file"),
            Self::Word(word) => write!(f, "{CMDLINE} has {word}, which GRUB adds"),
        }
    }
}

impl core::error::Error for BadFragment {}
