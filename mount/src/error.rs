// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, in one line that names the object and the cause.

use core::fmt;
use core::ops::Deref;

use rustix::io::Errno;

use crate::errno;

/// Why something was not mounted, found, opened or loaded: one line, lower case, without a full stop.
///
/// The line is put together where the failure is seen, out of line and cold, and what is handed up is text. Nobody who
/// gets one decides by its kind; an enum with the names as fields, moved through every `?`, was a tenth of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(&'static &'static str);

/// An error with the line that [`text!`](crate::text!) makes.
#[macro_export]
macro_rules! error {
    ($($line:tt)*) => { $crate::Error::from($crate::text!($($line)*)) };
}

impl Error {
    /// `cannot VERB OBJECT: cause`.
    #[cold]
    #[inline(never)]
    pub fn call(verb: &str, object: &str, why: Errno) -> Error {
        error!("cannot {} {}: {}", verb, object, errno::text(why))
    }

    /// `cannot mount SOURCE on TARGET (KIND): cause`; the kind is a filesystem type, those tried, or how it was
    /// attached ("move", "bind").
    #[cold]
    #[inline(never)]
    pub(crate) fn mount(source: &str, target: &str, kind: &str, why: Errno) -> Error {
        error!("cannot mount {} on {} ({}): {}", source, target, kind, errno::text(why))
    }
}

impl Error {
    /// The line.
    pub fn line(self) -> &'static str {
        self.0
    }
}

#[cold]
#[inline(never)]
fn place(line: &'static str) -> Error {
    Error(uapi::memory::keep(line))
}

impl From<&'static str> for Error {
    fn from(line: &'static str) -> Error {
        place(line)
    }
}

impl Deref for Error {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl AsRef<str> for Error {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[track_caller]
    fn check(error: Error, expected: &str) {
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn one_line_with_the_object_and_the_cause() {
        check(
            Error::mount("/dev/vda4", "/run/pivot/data", "ext4", Errno::NODEV),
            "cannot mount /dev/vda4 on /run/pivot/data (ext4): No such device",
        );
        check(
            Error::call("open", "/dev/loop-control", Errno::NOENT),
            "cannot open /dev/loop-control: No such file or directory",
        );
        check(error!("cannot {}: {}", "think", "no time"), "cannot think: no time");
    }
}
