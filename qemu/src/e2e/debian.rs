// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real systems: Debian with systemd, from the kernel to the login prompt and back.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Base, Case, Seen};
use super::fixture::Fixture;
use super::life::{Device, TRYBOOT};
use crate::rootfs::Rootfs;
use crate::run::{self, Typed};

/// Logs in, asks, and powers off. An answer is between words that the console's echo of the question does not show,
/// because quotes part them there.
pub(super) const PERSON: &[Typed] = &[
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
pub(super) fn check(seen: &Seen<'_>, watchdog: &str) -> Result<()> {
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

/// Under systemd a trial keeps itself, and one that is not kept ends itself; whoever tries has a shell.
pub(crate) fn trials() -> Case {
    let case = Case::new("debian-12-trials");
    Case { base: Base::Debian(Rootfs::Debian), custom: Some(keeps_and_ends), ..case }
}

/// Waits until everything was started, looks, and starts the other slot's trial.
const TRIES: &[Typed] = &[
    Typed { after: "login: ", text: "root\n" },
    Typed { after: "# ", text: "export SYSTEMD_COLORS=0 SYSTEMD_PAGER=\n" },
    Typed { after: "# ", text: "systemctl is-system-running --wait; echo run''ning\n" },
    Typed {
        after: "running\n",
        text: "echo failed''-; systemctl --failed --plain --no-legend; echo -''end\n",
    },
    Typed { after: "-end\n", text: "echo status''-; bootsel status --json; echo -''end\n" },
    Typed { after: "-end\n", text: "bootsel try --force\n" },
];

/// A clock that jumps over idle time makes minutes of seconds, also while a disk is read: no watchdog is to mind.
const UNWATCHED: &str =
    "pivot.watchdog=off systemd.watchdog_sec=0 systemd.watchdog_device=/dev/null";
/// systemd does nothing with a unit that is masked (kernel-command-line(7)).
const NOT_KEPT: &str = "systemd.mask=pivot-commit.service";

fn keeps_and_ends(fixture: &Fixture, directory: &Path) -> Result<String> {
    let limit = Duration::from_secs(400);
    let image = fixture.debian_device(directory)?;
    let mut device = Device::new("pi5", &image, &[], directory)?;
    device.standin.quick = true;
    device.cause.tryboot = true;
    let kept = device.start("", |qemu, _| run::run(qemu, TRIES, limit))?;
    keeps_itself(&kept.seen(), &device).with_context(|| device.told(&kept))?;
    let ended = device.start(&format!("{NOT_KEPT} {UNWATCHED}"), |mut qemu, _| {
        // One instruction is one nanosecond.
        qemu.args(["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]);
        run::run(qemu, &[], limit)
    })?;
    ends_itself(&ended.seen(), &device).with_context(|| device.told(&ended))?;
    Ok(String::new())
}

/// Slot b was started for trial, and nobody but systemd has kept it.
fn keeps_itself(seen: &Seen<'_>, device: &Device) -> Result<()> {
    chosen(seen, 3)?;
    let failed = answer(seen, "failed-\n")?;
    ensure!(failed.trim().is_empty(), "failed units: {failed}");
    let status: serde_json::Value = serde_json::from_str(answer(seen, "status-\n")?)?;
    let is = |name: &str, value: serde_json::Value| status.get(name) == Some(&value);
    let kept = is("default", "b".into()) && is("booted", "b".into()) && is("trial", false.into());
    ensure!(kept, "the status: {status}");
    // systemd took the argument along.
    seen.says(TRYBOOT)?;
    selects(device, 3, 2)
}

/// Slot a was started for trial and not kept: it restarts, and the default is what it was.
fn ends_itself(seen: &Seen<'_>, device: &Device) -> Result<()> {
    chosen(seen, 2)?;
    seen.ended_by("guest-reset")?;
    seen.says("reboot: Restarting system\n")?;
    let card = device.card()?;
    let log = card.log()?;
    let told = log.lines().find(|line| line.contains("event=trial-failed"));
    let told = told.with_context(|| format!("no trial failed: {log}"))?;
    ensure!(told.contains(" slot=a ") && told.contains("not committed within "), "{told}");
    selects(device, 3, 2)
}

fn chosen(seen: &Seen<'_>, partition: u32) -> Result<()> {
    let chosen = seen.chosen.context("no board has chosen")?;
    ensure!(chosen.tryboot && chosen.partition == partition, "{chosen:?}");
    Ok(())
}

/// What autoboot.txt says. (Raspberry Pi documentation, config_txt/autoboot.adoc)
fn selects(device: &Device, default: u8, trial: u8) -> Result<()> {
    let text = device.autoboot()?;
    let (all, tryboot) = text.split_once("[tryboot]").context("no [tryboot]")?;
    let partition = |text: &str, number| text.contains(&format!("boot_partition={number}\n"));
    ensure!(partition(all, default) && partition(tryboot, trial), "autoboot.txt: {text}");
    Ok(())
}
