// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a boot cannot go on, in one line that names the object and the cause.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use mount::errno;
use rustix::io::Errno;

/// Why a boot cannot go on. Boxed: it is passed through every stage, and moving a hundred bytes about at each `?`
/// was a tenth of the program.
pub(crate) type Error = Box<Failure>;

/// What failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A mount, or the wait for a device.
    Mount(mount::Error),
    /// One call: `cannot ACTION OBJECT: cause`.
    Call { action: &'static str, object: String, cause: Errno },
    /// The command line names no root file system, and there is no revision that holds one.
    NoRoot,
    /// A parameter whose value cannot be used and without which the boot cannot go on.
    Parameter { name: &'static str, value: String, cause: String },
    /// No revision can be booted.
    Revision(String),
    /// The decision is to start the other slot once.
    OtherSlot(String),
    /// None of the programs that could be the new init is there.
    NoInit { tried: String },
    /// Something that a committed slot boots without, in a trial.
    Degraded(String),
}

impl Failure {
    /// For `map_err`: `cannot ACTION OBJECT: cause`.
    pub(crate) fn call(action: &'static str, object: &str) -> impl FnOnce(Errno) -> Error {
        move |cause| Self::Call { action, object: object.into(), cause }.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(why) => write!(f, "{why}"),
            Self::Call { action, object, cause } => {
                write!(f, "cannot {action} {object}: {}", errno::text(*cause))
            }
            Self::NoRoot => f.write_str(
                "no root file system: the command line has no root=, pivot.root= or pivot.data= with a revision",
            ),
            Self::Parameter { name, value, cause } => write!(f, "cannot use {name}={value}: {cause}"),
            Self::Revision(why) | Self::OtherSlot(why) | Self::Degraded(why) => f.write_str(why),
            Self::NoInit { tried } => write!(f, "no init in the root file system: tried {tried}"),
        }
    }
}

impl From<mount::Error> for Error {
    fn from(why: mount::Error) -> Self {
        Self::new(Failure::Mount(why))
    }
}
