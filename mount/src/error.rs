// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can go wrong here, with the names of the things it went wrong with.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use rustix::io::Errno;

use crate::device::DeviceName;
use crate::errno::text;

/// Why something was not mounted, found or opened. Displays as one line.
#[derive(Debug)]
pub enum Error {
    /// A system call on one path failed.
    File {
        /// What was tried: "open", "create".
        verb: &'static str,
        /// On what.
        path: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A mount failed.
    Mount {
        /// Device, image or directory.
        source: String,
        /// Mount point.
        target: String,
        /// Filesystem type, or how it was attached ("move", "bind"); several types are those tried.
        kind: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A file is not the image that it should be.
    Image {
        /// The file.
        path: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Two devices answer to one name.
    Ambiguous {
        /// The name.
        name: DeviceName,
        /// Node of one of them.
        first: String,
        /// Node of another.
        second: String,
    },
    /// The device did not appear.
    Timeout {
        /// What was awaited.
        name: DeviceName,
        /// How long, in seconds.
        seconds: u64,
        /// The block devices that were there.
        seen: Vec<String>,
    },
}

impl Error {
    pub(crate) fn file(verb: &'static str, path: &str, errno: Errno) -> Error {
        Error::File { verb, path: path.into(), errno }
    }

    pub(crate) fn mount(source: &str, target: &str, kind: &str, errno: Errno) -> Error {
        Error::Mount { source: source.into(), target: target.into(), kind: kind.into(), errno }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File { verb, path, errno } => {
                write!(f, "cannot {verb} {path}: {}", text(*errno))
            }
            Error::Mount { source, target, kind, errno } => {
                write!(f, "cannot mount {source} on {target} ({kind}): {}", text(*errno))
            }
            Error::Image { path, fault } => write!(f, "cannot use image {path}: {fault}"),
            Error::Ambiguous { name, first, second } => {
                write!(f, "cannot choose between {first} and {second}: both are {name}")
            }
            Error::Timeout { name, seconds, seen } => {
                let seen = if seen.is_empty() { "none".into() } else { seen.join(" ") };
                write!(f, "no device {name} after {seconds} s; there are: {seen}")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec;

    use super::*;

    #[track_caller]
    fn check(error: Error, expected: &str) {
        assert_eq!(error.to_string(), expected);
    }

    fn name(typed: &str) -> DeviceName {
        typed.parse().unwrap()
    }

    #[test]
    fn one_line_with_the_object_and_the_cause() {
        check(
            Error::mount("/dev/vda4", "/run/pivot/data", "ext4", Errno::NODEV),
            "cannot mount /dev/vda4 on /run/pivot/data (ext4): No such device",
        );
        check(
            Error::file("open", "/dev/loop-control", Errno::NOENT),
            "cannot open /dev/loop-control: No such file or directory",
        );
        check(
            Error::Ambiguous {
                name: name("PARTLABEL=DATA"),
                first: "/dev/mmcblk0p4".into(),
                second: "/dev/sda4".into(),
            },
            "cannot choose between /dev/mmcblk0p4 and /dev/sda4: both are PARTLABEL=DATA",
        );
    }

    #[test]
    fn timeout_says_what_was_there() {
        let seen = vec!["vda".to_string(), "vda1".into(), "vda2".into()];
        check(
            Error::Timeout { name: name("PARTLABEL=DATA"), seconds: 60, seen },
            "no device PARTLABEL=DATA after 60 s; there are: vda vda1 vda2",
        );
        check(
            Error::Timeout { name: name("/dev/vda4"), seconds: 1, seen: vec![] },
            "no device /dev/vda4 after 1 s; there are: none",
        );
    }
}
