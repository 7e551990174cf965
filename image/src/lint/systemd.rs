// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watchdog of the root's systemd at a reboot. Its default of 10 minutes is one that a Raspberry Pi takes and
//! resets at once: in the middle of the shutdown. (systemd: systemd-system.conf(5))

use bootsel::manifest;

use super::Fault;
use super::cmdline::resets_early;
use crate::boards::root::Root;
use crate::boards::subject::Subject;

const KEY: &str = "RebootWatchdogSec";
/// Where it says nothing.
const DEFAULT: &str = "10min";
/// Files and directories of `.conf` files, a later one wins; in `/etc` over `/usr/lib` for files of one name.
const DIRECTORIES: [&str; 2] = ["/usr/lib/systemd/system.conf.d/", "/etc/systemd/system.conf.d/"];
const FILES: [&str; 2] = ["/usr/lib/systemd/system.conf", "/etc/systemd/system.conf"];

/// The revisions' roots, each once.
pub(super) fn reboot(subject: &Subject<'_>) -> Vec<Fault> {
    let revisions = super::revision::revisions(subject);
    revisions.iter().filter_map(|(_, id)| fault(subject, id)).collect()
}

fn fault(subject: &Subject<'_>, id: &str) -> Option<Fault> {
    // a root that cannot be read is another rule's
    let root = subject.root(id);
    let text = setting(root.as_ref().as_ref().ok()?.as_ref()?)?;
    let at = format!("revision {id}, {}", manifest::ROOT);
    let what = || {
        format!(
            "{KEY}={text}: a Raspberry Pi resets at once, in the middle of a shutdown; 15 is safe"
        )
    };
    resets_early(seconds(&text)?).then(|| (at, what()))
}

/// What the root's systemd takes; none where it has no systemd.
fn setting(root: &Root) -> Option<String> {
    let mut found = Vec::new();
    for (path, text) in &root.settings {
        let dropin = DIRECTORIES.iter().position(|directory| {
            path.strip_prefix(directory).is_some_and(|name| name.ends_with(".conf"))
        });
        let rank = match (FILES.iter().position(|name| name == path), dropin) {
            (Some(index), _) => (0, index, String::new()),
            // drop-ins are sorted by their names, whatever directory they are in
            (None, Some(index)) => {
                let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                (1, 0, format!("{name}\0{index}"))
            }
            (None, None) => continue,
        };
        found.push((rank, text));
    }
    found.sort();
    let lines = found.iter().rev().flat_map(|(_, text)| text.lines().rev());
    let mut values =
        lines.filter_map(|line| line.trim().strip_prefix(KEY)?.trim_start().strip_prefix('='));
    let last = values.next().unwrap_or(DEFAULT).trim();
    root.systemd.then(|| last.to_owned())
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
