// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a boot cannot go on, in one line that names the object and the cause.

use alloc::boxed::Box;
use alloc::fmt::format;
use alloc::string::String;
use core::fmt;

use mount::errno;
use rustix::io::Errno;

/// Why a boot cannot go on.
///
/// The line is put together where the failure is seen, and the value is one pointer: an enum of a hundred bytes,
/// handed through every stage, was a tenth of the program.
#[derive(Debug)]
pub(crate) struct Error(Box<Reason>);

#[derive(Debug)]
struct Reason {
    line: String,
    other_slot: bool,
}

impl Error {
    /// With this line.
    #[cold]
    #[inline(never)]
    pub(crate) fn new(line: fmt::Arguments<'_>) -> Self {
        Self(Box::new(Reason { line: format(line), other_slot: false }))
    }

    /// `cannot ACTION OBJECT: cause`, for `map_err`.
    pub(crate) fn call<'a>(action: &'a str, object: &'a str) -> impl FnOnce(Errno) -> Self + 'a {
        move |cause| Self::new(format_args!("cannot {action} {object}: {}", errno::text(cause)))
    }

    /// The decision is to start the other slot once, for this reason.
    pub(crate) fn other_slot(line: String) -> Self {
        Self(Box::new(Reason { line, other_slot: true }))
    }

    /// Whether the other slot is to be started.
    pub(crate) fn wants_other_slot(&self) -> bool {
        self.0.other_slot
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.line)
    }
}

impl From<String> for Error {
    fn from(line: String) -> Self {
        Self(Box::new(Reason { line, other_slot: false }))
    }
}

impl From<mount::Error> for Error {
    fn from(why: mount::Error) -> Self {
        Self::new(format_args!("{why}"))
    }
}

impl From<modules::Error> for Error {
    fn from(why: modules::Error) -> Self {
        Self::new(format_args!("{why}"))
    }
}
