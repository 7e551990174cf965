// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on the command line of a slot.

use rpifw::{Table, Volume};

use super::{Fault, file};
use crate::boards::subject::{Subject, value};
use crate::slot::{CMDLINE, CMDLINE_MAX, STOP_ON_REBOOT};

/// Where the slots have a command line.
fn lines<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = (u32, String)> + 'a {
    subject.slots().filter_map(|(number, _)| Some((number, subject.text(number, CMDLINE)?)))
}

/// One fault of each line, where there is one.
fn each(subject: &Subject<'_>, check: impl Fn(u32, &str) -> Option<String>) -> Vec<Fault> {
    let fault =
        |(number, line): (u32, String)| Some((file(number, CMDLINE), check(number, &line)?));
    lines(subject).filter_map(fault).collect()
}

fn has(line: &str, key: &str) -> bool {
    line.split_ascii_whitespace().any(|word| word.split('=').next() == Some(key))
}

/// One line of ASCII, and short: Arm kernels take 1024 bytes, and the firmware adds hundreds of its own.
pub(super) fn form(subject: &Subject<'_>) -> Vec<Fault> {
    let fault = |(number, volume): (u32, &crate::rpidisk::ImageVolume<'_>)| {
        let what = match volume.read(CMDLINE) {
            Err(error) => error,
            Ok(None) => "is missing".to_owned(),
            Ok(Some(bytes)) => wrong(&bytes)?,
        };
        Some((file(number, CMDLINE), what))
    };
    subject.slots().filter_map(fault).collect()
}

fn wrong(bytes: &[u8]) -> Option<String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if bytes.len() > CMDLINE_MAX {
        Some(format!("has {} bytes, {CMDLINE_MAX} are safe on every board", bytes.len()))
    } else if line.contains(&b'\n') {
        Some("has more than one line: the firmware reads the first".to_owned())
    } else if line.trim_ascii().is_empty() {
        Some("is empty".to_owned())
    } else if !line.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        Some("is not printable ASCII".to_owned())
    } else {
        None
    }
}

/// Without it a kernel that panics stands still, and a trial never ends.
pub(super) fn panic(subject: &Subject<'_>) -> Vec<Fault> {
    each(subject, |_, line| {
        let seconds = value(line, "panic").and_then(|seconds| seconds.parse::<i64>().ok());
        seconds
            .is_none_or(|seconds| seconds == 0)
            .then(|| "no panic=5: a panic does not end a trial".to_owned())
    })
}

/// `init=` is looked for before /init of the initramfs is on 32-bit kernels that cannot run it.
/// (kernel: init/main.c, kernel_init)
pub(super) fn init(subject: &Subject<'_>) -> Vec<Fault> {
    each(subject, |number, line| {
        let two = super::revision::programs(subject, number);
        let both = ["init", "sbin/init"].iter().all(|path| two.contains(&(*path).to_owned()));
        (both && has(line, "init")).then(|| {
            "init= hides the /sbin/init that 32-bit kernels need from this initramfs; pivot.init= is meant".to_owned()
        })
    })
}

/// systemd guesses mounts from partition types, and the kernel takes the second table of a GPT only when told to.
/// (systemd: systemd-gpt-auto-generator(8); kernel: block/partitions/efi.c)
pub(super) fn gpt(subject: &Subject<'_>) -> Vec<Fault> {
    each(subject, |_, line| {
        let auto = value(line, "systemd.gpt_auto").is_none_or(|value| value != "0");
        let gpt = subject.disk.table == Table::Gpt && !has(line, "gpt");
        let mut missing =
            auto.then_some("systemd.gpt_auto=0").into_iter().chain(gpt.then_some("gpt"));
        missing.next().map(|word| format!("no {word}"))
    })
}

/// Timeouts that a Raspberry Pi takes and then resets early. (kernel: drivers/watchdog/bcm2835_wdt.c: the counter has
/// 20 bits of 1/65536 s, what is above 16 s is fed by the kernel in between and what is left over counts)
pub(super) fn resets_early(seconds: u64) -> bool {
    seconds >= 16 && seconds % 16 <= 8
}

/// `pivot.watchdog=` and `systemd.watchdog_sec=`
pub(super) fn watchdog(subject: &Subject<'_>) -> Vec<Fault> {
    each(subject, |_, line| {
        let wrong = ["pivot.watchdog", "systemd.watchdog_sec"].into_iter().find_map(|key| {
            let text = value(line, key)?;
            let seconds = super::systemd::seconds(&text)?;
            resets_early(seconds).then_some((key, text))
        });
        wrong.map(|(key, text)| {
            format!("{key}={text}: a Raspberry Pi resets before that time is over; 15 is safe")
        })
    })
}

/// A restart that the kernel does not get through is to be ended by the watchdog: above all the one after which the
/// EEPROM is written. (kernel: drivers/watchdog/watchdog_core.c)
pub(super) fn stop_on_reboot(subject: &Subject<'_>) -> Vec<Fault> {
    if !super::eeprom::is_any(subject) {
        return Vec::new();
    }
    each(subject, |_, line| {
        let runs = value(line, "watchdog.stop_on_reboot").is_some_and(|value| value == "0");
        let what =
            format!("no {STOP_ON_REBOOT}: the restart that writes the eeprom is not watched");
        (!runs).then_some(what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let text = |bytes: &[u8]| wrong(bytes).unwrap_or_default();
        assert_eq!(text(b"a b\n"), "");
        assert_eq!(text(b"a b"), "");
        assert_eq!(text(b"a\r\n"), "");
        assert_eq!(text(&[b"x".repeat(511), b"\n".to_vec()].concat()), "");
        assert_eq!(text(&b"x".repeat(513)), "has 513 bytes, 512 are safe on every board");
        assert!(text(b"a\nb\n").starts_with("has more than one line"));
        assert!(text(b"a\n\n").starts_with("has more than one line"));
        assert_eq!(text(b"\n"), "is empty");
        assert_eq!(text("\u{e4}".as_bytes()), "is not printable ASCII");
        assert_eq!(text(b"a\tb"), "is not printable ASCII");
    }

    #[test]
    fn watchdogs() {
        for seconds in [16, 24, 32, 40, 60 + 4, 600, 160] {
            assert!(resets_early(seconds), "{seconds}");
        }
        for seconds in [0, 1, 8, 15, 25, 30, 31, 60, 300] {
            assert!(!resets_early(seconds), "{seconds}");
        }
    }
}
