// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the device tool says and does about the two slots, decided from facts alone.
//!
//! The selector (`autoboot.txt` or `grubenv`) and each slot's own command line are the truth. The log is a witness: it gives the
//! history of the last attempt, and decides only where caution costs nothing. Whatever is interrupted, and wherever,
//! leaves a default that verified.

mod attempt;
pub mod evidence;
mod plan;

use crate::{Slot, autoboot, grubenv, log::Record};
use alloc::string::String;

pub use attempt::{Attempt, Outcome, expected_in};
pub use plan::{Act, Command, Plan, Refusal, decide};

/// What chooses the slot at power-on. A disk can have the selectors of both, for one kind of machine each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// A Raspberry Pi's firmware: `autoboot.txt`, and the one-shot flag `tryboot`.
    Tryboot,
    /// GRUB: `grubenv` says both.
    Grub,
}

impl Loader {
    /// `tryboot` or `grub`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tryboot => "tryboot",
            Self::Grub => "grub",
        }
    }

    /// The file on partition 1 that it chooses by.
    pub fn selector(self) -> &'static str {
        match self {
            Self::Tryboot => autoboot::NAME,
            Self::Grub => grubenv::NAME,
        }
    }

    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::Tryboot => Self::Grub,
            Self::Grub => Self::Tryboot,
        }
    }
}

/// What the selector says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Partitions of the two slots, and not the same.
    Set {
        /// The slot that boots.
        default: Slot,
        /// The slot that a trial starts; `None` where that is no slot, or no trial in our sense.
        trial: Option<Slot>,
    },
    /// It names no slot, or cannot be read.
    Broken(String),
}

/// What was found out about a slot and the revision that its command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotFacts {
    /// `pivot.revision=`, where the slot can be read.
    pub revision: Option<String>,
    /// Whether slot and revision are what their manifest says, or what is wrong.
    pub verified: Result<(), String>,
    /// Whether the firmware is expected to start it on this board, or why not.
    pub starts: Result<(), String>,
}

/// How a trial can be asked for on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By `/dev/vcio`, read back.
    Mailbox,
    /// By the argument of the reboot, which this kernel passes on.
    Reboot,
    /// By a variable in `grubenv`, which stays until GRUB takes it out.
    Grubenv,
    /// Nothing shows that the kernel passes it on.
    Unknown(String),
}

/// Everything that is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What chose the booted slot.
    pub loader: Loader,
    /// Its selector.
    pub selector: &'a Selector,
    /// That of the other loader, where the disk has it.
    pub other: Option<&'a Selector>,
    /// The booted slot, from its command line.
    pub booted: Option<Slot>,
    /// Whether firmware or GRUB say that this boot was asked for as a trial; `None` where that is not told.
    pub tryboot: Option<bool>,
    /// Whether the flag is set for the next boot; `None` where that cannot be read.
    pub flag: Option<bool>,
    /// Whether `grubenv` asks for a trial that GRUB did not take yet, whatever runs now.
    pub pending: bool,
    /// Which boot this is.
    pub boot_id: &'a str,
    /// Slot a and slot b.
    pub slots: [&'a SlotFacts; 2],
    /// Oldest first.
    pub log: &'a [Record<&'a str>],
    /// Whether firmware or GRUB are shown to know of trials, or why not.
    pub firmware: &'a Result<(), String>,
    /// How the flag can be set.
    pub way: &'a Way,
}

/// What is the case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The slot that boots without the flag, where the selector names one.
    pub default: Option<Slot>,
    /// The slot that runs.
    pub booted: Option<Slot>,
    /// Whether it runs for trial, uncommitted.
    pub trial: bool,
    /// Whether the next boot is a trial of the other slot.
    pub armed: bool,
    /// The last trial that the log knows of.
    pub attempt: Option<Attempt>,
}

impl Facts<'_> {
    /// The slot that boots without the flag.
    pub fn default_slot(&self) -> Option<Slot> {
        match self.selector {
            Selector::Set { default, .. } => Some(*default),
            Selector::Broken(_) => None,
        }
    }

    /// What was found out about a slot.
    pub fn slot(&self, slot: Slot) -> &SlotFacts {
        let [a, b] = self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// What is the case.
    pub fn status(&self) -> Status {
        Status {
            default: self.default_slot(),
            booted: self.booted,
            trial: self.trial().is_some(),
            armed: self.armed(),
            attempt: attempt::last(self),
        }
    }

    /// The slot that runs for trial.
    fn trial(&self) -> Option<Slot> {
        self.default_slot()?;
        self.this_boot().uncommitted()
    }

    fn this_boot(&self) -> ThisBoot<'_> {
        ThisBoot {
            default: self.default_slot(),
            booted: self.booted,
            tryboot: self.tryboot,
            pending: self.pending,
            boot_id: self.boot_id,
            log: self.log,
        }
    }

    /// Whether the next boot is a trial.
    fn armed(&self) -> bool {
        self.this_boot().armed(self.flag)
    }
}

/// What can be known without looking at the slots: enough to end a trial.
#[derive(Clone, Copy, Debug)]
pub struct ThisBoot<'a> {
    /// The slot that boots without the flag; `None` where the selector cannot be read or names none.
    pub default: Option<Slot>,
    /// As in [`Facts`], like the others.
    pub booted: Option<Slot>,
    /// See [`Facts::tryboot`].
    pub tryboot: Option<bool>,
    /// See [`Facts::pending`].
    pub pending: bool,
    /// See [`Facts::boot_id`].
    pub boot_id: &'a str,
    /// See [`Facts::log`].
    pub log: &'a [Record<&'a str>],
}

impl ThisBoot<'_> {
    /// The slot that runs for trial and was neither committed nor given up. A selector that cannot be read is no
    /// commit: where the disk fails in a trial, a restart is the way back.
    pub fn uncommitted(&self) -> Option<Slot> {
        let booted = self.booted.filter(|booted| self.default != Some(*booted))?;
        let trial = match self.tryboot {
            // the one-shot fallback sets the flag, too, and has nothing to go back to
            Some(flag) => flag && !attempt::fell_back(self.log, self.boot_id),
            // firmware that does not tell: the log knows what was armed for this boot
            None => attempt::expected_in(self.log, self.boot_id, booted),
        };
        (trial && !attempt::given_up(self.log, self.boot_id, booted)).then_some(booted)
    }

    /// Whether the next boot is a trial: by the flag, or, where that cannot be read, the log.
    pub fn armed(&self, flag: Option<bool>) -> bool {
        flag.unwrap_or_else(|| attempt::armed_in(self.log, self.boot_id))
    }
}

#[cfg(test)]
mod tests;
