// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a command did not do what it was asked for.

use std::fmt::{self, Display};

use bootsel::state::Refusal;

/// Which of the two decides about the exit code.
#[derive(Debug)]
pub(crate) enum Error {
    /// Nothing was changed: why, and what to do.
    Refused(String),
    /// Something could not be read or written.
    Failed(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Makes an error of what went wrong: `cannot read FILE: why`.
pub(crate) fn failed<E: Display>(what: impl Display) -> impl FnOnce(E) -> Error {
    move |why| Error::Failed(format!("{what}: {why}"))
}

pub(crate) fn refused<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Refused(why.into()))
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.0)
    }
}
