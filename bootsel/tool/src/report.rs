// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is shown: for people, and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use bootsel::Slot;
use bootsel::state::{Outcome, Selector, Status, Way};
use serde_json::{Value, json};

use crate::error::{Error, Result, failed};
use crate::firmware;
use crate::journal::Journal;
use crate::system::System;

const SLOTS: [Slot; 2] = [Slot::A, Slot::B];

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(failed("standard output"))
}

/// `bootsel status`
pub(crate) fn status(system: &System, machine: bool) -> Result<()> {
    let status = system.status();
    if machine {
        return print(&format!("{:#}\n", as_json(system, &status)));
    }
    print(&as_text(system, &status))
}

fn as_json(system: &System, status: &Status) -> Value {
    let letter = |slot: Option<Slot>| slot.map(Slot::as_str);
    let slot = |slot: Slot| {
        let found = system.slot(slot);
        json!({
            "revision": found.revision,
            "version": found.manifest.as_ref().and_then(bootsel::manifest::Manifest::version),
            "complete": found.verified.is_ok(),
            "problem": found.verified.as_ref().err(),
        })
    };
    let attempt = status.attempt.as_ref().map(|attempt| {
        let reason = match &attempt.outcome {
            Outcome::Failed(why) => Some(why),
            _ => None,
        };
        json!({
            "slot": attempt.slot.as_str(),
            "revision": attempt.revision,
            "outcome": attempt.outcome.word(),
            "reason": reason,
        })
    });
    let broken = match &system.selector {
        Selector::Broken(why) => Some(why),
        Selector::Set { .. } => None,
    };
    json!({
        "default": letter(status.default),
        "booted": letter(status.booted),
        "trial": status.trial,
        "armed": status.armed,
        "selector_problem": broken,
        "slots": { "a": slot(Slot::A), "b": slot(Slot::B) },
        "attempt": attempt,
        "tryboot_by": way(&system.flag.way()),
        "firmware": {
            "build_timestamp": firmware::build_timestamp(&system.root),
            "version": system.root.text("proc/device-tree/chosen/bootloader/version"),
            "rsts": system.root.tree_number("chosen/bootloader/rsts"),
            "knows_tryboot_a_b": system.firmware.iter().all(std::result::Result::is_ok),
        },
        "watchdog": watchdog(system),
        "warnings": system.warnings(),
    })
}

fn way(way: &Way) -> &'static str {
    match way {
        Way::Mailbox => "mailbox",
        Way::Reboot => "reboot",
        Way::Unknown(_) => "unknown",
    }
}

fn watchdog(system: &System) -> Value {
    let read = |name: &str| system.root.text(&format!("sys/class/watchdog/watchdog0/{name}"));
    match read("identity") {
        Some(identity) => {
            let timeout = read("timeout").and_then(|text| text.parse::<u32>().ok());
            json!({ "identity": identity, "timeout": timeout, "state": read("state") })
        }
        None => Value::Null,
    }
}

fn as_text(system: &System, status: &Status) -> String {
    let mut text = String::new();
    for slot in SLOTS {
        let is = |holds: bool, what: &'static str| holds.then_some(what);
        let is = [
            is(status.default == Some(slot), "default"),
            is(status.booted == Some(slot), "booted"),
            is(status.trial && status.booted == Some(slot), "on trial, not committed"),
            is(status.armed && status.default == Some(slot.other()), "armed: boots next, once"),
        ];
        let is: Vec<_> = is.into_iter().flatten().collect();
        let _ = writeln!(text, "slot {slot}: {}", slot_line(system, slot));
        if !is.is_empty() {
            let _ = writeln!(text, "        {}", is.join(", "));
        }
    }
    if let Selector::Broken(why) = &system.selector {
        let _ = writeln!(text, "selector: {why}");
    }
    if let Some(attempt) = &status.attempt {
        let revision = &attempt.revision;
        let _ = writeln!(
            text,
            "last trial: slot {}, revision {revision}: {}",
            attempt.slot,
            attempt.outcome.sentence()
        );
    }
    let _ = match system.flag.way() {
        Way::Mailbox => writeln!(text, "tryboot: by /dev/vcio"),
        Way::Reboot => writeln!(text, "tryboot: by the reboot's argument"),
        Way::Unknown(why) => writeln!(text, "tryboot: {why}"),
    };
    if let Some(why) = system.firmware.iter().find_map(|knows| knows.as_ref().err()) {
        let _ = writeln!(text, "firmware: {why}");
    }
    for warning in system.warnings() {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn slot_line(system: &System, slot: Slot) -> String {
    let found = system.slot(slot);
    let revision = found.revision.as_deref().unwrap_or("unknown");
    match &found.verified {
        Ok(()) => format!("revision {revision}, complete"),
        Err(why) => format!("revision {revision}, broken: {why}"),
    }
}

/// `bootsel verify`: an error where a slot that is to boot is not what its manifest says.
pub(crate) fn verify(system: &System) -> Result<()> {
    let mut text = String::new();
    let mut broken = Vec::new();
    for slot in SLOTS {
        let found = system.slot(slot);
        let hashed = found
            .manifest
            .as_ref()
            .is_some_and(|manifest| manifest.file(bootsel::manifest::BOOT).is_some());
        let revision = found.revision.as_deref().unwrap_or("unknown");
        let _ = match &found.verified {
            Ok(()) if hashed => {
                writeln!(text, "slot {slot}: revision {revision} is as its manifest says")
            }
            Ok(()) => writeln!(
                text,
                "slot {slot}: revision {revision} is as its manifest says, which has no hash of the boot partition"
            ),
            Err(why) => {
                broken.push(slot.as_str());
                writeln!(text, "slot {slot}: revision {revision}: {why}")
            }
        };
    }
    print(&text)?;
    if broken.is_empty() {
        return Ok(());
    }
    Err(Error::Failed(format!("not as it should be: slot {}", broken.join(" and slot "))))
}

/// `bootsel log`
pub(crate) fn log(journal: &Journal) -> Result<()> {
    let mut text = String::new();
    for record in journal.records() {
        let slot = record.slot.map_or("-", Slot::as_str);
        let revision = if record.revision.is_empty() { "-" } else { record.revision };
        let boot = record.boot_id.get(..8).unwrap_or(record.boot_id);
        let _ = writeln!(
            text,
            "{} {boot} slot={slot} revision={revision} {} {}",
            record.counter, record.event, record.message
        );
    }
    print(&text)
}
