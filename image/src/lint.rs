// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lint`: everything about an image that a board would stop at, or that would fail later in the field. Each rule
//! is one function in `RULES`; what it knows of a board is `rpifw`'s, and what it says of a kernel is evidence from
//! the image itself.

mod boards;
mod bootloader;
mod bootsel;
mod cmdline;
mod config;
mod disk;
mod eeprom;
mod revision;
mod root;
mod systemd;
mod uefi;
mod updates;

use std::fmt;
use std::fs::File;
use std::path::Path;

use ::bootsel::autoboot;
use anyhow::{Context, Result};
use rpifw::{Disk, Table, partition};
use serde::Serialize;

use crate::boards::subject::Subject;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does not boot, or not always.
    Error,
    /// It boots, and a person should know.
    Warning,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where: `partition 2, config.txt, line 3`.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

/// What was found in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the rules.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { rule, severity, place, what } in &self.findings {
            let severity = if *severity == Severity::Error { "error" } else { "warning" };
            writeln!(f, "{severity}: {place}: {what} [{rule}]")?;
        }
        Ok(())
    }
}

/// A place, and what is wrong there.
type Fault = (String, String);

/// On which images a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// On all.
    Every,
    /// On those for the Raspberry Pi.
    Pi,
    /// On those for UEFI.
    Uefi,
    /// On those of either, which choose between their slots.
    Slots,
}

struct Rule {
    name: &'static str,
    severity: Severity,
    on: On,
    check: fn(&Subject<'_>) -> Vec<Fault>,
}

const fn error(name: &'static str, on: On, check: fn(&Subject<'_>) -> Vec<Fault>) -> Rule {
    Rule { name, severity: Severity::Error, on, check }
}

const fn warning(name: &'static str, on: On, check: fn(&Subject<'_>) -> Vec<Fault>) -> Rule {
    Rule { name, severity: Severity::Warning, on, check }
}

const RULES: &[Rule] = &[
    error("gpt", On::Pi, disk::gpt),
    error("partitions", On::Every, disk::partitions),
    error("partition-type", On::Pi, disk::types),
    error("fat-damaged", On::Every, disk::damaged),
    error("fat12", On::Every, disk::fat12),
    error("bootsel-fat", On::Pi, disk::bootsel),
    error("slot-fat", On::Every, disk::slot),
    warning("slot-full", On::Every, disk::full),
    error("slots-differ", On::Every, disk::differ),
    error("slot-letter", On::Every, disk::letter),
    error("slot-content", On::Every, disk::content),
    error("bootsel-config", On::Pi, bootsel::config),
    error("autoboot-missing", On::Pi, bootsel::missing),
    error("autoboot-size", On::Pi, bootsel::size),
    error("autoboot-target", On::Pi, bootsel::target),
    error("eeprom-in-slot", On::Pi, bootsel::eeprom),
    error("eeprom-files", On::Pi, eeprom::files),
    error("eeprom-sector", On::Pi, eeprom::sector),
    warning("eeprom-reboot", On::Pi, cmdline::stop_on_reboot),
    error("bootcode-in-slot", On::Pi, bootsel::bootcode),
    error("firmware-token", On::Pi, bootsel::token),
    warning("firmware-missing", On::Pi, bootsel::firmware),
    error("efi-partition", On::Uefi, uefi::partition),
    error("efi-program", On::Uefi, uefi::programs),
    error("grub-script", On::Uefi, uefi::script),
    warning("grub-script-other", On::Uefi, uefi::own_script),
    error("grubenv", On::Uefi, uefi::environment),
    error("grub-slot", On::Uefi, uefi::slots),
    warning("disk-driver", On::Uefi, uefi::disk),
    error("config-length", On::Pi, config::length),
    error("config-form", On::Pi, config::form),
    error("config-filter", On::Pi, config::filter),
    warning("config-auto-initramfs", On::Pi, config::auto_initramfs),
    error("cmdline-form", On::Every, cmdline::form),
    error("cmdline-panic", On::Every, cmdline::panic),
    error("cmdline-init", On::Every, cmdline::init),
    warning("cmdline-gpt", On::Every, cmdline::gpt),
    error("watchdog", On::Every, cmdline::watchdog),
    warning("reboot-watchdog", On::Every, systemd::reboot),
    error("revision", On::Every, revision::complete),
    error("root-directories", On::Every, root::directories),
    error("root-init", On::Every, root::init),
    error("requires-bootsel", On::Slots, updates::requires),
    warning("bootsel-program", On::Slots, updates::tool),
    warning("bootsel-keys", On::Slots, updates::keys),
    error("bootloader-shipped", On::Every, bootloader::shipped),
    error("bootloader-overlap", On::Every, bootloader::overlap),
    warning("bootloader-missing", On::Every, bootloader::missing),
    error("kernel-listed", On::Every, revision::listed),
    error("modules-missing", On::Every, revision::modules),
    error("codec", On::Every, revision::codec),
    error("initramfs", On::Every, revision::initramfs),
    error("initramfs-part", On::Pi, revision::parts),
    error("init-alignment", On::Every, revision::alignment),
    error("board-stops", On::Pi, boards::stops),
    warning("board-unserved", On::Pi, boards::unserved),
    error("medium-driver", On::Pi, boards::medium),
    warning("emulation-only", On::Pi, boards::emulation_only),
];

/// Looks at an image.
///
/// # Errors
/// Where it cannot be read, or has no partition table.
pub fn lint(path: &Path) -> Result<Report> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let subject = Subject::open(path, &file).with_context(|| path.display().to_string())?;
    let (pi, efi) = (is_for_pi(&subject), uefi::is_for(&subject));
    let mut report = Report::default();
    let holds = |on| match on {
        On::Every => true,
        On::Pi => pi,
        On::Uefi => efi,
        On::Slots => pi || efi,
    };
    for rule in RULES.iter().filter(|rule| holds(rule.on)) {
        let Rule { name, severity, .. } = *rule;
        let finding = |(place, what)| Finding { rule: name, severity, place, what };
        report.findings.extend((rule.check)(&subject).into_iter().map(finding));
    }
    Ok(report)
}

/// Files that no other firmware looks for, or an MBR with none that other firmware looks for.
pub(crate) fn is_for_pi(subject: &Subject<'_>) -> bool {
    let has = |name| volumes(subject).any(|(_, volume)| volume.exists(name));
    let mbr = subject.disk.table() == Table::Mbr && !uefi::is_for(subject);
    mbr || has(autoboot::NAME) || has(partition::CONFIG)
}

/// Every FAT volume, with the number of its partition.
fn volumes<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = (u32, &'a dyn rpifw::Volume)> {
    let numbers = subject.disk.partitions.iter().map(|partition| partition.number);
    numbers.filter_map(|number| Some((number, subject.disk.volume(number)?)))
}

fn place(number: u32) -> String {
    format!("partition {number}")
}

fn file(number: u32, name: &str) -> String {
    format!("partition {number}, {name}")
}
