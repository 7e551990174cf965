// SPDX-License-Identifier: MIT OR Apache-2.0
//! File names on FAT: the short one that each file has, and the long one that it may have besides.

use std::collections::HashSet;

use anyhow::{Result, bail};

use super::ENTRY;

/// Case flags of Windows NT, which Linux honours, too: the base, or the extension, is lower case. With them
/// `cmdline.txt` needs no long name.
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;
/// Attribute of the entries that hold a long name.
const ATTRIBUTE_LONG: u8 = 0x0f;
/// UTF-16 units in each of them.
const UNITS: usize = 13;

/// Whether this can be a volume label without any doubt.
pub(super) fn is_label(label: &str) -> bool {
    let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_- ".contains(&b);
    (1..=11).contains(&label.len()) && label.bytes().all(plain) && label.trim() == label
}

/// Whether a file can have this name. ASCII only: every name of ours is.
pub(super) fn is_long_name(name: &str) -> bool {
    let plain = |b: u8| matches!(b, b' '..=b'~') && !b"\"*/:<>?\\|".contains(&b);
    let edges = name.starts_with(' ') || name.ends_with([' ', '.']);
    (1..=255).contains(&name.len()) && name.bytes().all(plain) && !edges
}

/// The names of one directory, so that each short name is there once.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<[u8; 11]>,
}

/// A file's names as they are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) short: [u8; 11],
    /// The flags of the short entry.
    pub(super) case: u8,
    long: Option<String>,
}

impl Names {
    /// Finds the short name for a file.
    pub(super) fn add(&mut self, name: &str) -> Result<Name> {
        if let Some((short, case)) = plain_short(name)
            && self.taken.insert(short)
        {
            return Ok(Name { short, case, long: None });
        }
        let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let (base, extension) = (squeeze(base), squeeze(extension));
        for number in 1..100_000_u32 {
            let tail = format!("~{number}");
            let head: String = base.chars().take(8 - tail.len()).collect();
            let short = pack(&format!("{head}{tail}"), &extension);
            if self.taken.insert(short) {
                return Ok(Name { short, case: 0, long: Some(name.to_owned()) });
            }
        }
        bail!("too many names that begin alike")
    }
}

impl Name {
    /// The entries that go before the short one: last part first.
    pub(super) fn long_entries(&self) -> Vec<u8> {
        let Some(long) = &self.long else { return Vec::new() };
        let mut units: Vec<u16> = long.encode_utf16().collect();
        if !units.len().is_multiple_of(UNITS) {
            units.push(0);
            units.resize(units.len().next_multiple_of(UNITS), 0xffff);
        }
        let sum = checksum(&self.short);
        let count = units.len() / UNITS;
        let mut out = Vec::with_capacity(count * ENTRY);
        for (index, part) in units.chunks(UNITS).enumerate().rev() {
            let last = if index + 1 == count { 0x40 } else { 0 };
            let bytes: Vec<u8> = part.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            out.push(u8::try_from(index + 1).unwrap_or(u8::MAX) | last);
            out.extend(&bytes[..10]);
            out.extend([ATTRIBUTE_LONG, 0, sum]);
            out.extend(&bytes[10..22]);
            out.extend([0, 0]);
            out.extend(&bytes[22..]);
        }
        out
    }
}

/// The short name that says everything: 8.3, each part in one case.
fn plain_short(name: &str) -> Option<([u8; 11], u8)> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'()-@^_`{}~".contains(&b);
    let fits = |part: &str, most: usize| part.len() <= most && part.bytes().all(allowed);
    if base.is_empty() || !fits(base, 8) || !fits(extension, 3) {
        return None;
    }
    let case = |part: &str, flag: u8| {
        let lower = part.bytes().any(|b| b.is_ascii_lowercase());
        let upper = part.bytes().any(|b| b.is_ascii_uppercase());
        (!(lower && upper)).then_some(if lower { flag } else { 0 })
    };
    let flags = case(base, LOWER_BASE)? | case(extension, LOWER_EXTENSION)?;
    Some((pack(&base.to_ascii_uppercase(), &extension.to_ascii_uppercase()), flags))
}

/// What of a long name can be in a short one.
fn squeeze(part: &str) -> String {
    let kept = part.chars().filter(|c| *c != ' ' && *c != '.');
    let plain =
        |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_uppercase() } else { '_' };
    let all: String = kept.map(plain).collect();
    if all.is_empty() && !part.is_empty() { "_".to_owned() } else { all }
}

fn pack(base: &str, extension: &str) -> [u8; 11] {
    let mut out = [b' '; 11];
    for (to, from) in out.iter_mut().take(8).zip(base.bytes()) {
        *to = from;
    }
    for (to, from) in out.iter_mut().skip(8).zip(extension.bytes()) {
        *to = from;
    }
    out
}

/// Ties the long name to the short one.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, short: &[u8; 11], case: u8, long: bool) {
        let got = Names::default().add(name).unwrap();
        assert_eq!(got.short, *short, "{name}");
        assert_eq!((got.case, got.long.is_some()), (case, long), "{name}");
    }

    #[test]
    fn short_names() {
        check("README", b"README     ", 0, false);
        check("cmdline.txt", b"CMDLINE TXT", 0x18, false);
        check("vmlinuz0", b"VMLINUZ0   ", 0x08, false);
        check("BOOT.txt", b"BOOT    TXT", 0x10, false);
        check("Readme.txt", b"README~1TXT", 0, true);
        check("bcm2711-rpi-4-b.dtb", b"BCM271~1DTB", 0, true);
        check("vmlinuz_6.12.95+deb12-arm64", b"VMLINU~195_", 0, true);
        check(".hidden", b"~1      HID", 0, true);
        check("a b", b"AB~1       ", 0, true);
    }

    #[test]
    fn no_short_name_twice() {
        let mut names = Names::default();
        assert_eq!(&names.add("bcm2711-rpi-4-b.dtb").unwrap().short, b"BCM271~1DTB");
        assert_eq!(&names.add("bcm2711-rpi-400.dtb").unwrap().short, b"BCM271~2DTB");
        for number in 3..=12 {
            names.add(&format!("bcm2711-other-{number}.dtb")).unwrap();
        }
        assert!(names.taken.contains(b"BCM27~12DTB"));
    }

    #[test]
    fn long_entries_as_windows_writes_them() {
        let name = Names::default().add("bcm2711-rpi-4-b.dtb").unwrap();
        let entries = name.long_entries();
        assert_eq!(entries.len(), 64);
        assert_eq!((entries[0], entries[32], entries[11]), (0x42, 1, 0x0f));
        assert_eq!(&entries[1..11], b"-\0b\0.\0d\0t\0");
        assert_eq!(&entries[14..20], b"b\0\0\0\xff\xff");
        assert_eq!((entries[13], entries[45]), (checksum(&name.short), checksum(&name.short)));
    }

    #[test]
    fn thirteen_characters_have_no_end_mark() {
        assert_eq!(Names::default().add("abcdefghi.jkl").unwrap().long_entries().len(), 32);
    }

    #[test]
    fn impossible_names() {
        for bad in ["", "a/b", "a:b", "a.", " a", "a\n", "ä", &"x".repeat(256)] {
            assert!(!is_long_name(bad), "{bad:?}");
        }
        assert!(
            is_label("BOOT_A") && !is_label("boot") && !is_label("TWELVE CHARS") && !is_label("")
        );
    }
}
