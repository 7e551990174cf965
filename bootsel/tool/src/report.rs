// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is shown: for people, and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use bootsel::Slot;
use bootsel::date::date;
use bootsel::state::{Loader, Outcome, Selector, Status, Way};
use serde_json::{Value, json};

use crate::eeprom::Look;
use crate::error::{Error, Result, failed};
use crate::journal::Journal;
use crate::root::Root;
use crate::system::System;
use crate::{eeprom, firmware, machine};

const SLOTS: [Slot; 2] = [Slot::A, Slot::B];

pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(failed("standard output"))
}

/// `bootsel status`
pub(crate) fn status(system: &System, machine: bool) -> Result<()> {
    let status = system.status();
    let eeprom = Look::new(&system.root, &system.disk);
    if machine {
        return print(&format!("{:#}\n", as_json(system, &status, &eeprom)));
    }
    print(&as_text(system, &status, &eeprom))
}

fn as_json(system: &System, status: &Status, eeprom: &Look) -> Value {
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
    let broken = match &system.environment.found.selector {
        Selector::Broken(why) => Some(why),
        Selector::Set { .. } => None,
    };
    let (records, newest) = machine::kept(&system.root);
    json!({
        "default": letter(status.default),
        "booted": letter(status.booted),
        "trial": status.trial,
        "armed": status.armed,
        "selector": system.environment.found.loader.as_str(),
        "selector_problem": broken,
        "other_selector": other_selector(system),
        "slots": { "a": slot(Slot::A), "b": slot(Slot::B) },
        "attempt": attempt,
        "tryboot_by": way(&system.environment.way()),
        "firmware": {
            "build_timestamp": firmware::build_timestamp(&system.root),
            "build_date": firmware::build_timestamp(&system.root).map(date),
            "version": system.root.text("proc/device-tree/chosen/bootloader/version"),
            "rsts": system.root.tree_number("chosen/bootloader/rsts"),
            "knows_tryboot_a_b": (system.environment.found.loader == Loader::Tryboot)
                .then(|| system.firmware.iter().all(std::result::Result::is_ok)),
        },
        "watchdog": watchdog(&system.root),
        "data": data(&system.root),
        "boot": boot(&system.root),
        "records": { "count": records, "newest": newest },
        "eeprom": eeprom.chip().map(|_| eeprom::as_json(eeprom)),
        "warnings": system.warnings(),
    })
}

/// What the selector says of the kind of machine that this is not.
fn other_selector(system: &System) -> Value {
    let found = &system.environment.found;
    let (default, problem) = match &found.other {
        None => return Value::Null,
        Some(Selector::Set { default, .. }) => (Some(default.as_str()), None),
        Some(Selector::Broken(why)) => (None, Some(why)),
    };
    json!({ "selector": found.loader.other().as_str(), "default": default, "problem": problem })
}

fn way(way: &Way) -> &'static str {
    match way {
        Way::Mailbox => "mailbox",
        Way::Reboot => "reboot",
        Way::Grubenv => "grubenv",
        Way::Unknown(_) => "unknown",
    }
}

fn watchdog(root: &Root) -> Value {
    machine::watchdog(root).map_or(Value::Null, |watchdog| {
        json!({
            "identity": watchdog.identity,
            "timeout": watchdog.timeout,
            "state": watchdog.state,
            "bootstatus": watchdog.bootstatus,
        })
    })
}

fn data(root: &Root) -> Value {
    machine::data(root).map_or(
        Value::Null,
        |data| json!({ "device": data.device, "read_only": data.read_only, "errors": data.errors }),
    )
}

fn boot(root: &Root) -> Value {
    let report = machine::report(root);
    json!({
        "revision": report.revision,
        "degraded": report.degraded,
        "partition": root.tree_number("chosen/bootloader/partition"),
    })
}

fn as_text(system: &System, status: &Status, eeprom: &Look) -> String {
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
    if let Selector::Broken(why) = &system.environment.found.selector {
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
    let _ = match system.environment.way() {
        Way::Mailbox => writeln!(text, "tryboot: by /dev/vcio"),
        Way::Reboot => writeln!(text, "tryboot: by the reboot's argument"),
        Way::Grubenv => writeln!(text, "trial: by GRUB, with grubenv"),
        Way::Unknown(why) => writeln!(text, "tryboot: {why}"),
    };
    if let Some(why) = system.firmware.iter().find_map(|knows| knows.as_ref().err()) {
        let _ = writeln!(text, "firmware: {why}");
    }
    if let Some(line) = eeprom::line(eeprom) {
        let _ = writeln!(text, "eeprom: {line}");
    }
    text + &machine_lines(&system.root) + &problems(system)
}

/// One line for each thing that a person asks for when something went wrong.
fn machine_lines(root: &Root) -> String {
    let mut text = String::new();
    if let Some(built) = firmware::build_timestamp(root) {
        let _ = writeln!(text, "bootloader: built on {}", date(built));
    }
    let _ = match machine::watchdog(root) {
        None => writeln!(text, "watchdog: none"),
        Some(watchdog) => {
            let timeout = watchdog.timeout.map(|seconds| format!(", {seconds} s"));
            let state = watchdog.state.map(|state| format!(", {state}"));
            let (timeout, state) = (timeout.unwrap_or_default(), state.unwrap_or_default());
            writeln!(text, "watchdog: {}{timeout}{state}", watchdog.identity)
        }
    };
    if let (count, Some(newest)) = machine::kept(root) {
        let store = machine::store(root);
        let _ = writeln!(
            text,
            "kernel records: {count} in {}, the newest is {newest}",
            store.display()
        );
    }
    text
}

/// Last, where a person looks first.
fn problems(system: &System) -> String {
    let degraded = machine::report(&system.root).degraded;
    let degraded = degraded.iter().map(|what| format!("degraded: {what}\n"));
    let warnings = system.warnings();
    degraded.chain(warnings.iter().map(|what| format!("warning: {what}\n"))).collect()
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
        let _ = match found.problem() {
            None if hashed => {
                writeln!(text, "slot {slot}: revision {revision} is as its manifest says")
            }
            None => writeln!(
                text,
                "slot {slot}: revision {revision} is as its manifest says, which has no hash of the boot partition"
            ),
            Some(why) => {
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
