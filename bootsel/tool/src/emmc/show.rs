// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is shown of the boot partitions: for people, and as JSON.

use std::fmt::Write as _;

use bootsel::emmc::note::{Note, With};
use bootsel::emmc::shipped::Follow;
use bootsel::emmc::{Active, Boot, ExtCsd, Protection, Refusal};
use serde_json::{Value, json};

use super::card::Card;
use super::content;
use super::shipped::state;
use crate::disk::Disk;
use crate::error::Result;
use crate::report::print;

/// `bootsel emmc status`
pub(super) fn show(card: &Card, disk: Option<&Disk>, machine: bool) -> Result<()> {
    let ext_csd = card.ext_csd()?;
    let note = content::read_note(&card.root).ok().flatten();
    let follow = note.as_ref().map_or(Follow::Nothing, |note| state(&card.root, disk, note));
    let last = note.map(|note| (note, follow));
    if machine {
        return print(&format!("{:#}\n", as_json(card, &ext_csd, last.as_ref())));
    }
    print(&as_text(card, &ext_csd, last.as_ref()))
}

/// What keeps an update of any size from being made.
fn problem(card: &Card, ext_csd: &ExtCsd) -> Option<Refusal> {
    let may = ext_csd.may_write(1, |boot| card.bytes(boot)).and_then(|_| ext_csd.may_switch());
    may.err()
}

fn as_json(card: &Card, ext_csd: &ExtCsd, last: Option<&(Note, Follow)>) -> Value {
    let partition = |boot: Boot| {
        json!({
            "name": card.name_of(boot),
            "bytes": card.bytes(boot),
            "active": ext_csd.active() == Active::Boot(boot),
            "force_ro": card.force_ro(boot),
            "write_protection": ext_csd.write_protection(boot).as_str(),
        })
    };
    let (mode, width, kept) = ext_csd.boot_bus();
    let written = last.map(|(note, follow)| {
        let with = note.with.as_ref().filter(|_| *follow != Follow::Nothing);
        let with = with.map(|with| {
            let (slot, revision) = (with.slot.as_str(), with.revision.as_str());
            json!({ "slot": slot, "revision": revision, "due": *follow == Follow::Due })
        });
        json!({
            "partition": note.partition.as_str(),
            "bytes": note.bytes,
            "sha256": note.sha256.to_string(),
            "waits_for_commit": with,
        })
    });
    json!({
        "device": card.path().display().to_string(),
        "version": ext_csd.version(),
        "revision": ext_csd.revision,
        "partition_config": ext_csd.partition_config,
        "active": ext_csd.active().as_str(),
        "ack": ext_csd.ack(),
        "access": ext_csd.access(),
        "boot_bytes": ext_csd.boot_bytes(),
        "boot0": partition(Boot::Boot0),
        "boot1": partition(Boot::Boot1),
        "config_protection": ext_csd.config_protection().as_str(),
        "boot_bus": { "mode": mode, "width": width, "kept": kept },
        "rst_n": ext_csd.rst_n(),
        "written": written,
        "problem": problem(card, ext_csd).map(|why| why.to_string()),
        "warnings": warnings(card, ext_csd),
    })
}

fn as_text(card: &Card, ext_csd: &ExtCsd, last: Option<&(Note, Follow)>) -> String {
    let mut text = String::new();
    let version = ext_csd.version().unwrap_or("of a version that is not known");
    let _ = writeln!(text, "{}: eMMC {version}", card.path().display());
    let ack = if ext_csd.ack() { "with" } else { "without" };
    let active = match ext_csd.active() {
        Active::Boot(boot) => boot.as_str(),
        Active::None => "no partition",
        Active::User => "the user area",
        Active::Reserved(_) => "a partition that is reserved",
    };
    let config = ext_csd.partition_config;
    let _ =
        writeln!(text, "active: {active}, {ack} boot acknowledge (PARTITION_CONFIG {config:#04x})");
    for boot in Boot::BOTH.into_iter().filter(|_| ext_csd.boot_bytes() > 0) {
        let _ = writeln!(text, "{}", partition_line(card, ext_csd, boot));
    }
    if let Some((Note { partition, bytes, sha256, with }, follow)) = last {
        let _ = writeln!(text, "written last: {partition}, {bytes} bytes, sha256 {sha256}");
        if let Some(With { slot, revision }) = with {
            let _ = match follow {
                Follow::Nothing => Ok(()),
                Follow::Waits => writeln!(
                    text,
                    "        of revision {revision}: becomes active with the commit of slot {slot}"
                ),
                Follow::Due => writeln!(
                    text,
                    "        of revision {revision}, which is committed: due, `bootsel commit` makes it active"
                ),
            };
        }
    }
    if let Some(why) = problem(card, ext_csd) {
        let _ = writeln!(text, "no update: {why}");
    }
    for warning in warnings(card, ext_csd) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn partition_line(card: &Card, ext_csd: &ExtCsd, boot: Boot) -> String {
    let is = |holds: bool, what: &'static str| holds.then_some(what);
    let is = [
        is(ext_csd.active() == Active::Boot(boot), "active"),
        is(card.force_ro(boot) == Some(true), "force_ro"),
        is(ext_csd.write_protection(boot) == Protection::PowerOn, "protected until power is off"),
        is(ext_csd.write_protection(boot) == Protection::Permanent, "protected for good"),
    ];
    let is = is.into_iter().flatten().map(|what| format!(", {what}"));
    format!("{boot}: {} bytes{}", card.bytes(boot), is.collect::<String>())
}

/// What does not fit together. Nothing of it decides anything.
fn warnings(card: &Card, ext_csd: &ExtCsd) -> Vec<String> {
    let mut warnings = Vec::new();
    for boot in Boot::BOTH.into_iter().filter(|_| ext_csd.boot_bytes() > 0) {
        let (name, bytes) = (card.name_of(boot), card.bytes(boot));
        if bytes != ext_csd.boot_bytes() {
            let told = ext_csd.boot_bytes();
            warnings.push(format!("{name} has {bytes} bytes, BOOT_SIZE_MULT says {told}"));
        }
        if card.force_ro(boot) == Some(false) {
            warnings.push(format!("{name} is writable: force_ro is 0"));
        }
    }
    if let Err(why) = content::read_note(&card.root) {
        warnings.push(why.to_string());
    }
    warnings
}
