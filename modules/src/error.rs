// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a module could not be found or loaded.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

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
    /// The kernel refused a module.
    Insert {
        /// The module's file.
        path: String,
        /// The kernel's answer.
        errno: Errno,
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
            Error::Insert { path, errno } => {
                write!(f, "cannot insert {path}: {}", text(*errno))?;
                hint(*errno).map_or(Ok(()), |hint| write!(f, " ({hint})"))
            }
        }
    }
}

impl core::error::Error for Error {}

/// strerror(3)'s words: rustix without std has only numbers.
fn text(errno: Errno) -> String {
    let words = match errno {
        Errno::NOENT => "No such file or directory",
        Errno::ACCESS => "Permission denied",
        Errno::IO => "Input/output error",
        Errno::NOEXEC => "Exec format error",
        Errno::INVAL => "Invalid argument",
        Errno::NODEV => "No such device",
        Errno::PERM => "Operation not permitted",
        Errno::NOMEM => "Cannot allocate memory",
        Errno::OPNOTSUPP => "Operation not supported",
        Errno::KEYREJECTED => "Key was rejected by service",
        _ => return alloc::format!("error {}", errno.raw_os_error()),
    };
    words.to_owned()
}

/// What an errno means when `finit_module` gives it. The kernel says more on its own log: names of symbols, versions.
/// Source: kernel/module/{main,version,signing,decompress}.c and kernel/params.c of Linux 6.12.
fn hint(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::NOEXEC => {
            "for another kernel release or machine: vermagic, ELF header, module_layout"
        }
        Errno::INVAL => {
            "disagrees about a symbol's version, not compressed as the kernel reads it, or a bad parameter"
        }
        Errno::NOENT => "unknown symbol: a module that it depends on is not loaded",
        Errno::KEYREJECTED => {
            "its signature is missing or of an unknown key, and the kernel insists on one"
        }
        Errno::BADMSG => "its signature is damaged",
        Errno::OPNOTSUPP => "this kernel does not decompress modules: MODULE_DECOMPRESS",
        Errno::PERM => {
            "modules are disabled, this one is blacklisted, or the kernel is locked down"
        }
        Errno::RANGE | Errno::NOSPC => "the value of a parameter is out of range or too long",
        Errno::BUSY => "another one of this name is being loaded or unloaded",
        Errno::NODEV => "its hardware is not there",
        _ => return None,
    })
}
