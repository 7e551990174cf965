// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, in one line that names the object and the cause.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use bootsel::text::format;
use rustix::io::Errno;

use crate::errno::text;

/// Why something was not mounted, found, opened or loaded: one line, lower case, without a full stop.
///
/// The line is put together where the failure is seen, out of line and cold, and what is handed up is one pointer.
/// Nobody who gets one decides by its kind; an enum with the names as fields, moved through every `?`, was a tenth of
/// the program.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "a thin pointer, which a Box<str> is not")]
pub struct Error(Box<String>);

impl Error {
    /// With this line.
    #[cold]
    #[inline(never)]
    pub fn new(line: fmt::Arguments<'_>) -> Error {
        Error(Box::new(format(line)))
    }

    /// `cannot VERB OBJECT: cause`.
    #[cold]
    #[inline(never)]
    pub fn call(verb: &str, object: &str, errno: Errno) -> Error {
        Error::new(format_args!("cannot {verb} {object}: {}", text(errno)))
    }

    /// `cannot mount SOURCE on TARGET (KIND): cause`; the kind is a filesystem type, those tried, or how it was
    /// attached ("move", "bind").
    #[cold]
    #[inline(never)]
    pub(crate) fn mount(source: &str, target: &str, kind: &str, errno: Errno) -> Error {
        Error::new(format_args!("cannot mount {source} on {target} ({kind}): {}", text(errno)))
    }
}

impl core::ops::Deref for Error {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<String> for Error {
    fn from(line: String) -> Error {
        Error(Box::new(line))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
        assert_eq!(size_of::<Result<(), Error>>(), size_of::<usize>());
    }
}
