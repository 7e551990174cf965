// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether the EEPROM is to be updated, from facts alone.
//!
//! Whoever acts on it does so in this order, each step on the disk before the next: write image and signature under
//! their names at rest and read them back, count the attempt, rename the files. While they are staged no trial may be
//! armed: a reset by recovery.bin on the way would take the flag with it.

use core::fmt;

use super::{Chip, attempts::Attempts, bootconf, stage, version::Running};
use crate::board::Board;

/// What the machine booted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// An SD card, or an eMMC: the ROM looks for recovery.bin on them.
    SdOrEmmc,
    /// USB, NVMe or a network: it does not. (`raspberry-pi/boot-eeprom.adoc`)
    Other,
}

/// Which bootloader is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// One that is not older than this build time, in seconds since 1970; [`Chip::least`] where nothing else is asked
    /// for.
    Least(u32),
    /// The one that was shipped, if it is newer than what runs.
    Shipped,
}

/// The image on the first partition for this chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// When it was built.
    pub version: u32,
    /// Its `MFG_VER`.
    pub manufacture: u32,
}

/// Everything that is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// By the revision code.
    pub board: Option<Board>,
    /// What it booted from.
    pub medium: Medium,
    /// Which bootloader runs.
    pub running: Running,
    /// Its configuration; `None` where it cannot be read.
    pub bootconf: Option<&'a str>,
    /// Whether it starts signed systems only: `chosen/bootloader/signed` is not zero.
    pub is_signed: bool,
    /// Whether the EEPROM is known to be protected from writing.
    pub is_protected: bool,
    /// `chosen/rpi-min-boot-ver`: the least `MFG_VER` that the board can run; zero where it does not say.
    pub manufacture: u32,
    /// `pivot.eeprom=off`.
    pub is_off: bool,
    /// Which bootloader is wanted.
    pub want: Want,
    /// What can be written; `None` where there are no files for this chip, or damaged ones.
    pub shipped: Option<Shipped>,
    /// What the files' names say.
    pub files: Result<stage::State, stage::Error>,
    /// How often it was tried; `None` where that cannot be read.
    pub attempts: Option<Attempts<'a>>,
    /// As often it is.
    pub limit: u32,
    /// Which boot this is.
    pub boot_id: &'a str,
    /// Whether a slot runs for trial.
    pub is_trial: bool,
    /// Whether the next boot is a trial.
    pub is_armed: bool,
    /// Whether the booted slot is the default.
    pub is_default: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: there is no EEPROM.
    NoEeprom,
    /// Nothing: what runs, built at that time, is as wanted.
    Current(u32),
    /// Nothing: it was staged in this boot, and the next reset writes it.
    Staged(Update),
    /// The names at rest are to be given back, and then to be decided again: an update is over, failed or not, or what was
    /// staged is not to be any more.
    Restore,
    /// The files are to be staged.
    Update(Update),
    /// Nothing, although a newer one is wanted.
    Refused(Refusal),
}

/// An update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// For which chip.
    pub chip: Chip,
    /// Build time of what runs.
    pub from: u32,
    /// Build time of what is written.
    pub to: u32,
    /// Which attempt it is, from one.
    pub attempt: u32,
}

/// Why an update that is wanted is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Neither device tree nor mailbox say which bootloader runs: it could not be known whether an update worked.
    Unknown,
    /// By `pivot.eeprom=off`.
    Off,
    /// A Compute Module 4 or 4S.
    ComputeModule,
    /// The ROM does not look where the system was booted from.
    Medium,
    /// The configuration in the image would have to be signed.
    Signed,
    /// The configuration cannot be read: it could forbid the update, and would be lost.
    Bootconf,
    /// By `FREEZE_VERSION` in it.
    Frozen,
    /// From writing.
    Protected,
    /// There are none for this chip.
    NoFiles,
    /// What was shipped, built at that time, is older than what is wanted.
    Old(u32),
    /// The image's `MFG_VER` and the board's least.
    Manufacture(u32, u32),
    /// In the trial of a slot, while one is armed, or in a slot that is not the default.
    Trial,
    /// The files are not as they should be.
    Files(stage::Error),
    /// How often it was tried cannot be read.
    Attempts,
    /// That version was tried so often.
    Exhausted(u32, u32),
}

/// What is to be done.
pub fn decide(facts: &Facts<'_>) -> Decision {
    let wanted = wanted(facts);
    match (facts.files, wanted) {
        (Ok(stage::State::Staged(chip)), Wanted::Update(update))
            if is_ours(facts, chip, &update) =>
        {
            // it was counted before it was staged
            Decision::Staged(Update { attempt: update.attempt.saturating_sub(1), ..update })
        }
        (Ok(stage::State::Staged(_) | stage::State::Recovered(_)), _) => Decision::Restore,
        (_, Wanted::Nothing(decision)) => decision,
        (Err(why), _) => Decision::Refused(Refusal::Files(why)),
        (Ok(stage::State::AtRest), Wanted::Update(update)) => match facts.attempts {
            None => Decision::Refused(Refusal::Attempts),
            Some(_) if update.attempt > facts.limit => {
                Decision::Refused(Refusal::Exhausted(update.to, update.attempt.saturating_sub(1)))
            }
            Some(_) => Decision::Update(update),
        },
    }
}

/// What would be done where nothing is staged, and nothing was tried too often.
enum Wanted {
    Nothing(Decision),
    Update(Update),
}

fn wanted(facts: &Facts<'_>) -> Wanted {
    let Some((board, chip)) = facts.board.and_then(|board| Some((board, board.eeprom()?))) else {
        return Wanted::Nothing(Decision::NoEeprom);
    };
    let Some(from) = facts.running.timestamp() else {
        return Wanted::Nothing(Decision::Refused(Refusal::Unknown));
    };
    let newer = |shipped: &Shipped| shipped.version > from;
    let is_current = match facts.want {
        Want::Least(least) => from >= least,
        Want::Shipped => !facts.shipped.as_ref().is_some_and(newer),
    };
    if is_current {
        return Wanted::Nothing(Decision::Current(from));
    }
    match forbidden(facts, &board).map_or_else(|| image(facts), Err) {
        Err(refusal) => Wanted::Nothing(Decision::Refused(refusal)),
        Ok(to) => {
            let before = facts.attempts.map_or(0, |attempts| attempts.of(to));
            Wanted::Update(Update { chip, from, to, attempt: before.saturating_add(1) })
        }
    }
}

/// Why no update of whatever version is made.
fn forbidden(facts: &Facts<'_>, board: &Board) -> Option<Refusal> {
    let in_trial = facts.is_trial || facts.is_armed || !facts.is_default;
    let forbidden = [
        (facts.is_off, Refusal::Off),
        (!board.runs_recovery(), Refusal::ComputeModule),
        (facts.medium == Medium::Other, Refusal::Medium),
        (facts.is_signed, Refusal::Signed),
        (facts.bootconf.is_none(), Refusal::Bootconf),
        (facts.bootconf.is_some_and(bootconf::is_frozen), Refusal::Frozen),
        (facts.is_protected, Refusal::Protected),
        (in_trial, Refusal::Trial),
    ];
    forbidden.into_iter().find(|(holds, _)| *holds).map(|(_, refusal)| refusal)
}

/// The version that can be written; it is newer than what runs, as what runs is not what is wanted.
fn image(facts: &Facts<'_>) -> Result<u32, Refusal> {
    let Shipped { version, manufacture } = facts.shipped.ok_or(Refusal::NoFiles)?;
    let least = match facts.want {
        Want::Least(least) => least,
        Want::Shipped => 0,
    };
    if version < least {
        return Err(Refusal::Old(version));
    }
    if manufacture < facts.manufacture {
        return Err(Refusal::Manufacture(manufacture, facts.manufacture));
    }
    Ok(version)
}

/// Whether what is staged is this update, and there was no reset since.
fn is_ours(facts: &Facts<'_>, chip: Chip, update: &Update) -> bool {
    let last = facts.attempts.filter(|last| last.of(update.to) > 0);
    chip == update.chip && last.is_some_and(|last| last.boot_id == facts.boot_id)
}

impl Decision {
    /// One word for machines.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoEeprom => "no-eeprom",
            Self::Current(_) => "current",
            Self::Staged(_) => "staged",
            Self::Restore => "restore",
            Self::Update(_) => "update",
            Self::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEeprom => f.write_str("the board has no bootloader in an eeprom"),
            Self::Current(running) => write!(f, "the bootloader of {running} is as wanted"),
            Self::Staged(update) => write!(f, "{update}: written at the next reset"),
            Self::Restore => f.write_str("an update was staged before this boot, or is not wanted any more: its files are put back"),
            Self::Update(update) => write!(f, "{update}"),
            Self::Refused(refusal) => write!(f, "no update of the bootloader: {refusal}"),
        }
    }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chip, from, to, attempt } = self;
        write!(f, "update of the {chip}'s bootloader from {from} to {to}, attempt {attempt}")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Unknown => "neither device tree nor mailbox say which one runs",
            Self::Off => "pivot.eeprom=off",
            Self::ComputeModule => {
                "the rom of a compute module 4 does not run recovery.bin: use rpiboot"
            }
            Self::Medium => "the rom runs recovery.bin only from an sd card or emmc",
            Self::Signed => {
                "it starts signed systems only, and its configuration would have to be signed"
            }
            Self::Bootconf => "its configuration cannot be read",
            Self::Frozen => "its configuration says FREEZE_VERSION=1",
            Self::Protected => "the eeprom is protected from writing",
            Self::NoFiles => "no image for this chip on partition 1",
            Self::Trial => "a slot is tried or armed, or the booted one is not the default",
            Self::Attempts => "how often it was tried cannot be read",
            Self::Old(version) => {
                return write!(f, "the image of {version} is older than what is wanted");
            }
            Self::Manufacture(image, board) => {
                return write!(f, "the image has MFG_VER {image}, the board needs {board}");
            }
            Self::Files(why) => return write!(f, "{why}"),
            Self::Exhausted(version, count) => {
                return write!(
                    f,
                    "{version} was tried {count} times and does not run: never again"
                );
            }
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests;
