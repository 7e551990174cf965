// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which revision boots: the failure table as one pure function.

use crate::{format, manifest::RevisionId, slot::Slot};
use alloc::string::String;

/// What was found out about a revision on DATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything that its manifest names is there, with this kernel's modules image.
    Complete,
    /// Everything but an image with this kernel's modules.
    NoModulesImage,
    /// Something is missing or not what the manifest says.
    Broken {
        /// What, naming the file: `root.squashfs has 0 bytes of 4096`.
        reason: String,
        /// Whether its root image is right all the same.
        root_usable: bool,
    },
}

/// A revision on DATA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Name of its directory.
    pub id: RevisionId,
    /// `version=` of its manifest, 0 where that cannot be read.
    pub version: u64,
    /// What was found out about it.
    pub state: State,
}

/// Everything that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The revision that the slot's command line names.
    pub wanted: &'a RevisionId,
    /// What lies on DATA. Look the wanted one up by its name, before any bound on the number.
    pub candidates: &'a [Candidate],
    /// The kernel's release, for messages.
    pub release: &'a str,
    /// Whether this boot is a trial.
    pub trial: bool,
    /// The booted slot, where it is known.
    pub slot: Option<Slot>,
    /// [`crate::log::fallback_used`]; also true where the log cannot be written.
    pub fallback_used: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Boot this revision.
    Boot {
        /// Which.
        id: RevisionId,
        /// What is wrong, where something is.
        degraded: Option<String>,
    },
    /// Log [`crate::log::FALLBACK`], then reboot into the other slot, once.
    OtherSlot {
        /// The slot to reboot into.
        slot: Slot,
        /// What is wrong with this one.
        reason: String,
    },
    /// Nothing can be booted.
    Rescue {
        /// What is wrong.
        reason: String,
    },
    /// The trial failed: log why and reboot, the firmware goes back to the committed slot.
    Fail {
        /// What is wrong.
        reason: String,
    },
}

/// Decides.
pub fn revision(facts: &Facts<'_>) -> Choice {
    let wanted = facts.candidates.iter().find(|candidate| candidate.id == *facts.wanted);
    let id = facts.wanted.clone();
    let reason = match wanted.map(|candidate| &candidate.state) {
        Some(State::Complete) => return Choice::Boot { id, degraded: None },
        Some(State::NoModulesImage) => {
            format!("revision {id}: no modules image for {}", facts.release)
        }
        Some(State::Broken { reason, .. }) => format!("revision {id}: {reason}"),
        None => format!("revision {id}: not there"),
    };
    if facts.trial {
        return Choice::Fail { reason };
    }
    match wanted.map(|candidate| &candidate.state) {
        // Drivers may be built in: a device without its modules is better than another revision.
        Some(State::NoModulesImage) => Choice::Boot { id, degraded: Some(reason) },
        Some(State::Broken { root_usable: true, .. }) => instead(facts, reason, true),
        _ => instead(facts, reason, false),
    }
}

/// The committed slot's revision is missing or broken.
fn instead(facts: &Facts<'_>, reason: String, root_usable: bool) -> Choice {
    let mut best: Option<&Candidate> = None;
    for candidate in facts.candidates {
        let newer = best.is_none_or(|best| {
            (candidate.version, candidate.id.as_str()) > (best.version, best.id.as_str())
        });
        if newer && matches!(candidate.state, State::Complete) {
            best = Some(candidate);
        }
    }
    if let Some(best) = best {
        let degraded = Some(format!("{reason}; revision {} instead", best.id));
        return Choice::Boot { id: best.id.clone(), degraded };
    }
    match facts.slot {
        Some(slot) if !facts.fallback_used => Choice::OtherSlot { slot: slot.other(), reason },
        _ if root_usable => Choice::Boot { id: facts.wanted.clone(), degraded: Some(reason) },
        Some(_) => Choice::Rescue { reason: format!("{reason}; the other slot was tried") },
        None => Choice::Rescue { reason: format!("{reason}; which slot this is is not known") },
    }
}

#[cfg(test)]
mod tests;
