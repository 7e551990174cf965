// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is shown of the bootloader: for people, and as JSON.

use std::fmt::Write as _;

use bootsel::date::date;
use bootsel::eeprom::attempts::LIMIT;
use bootsel::eeprom::bootconf::is_frozen;
use bootsel::eeprom::decide::{Decision, Medium, Want};
use bootsel::eeprom::stage::State;
use serde_json::{Value, json};

use super::look::Look;
use crate::error::Result;
use crate::report::print;

/// `bootsel eeprom`
pub(super) fn show(look: &Look, machine: bool) -> Result<()> {
    if machine {
        return print(&format!("{:#}\n", as_json(look)));
    }
    print(&as_text(look))
}

pub(crate) fn as_json(look: &Look) -> Value {
    let board = look.board.map(|board| {
        json!({
            "model": board.model(),
            "revision_code": look.code.map(|code| format!("{code:06x}")),
            "chip": look.chip().map(bootsel::eeprom::Chip::number),
        })
    });
    let running = look.running.timestamp();
    let shipped = look.shipped.map(|shipped| {
        let (version, manufacture) = (shipped.version, shipped.manufacture);
        json!({ "timestamp": version, "date": date(version), "manufacture": manufacture })
    });
    let attempts = look
        .attempts()
        .map(|last| json!({ "version": last.version, "count": last.count, "limit": LIMIT }));
    let (decision, on_request) = (look.decision(), look.decide(Want::Shipped));
    json!({
        "board": board,
        "running": {
            "timestamp": running,
            "date": running.map(date),
            "device_tree": look.running.device_tree,
            "mailbox": look.running.mailbox,
            "updated": look.updated,
        },
        "minimum": look.chip().map(|chip| {
            json!({ "timestamp": chip.least(), "date": date(chip.least()) })
        }),
        "shipped": shipped,
        "files": files(look),
        "attempts": attempts,
        "bootconf": look.bootconf.as_ref().ok().map(|bootconf| bootconf.source),
        "frozen": is_frozen(&bootconf(look)),
        "medium": match look.medium {
            Medium::SdOrEmmc => "sd-or-emmc",
            Medium::Other => "other",
        },
        "decision": decision.word(),
        "why": decision.to_string(),
        "on_request": { "decision": on_request.word(), "why": on_request.to_string() },
        "warnings": warnings(look),
    })
}

fn bootconf(look: &Look) -> String {
    let bytes = look.bootconf.as_ref().map_or(&[][..], |bootconf| &bootconf.bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

fn files(look: &Look) -> &'static str {
    match look.files {
        Ok(State::AtRest) if look.has_files => "at-rest",
        Ok(State::AtRest) => "none",
        Ok(State::Staged(_)) => "staged",
        Ok(State::Recovered(_)) => "recovered",
        Err(_) => "broken",
    }
}

fn as_text(look: &Look) -> String {
    let mut text = String::new();
    let built = |time| format!("built on {} ({time})", date(time));
    let Some((board, chip)) = look.board.zip(look.chip()) else {
        let model = look.board.map_or("no raspberry pi", |board| board.model());
        return format!("board: {model}\n{}\n", look.decision());
    };
    let _ = writeln!(text, "board: {}, {chip}", board.model());
    let running = look.running.timestamp();
    let _ = writeln!(text, "bootloader: {}", running.map_or("not known".to_owned(), built));
    let _ = writeln!(text, "minimum: {}", built(chip.least()));
    let shipped = look.shipped.map(|shipped| built(shipped.version));
    let _ = writeln!(text, "shipped: {}", shipped.as_deref().unwrap_or("none"));
    let _ = match look.attempts() {
        Some(last) if last.count > 0 => {
            writeln!(text, "attempts: {} of {LIMIT} for {}", last.count, last.version)
        }
        Some(_) => writeln!(text, "attempts: none"),
        None => writeln!(text, "attempts: not known"),
    };
    let decision = look.decision();
    let _ = writeln!(text, "decision: {decision}");
    let on_request = look.decide(Want::Shipped);
    if on_request != decision {
        let _ = writeln!(text, "bootsel eeprom stage: {on_request}");
    }
    for warning in warnings(look) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// The line of `bootsel status`; none where there is no EEPROM.
pub(crate) fn line(look: &Look) -> Option<String> {
    look.chip()?;
    let decision = look.decision();
    Some(match decision {
        Decision::Update(_) => format!("{decision}, at the next boot"),
        _ => decision.to_string(),
    })
}

/// What does not fit together. Nothing of it decides anything.
pub(super) fn warnings(look: &Look) -> Vec<String> {
    let mut warnings = Vec::new();
    if look.chip().is_none() {
        return warnings;
    }
    if look.running.disagreement().is_some() {
        warnings.push(format!("two bootloaders are named: {}", look.running));
    }
    warnings.extend(look.problem.clone());
    if let Err(why) = &look.bootconf {
        warnings.push(format!("the bootloader's configuration cannot be read: {why}"));
    }
    if let Err(why) = &look.attempts {
        warnings.push(why.to_string());
    }
    warnings
}
