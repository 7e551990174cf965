// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must be true of every boot that comes to its end, and other checks that several cases share.

use anyhow::{Context, Result, ensure};
use witness::Report;

use super::case::Seen;
use super::fixture::FIRMWARE;

/// A boot of the test image that came to its end, with nothing missing.
pub(crate) fn healthy(seen: &Seen<'_>) -> Result<()> {
    entered(seen)?;
    with_images(seen)?;
    ensure!(degraded(seen)?.is_empty(), "it is degraded: {:?}", degraded(seen)?);
    Ok(())
}

/// The new root was entered as it should be, and left clean.
pub(crate) fn entered(seen: &Seen<'_>) -> Result<()> {
    let report = seen.report()?;
    seen.ended_by("guest-shutdown")?;
    seen.silent("pivot: rescue:")?;
    seen.silent("pivot: panic:")?;
    ensure!(report.pid == 1, "the new init is process {}", report.pid);
    ensure!(report.user_namespace == "ok", "user namespaces: {}", report.user_namespace);
    let left = report.initramfs.as_ref().context("the initramfs was not looked at")?;
    ensure!(left.is_empty(), "left in the initramfs: {left:?}");
    ensure!(report.processes.is_empty(), "left-over processes: {:?}", report.processes);
    descriptors(report)?;
    moved_mounts(report)?;
    match seen.disk {
        Some(disk) => disk.check_clean(),
        None => Ok(()),
    }
}

/// Standard input, output and error are the console, whose node in the initramfs is deleted; nothing else is open.
fn descriptors(report: &Report) -> Result<()> {
    let open = &report.descriptors;
    let three = open.keys().eq(["0", "1", "2"].iter());
    let console = open.values().all(|target| target.starts_with("/dev/console"));
    ensure!(three && console, "open descriptors: {open:?}");
    Ok(())
}

fn moved_mounts(report: &Report) -> Result<()> {
    let api = [("/dev", "devtmpfs"), ("/proc", "proc"), ("/sys", "sysfs"), ("/run", "tmpfs")];
    for (target, kind) in api {
        let there: Vec<_> = report.mounts.iter().filter(|m| m.target == target).collect();
        ensure!(matches!(there.as_slice(), [one] if one.kind == kind), "{target}: {there:?}");
    }
    let run = report.mount("/run").context("/run")?;
    for option in ["nosuid", "nodev"] {
        ensure!(run.options.split(',').any(|o| o == option), "/run lacks {option}: {run:?}");
    }
    ensure!(run.super_options.contains("mode=755"), "/run: {run:?}");
    Ok(())
}

fn with_images(seen: &Seen<'_>) -> Result<()> {
    revision(seen, "/dev/vda4")?;
    watchdog(seen.report()?, "active")
}

/// The images of the revision on this partition are mounted where the system looks for them, and no others.
pub(crate) fn revision(seen: &Seen<'_>, partition: &str) -> Result<()> {
    let report = seen.report()?;
    let modules = format!("modules_{}.squashfs", report.release);
    let images = report.images();
    ensure!(
        images == ["firmware.squashfs", modules.as_str(), "root.squashfs"],
        "attached images: {images:?}"
    );
    ensure!(report.loops.iter().all(|l| l.autoclear && l.read_only), "loops: {:?}", report.loops);
    ensure!(
        report.lib_modules.iter().any(|name| name == "modules.dep.bin"),
        "/lib/modules: {:?}",
        report.lib_modules
    );
    ensure!(report.lib_firmware == [FIRMWARE], "/lib/firmware: {:?}", report.lib_firmware);
    ensure!(
        report.firmware_path == "/run/pivot/firmware",
        "firmware path {}",
        report.firmware_path
    );
    let data = report.mount("/run/pivot/data").context("the data partition is not mounted")?;
    ensure!(data.kind == "ext4" && data.source == partition, "{data:?}");
    fact(seen, "revision", "1")
}

/// The watchdog's state as the kernel shows it.
pub(crate) fn watchdog(report: &Report, state: &str) -> Result<()> {
    let watchdog = report.watchdog.as_ref().context("there is no watchdog")?;
    ensure!(watchdog.state == state, "{watchdog:?}");
    if state == "active" {
        let as_armed = watchdog.identity.contains("i6300ESB") && watchdog.timeout == "15";
        ensure!(as_armed, "{watchdog:?}");
    }
    Ok(())
}

/// A fact of boot.json.
pub(crate) fn fact(seen: &Seen<'_>, name: &str, expected: &str) -> Result<()> {
    let boot = seen.report()?.boot.as_ref().context("there is no boot.json")?;
    let found = boot.get(name).and_then(|value| value.as_str());
    ensure!(found == Some(expected), "boot.json: {name} is {found:?}, expected {expected:?}");
    Ok(())
}

/// What boot.json says is missing.
pub(crate) fn degraded(seen: &Seen<'_>) -> Result<Vec<String>> {
    let boot = seen.report()?.boot.as_ref().context("there is no boot.json")?;
    let list = boot.get("degraded").and_then(|value| value.as_array());
    let list = list.context("boot.json has no list `degraded`")?;
    Ok(list.iter().filter_map(|what| what.as_str()).map(str::to_owned).collect())
}

/// It boots on although something is missing, and says what: in the log and in boot.json.
pub(crate) fn boots_without(seen: &Seen<'_>, what: &str) -> Result<()> {
    entered(seen)?;
    seen.says(what)?;
    let degraded = degraded(seen)?;
    ensure!(degraded.iter().any(|entry| entry.contains(what)), "degraded: {degraded:?}");
    Ok(())
}

/// It cannot boot, says why, waits and restarts.
pub(crate) fn rescue(seen: &Seen<'_>, reason: &str) -> Result<()> {
    seen.says(&format!("pivot: rescue: {reason}"))?;
    seen.says("pivot: rescue: rebooting in 10 s")?;
    ended_without_witness(seen)?;
    ensure!(!seen.watchdog_fired(), "the watchdog was faster: {:?}", seen.outcome.events);
    Ok(())
}

/// The trial is over at once.
pub(crate) fn trial_failed(seen: &Seen<'_>, reason: &str) -> Result<()> {
    seen.says("pivot: trial failed: ")?;
    seen.says(reason)?;
    seen.says("; rebooting")?;
    seen.silent("rebooting in")?;
    seen.says("reboot: Restarting system")?;
    ended_without_witness(seen)
}

/// Nobody fed the watchdog.
pub(crate) fn watchdog_reset(seen: &Seen<'_>) -> Result<()> {
    ensure!(seen.watchdog_fired(), "the watchdog did not fire: {:?}", seen.outcome.events);
    seen.ended_by("guest-reset")
}

fn ended_without_witness(seen: &Seen<'_>) -> Result<()> {
    seen.ended_by("guest-reset")?;
    ensure!(seen.outcome.report.is_err(), "the root was entered all the same");
    Ok(())
}
