// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a module could not be resolved.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use mount::errno::text;
use rustix::io::Errno;

/// Why something failed, with the object that it failed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A file could not be opened, read or written.
    File {
        /// What was tried: `open`, `read`, `write`.
        verb: &'static str,
        /// The file.
        path: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A file of depmod's says something that depmod does not write.
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Neither a module, nor an alias of one, nor built into the kernel.
    Unknown {
        /// What was looked for.
        name: String,
        /// The kernel release that was looked at.
        release: String,
    },
    /// More modules belong to this one than any real one needs.
    TooMany {
        /// What was looked for.
        name: String,
    },
}

impl Error {
    pub(crate) fn file(verb: &'static str, path: &str, errno: Errno) -> Error {
        Error::File { verb, path: path.to_owned(), errno }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File { verb, path, errno } => {
                write!(f, "cannot {verb} {path}: {}", text(*errno))
            }
            Error::Corrupt { path, why } => write!(f, "cannot use {path}: {why}"),
            Error::Unknown { name, release } => {
                write!(f, "cannot find module {name}: not in the modules of {release}")
            }
            Error::TooMany { name } => {
                write!(f, "cannot load module {name}: too many others belong to it")
            }
        }
    }
}

impl core::error::Error for Error {}
