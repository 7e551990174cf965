// SPDX-License-Identifier: MIT OR Apache-2.0
//! The revision: which one boots, and its images mounted.
//!
//! At boot its files are looked at for presence, size and squashfs superblock, no more: hashing 300 MB would cost a Pi
//! Zero ten seconds. Their content is verified when they are installed. Which revision boots is decided by
//! [`bootsel::choose`]; a revision that cannot be mounted goes back there as broken.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Display};

use bootsel::choose::{self, Candidate, Choice, Facts, State};
use bootsel::format;
use bootsel::manifest::{self, Manifest, RevisionId};
use bootsel::text::Decimal;
use mount::Error;
use mount::new_root::Root;
use mount::{file, image};
use rustix::fd::AsFd;
use rustix::fs::OFlags;

use crate::boot::Boot;
use crate::kmsg::say;
use crate::switch_root;

/// Where the images of the running kernel's modules and of the firmware are mounted.
pub(crate) const MODULES: &str = "/run/pivot/modules";
const FIRMWARE: &str = "/run/pivot/firmware";
/// Below [`crate::data::DATA`].
const REVISIONS: &str = "/run/pivot/data/pivot/revisions";
/// How many other revisions are looked at when the wanted one cannot be booted.
const OTHERS: usize = 64;
/// The first bytes of a squashfs (`SQUASHFS_MAGIC`, little-endian).
const SQUASHFS: &[u8] = b"hsqs";

/// A mounted image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) target: &'static str,
    /// Where the booted system looks for its content; `None` is the root itself.
    pub(crate) inside: Option<&'static str>,
}

impl Boot {
    /// Mounts the images of the revision that can be booted. Without `pivot.revision=` there is none.
    pub(crate) fn open_revision(&mut self) -> Result<(), Error> {
        let Some(given) = self.cmdline.revision else { return Ok(()) };
        let wrong = |cause: &dyn Display| {
            Error::new(format_args!("cannot use pivot.revision={given}: {cause}"))
        };
        let wanted: RevisionId =
            given.parse().map_err(|why: manifest::BadRevisionId| wrong(&why))?;
        if self.data.is_none() {
            return Err(wrong(&"there is no pivot.data= that it could lie on"));
        }
        let mut candidates = vec![look_at(&wanted, &self.release)];
        if !matches!(first_state(&candidates), Some(State::Complete | State::NoModulesImage)) {
            candidates.extend(others(&wanted, &self.release));
        }
        self.mount_one_of(&wanted, candidates)?;
        self.stage("revision");
        Ok(())
    }

    /// Decides and mounts until one holds: a revision that cannot be mounted is broken for the next decision, so
    /// there are at most two rounds for each.
    fn mount_one_of(
        &mut self,
        wanted: &RevisionId,
        mut candidates: Vec<Candidate>,
    ) -> Result<(), Error> {
        let mut tried: Vec<RevisionId> = Vec::new();
        loop {
            let (id, degraded) = self.choose(wanted, &candidates)?;
            // Chosen once more although it is broken: nothing else is left, and what is missing is tolerated.
            let again = tried.contains(&id);
            match self.mount_images(&id, again || degraded.is_some()) {
                Ok(()) => {
                    say!(Info, "revision {id}");
                    self.report.fact("revision", id.as_str());
                    self.revision = Some(id.as_str().into());
                    return degraded.map_or(Ok(()), |what| self.degraded(what.into()));
                }
                Err(why) if again => return Err(why),
                Err(why) => {
                    say!(Warn, "revision {id}: {why}");
                    if tried.is_empty() && candidates.len() == 1 {
                        candidates.extend(others(wanted, &self.release));
                    }
                    mark_broken(&mut candidates, &id, &why, self.images_have_root());
                    self.unmount_images();
                    tried.push(id);
                }
            }
        }
    }

    fn choose(
        &mut self,
        wanted: &RevisionId,
        candidates: &[Candidate],
    ) -> Result<(RevisionId, Option<String>), Error> {
        let facts = Facts {
            wanted,
            candidates,
            release: &self.release,
            trial: self.trial.is_some(),
            slot: self.cmdline.slot,
            fallback_used: self.data.as_ref().is_none_or(crate::data::Data::fallback_used),
        };
        match choose::revision(&facts) {
            Choice::Boot { id, degraded } => Ok((id, degraded)),
            Choice::OtherSlot { reason, .. } => {
                self.other_slot = true;
                Err(reason.into())
            }
            Choice::Rescue { reason } | Choice::Fail { reason } => Err(reason.into()),
        }
    }

    /// Mounts the root image first: whether it is usable decides what a broken other image means.
    fn mount_images(&mut self, id: &RevisionId, tolerant: bool) -> Result<(), Error> {
        let directory = directory(id);
        let root_wanted = self.cmdline.pivot_root.is_none();
        if root_wanted && file_exists(&directory, manifest::ROOT) {
            self.mount_image(&directory, manifest::ROOT, self.root_target(), None)?;
            let root = Root::open(self.root_target())?;
            let init = switch_root::find_init(&root, self.cmdline.init);
            // Without an init this is no root.
            init.inspect_err(|_| self.unmount_images())?;
        }
        let modules = manifest::modules_image(&self.release).unwrap_or_default();
        let others = [
            (modules.as_str(), MODULES, "lib/modules"),
            (manifest::FIRMWARE, FIRMWARE, "lib/firmware"),
        ];
        for (name, target, inside) in others {
            if !file_exists(&directory, name) {
                continue;
            }
            match self.mount_image(&directory, name, target, Some(inside)) {
                Err(why) if tolerant => say!(Warn, "{why}"),
                result => result?,
            }
        }
        self.set_firmware_path();
        Ok(())
    }

    fn mount_image(
        &mut self,
        directory: &str,
        name: &str,
        target: &'static str,
        inside: Option<&'static str>,
    ) -> Result<(), Error> {
        image::squashfs(&format!("{directory}/{name}"), target)?;
        self.images.push(Image { target, inside });
        if target == MODULES && !file::exists(&format!("{MODULES}/{}", self.release)) {
            return Err(Error::new(format_args!("{name} holds no directory {}", self.release)));
        }
        Ok(())
    }

    fn images_have_root(&self) -> bool {
        self.images.iter().any(|image| image.inside.is_none())
    }

    fn set_firmware_path(&self) {
        if self.images.iter().any(|image| image.target == FIRMWARE)
            && let Err(why) = modules::set_firmware_path("/sys", FIRMWARE)
        {
            say!(Warn, "{why}; firmware is found only where the root has /lib/firmware");
        }
    }
}

fn first_state(candidates: &[Candidate]) -> Option<&State> {
    candidates.first().map(|candidate| &candidate.state)
}

fn mark_broken(candidates: &mut [Candidate], id: &RevisionId, why: &Error, root_usable: bool) {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.id == *id) {
        candidate.state = State::Broken { reason: (**why).into(), root_usable };
    }
}

fn directory(id: &RevisionId) -> String {
    format!("{REVISIONS}/{id}")
}

/// The other revisions of the data partition.
fn others(wanted: &RevisionId, release: &str) -> Vec<Candidate> {
    let mut others = Vec::new();
    for name in file::names(REVISIONS).iter().take(OTHERS) {
        if let Ok(id) = name.parse::<RevisionId>()
            && id != *wanted
        {
            others.push(look_at(&id, release));
        }
    }
    others
}

/// What can be said of a revision without reading its images.
fn look_at(id: &RevisionId, release: &str) -> Candidate {
    let (version, state) = match read_manifest(id) {
        Ok(manifest) => (manifest.version().unwrap_or_default(), check(id, &manifest, release)),
        Err(why) => (0, State::Broken { reason: (*why).into(), root_usable: false }),
    };
    Candidate { id: id.clone(), version, state }
}

fn read_manifest(id: &RevisionId) -> Result<Manifest, Error> {
    let path = format!("{}/{}", directory(id), manifest::NAME);
    let bytes = file::read(&path, manifest::MAX_BYTES.saturating_add(1))?;
    let parsed =
        Manifest::parse(&bytes).map_err(|why| Error::new(format_args!("{path}: {why}")))?;
    match parsed.revision() {
        Some(named) if named == *id => Ok(parsed),
        _ => Err(Error::new(format_args!("{path} is the manifest of another revision"))),
    }
}

fn check(id: &RevisionId, manifest: &Manifest, release: &str) -> State {
    let directory = directory(id);
    for file in manifest.images() {
        if let Err(why) = check_file(&directory, file) {
            let root = manifest.file(manifest::ROOT);
            let root_usable = root.is_some_and(|root| check_file(&directory, root).is_ok());
            return State::Broken { reason: (*why).into(), root_usable };
        }
    }
    let image = manifest::modules_image(release).and_then(|name| manifest.file(&name));
    if image.is_some() { State::Complete } else { State::NoModulesImage }
}

/// Presence, size and the squashfs superblock.
fn check_file(directory: &str, wanted: &manifest::File) -> Result<(), Error> {
    let path = format!("{directory}/{}", wanted.name);
    let bad = |what: fmt::Arguments<'_>| Err(Error::new(format_args!("{path} {what}")));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = file::open_with(&path, flags)?;
    let found = uapi::stat::status(file.as_fd()).map_err(|why| Error::call("read", &path, why))?;
    if !found.is_file {
        return bad(format_args!("is not a file"));
    }
    if found.size != wanted.bytes {
        return bad(format_args!(
            "has {} bytes instead of {}",
            Decimal(found.size),
            Decimal(wanted.bytes)
        ));
    }
    let mut magic = [0; 4];
    let read =
        rustix::io::pread(&file, &mut magic, 0).map_err(|why| Error::call("read", &path, why))?;
    if wanted.name.ends_with(".squashfs") && magic.get(..read) != Some(SQUASHFS) {
        return bad(format_args!("is no squashfs"));
    }
    Ok(())
}

fn file_exists(directory: &str, name: &str) -> bool {
    file::exists(&format!("{directory}/{name}"))
}
