// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real systems: Debian with systemd, from the kernel to the login prompt and back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Base, Case, Seen};
use crate::rootfs::Rootfs;
use crate::run::Typed;

/// Logs in, asks, and powers off. An answer differs from its question, which the console echoes.
const PERSON: &[Typed] = &[
    Typed { after: "login: ", text: "root\n" },
    Typed {
        after: "# ",
        text: "export SYSTEMD_COLORS=0 TERM=dumb; systemctl is-system-running --wait\n",
    },
    Typed {
        after: "# ",
        text: "echo failed-$((1+1)):; systemctl --failed --plain --no-legend --no-pager; echo :end\n",
    },
    Typed { after: ":end", text: "echo times-$((1+1)):; systemd-analyze --no-pager; echo :end\n" },
    Typed { after: "times-2:", text: "" },
    Typed { after: ":end", text: "" },
    Typed {
        after: "# ",
        text: "cat /sys/class/watchdog/watchdog0/state /run/pivot/boot.json; unshare -U true && echo userns-$((1+1))\n",
    },
    Typed { after: "# ", text: "poweroff\n" },
];

pub(crate) fn bookworm() -> Case {
    case(Rootfs::Debian, "debian-12")
}

pub(crate) fn trixie() -> Case {
    case(Rootfs::Trixie, "debian-13")
}

fn case(rootfs: Rootfs, name: &str) -> Case {
    Case {
        base: Base::Debian(rootfs),
        script: PERSON,
        after: |disk| disk.check_clean(),
        limit: Duration::from_secs(300),
        ..Case::new(name)
    }
    .boot("", check)
}

fn check(seen: &Seen<'_>) -> Result<()> {
    seen.says("pivot login: ")?;
    seen.ended_by("guest-shutdown")?;
    ensure!(!seen.watchdog_fired(), "the watchdog has fired");
    let failed = answer(seen, "failed-2:")?;
    ensure!(failed.trim().is_empty(), "failed units: {failed}");
    seen.says("\nactive\n")?;
    seen.says("userns-2")?;
    let times = answer(seen, "times-2:")?;
    ensure!(
        times.contains("(kernel)") && times.contains("(userspace)"),
        "systemd-analyze: {times}"
    );
    Ok(())
}

/// What stands between a marker and `:end`.
fn answer<'a>(seen: &'a Seen<'_>, marker: &str) -> Result<&'a str> {
    let (_, behind) = seen.outcome.console.split_once(marker).context("no answer")?;
    Ok(behind.split(":end").next().unwrap_or(behind))
}
