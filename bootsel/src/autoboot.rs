// SPDX-License-Identifier: MIT OR Apache-2.0

//! `autoboot.txt` on partition 1: which partition a Raspberry Pi boots, and which one for a trial.
//! (Raspberry Pi documentation, `config_txt/autoboot.adoc`.)
//!
//! Reading takes what the firmware takes. Writing makes [`BYTES`] bytes, always: the file then never moves, and a
//! commit is one sector.

use alloc::vec::Vec;
use core::{fmt, mem};

/// Name of the file.
pub const NAME: &str = "autoboot.txt";
/// The firmware reads no more, and a file written here has exactly as many.
pub const BYTES: usize = 512;
/// The firmware's partition numbers have six bits. (kernel: `drivers/watchdog/bcm2835_wdt.c`)
pub const MAX_PARTITION: u8 = 63;

/// A word of every bootcode.bin that knows `tryboot_a_b`. Measured in raspi-firmware, as [`IN_START`] is: 1.20220830
/// has neither, 1.20240424 and 1.20260408 have both.
pub const IN_BOOTCODE: &str = "tryboot_a_b";
/// A word of every start*.elf that knows the filter `[tryboot]`.
pub const IN_START: &str = "tryboot";

/// Whether the word stands in a file of the firmware by itself: `tryboot.txt` is older than the filter `tryboot`.
pub fn has_word(file: &[u8], word: &str) -> bool {
    let text = |byte: u8| byte.is_ascii_alphanumeric() || b"._".contains(&byte);
    let mut windows = file.windows(word.len().max(1)).enumerate();
    windows.any(|(at, window)| {
        let before = at.checked_sub(1).and_then(|at| file.get(at));
        let after = file.get(at.saturating_add(word.len()));
        let ends = [before, after].into_iter().flatten().all(|byte| !text(*byte));
        ends && window == word.as_bytes()
    })
}

/// What `autoboot.txt` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoboot {
    default: u8,
    trial: u8,
    a_b: bool,
    /// Lines that are none of ours, with the sections that they stand in.
    kept: Vec<Vec<u8>>,
}

impl Autoboot {
    /// A new file for two slots: the boot partition, and the one that the tryboot flag leads to.
    ///
    /// # Errors
    /// As [`Autoboot::set`].
    pub fn new(default: u8, trial: u8) -> Result<Self, Error> {
        let mut new = Self { default: 0, trial: 0, a_b: true, kept: Vec::new() };
        new.set(default, trial)?;
        Ok(new)
    }

    /// Reads a file. NUL bytes at its end are taken as not being there.
    ///
    /// # Errors
    /// Where it is too long or a value of ours is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > BYTES {
            return Err(Error::TooLong(bytes.len()));
        }
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let text = bytes.get(..end).unwrap_or_default();
        if text.contains(&0) {
            return Err(Error::Nul);
        }
        let mut reader = Reader::default();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            reader.line(line.trim_ascii()).map_err(|()| Error::Value(number))?;
        }
        Ok(reader.file())
    }

    /// The partition that boots without the tryboot flag; 0: the first that can be booted.
    pub fn default(&self) -> u8 {
        self.default
    }

    /// The partition that boots with (`true`) or without the tryboot flag; 0: the first that can be booted.
    pub fn target(&self, tryboot: bool) -> u8 {
        if tryboot { self.trial } else { self.default }
    }

    /// Whether a trial reads `config.txt` of its own partition, and not `tryboot.txt`.
    pub fn tryboot_a_b(&self) -> bool {
        self.a_b
    }

    /// Names the partition to boot and the one that the tryboot flag leads to.
    ///
    /// # Errors
    /// Where they are the same, or not of 1 to [`MAX_PARTITION`].
    pub fn set(&mut self, default: u8, trial: u8) -> Result<(), Error> {
        if let Some(wrong) = [default, trial].into_iter().find(|n| !(1..=MAX_PARTITION).contains(n))
        {
            return Err(Error::Partition(wrong));
        }
        if default == trial {
            return Err(Error::Same(default));
        }
        (self.default, self.trial, self.a_b) = (default, trial, true);
        Ok(())
    }

    /// The file. Lines that are not ours are kept as far as they fit.
    ///
    /// # Errors
    /// Where both partitions are the same: the trial would be no way back.
    pub fn to_bytes(&self) -> Result<[u8; BYTES], Error> {
        if self.default == self.trial {
            return Err(Error::Same(self.default));
        }
        let own = alloc::format!(
            "[all]\ntryboot_a_b={}\nboot_partition={}\n[tryboot]\nboot_partition={}\n",
            u8::from(self.a_b),
            self.default,
            self.trial
        );
        let mut text = own.into_bytes();
        for line in &self.kept {
            // a line without the section before it would hold for others: nothing after one that does not fit
            if text.len() + line.len() >= BYTES {
                break;
            }
            text.extend(line);
            text.push(b'\n');
        }
        // A comment of nothing but '#': wherever the firmware cuts a long line, the rest is a comment, too.
        text.resize(text.len().max(BYTES - 1), b'#');
        text.push(b'\n');
        let mut bytes = [b'\n'; BYTES];
        for (to, from) in bytes.iter_mut().zip(text) {
            *to = from;
        }
        Ok(bytes)
    }
}

/// The state of reading: which conditions hold for the next line.
#[derive(Debug)]
struct Reader {
    /// Inside of `[none]` or a section that is not known.
    never: bool,
    tryboot: bool,
    all: Values,
    trial: Values,
    kept: Vec<Vec<u8>>,
    /// Section lines that a line to be kept has to have before it.
    sections: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Values {
    partition: Option<u8>,
    a_b: Option<bool>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            never: false,
            tryboot: false,
            all: Values::default(),
            trial: Values::default(),
            kept: Vec::new(),
            sections: alloc::vec![b"[all]".to_vec()],
        }
    }
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), ()> {
        match line {
            [b'[', name @ .., b']'] => self.section(line, name),
            // blank, or the filler of a file that was written here
            _ if line.iter().all(|byte| *byte == b'#') => {}
            [b'#', ..] => self.kept.push(line.to_vec()),
            _ if !self.setting(line)? => {
                self.kept.append(&mut self.sections);
                self.kept.push(line.to_vec());
            }
            _ => {}
        }
        Ok(())
    }

    /// `[all]` ends all sections; others hold together until then.
    fn section(&mut self, line: &[u8], name: &[u8]) {
        if name.eq_ignore_ascii_case(b"all") {
            (self.never, self.tryboot) = (false, false);
            self.sections.clear();
        } else if name.eq_ignore_ascii_case(b"tryboot") {
            self.tryboot = true;
        } else {
            self.never = true;
        }
        self.sections.push(line.to_vec());
    }

    /// Whether the line is a setting of ours. Later ones win, also over those of the other section.
    fn setting(&mut self, line: &[u8]) -> Result<bool, ()> {
        let mut parts = line.splitn(2, |byte| *byte == b'=');
        let (key, value) = (parts.next().unwrap_or_default(), parts.next());
        let new = match key {
            _ if self.never => return Ok(false),
            b"boot_partition" => Values { partition: Some(number(value)?), a_b: None },
            b"tryboot_a_b" => Values { partition: None, a_b: Some(number(value)? != 0) },
            _ => return Ok(false),
        };
        let take = |values: &mut Values| {
            values.partition = new.partition.or(values.partition);
            values.a_b = new.a_b.or(values.a_b);
        };
        take(&mut self.trial);
        if !self.tryboot {
            take(&mut self.all);
        }
        Ok(true)
    }

    fn file(mut self) -> Autoboot {
        Autoboot {
            default: self.all.partition.unwrap_or(0),
            trial: self.trial.partition.unwrap_or(0),
            a_b: self.trial.a_b.unwrap_or(false),
            kept: mem::take(&mut self.kept),
        }
    }
}

/// Decimal, 0 to [`MAX_PARTITION`].
fn number(value: Option<&[u8]>) -> Result<u8, ()> {
    let text = core::str::from_utf8(value.unwrap_or_default()).map_err(|_| ())?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number <= MAX_PARTITION);
    number.filter(|_| digits).ok_or(())
}

/// Why a file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Bytes of the file.
    TooLong(usize),
    /// A NUL byte before the end.
    Nul,
    /// The line whose value is no number of 0 to 63.
    Value(usize),
    /// A number that no partition has.
    Partition(u8),
    /// Both lead to this partition.
    Same(u8),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(f, "autoboot.txt has {bytes} bytes, the firmware reads {BYTES}")
            }
            Self::Nul => f.write_str("autoboot.txt has a nul byte in its text"),
            Self::Value(line) => {
                write!(f, "autoboot.txt, line {line}: expected a number from 0 to {MAX_PARTITION}")
            }
            Self::Partition(number) => write!(f, "autoboot.txt: no partition {number} to boot"),
            Self::Same(number) => {
                write!(f, "autoboot.txt: default and trial are both partition {number}")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
