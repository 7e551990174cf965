// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real systems: Debian with systemd, from the kernel to the login prompt and back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Base, Case, Seen};
use crate::rootfs::Rootfs;
use crate::run::Typed;

/// Logs in, asks, and powers off. An answer is between words that the console's echo of the question does not show,
/// because quotes part them there.
const PERSON: &[Typed] = &[
    Typed { after: "login: ", text: "root\n" },
    Typed { after: "# ", text: "export SYSTEMD_COLORS=0 SYSTEMD_PAGER=\n" },
    Typed { after: "# ", text: "systemctl is-system-running --wait; echo run''ning\n" },
    Typed {
        after: "running\n",
        text: "echo failed''-; systemctl --failed --plain --no-legend; echo -''end\n",
    },
    Typed { after: "-end\n", text: "echo times''-; systemd-analyze; echo -''end\n" },
    Typed {
        after: "-end\n",
        text: "cat /sys/class/watchdog/watchdog0/state; unshare -U true && echo user''ns; echo -''end\n",
    },
    Typed { after: "-end\n", text: "poweroff\n" },
];

pub(crate) fn bookworm() -> Case {
    case(Rootfs::Debian, "debian-12").boot("", |seen| check(seen, "active"))
}

pub(crate) fn trixie() -> Case {
    case(Rootfs::Trixie, "debian-13").boot("", |seen| check(seen, "active"))
}

/// An upstream kernel on a Raspberry Pi 3, where systemd leaves the watchdog alone: QEMU's would reset the machine.
/// Drivers that miss the VideoCore write errors between what the person reads.
pub(crate) fn on_pi3() -> Case {
    let (base, limit) = (Base::DebianOnPi3(Rootfs::Debian), Duration::from_secs(600));
    Case { base, limit, ..case(Rootfs::Debian, "debian-12-on-pi3b") }
        .boot("loglevel=1", |seen| check(seen, "inactive"))
}

fn case(rootfs: Rootfs, name: &str) -> Case {
    Case {
        base: Base::Debian(rootfs),
        script: PERSON,
        after: |disk| disk.check_clean(),
        limit: Duration::from_secs(300),
        ..Case::new(name)
    }
}

/// `watchdog` is the state that systemd must leave it in.
fn check(seen: &Seen<'_>, watchdog: &str) -> Result<()> {
    seen.says("pivot login: ")?;
    seen.ended_by("guest-shutdown")?;
    ensure!(!seen.watchdog_fired(), "the watchdog has fired");
    let failed = answer(seen, "failed-\n")?;
    ensure!(failed.trim().is_empty(), "failed units: {failed}");
    seen.says(&format!("\n{watchdog}\n"))?;
    seen.says("\nuserns\n")?;
    let times = answer(seen, "times-\n")?;
    // The initrd's time is told apart, which systemd does only where it was handed over.
    for part in ["(kernel)", "(initrd)", "(userspace)"] {
        ensure!(times.contains(part), "systemd-analyze: {times}");
    }
    Ok(())
}

/// What stands between a marker and `-end`.
fn answer<'a>(seen: &'a Seen<'_>, marker: &str) -> Result<&'a str> {
    let (_, behind) = seen.outcome.console.split_once(marker).context("no answer")?;
    Ok(behind.split("-end").next().unwrap_or(behind))
}
