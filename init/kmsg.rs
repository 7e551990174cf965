// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log: records to `/dev/kmsg`, one write each.

use bootsel::pattern;
use bootsel::text::{digits, fill};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use uapi::process::Kept;

/// The longest record: the kernel refuses one of more than about 1,000 bytes whole (`PRINTKRB_RECORD_MAX`, 1024 with
/// its own prefix), so a longer one is cut.
const RECORD: usize = 900;

/// One record, put together in place: nothing is allocated, so that a panic can use it too. The newline ends it: without
/// one it is a continuation, which nobody reads yet.
fn record_of<'a>(bytes: &'a mut [u8; RECORD + 1], level: Level, message: &str) -> &'a [u8] {
    // syslog's facility "daemon" (3 << 3) marks records of user space, and the levels are the kernel's.
    let priority = match level {
        Level::Error => "27",
        Level::Warn => "28",
        Level::Info => "30",
        Level::Debug => "31",
    };
    let room = bytes.get_mut(..RECORD).unwrap_or_default();
    let length = fill(room, pattern!("<{}>pivot: {}"), &[priority, message]).len();
    let record = bytes.get_mut(..=length).unwrap_or_default();
    for byte in &mut *record {
        // One record is one line.
        if *byte < b' ' {
            *byte = b' ';
        }
    }
    if let Some(end) = record.last_mut() {
        *end = b'\n';
    }
    record
}

/// Of a record, for the kernel's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// Where records go: `/dev/kmsg`, and standard error (the console) where that cannot be opened.
static TARGET: Kept = Kept::stderr();

/// Logs a line: `say!(Warn, "cannot ...: {}", why)`.
macro_rules! say {
    ($level:ident, $($line:tt)*) => {
        $crate::kmsg::record($crate::kmsg::Level::$level, mount::text!($($line)*))
    };
}
pub(crate) use say;

/// Logs a line.
#[inline(never)]
pub(crate) fn record(level: Level, line: &str) {
    emit(TARGET.get(), level, line);
}

/// Logs what is wrong and does not end the boot.
#[inline(never)]
pub(crate) fn warn(line: &str) {
    record(Level::Warn, line);
}

fn emit(target: BorrowedFd<'_>, level: Level, message: &str) {
    // There is no place left to report to where this fails.
    let _ = rustix::io::write(target, record_of(&mut [0; RECORD + 1], level, message));
}

/// Makes it the standard error of this process, in which each write is then a record.
pub(crate) fn become_stderr() {
    // Where this fails lines go to the console.
    let _ = rustix::stdio::dup2_stderr(TARGET.get());
}

/// Opens the log. Called once, after `/dev` and `/proc` are there.
pub(crate) fn open() {
    // "ratelimit", the default, keeps 10 records of 5 seconds and drops the others. Where this fails, some are missing.
    let _ = crate::file::write("/proc/sys/kernel/printk_devkmsg", b"on\n");
    if let Some(device) = device() {
        TARGET.keep(device);
    }
}

fn device() -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let open = || uapi::open::open_text("/dev/kmsg", flags, 0).ok();
    open().or_else(|| {
        // No devtmpfs: the node is made by hand (c 1:11), so that the reason for that is not lost.
        // Where it fails standard error is used.
        let _ = rustix::fs::mkdir(c"/dev", Mode::from_raw_mode(0o755));
        let node = rustix::fs::makedev(1, 11);
        let mode = Mode::from_raw_mode(0o600);
        let _ = rustix::fs::mknodat(
            rustix::fs::CWD,
            c"/dev/kmsg",
            FileType::CharacterDevice,
            mode,
            node,
        );
        open()
    })
}

/// The last line of a panic: on kmsg, whether or not the log was ever opened, and nothing allocated.
#[cfg_attr(
    not(all(target_env = "musl", not(test))),
    expect(dead_code, reason = "the host has std's handler")
)]
pub(crate) fn last_words(message: &str, file: &str, line: u32) {
    let device = device();
    let target = device.as_ref().map_or_else(|| TARGET.get(), AsFd::as_fd);
    let (mut number, mut text) = ([0; 20], [0; RECORD]);
    let words = [message, file, digits(line.into(), &mut number)];
    emit(target, Level::Error, fill(&mut text, pattern!("panic: {} ({}:{})"), &words));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(level: Level, message: &str, expected: &str) {
        let mut room = [0; RECORD + 1];
        assert_eq!(core::str::from_utf8(record_of(&mut room, level, message)).unwrap(), expected);
    }

    #[test]
    fn a_record_is_one_line_with_its_priority() {
        check(Level::Error, "x", "<27>pivot: x\n");
        check(Level::Warn, "two\nlines\r\u{1b}[0m", "<28>pivot: two lines  [0m\n");
        check(Level::Info, "", "<30>pivot: \n");
    }

    #[test]
    fn a_long_record_is_cut_between_characters() {
        for fill in ["a", "ä", "🦀", "aä🦀"] {
            let mut room = [0; RECORD + 1];
            let bytes = record_of(&mut room, Level::Info, &fill.repeat(2000));
            assert!(bytes.len() <= RECORD + 1 && bytes.len() > RECORD - 4, "{}", bytes.len());
            assert!(core::str::from_utf8(bytes).is_ok_and(|text| text.ends_with('\n')));
        }
    }

    #[test]
    fn a_record_at_the_limit_is_whole() {
        let text = "b".repeat(RECORD - "<30>pivot: ".len());
        assert_eq!(record_of(&mut [0; RECORD + 1], Level::Info, &text).len(), RECORD + 1);
    }
}
