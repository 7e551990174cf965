// SPDX-License-Identifier: MIT OR Apache-2.0
//! Removes revisions that no slot names, and what was written over them.

use std::fs;
use std::os::unix::fs::MetadataExt;
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
    collect_layers(&system.root, &kept)
}

/// What init writes on with `pivot.overlay=persistent` (init/root.rs): a directory for each revision, and one for roots
/// without a revision.
const LAYERS: &str = "state/overlay";
const NO_REVISION: &str = "none";

/// Removes the upper layers of revisions that are gone. One that is installed anew must not begin with the changes of
/// its former life.
pub(crate) fn collect_layers(root: &Root, kept: &[String]) -> Result<()> {
    let (layers, revisions) = (root.pivot(LAYERS), root.pivot("revisions"));
    for name in names(&layers) {
        let is_gone = matches!(revisions.join(&name).try_exists(), Ok(false));
        if name != NO_REVISION && !kept.contains(&name) && is_gone {
            remove(&layers, &name)?;
            say(&format!("removed what was written over revision {name}"));
        }
    }
    Ok(())
}

/// Whether a revision has an upper layer.
pub(crate) fn has_layer(root: &Root, revision: &str) -> bool {
    !matches!(root.pivot(LAYERS).join(revision).try_exists(), Ok(false))
}

/// Bytes that the upper layer of a revision takes.
pub(crate) fn layer_bytes(root: &Root, revision: &str) -> u64 {
    let mut directories = vec![root.pivot(LAYERS).join(revision)];
    let mut bytes = 0_u64;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(facts) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(facts.blocks().saturating_mul(512));
            if facts.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    bytes
}

/// The revision of the running system: init may have chosen another than the slot's.
pub(crate) fn running(root: &Root) -> Vec<String> {
    let named = word(&root.cmdline(), "pivot.revision").map(str::to_owned);
    named.into_iter().chain(machine::report(root).revision).collect()
}

/// Removes a revision, or its layer. It loses its name first: one that is partly removed must not be taken for whole. No
/// sync between, nor after: ext4's journal keeps the order, and what a cut of power brings back is removed the next time.
pub(crate) fn remove(from: &Path, name: &str) -> Result<()> {
    let (from, away) = (from.join(name), from.join(".removed"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_all_that_lies_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let layer = root.pivot(LAYERS).join("1");
        assert_eq!(layer_bytes(&root, "1"), 0);
        fs::create_dir_all(layer.join("upper/etc")).unwrap();
        for name in ["upper/a", "upper/etc/b"] {
            fs::write(layer.join(name), [1; 8192]).unwrap();
        }
        std::os::unix::fs::symlink("/", layer.join("upper/link")).unwrap();
        let bytes = layer_bytes(&root, "1");
        assert!((16_384..100_000).contains(&bytes), "{bytes}");
    }
}
