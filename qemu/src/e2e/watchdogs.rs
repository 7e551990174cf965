// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watchdog, the rescue shell, and kernels that cannot run us: who resets the machine, and when.

use anyhow::{Result, ensure};

use super::case::{Case, Initrd, Seen};
use super::checks::{entered, healthy, rescue, watchdog, watchdog_reset};
use crate::run::Typed;

pub(crate) fn cases() -> Vec<Case> {
    let mark = "pivot.overlay=persistent";
    let mut cases = vec![
        // Handed over running: a root that feeds it lives, one that does not is reset.
        Case { waits: true, ..Case::new("watchdog-fed") }.boot("witness.feed", |seen| {
            healthy(seen)?;
            ensure!(!seen.watchdog_fired(), "{:?}", seen.outcome.events);
            Ok(())
        }),
        // The reset leaves a journal to replay; what was written in time is there in the next boot.
        Case { waits: true, ..Case::new("watchdog-not-fed") }
            .boot(format!("{mark} witness.write=/etc/mark witness.hang"), |seen| {
                watchdog(seen.report()?, "active")?;
                watchdog_reset(seen)
            })
            .boot(format!("{mark} witness.read=/etc/mark"), |seen| {
                healthy(seen)?;
                let read = &seen.report()?.read;
                ensure!(read.values().all(Option::is_some), "{read:?}");
                Ok(())
            }),
        Case::new("watchdog-off").boot("pivot.watchdog=off", |seen| {
            entered(seen)?;
            watchdog(seen.report()?, "inactive")
        }),
        // The disk answers one request a second: process 1 blocks in the kernel, and the feeder ends at the deadline.
        Case { waits: true, drive: "throttling.iops-total=1", ..Case::new("hang-in-a-stage") }
            .boot("pivot.timeout=10", |seen| {
                ensure!(seen.outcome.report.is_err(), "it did not hang");
                watchdog_reset(seen)
            }),
        Case {
            pages_16k: true,
            initrd: Initrd::Misaligned,
            ..Case::new("4k-aligned-init-on-16k-pages")
        }
        .boot("", |seen| {
            seen.says("Failed to execute /init (error -22)")?;
            ensure!(seen.outcome.report.is_err(), "it ran all the same");
            seen.ended_by("guest-reset")
        }),
    ];
    cases.extend(shells());
    cases
}

/// A person who types; what the shell answers differs from what was typed.
const PERSON: &[Typed] = &[
    Typed { after: "/bin/sh on the console", text: "" },
    Typed { after: "# ", text: "echo in-shell-$((40+2))\n" },
    Typed { after: "in-shell-42", text: "exit\n" },
];

fn shells() -> Vec<Case> {
    let why = "no init in the root file system: tried /nothing";
    let words = "pivot.slot=_ pivot.init=/nothing";
    let shell = move |seen: &Seen<'_>| -> Result<()> {
        rescue(seen, "")?;
        seen.says(why)?;
        seen.says("in-shell-42")
    };
    vec![
        Case { initrd: Initrd::Tools, waits: true, script: PERSON, ..Case::new("rescue-shell") }
            .boot(format!("{words} pivot.rescue=shell pivot.watchdog=off"), shell),
        Case {
            initrd: Initrd::Tools,
            waits: true,
            script: PERSON,
            ..Case::new("rescue-shell-feed")
        }
        .boot(format!("{words} pivot.rescue=shell-feed"), shell),
        Case { initrd: Initrd::Tools, waits: true, ..Case::new("rescue-shell-not-fed") }.boot(
            format!("{words} pivot.rescue=shell"),
            |seen| {
                seen.says("the watchdog is not fed any more")?;
                watchdog_reset(seen)
            },
        ),
        Case { icount: true, ..Case::new("rescue-without-shell") }.boot(
            format!("{words} pivot.rescue=shell pivot.watchdog=off pivot.timeout=86400"),
            |seen| {
                seen.says("pivot: rescue: no shell: cannot execute /bin/sh")?;
                rescue(seen, "")
            },
        ),
    ]
}
