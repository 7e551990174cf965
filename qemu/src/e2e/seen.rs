// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot has shown, and the questions that checks ask of it.

use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use witness::Report;

use super::disk::DiskCopy;
use crate::run::Outcome;
use crate::tool;

/// What a check looks at.
pub(crate) struct Seen<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) disk: Option<&'a DiskCopy>,
    /// What a board has chosen to boot.
    pub(crate) chosen: Option<&'a rpifw::Boot>,
}

impl Seen<'_> {
    /// What the witness said; an error where it did not come to its end.
    pub(crate) fn report(&self) -> Result<&Report> {
        self.outcome.report.as_ref().map_err(|why| anyhow!("{why}"))
    }

    /// The console shows this text.
    pub(crate) fn says(&self, text: &str) -> Result<()> {
        ensure!(self.outcome.console.contains(text), "the console does not show {text:?}");
        Ok(())
    }

    /// The console does not show this text.
    pub(crate) fn silent(&self, text: &str) -> Result<()> {
        ensure!(!self.outcome.console.contains(text), "the console shows {text:?}");
        Ok(())
    }

    /// Why QEMU ended: the reason of its SHUTDOWN.
    pub(crate) fn ended_by(&self, reason: &str) -> Result<()> {
        let events = &self.outcome.events;
        let found = events.iter().any(|event| event.name == "SHUTDOWN" && event.reason == reason);
        ensure!(found, "QEMU did not end by {reason}: {events:?}");
        Ok(())
    }

    /// Whether the watchdog has reset the machine.
    pub(crate) fn watchdog_fired(&self) -> bool {
        self.outcome.events.iter().any(|e| e.name == "WATCHDOG" && e.reason == "reset")
    }

    /// For a person, where a check has failed.
    pub(super) fn told(&self, number: u32, directory: &Path) -> String {
        let report = match &self.outcome.report {
            Ok(_) => "complete".to_owned(),
            Err(why) => why.clone(),
        };
        format!(
            "boot {number} ({:.1} s); witness: {report}; end of {}/console{number}:\n{}\n",
            self.outcome.wall.as_secs_f64(),
            directory.display(),
            tool::tail(&self.outcome.console, 25)
        )
    }
}
