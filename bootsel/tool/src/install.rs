// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes a bundle to the slot that is neither booted nor the default, as it streams in.
//!
//! The slot's first sector is zeroed before anything else is changed and written after everything else is on the
//! disk and was read back: a slot that can be read is complete, with its revision, wherever the power was cut. Five
//! barriers see to that, and each is needed: behind both records of the log, behind both writes of the first sector, and
//! one for all that is written between.

mod progress;
mod revision;
mod volume;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bootsel::bundle::Member;
use bootsel::emmc::note::With;
use bootsel::emmc::shipped;
use bootsel::manifest::{self, Manifest, RevisionId};
use bootsel::state::{Act, Command};
use bootsel::{Slot, log};
use signed::{Bundle, Head, Keys};

use crate::area::{Area, SECTOR};
use crate::error::{Error, Result, failed, refused};
use crate::journal::Journal;
use crate::slot::look_at;
use crate::system::System;
use crate::{emmc, preflight, say};
use progress::Progress;
use revision::Staged;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    pub(crate) bundle: &'a Path,
    pub(crate) keys: PathBuf,
    pub(crate) allow_downgrade: bool,
    pub(crate) force: bool,
}

/// Nothing is written before the signature and everything else that can be known was found right.
pub(crate) fn install(mut system: System, options: &Options<'_>) -> Result<()> {
    let plan = system.plan(Command::Install { force: options.force })?;
    let target =
        plan.iter().find_map(|act| if let Act::Write(slot) = act { Some(*slot) } else { None });
    let Some(target) = target else { return Ok(()) };
    let unusable = |why| unusable(options.bundle, why);
    let head = Head::read(open(options.bundle)?).map_err(unusable)?;
    let keys = Keys::read(&options.keys).map_err(unusable)?;
    let texts = [head.manifest.clone(), head.signature.clone()];
    let bundle = head.verify(&keys).map_err(unusable)?;
    let id = judge(&system, &bundle.manifest, target, options.allow_downgrade)?;
    let running = system.slot(target.other()).manifest.as_ref();
    let bootloader = emmc::plan(&system.root, &system.disk, &bundle.manifest, running)?;
    let key = bundle.key.as_deref().unwrap_or_default();
    say(&format!("revision {id}, signed by {key}, goes to slot {target}"));
    let staged = Staged::plan(&system, &bundle.manifest, &id, target)?;
    // what is in use is found out before anything is written
    let area = system.disk.slot(target).open_to_write()?;

    let boot_id = system.boot_id.clone();
    system.journal.write(log::INSTALL, target, id.as_str(), &boot_id, "")?;
    area.put(0, &volume::NO_BOOT_SECTOR)?;
    let new = New { area, target, id, texts, staged, force: options.force };
    let written = new.write(&system, bundle, bootloader);
    written.map_err(|why| {
        Error::Failed(format!("{why}; slot {target} cannot be booted until an install succeeds"))
    })?;
    let id = new.id;
    // a bootloader was noted there, too
    system.journal = Journal::read(&system.root);
    system.journal.write(log::INSTALLED, target, id.as_str(), &boot_id, "")?;
    say(&format!("slot {target} holds revision {id}; `bootsel try` starts it"));
    Ok(())
}

/// What is to be in the slot.
struct New {
    area: Area,
    target: Slot,
    id: RevisionId,
    /// The manifest and its signature.
    texts: [Vec<u8>; 2],
    staged: Staged,
    force: bool,
}

impl New {
    /// The revision, then the slot; its first sector when all the rest is on the disk and was read back.
    fn write<R: Read>(
        &self,
        system: &System,
        bundle: Bundle<R>,
        bootloader: Option<emmc::Incoming>,
    ) -> Result<()> {
        let Self { area, target, staged, texts: [manifest, signature], .. } = self;
        emmc::forget(&system.root, *target)?;
        staged.begin()?;
        let beginning = receive(bundle, area, *target, staged)?;
        staged.finish(manifest, signature)?;
        staged.sync()?;
        say("reading all of it back");
        staged.compare(manifest, signature)?;
        let as_it_will_be = system.disk.slot(*target).open()?.beginning_with(beginning);
        self.verify(system, &as_it_will_be)?;
        if let Some(bootloader) = bootloader {
            let with = With { slot: *target, revision: self.id.clone() };
            bootloader.write(&staged.path(shipped::NAME), with)?;
        }
        area.put(0, &beginning)
    }

    /// Slot and revision from the disk, to the last byte. Only a slot that names this very revision may boot: the
    /// manifest speaks for the rest of the volume, and a builder may have packed the wrong one.
    fn verify(&self, system: &System, area: &Area) -> Result<()> {
        let Self { target, id, staged, .. } = self;
        let grub = system.environment.found.has_grub();
        let found = look_at(&system.root, area, *target, |name| staged.depth(name), grub);
        match (found.revision, found.verified, found.starts) {
            (Some(named), ..) if named != id.as_str() => Err(Error::Failed(format!(
                "boot.img is one for revision {named}, the bundle is revision {id}"
            ))),
            (_, Err(why), _) => Err(Error::Failed(why)),
            (_, _, Err(why)) if self.force => {
                say(&format!("warning: {why}; it is installed all the same"));
                Ok(())
            }
            (_, _, Err(why)) => {
                Err(Error::Failed(format!("{why} (--force installs it all the same)")))
            }
            _ => Ok(()),
        }
    }
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(failed(format!("cannot open {}", path.display())))?;
    Ok(Box::new(io::BufReader::with_capacity(1 << 18, file)))
}

/// A bundle that is not right is refused, a stream that breaks off is an error.
fn unusable(bundle: &Path, why: signed::Error) -> Error {
    match why {
        signed::Error::Read(..) => Error::Failed(why.to_string()),
        signed::Error::Stream(why) => failed(format!("cannot read {}", bundle.display()))(why),
        _ => Error::Refused(format!("{why}; nothing was changed")),
    }
}

/// Whether this revision may go there.
fn judge(
    system: &System,
    manifest: &Manifest,
    target: Slot,
    allow_downgrade: bool,
) -> Result<RevisionId> {
    let id = manifest.revision().ok_or_else(|| Error::Failed("no revision".to_owned()))?;
    let current = system.slot(target.other());
    if current.revision.as_deref() == Some(id.as_str()) {
        return refused(format!("revision {id} is the one that runs, in slot {}", target.other()));
    }
    let [new, old] = [Some(manifest), current.manifest.as_ref()]
        .map(|manifest| manifest.and_then(Manifest::version).unwrap_or_default());
    if new < old && !allow_downgrade {
        return refused(format!(
            "version {new} is older than {old}, which is committed; --allow-downgrade takes it"
        ));
    }
    preflight::this_board(&system.root, manifest).map_err(Error::Refused)?;
    let needs = manifest.get(manifest::REQUIRES_BOOTSEL);
    if needs.map_or(Ok(manifest::BOOTSEL_FILES), str::parse) != Ok(manifest::BOOTSEL_FILES) {
        return refused(format!(
            "revision {id} needs other files on partition 1, which no install writes: write its whole image"
        ));
    }
    let boot = manifest.file(manifest::BOOT).map_or(0, |boot| boot.bytes);
    let room = system.disk.slot(target).bytes;
    if boot > room {
        return refused(format!("the boot volume has {boot} bytes, slot {target} has {room}"));
    }
    Ok(id)
}

/// Takes the members as they come; gives back the volume's beginning, which is not on the disk yet.
fn receive<R: Read>(
    mut bundle: Bundle<R>,
    area: &Area,
    target: Slot,
    staged: &Staged,
) -> Result<[u8; SECTOR]> {
    let manifest = bundle.manifest.clone();
    let mut beginning = None;
    let broken = |why: signed::Error| Error::Failed(why.to_string());
    while let Some(member) = bundle.next_member().map_err(broken)? {
        match member {
            Member::Boot => {
                let boot = manifest.file(manifest::BOOT);
                let boot = boot.ok_or_else(|| Error::Failed("no boot.img".to_owned()))?;
                beginning = Some(volume::write(&mut bundle, area, &manifest, boot, target)?);
            }
            Member::File(file) => staged.file(&mut bundle, &file)?,
            Member::Manifest | Member::Signature => {}
        }
    }
    beginning.ok_or_else(|| Error::Failed("no boot.img".to_owned()))
}
