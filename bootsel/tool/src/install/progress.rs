// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far a long write has come: a line where it begins, and on a terminal a percentage that changes in its place.

use std::io::{self, IsTerminal, Write};

use crate::say;

/// One part of an install under way.
#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    bytes: u64,
    shown: Option<u64>,
}

impl Progress {
    pub(super) fn new(what: &str, bytes: u64) -> Self {
        let what = format!("writing {what}, {} MiB", bytes >> 20);
        let shown = io::stderr().is_terminal().then_some(0);
        if shown.is_none() {
            say(&what);
        }
        Self { what, bytes, shown }
    }

    /// So many bytes are done.
    pub(super) fn at(&mut self, done: u64) {
        let percent = (done * 100).checked_div(self.bytes).unwrap_or(100);
        if self.shown.is_some_and(|shown| shown != percent) {
            self.shown = Some(percent);
            let _ = write!(io::stderr(), "\rbootsel: {}: {percent} %", self.what);
        }
    }
}

impl Drop for Progress {
    /// The line is complete, whether the part is or not.
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}
