// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removes revisions that no slot names.

use std::fs;
use std::path::Path;

use bootsel::Slot;

use crate::error::{Result, failed, refused};
use crate::root::{Root, names, word};
use crate::system::System;
use crate::{machine, say};

/// Removes them, and what an interrupted install left.
pub(crate) fn collect(system: &System) -> Result<()> {
    let mut kept = Vec::new();
    for slot in [Slot::A, Slot::B] {
        match &system.slot(slot).revision {
            Some(revision) => kept.push(revision.clone()),
            // a slot that was made unbootable by an install names nothing; one that boots must be readable
            None if system.booted == Some(slot) || system.status().default == Some(slot) => {
                return refused(format!(
                    "which revision slot {slot} needs is not known: nothing is removed"
                ));
            }
            None => {}
        }
    }
    // what runs now, whatever the slots say
    kept.extend(running(&system.root));
    let revisions = system.root.pivot("revisions");
    for name in names(&revisions) {
        if !kept.contains(&name) {
            remove(&revisions, &name)?;
            say(&format!("removed revision {name}"));
        }
    }
    Ok(())
}

/// The revision of the running system: init may have chosen another than the slot's.
pub(crate) fn running(root: &Root) -> Vec<String> {
    let named = word(&root.cmdline(), "pivot.revision").map(str::to_owned);
    named.into_iter().chain(machine::report(root).revision).collect()
}

/// Removes a revision. It loses its name first: one that is partly removed must not be taken for whole. No sync between,
/// nor after: ext4's journal keeps the order, and what a cut of power brings back is removed the next time.
pub(crate) fn remove(revisions: &Path, name: &str) -> Result<()> {
    let (from, away) = (revisions.join(name), revisions.join(".removed"));
    let cannot = || format!("cannot remove {}", from.display());
    if away.exists() {
        fs::remove_dir_all(&away).map_err(failed(cannot()))?;
    }
    if name == ".removed" {
        return Ok(());
    }
    fs::rename(&from, &away).map_err(failed(cannot()))?;
    fs::remove_dir_all(&away).map_err(failed(cannot()))
}
