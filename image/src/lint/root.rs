// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on the root file system of a revision: what init needs of it.

use bootsel::manifest;

use super::Fault;
use super::revision::revisions;
use crate::boards::root::Root;
use crate::boards::subject::{Subject, value};
use crate::slot::CMDLINE;

/// What is tried where the command line says nothing. (`init/switch_root.rs`)
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// Places for what init mounts.
pub(super) fn directories(subject: &Subject<'_>) -> Vec<Fault> {
    let what = |lack: String| format!("{lack}: init mounts there, and every trial ends without");
    let mut faults = Vec::new();
    for (_, id) in revisions(subject) {
        let root = subject.root(&id);
        let Ok(Some(root)) = root.as_ref() else { continue };
        let files = subject.revision(&id);
        let has = |name| matches!(files.as_ref(), Ok(Some(one)) if one.files.iter().any(|(file, _)| file == name));
        let mut lacks = root.lacks();
        // without firmware nothing is mounted there
        lacks.retain(|what| has(manifest::FIRMWARE) || !what.contains("/lib/firmware"));
        let at = format!("revision {id}, {}", manifest::ROOT);
        faults.extend(lacks.into_iter().map(|lack| (at.clone(), what(lack))));
    }
    faults
}

/// The program that the boot ends in.
pub(super) fn init(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, _) in subject.slots() {
        let Some(line) = subject.text(number, CMDLINE) else { continue };
        let Some(id) = value(&line, "pivot.revision") else { continue };
        let root = subject.root(&id);
        let Ok(Some(root)) = root.as_ref() else { continue };
        let what = no_init(root, &line);
        faults.extend(what.map(|what| (format!("revision {id}, {}", manifest::ROOT), what)));
    }
    faults.dedup();
    faults
}

/// What was looked for in vain.
fn no_init(root: &Root, line: &str) -> Option<String> {
    let asked = ["pivot.init", "init"].into_iter().find_map(|key| {
        let path = value(line, key)?;
        path.starts_with('/').then(|| (format!("{key}={path}: "), path))
    });
    match asked {
        Some((_, path)) if root.has_file(&path) => None,
        Some((word, _)) => Some(format!("{word}no such program in it")),
        None if INITS.iter().any(|path| root.has_file(path)) => None,
        None => Some(format!("no init in it: none of {}", INITS.join(" "))),
    }
}
