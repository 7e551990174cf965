// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on what each board would do.

use std::collections::{BTreeMap, BTreeSet};

use super::Fault;
use crate::boards::evidence::Driver;
use crate::boards::subject::Subject;
use crate::boards::{self, Entry, Outcome, Report};

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

/// Boards that wait for their card until the deadline: its driver was left out of the initramfs, or is in no kernel of
/// the image.
pub(super) fn medium(subject: &Subject<'_>) -> Vec<Fault> {
    let report = boards::report(subject);
    let nowhere = is_nowhere(&report);
    let mut reasons = Reasons::new();
    for entry in &report.boards {
        for taken in starts(entry).into_iter().filter_map(Outcome::taken) {
            let (driver, release) = (taken.medium_driver, taken.release.as_deref().unwrap_or("?"));
            let what = match taken.medium {
                Some(Driver::Late) => format!(
                    "{driver}, the driver of the SD card, is not in the initramfs of {release}: machines = [\"raspi\"] in its \
                     [[kernel]] puts it there"
                ),
                Some(Driver::None) if nowhere => {
                    format!("the kernel {release} has no {driver}, the driver of the SD card")
                }
                _ => continue,
            };
            reasons.entry(what).or_default().insert(entry.board);
        }
    }
    faults(reasons)
}

/// Whether no board reaches its card, as far as that can be seen.
fn is_nowhere(report: &Report) -> bool {
    let mut taken = report.boards.iter().flat_map(starts).filter_map(Outcome::taken);
    taken.all(|taken| matches!(taken.medium, Some(Driver::None | Driver::Late)))
}

/// What works in an emulator alone, by the reason.
pub(super) fn emulation_only(subject: &Subject<'_>) -> Vec<Fault> {
    let report = boards::report(subject);
    let nowhere = is_nowhere(&report);
    let mut reasons = Reasons::new();
    for entry in report.boards {
        for taken in starts(&entry).into_iter().filter_map(Outcome::taken) {
            // the card's driver comes first in it
            let known =
                taken.medium == Some(Driver::Late) || taken.medium == Some(Driver::None) && nowhere;
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
