// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on what a device needs to update itself, beside its slots.

use bootsel::manifest::{self, BOOTSEL_FILES, REQUIRES_BOOTSEL};
use signed::Keys;

use super::Fault;
use crate::boards::root::Root;
use crate::boards::subject::Subject;
use crate::root::bootsel::KEYS;

/// The root of each revision.
fn each(subject: &Subject<'_>, check: impl Fn(&Root) -> Vec<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (_, id) in super::revision::revisions(subject) {
        let root = subject.root(&id);
        let Ok(Some(root)) = root.as_ref() else { continue };
        let at = format!("revision {id}, {}", manifest::ROOT);
        faults.extend(check(root).into_iter().map(|what| (at.clone(), what)));
    }
    faults
}

/// Who installs an update, and keeps it?
pub(super) fn tool(subject: &Subject<'_>) -> Vec<Fault> {
    each(subject, |root| {
        let what = "has no bootsel: no update can be installed, and no trial is ever kept; [bootsel] in the \
                    configuration puts it there";
        root.bootsel.is_none().then(|| what.to_owned()).into_iter().collect()
    })
}

/// Keys that are none stop every install, as no key does.
pub(super) fn keys(subject: &Subject<'_>) -> Vec<Fault> {
    each(subject, |root| {
        if root.bootsel.is_none() {
            return Vec::new();
        }
        if root.keys.is_empty() {
            return vec![format!("has no public key in /{KEYS}: bootsel installs nothing")];
        }
        let wrong = |(name, text): (&String, &String)| {
            let read = Keys::default().add(name, text);
            Some(format!("/{KEYS}/{name}: {}; bootsel installs nothing", read.err()?))
        };
        root.keys.iter().filter_map(wrong).collect()
    })
}

/// What devices refuse.
pub(super) fn requires(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (_, id) in super::revision::revisions(subject) {
        let read = subject.revision(&id);
        let Ok(Some(revision)) = read.as_ref() else { continue };
        let Ok(manifest) = &revision.manifest else { continue };
        let asked = manifest.get(REQUIRES_BOOTSEL).filter(|n| n.parse() != Ok(BOOTSEL_FILES));
        faults.extend(asked.map(|asked| {
            let what =
                format!("{REQUIRES_BOOTSEL}={asked}: bootsel knows {BOOTSEL_FILES} and refuses it");
            (format!("revision {id}, {}", manifest::NAME), what)
        }));
    }
    faults
}
