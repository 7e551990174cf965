// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the boot before left: the kernel's last words, and whether its watchdog ended it.

use super::{ThisBoot, attempt};
use crate::{
    Slot,
    log::{PANIC, RETURNED, WATCHDOG},
    text::split_once,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

/// Bytes of a panic line that are kept: a record of the log has room for 240, and the attempt's stage follows.
const LINE: usize = 200;
/// What a panic begins with. (Linux, `kernel/panic.c`)
const NOT_SYNCING: &str = "Kernel panic - not syncing: ";
/// What is before it where the panic itself says no more than that there was an exception. (`arch/*/kernel/traps.c`,
/// `arch/*/mm/fault.c`)
const OOPS: [&str; 4] = ["Internal error: ", "Unable to handle kernel ", "BUG: ", "Oops: "];

/// `WDIOF_CARDRESET` of `linux/watchdog.h`: "Card previously reset the CPU".
const CARDRESET: u32 = 0x20;
/// `PM_RSTS_HADWRF` of a Raspberry Pi's power manager: a full reset by its watchdog, which is the way of a restart,
/// too. The bits beside it hold the partition of the next boot, and that of a power-on stays set.
const HADWRF: u32 = 0x20;

/// What a panic or oops in a kernel log says, on one line. The log is anything that memory held over a reset.
pub fn panic_line(log: &[u8]) -> Option<String> {
    let lines = || log.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    let from = |line: &str, words: &str| {
        let at = line.find(words)?;
        line.get(at..).map(clean)
    };
    let oops = lines().find_map(|line| OOPS.iter().find_map(|words| from(&line, words)));
    let panics = lines().filter(|line| !line.contains("---[ end"));
    let panic = panics.filter_map(|line| from(&line, NOT_SYNCING)).next_back();
    match (panic, oops) {
        (Some(panic), Some(oops)) if panic.ends_with("Fatal exception") => {
            Some(clean(&format!("{panic}: {oops}")))
        }
        (panic, oops) => panic.or(oops),
    }
}

/// Printable, one line without its full stop, and not too long.
fn clean(text: &str) -> String {
    let mut out = String::new();
    for char in text.trim_end().trim_end_matches('.').chars().filter(|char| !char.is_control()) {
        if out.len() + char.len_utf8() > LINE {
            break;
        }
        out.push(char);
    }
    out
}

/// Slot and revision of the boot that a kernel log is of, where it still has its command line.
pub fn booted_in(log: &[u8]) -> Option<(Slot, String)> {
    let mut lines = log.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    let is_line = |line: &alloc::borrow::Cow<'_, str>| line.contains("Kernel command line: ");
    let line = lines.rfind(is_line)?;
    let value = |key| {
        let words = line.split_ascii_whitespace().filter_map(|word| split_once(word, b'='));
        words.filter(|(name, _)| *name == key).map(|(_, value)| value).next_back()
    };
    let slot = value("pivot.slot")?.parse().ok()?;
    Some((slot, value("pivot.revision").unwrap_or_default().to_string()))
}

/// What hardware and kernel say of the last reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reset {
    /// `bootstatus` of the watchdog.
    pub bootstatus: Option<u32>,
    /// `rsts`, the reset status of a Raspberry Pi.
    pub rsts: Option<u32>,
    /// Whether the data partition was in use when the boot before ended.
    pub unclean: bool,
}

impl Reset {
    /// Why it is to be taken for one by the watchdog. An ordered restart of a Raspberry Pi is one by its watchdog, too:
    /// what tells them apart is that nobody unmounted anything.
    pub fn by_watchdog(&self) -> Option<String> {
        if let Some(status) = self.bootstatus.filter(|status| status & CARDRESET != 0) {
            return Some(format!("the watchdog reset the machine (bootstatus {status:#x})"));
        }
        let status = self.rsts.filter(|status| status & HADWRF != 0 && self.unclean)?;
        Some(format!(
            "the watchdog or a panic reset the machine (reset status {status:#x}, and nothing was unmounted)"
        ))
    }
}

/// A record that is to be written, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// [`PANIC`], [`WATCHDOG`] or [`RETURNED`].
    pub event: &'static str,
    /// Whose boot it is of.
    pub slot: Slot,
    /// Likewise.
    pub revision: String,
    /// What was found.
    pub message: String,
}

/// What the log is to say of the boot before: each panic with the boot that it is known to be of, the watchdog's reset
/// once per boot, and that a trial is over. `revision` is the booted one.
pub fn findings(
    boot: &ThisBoot<'_>,
    revision: &str,
    panics: &[(String, Option<(Slot, String)>)],
    reset: Reset,
) -> Vec<Finding> {
    let Some(booted) = boot.booted else { return Vec::new() };
    let returned = attempt::returns_from(boot);
    let before = match (returned, boot.uncommitted(), boot.default) {
        (Some(trial), ..) => trial,
        // it was the default that armed this trial
        (None, Some(_), Some(default)) => (default, ""),
        _ => (booted, revision),
    };
    let finding = |event, (slot, revision): (Slot, &str), message: &str| Finding {
        event,
        slot,
        revision: revision.to_string(),
        message: message.to_string(),
    };
    let mut findings = Vec::new();
    for (line, known) in panics {
        let of = known.as_ref().map_or(before, |(slot, revision)| (*slot, revision.as_str()));
        findings.push(finding(PANIC, of, line));
    }
    let mut written = boot.log.iter().filter(|record| record.boot_id == boot.boot_id);
    if let Some(why) = reset.by_watchdog()
        && !written.any(|record| record.event == WATCHDOG)
    {
        findings.push(finding(WATCHDOG, before, &why));
    }
    findings.extend(returned.map(|trial| finding(RETURNED, trial, "")));
    findings
}

/// Files of records that are kept, and their bytes: some ten panics.
const KEPT: usize = 32;
const KEPT_BYTES: u64 = 4 << 20;

/// How many of the kept files, oldest first, make room for a new one of so many bytes.
pub fn to_drop(kept: &[u64], new: u64) -> usize {
    let bytes =
        |dropped| kept.iter().skip(dropped).fold(new, |sum, more| sum.saturating_add(*more));
    let fits = |dropped: &usize| kept.len() - dropped < KEPT && bytes(*dropped) <= KEPT_BYTES;
    (0..kept.len()).find(fits).unwrap_or(kept.len())
}
