// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trials: who says that a boot is one, and what each leaves in the log.

use anyhow::{Context, Result, ensure};
use bootsel::Slot;
use bootsel::log::{self, Record};

use super::case::{Base, Case, OnBoard, Seen};
use super::checks::{entered, fact, healthy, trial_failed};
use super::disk::DiskCopy;

const LOG: &str = "/pivot/log/init.log";

/// The stages of which a trial leaves a record: from the mount of the data partition up to the new init.
const STAGES: [&str; 7] =
    ["mount_data", "grow_data", "revision", "modules", "mount_root", "new_root", "exec"];

pub(crate) fn cases() -> Vec<Case> {
    let trial = |name: &str, prepare| Case { prepare, ..Case::new(name) };
    vec![
        Case { after: trace_of_a, ..Case::new("trial") }.boot("pivot.trial", |seen| {
            healthy(seen)?;
            fact(seen, "trial", "yes")?;
            fact(seen, "trial_source", "command line")
        }),
        // The second boot is none: something was logged since it was armed.
        Case { after: trace_of_a, ..trial("trial-known-by-log", arm) }
            .boot("", |seen| {
                healthy(seen)?;
                seen.says("pivot: a trial, says the log")?;
                fact(seen, "trial", "yes")?;
                fact(seen, "trial_source", "log")
            })
            .boot("", |seen| {
                healthy(seen)?;
                fact(seen, "trial", "no")
            }),
        // A committed slot boots on without; this is missed before the log can be read.
        Case { after: failed, ..trial("trial-known-by-log-fails", arm_with_errors) }
            .boot("", |seen| trial_failed(seen, "the initramfs has no /sbin/e2fsck")),
        trial("trial-without-log", |disk| disk.remove(LOG))
            .boot("pivot.trial", |seen| {
                healthy(seen)?;
                seen.says("pivot: the log of the data partition lacks a record: cannot open /run")
            })
            // A steady boot has nothing to record.
            .boot("", |seen| {
                healthy(seen)?;
                seen.silent("lacks a record")
            }),
    ]
}

/// The tool announced a trial of slot a, in another boot.
fn arm(disk: &DiskCopy) -> Result<()> {
    let armed = Record {
        counter: 0,
        boot_id: "b2a1c3d4-0000-4000-8000-123456789abc",
        slot: Some(Slot::A),
        revision: "1",
        event: log::ARMED,
        message: "",
    };
    let mut bytes = disk.read(LOG)?;
    let (offset, record) = log::next(&bytes, armed).context("the log is too short")?;
    let place = bytes.get_mut(usize::try_from(offset)?..).and_then(|b| b.get_mut(..record.len()));
    place.context("the log is too short")?.copy_from_slice(&record);
    disk.write(LOG, &bytes)
}

fn arm_with_errors(disk: &DiskCopy) -> Result<()> {
    arm(disk)?;
    disk.set_error_flag()
}

/// A boot that is no trial writes nothing.
pub(crate) fn untouched(disk: &DiskCopy) -> Result<()> {
    let bytes = disk.read(LOG)?;
    ensure!(bytes.len() == log::BYTES, "the log has {} bytes", bytes.len());
    ensure!(bytes.iter().all(|byte| *byte == 0), "the log: {}", disk.log()?);
    Ok(())
}

fn trace_of_a(disk: &DiskCopy) -> Result<()> {
    trace(disk, Slot::A)
}

/// There is a record of every stage, and nothing else but that it was armed.
fn trace(disk: &DiskCopy, slot: Slot) -> Result<()> {
    let bytes = disk.read(LOG)?;
    let mut records = log::parse(&bytes).to_vec();
    records.retain(|record| record.event != log::ARMED);
    let boot_id = records.first().context("the log is empty")?.boot_id;
    ensure!(boot_id.len() == 36, "boot_id={boot_id}");
    for record in &records {
        let expected = (log::TRIAL, Some(slot), "1", boot_id);
        let found = (record.event, record.slot, record.revision, record.boot_id);
        ensure!(found == expected, "{record:?}");
    }
    let stages: Vec<_> = records.iter().map(|record| record.message).collect();
    ensure!(stages == STAGES, "stages: {stages:?}");
    disk.check_clean()
}

/// The last record says why.
fn failed(disk: &DiskCopy) -> Result<()> {
    let bytes = disk.read(LOG)?;
    let records = log::parse(&bytes);
    let last = records.last().context("the log is empty")?;
    let why = "the initramfs has no /sbin/e2fsck";
    ensure!(last.event == log::TRIAL_FAILED && last.message.contains(why), "{last:?}");
    Ok(())
}

/// On a board: the one-shot flag takes slot b, and is gone at the next start.
pub(super) fn on_board(then: impl Fn(&Seen<'_>) -> Result<()> + Send + Sync + 'static) -> Case {
    let board = OnBoard { tryboot: true, ..OnBoard::new("pi5") };
    let restarts = |seen: &Seen<'_>| {
        ensure!(seen.chosen.is_some_and(|boot| boot.tryboot), "no trial: {:?}", seen.chosen);
        fact(seen, "slot", "b")?;
        fact(seen, "trial", "yes")?;
        fact(seen, "trial_source", "firmware")?;
        firmware(seen, "3", "1")?;
        seen.says("reboot: Restarting system")?;
        seen.ended_by("guest-reset")
    };
    let limit = std::time::Duration::from_secs(240);
    let after = |disk: &DiskCopy| trace(disk, Slot::B);
    Case { base: Base::Board(board), limit, after, ..Case::new("board-tryboot") }
        .boot("witness.reboot", restarts)
        .boot("", move |seen| {
            then(seen)?;
            fact(seen, "trial", "no")?;
            firmware(seen, "2", "0")
        })
        // Whoever wrote the slot forgot its letter: said, and no more than that.
        .boot("pivot.slot=b", |seen| {
            entered(seen)?;
            seen.says("pivot: pivot.slot= does not fit: the firmware booted partition 2")?;
            fact(seen, "slot_mismatch", "the firmware booted partition 2")
        })
}

/// What the firmware put into the device tree.
fn firmware(seen: &Seen<'_>, partition: &str, tryboot: &str) -> Result<()> {
    fact(seen, "firmware_partition", partition)?;
    fact(seen, "firmware_tryboot", tryboot)
}
