// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watchdog of the root's systemd at a reboot. Its default of 10 minutes is one that a Raspberry Pi takes and
//! resets at once: in the middle of the shutdown. (systemd: systemd-system.conf(5))

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Result;
use backhand::{FilesystemReader, InnerNode};
use bootsel::manifest;

use super::Fault;
use super::cmdline::resets_early;
use crate::boards::subject::{SLOTS, Subject};

const KEY: &str = "RebootWatchdogSec";
/// Where it says nothing.
const DEFAULT: &str = "10min";
/// Files and directories of `.conf` files, a later one wins; in `/etc` over `/usr/lib` for files of one name.
const DIRECTORIES: [&str; 2] = ["/usr/lib/systemd/system.conf.d/", "/etc/systemd/system.conf.d/"];
const FILES: [&str; 2] = ["/usr/lib/systemd/system.conf", "/etc/systemd/system.conf"];
const PROGRAMS: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// The revisions' roots, each once.
pub(super) fn reboot(subject: &Subject<'_>) -> Vec<Fault> {
    let mut ids: Vec<_> = SLOTS.iter().filter_map(|n| subject.word(*n, "pivot.revision")).collect();
    ids.dedup();
    ids.iter().filter_map(|id| fault(subject, id)).collect()
}

fn fault(subject: &Subject<'_>, id: &str) -> Option<Fault> {
    let revision = subject.revision(id);
    let there = revision.as_ref().as_ref().ok()?.as_ref()?;
    there.files.iter().find(|(name, _)| name == manifest::ROOT)?;
    let copy = subject.data?.copy(id, manifest::ROOT).ok()?;
    // a root that cannot be read is another rule's
    let text = setting(copy.path()).ok()??;
    let at = format!("revision {id}, {}", manifest::ROOT);
    let what = || {
        format!(
            "{KEY}={text}: a Raspberry Pi resets at once, in the middle of a shutdown; 15 is safe"
        )
    };
    resets_early(seconds(&text)?).then(|| (at, what()))
}

/// What the root's systemd takes; none where it has no systemd.
fn setting(root: &Path) -> Result<Option<String>> {
    let image = FilesystemReader::from_reader(BufReader::new(File::open(root)?))?;
    let (mut systemd, mut found) = (false, Vec::new());
    for node in image.files() {
        let InnerNode::File(file) = &node.inner else { continue };
        let path = node.fullpath.to_string_lossy();
        systemd |= PROGRAMS.contains(&path.as_ref());
        let dropin = DIRECTORIES.iter().position(|directory| {
            path.strip_prefix(directory).is_some_and(|name| name.ends_with(".conf"))
        });
        let rank = match (FILES.iter().position(|name| *name == path), dropin) {
            (Some(index), _) => (0, index, String::new()),
            // drop-ins are sorted by their names, whatever directory they are in
            (None, Some(index)) => {
                let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                (1, 0, format!("{name}\0{index}"))
            }
            (None, None) => continue,
        };
        let mut text = String::new();
        image.file(file).reader().take(1 << 20).read_to_string(&mut text)?;
        found.push((rank, text));
    }
    found.sort();
    let lines = found.iter().rev().flat_map(|(_, text)| text.lines().rev());
    let mut values =
        lines.filter_map(|line| line.trim().strip_prefix(KEY)?.trim_start().strip_prefix('='));
    let last = values.next().unwrap_or(DEFAULT).trim();
    Ok(systemd.then(|| last.to_owned()))
}

/// Seconds of a time as systemd writes it: `15`, `15s`, `10min`, `1h 30s`; none for `off`, `default`, `infinity` and
/// what is none. (systemd: systemd.time(7))
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    for part in text.split_ascii_whitespace() {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, unit) = part.split_at_checked(end)?;
        let factor = match unit {
            "" | "s" | "sec" | "second" | "seconds" => 1,
            "m" | "min" | "minute" | "minutes" => 60,
            "h" | "hr" | "hour" | "hours" => 3600,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times() {
        for (text, expected) in [
            ("15", Some(15)),
            ("15s", Some(15)),
            ("10min", Some(600)),
            ("1h 30s", Some(3630)),
            ("0", Some(0)),
            ("off", None),
            ("infinity", None),
            ("5 weeks", None),
            ("18446744073709551615h", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
