// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bootloader that a revision brings: written with its install, active with its commit. What was written waits in the
//! note, and whoever finds it due makes it active: `commit`, or after a cut of power any of the next runs.

use std::path::Path;

use bootsel::Slot;
use bootsel::emmc::Boot;
use bootsel::emmc::note::{Hash, Note, With};
use bootsel::emmc::shipped::{self, Follow};
use bootsel::log;
use bootsel::manifest::Manifest;

use super::card::Card;
use super::content::{self, Image, Wanted};
use super::{switch, target, write};
use crate::disk::Disk;
use crate::error::{Error, Result, refused};
use crate::journal::Journal;
use crate::root::Root;
use crate::say;
use crate::selector::Environment;
use crate::this_boot::{ThisBoot, boot_id};

/// A bootloader that comes with an install.
#[derive(Debug)]
pub(crate) struct Incoming {
    card: Card,
    wanted: Wanted,
    to: Boot,
}

/// Whether the next boot is a trial, whosever.
fn is_armed(root: &Root, disk: &Disk, boot: &ThisBoot) -> bool {
    let environment = Environment::look(root, disk);
    let flag = environment.is_armed();
    environment.found.pending == Some(true) || boot.with(|boot| boot.armed(flag))
}

/// A trial is to end with what it began with, or it has no way back.
pub(super) fn refuse_in_trial(root: &Root, disk: Option<&Disk>) -> Result<()> {
    let boot = ThisBoot::on(root, disk);
    if boot.uncommitted().is_some() {
        return refused(
            "this is a trial, and no trial changes the bootloader that both slots need: `bootsel commit` or `bootsel \
             rollback` first",
        );
    }
    if disk.is_some_and(|disk| is_armed(root, disk, &boot)) {
        return refused(
            "a trial is armed, and none changes the bootloader that both slots need: `bootsel cancel` calls it off",
        );
    }
    Ok(())
}

/// What is to be done about a note.
pub(super) fn state(root: &Root, disk: Option<&Disk>, note: &Note) -> Follow {
    // where the slots cannot be read nothing follows
    let Some(disk) = disk.filter(|_| note.with.is_some()) else { return Follow::Nothing };
    let boot = ThisBoot::on(root, Some(disk));
    let armed = is_armed(root, disk, &boot);
    boot.with(|facts| shipped::follow(note, facts, &boot.revision, armed))
}

/// Says that a bootloader is due.
pub(crate) fn overdue(root: &Root, disk: &Disk) -> Option<String> {
    let note = content::read_note(root).ok()??;
    let due = state(root, Some(disk), &note) == Follow::Due;
    let With { slot, revision } = note.with.filter(|_| due)?;
    Some(format!(
        "the bootloader of revision {revision}, which is committed in slot {slot}, is not active yet: `bootsel commit`"
    ))
}

/// Makes active what was written for the slot that is committed and runs; whether there was something to do. It may be
/// repeated after a cut: what is active already stays so.
pub(crate) fn follow(root: &Root, disk: &Disk) -> Result<bool> {
    let Some(note) = content::read_note(root)? else { return Ok(false) };
    if state(root, Some(disk), &note) != Follow::Due {
        return Ok(false);
    }
    let card = Card::find(root, None)?;
    card.close_what_is_open()?;
    switch(&card, &Wanted { bytes: note.bytes, sha256: note.sha256 })?;
    if let Some(with) = &note.with {
        record(root, with, &format!("{}: active", card.name_of(note.partition)));
    }
    content::write_note(root, &Note { with: None, ..note })?;
    Ok(true)
}

/// Nothing waits any more, whatever it waited for: gives back what that was.
pub(super) fn forget_waiting(root: &Root) -> Result<Option<With>> {
    // a note that cannot be read is never due
    let Some(note) = content::read_note(root).ok().flatten() else { return Ok(None) };
    let Some(with) = note.with else { return Ok(None) };
    content::write_note(root, &Note { with: None, ..note })?;
    Ok(Some(with))
}

/// The slot's content goes, and what waited for its commit waits no more.
pub(crate) fn forget(root: &Root, slot: Slot) -> Result<()> {
    match content::read_note(root).ok().flatten().and_then(|note| note.with) {
        Some(with) if with.slot == slot => forget_waiting(root).map(drop),
        _ => Ok(()),
    }
}

/// Whether the bootloader of a revision can be installed here; none where it brings none, or where it is active already.
/// `running` is the manifest of the revision that runs. Nothing is written, but what is due is done first: the partition
/// that would be written may be the one that a committed slot waits for.
pub(crate) fn plan(
    root: &Root,
    disk: &Disk,
    new: &Manifest,
    running: Option<&Manifest>,
) -> Result<Option<Incoming>> {
    let image = shipped::bootloader(new, running);
    let Some(image) = image.map_err(|why| Error::Refused(why.to_string()))? else {
        return Ok(None);
    };
    let card = Card::find(root, None).map_err(|why| match why {
        Error::Refused(why) => Error::Refused(format!("it brings a bootloader, and {why}")),
        failed @ Error::Failed(_) => failed,
    })?;
    follow(root, disk)?;
    let wanted = Wanted { bytes: image.bytes, sha256: Hash(image.sha256) };
    Ok(target(&card, &wanted)?.map(|to| Incoming { card, wanted, to }))
}

impl Incoming {
    /// Writes it from the revision's file. Verified, and noted, when this returns.
    pub(crate) fn write(&self, file: &Path, with: With) -> Result<()> {
        let image = Image::read(file, self.wanted.bytes)?;
        if image.wanted() != self.wanted {
            let name = file.display();
            return Err(Error::Failed(format!("{name} is not what the manifest says")));
        }
        self.card.close_what_is_open()?;
        write(&self.card, self.to, &image)?;
        let (name, root, slot) = (self.card.name_of(self.to), &self.card.root, with.slot);
        record(root, &with, &format!("{name}: written, active with the commit"));
        let Wanted { bytes, sha256 } = self.wanted;
        content::write_note(root, &Note { partition: self.to, bytes, sha256, with: Some(with) })?;
        say(&format!("{name} becomes active with the commit of slot {slot}"));
        Ok(())
    }
}

/// The log is a witness: without it everything works.
fn record(root: &Root, with: &With, message: &str) {
    let mut journal = Journal::read(root);
    let written =
        journal.write(log::EMMC, with.slot, with.revision.as_str(), &boot_id(root), message);
    if let Err(why) = written {
        say(&format!("warning: {why}"));
    }
}
