// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which revision boots: the failure table as one pure function.

use bootsel::Slot;
use mount::text;

/// What was found out about a revision on DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Everything that its manifest names is there, with this kernel's modules image.
    Complete,
    /// Everything but an image with this kernel's modules.
    NoModulesImage,
    /// Something is missing or not what the manifest says.
    Broken {
        /// What, naming the file: `root.squashfs has 0 bytes of 4096`.
        reason: &'static str,
        /// Whether its root image is right all the same.
        root_usable: bool,
    },
}

/// A revision on DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Name of its directory.
    pub(crate) id: &'static str,
    /// `version=` of its manifest, 0 where that cannot be read.
    pub(crate) version: u64,
    /// Whether its images were tried, and could not be mounted.
    pub(crate) was_tried: bool,
    /// What was found out about it.
    pub(crate) state: State,
}

/// Everything that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The revision that the slot's command line names.
    pub(crate) wanted: &'static str,
    /// What lies on DATA. Look the wanted one up by its name, before any bound on the number.
    pub(crate) candidates: &'a [Candidate],
    /// The kernel's release, for messages.
    pub(crate) release: &'static str,
    /// Whether this boot is a trial.
    pub(crate) trial: bool,
    /// The booted slot, where it is known.
    pub(crate) slot: Option<Slot>,
    /// [`bootsel::log::fallback_used`]; also true where the log cannot be written.
    pub(crate) fallback_used: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Boot this revision.
    Boot {
        /// Which.
        id: &'static str,
        /// What is wrong, where something is.
        degraded: Option<&'static str>,
    },
    /// Log [`bootsel::log::FALLBACK`], then reboot into the other slot, once.
    OtherSlot {
        /// The slot to reboot into.
        slot: Slot,
        /// What is wrong with this one.
        reason: &'static str,
    },
    /// Nothing can be booted.
    Rescue {
        /// What is wrong.
        reason: &'static str,
    },
    /// The trial failed: log why and reboot, the firmware goes back to the committed slot.
    Fail {
        /// What is wrong.
        reason: &'static str,
    },
}

/// Decides.
pub(crate) fn revision(facts: &Facts<'_>) -> Choice {
    let id = facts.wanted;
    let wanted = facts.candidates.iter().find(|candidate| candidate.id == id);
    let state = wanted.map(|candidate| candidate.state);
    let reason = match state {
        Some(State::Complete) => return Choice::Boot { id, degraded: None },
        Some(State::NoModulesImage) => {
            text!("revision {}: no modules image for {}", id, facts.release)
        }
        Some(State::Broken { reason, .. }) => text!("revision {}: {}", id, reason),
        None => text!("revision {}: not there", id),
    };
    if facts.trial {
        return Choice::Fail { reason };
    }
    match state {
        // Drivers may be built in: a device without its modules is better than another revision.
        Some(State::NoModulesImage) => Choice::Boot { id, degraded: Some(reason) },
        Some(State::Broken { root_usable: true, .. }) => instead(facts, reason, true),
        _ => instead(facts, reason, false),
    }
}

/// The committed slot's revision is missing or broken.
fn instead(facts: &Facts<'_>, reason: &'static str, root_usable: bool) -> Choice {
    let mut best: Option<&Candidate> = None;
    for candidate in facts.candidates {
        let newer =
            best.is_none_or(|best| (candidate.version, candidate.id) > (best.version, best.id));
        if newer && matches!(candidate.state, State::Complete) {
            best = Some(candidate);
        }
    }
    if let Some(&Candidate { id, .. }) = best {
        let degraded = Some(text!("{}; revision {} instead", reason, id));
        return Choice::Boot { id, degraded };
    }
    match facts.slot {
        Some(slot) if !facts.fallback_used => Choice::OtherSlot { slot: slot.other(), reason },
        _ if root_usable => Choice::Boot { id: facts.wanted, degraded: Some(reason) },
        Some(_) => Choice::Rescue { reason: text!("{}; the other slot was tried", reason) },
        None => Choice::Rescue { reason: text!("{}; which slot this is is not known", reason) },
    }
}

#[cfg(test)]
mod tests;
