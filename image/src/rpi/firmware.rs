// SPDX-License-Identifier: MIT OR Apache-2.0
//! The firmware's own files: from a directory (`boot/` of raspberrypi/firmware) or Debian's package raspi-firmware.
//! `bootcode.bin` goes to partition 1, the rest to both slots, so that it is updated with them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rpifw::partition::BOOTCODE;

use crate::config::Variant;
use crate::deb;
use crate::fat::Content;

/// Where Debian's package has the files.
const IN_PACKAGE: &str = "usr/lib/raspi-firmware";
/// The terms under which the files may be passed on want to be passed on with them.
const LICENCES: [&str; 2] = ["LICENCE.broadcom", "usr/share/doc/raspi-firmware/copyright"];
/// Of a slot: what is loaded next, up to Pi 3 and on a Pi 4; a Pi 5 has it in its EEPROM.
pub const IN_SLOT: [&str; 4] = ["start.elf", "fixup.dat", "start4.elf", "fixup4.dat"];
/// What firmware knows, as it is in the files: a word between zero bytes.
const AB: &[u8] = b"\0tryboot_a_b\0";
const FILTER: &[u8] = b"\0tryboot\0";
const WATCHDOG: &[u8] = b"\0kernel_watchdog_timeout\0";

/// The files.
#[derive(Debug, Default)]
pub struct Firmware {
    /// For partition 1; none where there is none.
    pub bootcode: Option<Vec<u8>>,
    /// For the slots' root directory.
    pub files: Vec<(String, Content)>,
    /// For the slots' `overlays/`.
    pub overlays: Vec<(String, Content)>,
    /// Whether it knows `kernel_watchdog_timeout`.
    pub watchdog: bool,
}

/// Names of a start file and what belongs to it.
fn pairs(variants: &[Variant]) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for variant in [None].into_iter().chain(variants.iter().map(|v| Some(v.as_str()))) {
        let (old, new) = variant.map_or((String::new(), ""), |v| (format!("_{v}"), v));
        out.push((format!("start{old}.elf"), format!("fixup{old}.dat")));
        out.push((format!("start4{new}.elf"), format!("fixup4{new}.dat")));
    }
    out
}

impl Firmware {
    /// Reads the files, and refuses those that cannot try a slot.
    ///
    /// # Errors
    /// Names the file that is missing or too old.
    pub fn read(path: &Path, variants: &[Variant]) -> Result<Self> {
        let found = if path.is_dir() { in_directory(path)? } else { in_package(path)? };
        Self::of(found, variants).with_context(|| format!("rpi.firmware {}", path.display()))
    }

    fn of(found: Vec<(String, Vec<u8>)>, variants: &[Variant]) -> Result<Self> {
        let get =
            |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, b)| b.clone());
        let mut out = Self { bootcode: get(BOOTCODE), ..Self::default() };
        if let Some(bootcode) = &out.bootcode {
            knows(BOOTCODE, bootcode, AB)?;
        }
        for (start, fixup) in pairs(variants) {
            match (get(&start), get(&fixup)) {
                (Some(bytes), Some(fixup_bytes)) => {
                    knows(&start, &bytes, FILTER)?;
                    out.watchdog |= contains(&bytes, WATCHDOG);
                    out.files.push((start, Content::Bytes(bytes)));
                    out.files.push((fixup, Content::Bytes(fixup_bytes)));
                }
                (Some(_), None) => {
                    bail!("{start} is there and {fixup}, which belongs to it, is not")
                }
                (None, Some(_)) => {
                    bail!("{fixup} is there and {start}, which belongs to it, is not")
                }
                (None, None) if start == "start.elf" || start == "start4.elf" => {}
                (None, None) => bail!("{start} is not there"),
            }
        }
        ensure!(!out.files.is_empty(), "neither start.elf nor start4.elf in it");
        let old = out.files.iter().any(|(name, _)| name == "start.elf");
        ensure!(
            old == out.bootcode.is_some(),
            "start.elf and bootcode.bin belong together, and one of them is not there"
        );
        for (name, bytes) in found {
            if LICENCES.iter().any(|licence| licence.rsplit('/').next() == Some(&name)) {
                out.files.push((LICENCES[0].to_owned(), Content::Bytes(bytes)));
            } else if let Some(name) = name.strip_prefix("overlays/") {
                out.overlays.push((name.to_owned(), Content::Bytes(bytes)));
            }
        }
        Ok(out)
    }
}

fn knows(name: &str, bytes: &[u8], word: &[u8]) -> Result<()> {
    let shown = String::from_utf8_lossy(word);
    ensure!(
        contains(bytes, word),
        "{name} does not know the word {}: a board with it never tries the other slot; expected raspi-firmware \
         1.20240424 or newer, or files of that time",
        shown.trim_matches('\0')
    );
    Ok(())
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Whether this file is looked at: it has no path, or is an overlay.
fn wanted(name: &str) -> bool {
    let known = |ending: &str| name.ends_with(ending);
    match name.split_once('/') {
        None => {
            name == BOOTCODE
                || name == LICENCES[0]
                || name.starts_with("start") && known(".elf")
                || name.starts_with("fixup") && known(".dat")
        }
        Some((directory, _)) => directory == "overlays" && (known(".dtbo") || known(".dtb")),
    }
}

fn in_directory(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut tree = crate::tree::Tree::default();
    tree.add(path)?;
    let names = tree.iter().map(|(name, _)| name.to_string_lossy().into_owned());
    let read = |name: String| {
        let file = path.join(&name);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok((name, bytes))
    };
    names.filter(|name| wanted(name)).map(read).collect()
}

fn in_package(package: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    deb::look(package, |path, data| {
        let inside = path.strip_prefix(IN_PACKAGE).ok().and_then(Path::to_str);
        let name = match inside {
            Some(name) if wanted(name) => name.to_owned(),
            _ if path == Path::new(LICENCES[1]) => "copyright".to_owned(),
            _ => return Ok(true),
        };
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        found.push((name, bytes));
        Ok(true)
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &[u8] = b"..\0tryboot_a_b\0tryboot\0..";

    fn files(names: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
        names.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
    }

    #[track_caller]
    fn refused(names: &[(&str, &[u8])], variants: &[Variant], why: &str) {
        let error = Firmware::of(files(names), variants).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn taken() {
        let all: &[(&str, &[u8])] = &[
            ("bootcode.bin", NEW),
            ("start.elf", NEW),
            ("fixup.dat", b""),
            ("start4.elf", b"\0tryboot\0kernel_watchdog_timeout\0"),
            ("fixup4.dat", b""),
            ("start4x.elf", b"not asked for"),
            ("overlays/a.dtbo", b"A"),
            ("copyright", b"terms"),
        ];
        let firmware = Firmware::of(files(all), &[]).unwrap();
        let names: Vec<_> = firmware.files.iter().map(|(name, _)| name.as_str()).collect();
        let expected = ["start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "LICENCE.broadcom"];
        assert_eq!(names, expected);
        assert!(firmware.watchdog && firmware.bootcode.is_some());
        assert_eq!(firmware.overlays[0].0, "a.dtbo");
        let new = Firmware::of(files(&all[3..5]), &[]).unwrap();
        assert!(new.bootcode.is_none());
    }

    #[test]
    fn refusals() {
        let old = ("bootcode.bin", &b"tryboot.txt"[..]);
        refused(&[old, ("start.elf", NEW), ("fixup.dat", b"")], &[], "bootcode.bin does not know");
        let start = ("start4.elf", &b"\0tryboot.txt\0"[..]);
        refused(&[start, ("fixup4.dat", b"")], &[], "start4.elf does not know the word tryboot:");
        refused(&[("start4.elf", NEW)], &[], "fixup4.dat, which belongs to it, is not");
        refused(&[], &[], "neither start.elf nor start4.elf");
        refused(&[("start.elf", NEW), ("fixup.dat", b"")], &[], "bootcode.bin belong together");
        let pair: &[(&str, &[u8])] = &[("start4.elf", NEW), ("fixup4.dat", b"")];
        refused(pair, &[Variant::X], "start_x.elf is not there");
    }
}
