// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on what each board would do.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use crate::boards::evidence::Driver;
use crate::boards::subject::{SLOTS, Subject};
use crate::boards::{self, Entry, Outcome, Report, Taken};

/// Key of a manifest: the boards that the image is for, with commas between them.
const CLAIMED: &str = "boards";

/// The boards that the revision of either slot says it is for.
fn claimed(subject: &Subject<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (number, _) in subject.slots() {
        let Some(id) = subject.word(number, "pivot.revision") else { continue };
        let read = subject.revision(&id);
        let Ok(Some(revision)) = read.as_ref() else { continue };
        let Ok(manifest) = &revision.manifest else { continue };
        let list = manifest.get(CLAIMED).unwrap_or_default();
        names.extend(list.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
    }
    names
}

/// A board that the image is for stops; or it boots, and its trial does not.
pub(super) fn stops(subject: &Subject<'_>) -> Vec<Fault> {
    let claimed = claimed(subject);
    let mut faults = Vec::new();
    for entry in boards::report(subject).boards {
        let mut stops: Vec<_> = starts(&entry).into_iter().filter_map(Outcome::stop).collect();
        if stops.len() == 1 || is_claimed(&claimed, &entry) {
            stops.dedup();
            faults.extend(stops.into_iter().map(|stop| (entry.board.to_owned(), stop.to_owned())));
        }
    }
    faults
}

/// Boards that the image does not say it is for, by the reason.
pub(super) fn unserved(subject: &Subject<'_>) -> Vec<Fault> {
    let claimed = claimed(subject);
    let mut reasons = Reasons::new();
    for entry in boards::report(subject).boards {
        if let (Some(stop), Some(_), false) =
            (entry.normal.stop(), entry.trial.stop(), is_claimed(&claimed, &entry))
        {
            reasons.entry(stop.to_owned()).or_default().insert(entry.board);
        }
    }
    faults(reasons)
}

/// Boards that wait for their card until the deadline: no board that takes their kernel has its driver in the
/// initramfs, or no kernel of the image has it.
pub(super) fn medium(subject: &Subject<'_>) -> Vec<Fault> {
    let report = boards::report(subject);
    let mut reasons = Reasons::new();
    for entry in &report.boards {
        for taken in starts(entry).into_iter().filter_map(Outcome::taken) {
            let (driver, release) = (taken.medium_driver, taken.release.as_deref().unwrap_or("?"));
            let what = match taken.medium {
                _ if !waits(subject, &report, taken) => continue,
                Some(Driver::Late) => format!(
                    "{driver}, the driver of the SD card, is not in the initramfs of {release}: machines = [\"raspi\"] in its \
                     [[kernel]] puts it there"
                ),
                _ => format!("the kernel {release} has no {driver}, the driver of the SD card"),
            };
            reasons.entry(what).or_default().insert(entry.board);
        }
    }
    faults(reasons)
}

/// Whether a board waits for its card, as far as that can be seen, and so do all others with its kernel, or all others
/// where that one has no such driver; and no other disk is seen.
fn waits(subject: &Subject<'_>, report: &Report, taken: &Taken) -> bool {
    let alike: &dyn Fn(&&Taken) -> bool = match taken.medium {
        Some(Driver::Late) => &|other| other.release == taken.release,
        Some(Driver::None) => &|_| true,
        _ => return false,
    };
    let all = report.boards.iter().flat_map(starts).filter_map(Outcome::taken);
    let lacks = |other: &Taken| matches!(other.medium, Some(Driver::None | Driver::Late));
    all.filter(alike).all(lacks) && !sees_disk(subject, taken.release.as_deref().unwrap_or("?"))
}

/// Whether a kernel sees a disk that is no card of a Raspberry Pi: on USB, NVMe, or QEMU's.
fn sees_disk(subject: &Subject<'_>, release: &str) -> bool {
    SLOTS.into_iter().any(|number| {
        let id = subject.word(number, "pivot.revision").unwrap_or_default();
        let modules = subject.modules(&id, release);
        let listed = subject.listed(number).into_iter().find(|line| line.release == release);
        let early = listed.map(|line| subject.early(number, &line.initramfs, release));
        modules.as_ref().as_ref().is_ok_and(|one| one.sees_disk(&early.unwrap_or_default()))
    })
}

/// What works in an emulator alone, by the reason.
pub(super) fn emulation_only(subject: &Subject<'_>) -> Vec<Fault> {
    let report = boards::report(subject);
    let mut reasons = Reasons::new();
    for entry in &report.boards {
        for taken in starts(entry).into_iter().filter_map(Outcome::taken) {
            // the card's driver comes first in it
            let known = waits(subject, &report, taken);
            for reason in taken.kernel_lacks.iter().skip(known.into()) {
                let reason = format!("emulation only: {reason}");
                reasons.entry(reason).or_default().insert(entry.board);
            }
        }
    }
    faults(reasons)
}

/// Boards by what is true of them.
type Reasons = BTreeMap<String, BTreeSet<&'static str>>;

fn faults(reasons: Reasons) -> Vec<Fault> {
    let fault = |(reason, boards): (String, BTreeSet<&str>)| {
        (boards.into_iter().collect::<Vec<_>>().join(" "), reason)
    };
    reasons.into_iter().map(fault).collect()
}

fn starts(entry: &Entry) -> [&Outcome; 2] {
    [&entry.normal, &entry.trial]
}

fn is_claimed(claimed: &[String], entry: &Entry) -> bool {
    claimed.iter().any(|name| name.eq_ignore_ascii_case(entry.board))
}
