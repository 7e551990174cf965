// SPDX-License-Identifier: MIT OR Apache-2.0
//! The facts, read once, and the acts that follow from them.

use bootsel::state::{Act, Command, Facts, Loader, Selector, SlotFacts, Status, decide};
use bootsel::{Slot, log};

use crate::disk::{Disk, number};
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::root::Root;
use crate::selector::Environment;
use crate::slot::{Depth, Slotted, look};
use crate::{emmc, firmware, machine, say, this_boot};

/// Everything that was found out.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) root: Root,
    pub(crate) disk: Disk,
    pub(crate) environment: Environment,
    pub(crate) booted: Option<Slot>,
    pub(crate) tryboot: Option<bool>,
    pub(crate) boot_id: String,
    pub(crate) slots: [Slotted; 2],
    pub(crate) journal: Journal,
    /// Whether trials are known, with the files of slot a, and of slot b.
    pub(crate) firmware: [std::result::Result<(), String>; 2],
}

impl System {
    pub(crate) fn look(root: &Root, disk: Disk, depth: impl Fn(Slot) -> Depth) -> Self {
        let both = [Slot::A, Slot::B];
        let environment = Environment::look(root, &disk);
        let grub = environment.found.has_grub();
        let knows = |slot| match environment.found.loader {
            Loader::Tryboot => firmware::knows_tryboot(root, &disk, slot),
            Loader::Grub => environment.grub_knows_trials(),
        };
        Self {
            firmware: both.map(knows),
            booted: this_boot::booted(root),
            tryboot: this_boot::tryboot(root),
            boot_id: this_boot::boot_id(root),
            slots: both.map(|slot| look(root, &disk, slot, depth(slot), grub)),
            journal: Journal::read(root),
            environment,
            root: root.clone(),
            disk,
        }
    }

    /// Hands the facts to a decision.
    fn with<T>(&self, both: bool, decision: impl FnOnce(&Facts<'_>) -> T) -> T {
        let slots = self.slots.each_ref().map(|slot| SlotFacts {
            revision: slot.revision.clone(),
            verified: slot.verified.clone(),
            starts: slot.starts.clone(),
        });
        let [a, b] = &slots;
        // a slot that is to be overwritten need not be able to
        let counts = |slot: Slot| both || self.booted != Some(slot.other());
        let mut firmware = [Slot::A, Slot::B].into_iter().zip(&self.firmware);
        let firmware = firmware.find(|(slot, knows)| counts(*slot) && knows.is_err());
        let firmware = firmware.map_or(&Ok(()), |(_, knows)| knows);
        let way = &self.environment.way();
        let found = &self.environment.found;
        decision(&Facts {
            loader: found.loader,
            selector: &found.selector,
            other: found.other.as_ref(),
            booted: self.booted,
            tryboot: self.tryboot,
            flag: self.environment.is_armed(),
            pending: found.pending.unwrap_or_default(),
            boot_id: &self.boot_id,
            slots: [a, b],
            log: &self.journal.records(),
            firmware,
            way,
        })
    }

    pub(crate) fn status(&self) -> Status {
        self.with(true, |facts| facts.status())
    }

    pub(crate) fn plan(&self, command: Command) -> Result<Vec<Act>> {
        let both = !matches!(command, Command::Install { .. });
        let plan = self.with(both, |facts| decide(facts, command));
        plan.map_err(Error::from)
    }

    pub(crate) fn slot(&self, slot: Slot) -> &Slotted {
        let [a, b] = &self.slots;
        match slot {
            Slot::A => a,
            Slot::B => b,
        }
    }

    /// What does not fit together. Nothing of it decides anything.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let told = self.root.tree_number("chosen/bootloader/partition").filter(|told| *told != 0);
        if let (Some(told), Some(booted)) = (told, self.booted)
            && told != u32::from(number(booted))
        {
            warnings.push(format!(
                "the firmware says that it booted partition {told}, the command line is that of slot {booted}"
            ));
        }
        warnings.extend(self.other_problem());
        if !self.journal.is_whole() {
            warnings.push(
                "the log cannot be read, or not written: pivot/log/init.log on DATA".to_owned(),
            );
        }
        warnings.extend(machine::data(&self.root).and_then(|data| data.problem()));
        warnings.extend(emmc::overdue(&self.root, &self.disk));
        let runs = machine::report(&self.root).revision;
        let names = self.booted.and_then(|slot| self.slot(slot).revision.as_ref());
        if let (Some(runs), Some(names)) = (runs, names)
            && runs != *names
        {
            warnings.push(format!(
                "revision {runs} runs, the booted slot is one for {names}, which was missing or broken"
            ));
        }
        warnings
    }

    /// What the selector of the other kind of machine says, if it does not fit.
    fn other_problem(&self) -> Option<String> {
        let found = &self.environment.found;
        let file = found.loader.other().selector();
        match (&found.selector, found.other.as_ref()?) {
            (_, Selector::Broken(why)) => Some(format!("{why}; `bootsel repair` writes it anew")),
            (Selector::Set { default, .. }, Selector::Set { default: other, .. })
                if default != other =>
            {
                Some(format!(
                    "{file} names slot {other}, {} slot {default}: `bootsel commit` in slot {default} makes them the same",
                    found.loader.selector()
                ))
            }
            _ => None,
        }
    }

    /// Does one thing of a plan, all but [`Act::Write`].
    pub(crate) fn act(&mut self, act: Act, reboot: bool) -> Result<()> {
        match act {
            Act::Log(event, slot) => self.record(event, slot, ""),
            Act::Select { default, .. } => {
                self.environment.select(self.environment.found.loader, default)?;
                say(&format!(
                    "slot {default} is the default now, slot {} the other one",
                    default.other()
                ));
                Ok(())
            }
            Act::SelectOther { default, .. } => {
                let loader = self.environment.found.loader.other();
                self.environment.select(loader, default)?;
                say(&format!("slot {default} is the default in {}, too", loader.selector()));
                Ok(())
            }
            Act::SetFlag => {
                say(&self.environment.arm()?);
                if !reboot && self.environment.is_armed() != Some(true) {
                    return Err(Error::Failed("the tryboot flag does not stay set".to_owned()));
                }
                Ok(())
            }
            Act::ClearFlag => self.environment.disarm(),
            Act::Reboot if reboot => {
                say(self.environment.reboot()?);
                Ok(())
            }
            Act::Reboot => {
                say("not restarted: --no-reboot");
                Ok(())
            }
            Act::Write(_) => Err(Error::Failed("nothing to write".to_owned())),
        }
    }

    /// Without the log a device must still be able to leave a slot or to keep one: only what begins a new attempt
    /// needs it.
    pub(crate) fn record(&mut self, event: &str, slot: Slot, message: &str) -> Result<()> {
        let revision = self.slot(slot).revision.clone().unwrap_or_default();
        let written = self.journal.write(event, slot, &revision, &self.boot_id, message);
        match written {
            Err(why) if ![log::ARMED, log::INSTALL].contains(&event) => {
                say(&format!("warning: {why}"));
                Ok(())
            }
            written => written,
        }
    }
}
