// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the firmware says to `bootloader_version`, and which bootloader runs.
//!
//! ```text
//! 2022/08/02 16:55:05
//! version 91b6280c53c0b6dff9e3d58810f439e577408845 (release)
//! timestamp 1659455705
//! update-time 1663866239
//! capabilities 0x0000007f
//! ```
//!
//! The first line was `Sep  3 2020 13:11:43` until 2021 and is local time of the United Kingdom; the last two are
//! missing where `start4.elf` is of 2020 or older. `timestamp 0` says that the bootloader is older than the
//! line. (rpi-eeprom-update: `getBootloaderCurrentVersion`.)

use core::fmt;

use crate::text::{pop, split_once};

/// More lines than any firmware writes.
const LINES: usize = 16;
/// Days of a year before each of its months.
const MONTHS: [(&str, u32); 12] = [
    ("Jan", 0),
    ("Feb", 31),
    ("Mar", 59),
    ("Apr", 90),
    ("May", 120),
    ("Jun", 151),
    ("Jul", 181),
    ("Aug", 212),
    ("Sep", 243),
    ("Oct", 273),
    ("Nov", 304),
    ("Dec", 334),
];

/// The answer, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// When the bootloader was built, in seconds since 1970: as it says, or else by the date, which can be an hour
    /// late.
    pub timestamp: u32,
    /// Whether it says so itself.
    pub exact: bool,
    /// The commit it was built from.
    pub commit: Option<&'a str>,
    /// `ts` of the signature that it was written with; `None` where it was not, or nothing is said.
    pub updated: Option<u32>,
    /// What the bootloader can do; also old ones that do not know `tryboot_a_b` have its bit.
    pub capabilities: Option<u32>,
}

impl<'a> Version<'a> {
    /// `None` for what is no such answer: an error message, `unknown`, or nothing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut version =
            Self { timestamp: 0, exact: false, commit: None, updated: None, capabilities: None };
        let (first, rest) = split_once(text, b'\n').unwrap_or((text, ""));
        for line in rest.lines().take(LINES) {
            let Some((key, value)) = split_once(line.trim(), b' ') else { continue };
            let value = value.trim();
            match key {
                "timestamp" => version.timestamp = value.parse().ok()?,
                "version" => version.commit = commit(value),
                "update-time" => version.updated = value.parse().ok().filter(|time| *time != 0),
                "capabilities" => version.capabilities = capabilities(value),
                _ => {}
            }
        }
        version.exact = version.timestamp != 0;
        if !version.exact {
            version.timestamp = date(first.trim())?;
        }
        Some(version)
    }
}

/// The word before `(release)`.
fn commit(value: &str) -> Option<&str> {
    let word = value.split_ascii_whitespace().next()?;
    word.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(word)
}

/// Nothing where the firmware knows none: it writes zero.
fn capabilities(value: &str) -> Option<u32> {
    let bits = u32::from_str_radix(value.strip_prefix("0x")?, 16).ok()?;
    Some(bits).filter(|bits| *bits != 0)
}

/// Seconds since 1970 of `2022/08/02 16:55:05` or `Sep  3 2020 13:11:43`, as if it were UTC.
fn date(mut text: &str) -> Option<u32> {
    let first = pop(&mut text, b' ')?;
    let (year, month, day) = if let Some((year, rest)) = split_once(first, b'/') {
        let (month, day) = split_once(rest, b'/')?;
        (year, usize::from(number(month)?).checked_sub(1)?, day)
    } else {
        let month = MONTHS.iter().position(|(name, _)| *name == first)?;
        let day = pop(&mut text, b' ')?;
        (pop(&mut text, b' ')?, month, day)
    };
    let (hour, rest) = split_once(pop(&mut text, b' ')?, b':')?;
    let (minute, second) = split_once(rest, b':')?;
    // years of four digits before the number of seconds leaves its 32 bits: each fourth is a leap year
    let year = number(year).filter(|year| (1970..2100).contains(year))?;
    let years = u32::from(year) - 1970;
    let leap = year.is_multiple_of(4) && month > 1;
    let day = u32::from(number(day).filter(|day| (1..=31).contains(day))?) - 1;
    let (_, before) = MONTHS.get(month)?;
    let days = years * 365 + (years + 1) / 4 + before + u32::from(leap) + day;
    let clock = |text: &str, end: u16| number(text).filter(|n| *n < end).map(u32::from);
    let seconds = (clock(hour, 24)? * 60 + clock(minute, 60)?) * 60 + clock(second, 60)?;
    let rest = pop(&mut text, b' ');
    days.checked_mul(86_400)?.checked_add(seconds).filter(|_| rest.is_none())
}

/// A number of at most four digits.
fn number(text: &str) -> Option<u16> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Build time of the running bootloader, in seconds since 1970, as its two witnesses have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// `chosen/bootloader/build-timestamp` of the device tree.
    pub device_tree: Option<u32>,
    /// What the mailbox says.
    pub mailbox: Option<u32>,
    /// Whether that is the number that the bootloader gives, and no date.
    pub mailbox_exact: bool,
}

impl Running {
    /// From what both say: zero is nothing.
    pub fn new(device_tree: Option<u32>, mailbox: Option<&Version<'_>>) -> Self {
        Self {
            device_tree: device_tree.filter(|time| *time != 0),
            mailbox: mailbox.map(|version| version.timestamp),
            mailbox_exact: mailbox.is_some_and(|version| version.exact),
        }
    }

    /// The device tree's word, else the mailbox's. (rpi-eeprom-update has the same order.)
    pub fn timestamp(&self) -> Option<u32> {
        self.device_tree.or(self.mailbox)
    }

    /// What the two say where that is not the same.
    pub fn disagreement(&self) -> Option<(u32, u32)> {
        let both = self.device_tree.zip(self.mailbox).filter(|_| self.mailbox_exact);
        both.filter(|(device_tree, mailbox)| device_tree != mailbox)
    }
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.timestamp(), self.disagreement()) {
            (_, Some((device_tree, mailbox))) => {
                write!(f, "{device_tree} in the device tree, {mailbox} by the mailbox")
            }
            (Some(timestamp), None) => write!(f, "{timestamp}"),
            (None, None) => f.write_str("not known"),
        }
    }
}

#[cfg(test)]
mod tests;
