// SPDX-License-Identifier: MIT OR Apache-2.0

//! What status has to say of the device, and what must hold whatever happens.

use super::world::{OVERDUE, Truth, World, index};
use crate::state::{Loader, Outcome};
use std::format;

impl World {
    pub(super) fn expected(&self) -> Option<&'static str> {
        let truth = &self.truth;
        let slot = truth.slot?;
        Some(match truth {
            _ if self.default() == slot => "committed",
            Truth { cancelled: true, .. } => "cancelled",
            Truth { left: true, .. } => "rolled-back",
            _ if self.in_trial() => "running",
            Truth { commit_began: true, repaired: true, .. } => "rolled-back",
            Truth { armed_in, .. } if *armed_in == self.boot && self.flag() => "armed",
            Truth { armed_in, .. } if *armed_in == self.boot => "not-armed",
            Truth { commit_began: true, .. } | Truth { ran: true, .. } => "failed",
            Truth { skipped: true, .. } | Truth { seen: true, .. } => "failed",
            // GRUB could not save
            _ if self.loader == Loader::Grub && self.flag() => "failed",
            _ => "never-started",
        })
    }

    /// What must hold between any two acts.
    pub(super) fn check(&self) {
        for loader in [Some(self.loader), self.both.then(|| self.loader.other())] {
            let Some(loader) = loader else { continue };
            let default = self.contents[index(self.of(loader).default)];
            assert!(default.whole && default.good, "the default cannot be relied on: {self:?}");
        }
        let status = self.with(|facts| facts.status());
        assert_eq!((status.default, status.booted), (Some(self.default()), Some(self.booted)));
        assert_eq!(status.trial, self.in_trial(), "{self:?}");
    }

    /// What must hold when nobody is in the middle of anything.
    pub(super) fn check_status(&self) {
        self.check();
        let status = self.with(|facts| facts.status());
        let attempt = status.attempt.as_ref();
        assert_eq!(attempt.map(|attempt| attempt.outcome.word()), self.expected(), "{self:?}");
        if let Some(attempt) = attempt {
            assert_eq!(Some(attempt.slot), self.truth.slot);
            assert_eq!(attempt.revision, format!("{}", self.truth.revision));
            if let Truth { overdue: true, commit_began: false, .. } = self.truth
                && let Outcome::Failed(why) = &attempt.outcome
            {
                assert_eq!(why, OVERDUE);
            }
        }
        assert_eq!(status.armed, self.flag(), "{self:?}");
    }
}
