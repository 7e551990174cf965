// SPDX-License-Identifier: MIT OR Apache-2.0
//! The revision: which one boots, and its images mounted.
//!
//! At boot its files are looked at for presence, size and squashfs superblock, no more: hashing 300 MB would cost a Pi
//! Zero ten seconds. Their content is verified when they are installed. Which revision boots is decided by
//! [`choose`]; a revision that cannot be mounted goes back there as broken.

use bootsel::list::List;
use bootsel::manifest::{self, BadRevisionId, Listed, View};
use mount::new_root::Root;
use mount::text::decimal;
use mount::{Error, error, file, image, text};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use uapi::memory;

use crate::boot::Boot;
use crate::choose::{self, Candidate, Choice, Facts, State};
use crate::kmsg::{say, warn};
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

/// The wanted revision and others.
type Candidates = List<Candidate, { 1 + OTHERS }>;

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
        let wrong = |cause| Err(error!("cannot use pivot.revision={}: {}", given, cause));
        if !manifest::is_revision(given) {
            return wrong(BadRevisionId::TEXT);
        }
        if self.data.is_none() {
            return wrong("there is no pivot.data= that it could lie on");
        }
        self.mount_one_of(given)?;
        self.stage("revision");
        Ok(())
    }

    /// Decides and mounts until one holds: a revision that cannot be mounted is broken for the next decision, so
    /// there are at most two rounds for each.
    fn mount_one_of(&mut self, wanted: &'static str) -> Result<(), Error> {
        let room = memory::bytes(manifest::MAX_BYTES + 1);
        let first = look_at(wanted, self.release, room);
        let mut candidates = Candidates::new(first);
        candidates.push(first);
        if matches!(first.state, State::Broken { .. }) {
            add_others(&mut candidates, wanted, self.release, room);
        }
        loop {
            let (id, degraded) = self.choose(wanted, &candidates)?;
            // Chosen once more although it is broken: nothing else is left, and what is missing is tolerated.
            let again = candidates.iter().any(|one| one.id == id && one.was_tried);
            match self.mount_images(id, again || degraded.is_some()) {
                Ok(()) => {
                    say!(Info, "revision {}", id);
                    self.report.fact("revision", id);
                    self.revision = Some(id);
                    return degraded.map_or(Ok(()), |what| self.degraded(what.into()));
                }
                Err(why) if again => return Err(why),
                Err(why) => {
                    say!(Warn, "revision {}: {}", id, why);
                    if candidates.len() == 1 {
                        add_others(&mut candidates, wanted, self.release, room);
                    }
                    let root_usable = self.images.iter().any(|image| image.inside.is_none());
                    for one in candidates.iter_mut().filter(|one| one.id == id) {
                        one.state = State::Broken { reason: why.line(), root_usable };
                        one.was_tried = true;
                    }
                    self.unmount_images();
                }
            }
        }
    }

    fn choose(
        &mut self,
        wanted: &'static str,
        candidates: &[Candidate],
    ) -> Result<(&'static str, Option<&'static str>), Error> {
        let facts = Facts {
            wanted,
            candidates,
            release: self.release,
            trial: self.trial.is_some(),
            slot: self.cmdline.slot,
            // What is not counted must not be done.
            fallback_used: self
                .data
                .as_ref()
                .is_none_or(|data| data.read_only || data.fallback_used != Some(false)),
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
    fn mount_images(&mut self, id: &str, tolerant: bool) -> Result<(), Error> {
        let directory = directory(id);
        let root_wanted = self.cmdline.pivot_root.is_none();
        if root_wanted && file_exists(directory, manifest::ROOT) {
            self.mount_image(directory, manifest::ROOT, self.root_target(), None)?;
            let root = Root::open(self.root_target())?;
            let init = switch_root::find_init(&root, self.cmdline.init);
            // Without an init this is no root.
            init.inspect_err(|_| self.unmount_images())?;
        }
        let others = [
            (text!("modules_{}.squashfs", self.release), MODULES, "lib/modules"),
            (manifest::FIRMWARE, FIRMWARE, "lib/firmware"),
        ];
        for (name, target, inside) in others {
            if !file_exists(directory, name) {
                continue;
            }
            match self.mount_image(directory, name, target, Some(inside)) {
                Err(why) if tolerant => warn(&why),
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
        image::squashfs(text!("{}/{}", directory, name), target)?;
        self.images.push(Image { target, inside });
        if target == MODULES && !file::exists(text!("{}/{}", MODULES, self.release)) {
            return Err(error!("{} holds no directory {}", name, self.release));
        }
        Ok(())
    }

    fn set_firmware_path(&self) {
        if self.images.iter().any(|image| image.target == FIRMWARE)
            && let Err(why) = modules::set_firmware_path("/sys", FIRMWARE)
        {
            say!(Warn, "{}; firmware is found only where the root has /lib/firmware", why);
        }
    }
}

fn directory(id: &str) -> &'static str {
    text!("{}/{}", REVISIONS, id)
}

/// The other revisions of the data partition.
fn add_others(candidates: &mut Candidates, wanted: &str, release: &str, room: &mut [u8]) {
    for id in file::names(REVISIONS).iter().take(OTHERS) {
        if manifest::is_revision(id) && *id != wanted {
            candidates.push(look_at(id, release, room));
        }
    }
}

/// What can be said of a revision without reading its images. Its manifest is read into `room`.
#[inline(never)]
fn look_at(id: &'static str, release: &str, room: &mut [u8]) -> Candidate {
    let mut candidate = Candidate { id, version: 0, was_tried: false, state: State::Complete };
    candidate.state = match read_manifest(id, room) {
        Ok(manifest) => {
            candidate.version = manifest.version().unwrap_or_default();
            check(id, manifest, release)
        }
        Err(why) => State::Broken { reason: why.line(), root_usable: false },
    };
    candidate
}

fn read_manifest<'a>(id: &str, room: &'a mut [u8]) -> Result<View<'a>, Error> {
    let path = text!("{}/{}", directory(id), manifest::NAME);
    let manifest = View::parse(file::read_to(path, room)?).map_err(|why| match why {
        manifest::Error::TooLong => {
            error!("{}: manifest is longer than {} bytes", path, decimal(MANIFEST))
        }
        manifest::Error::Line(number, problem) => {
            error!("{}: manifest line {}: {}", path, decimal(number as u64), problem)
        }
    })?;
    if manifest.get("revision") == Some(id) {
        Ok(manifest)
    } else {
        Err(error!("{} is the manifest of another revision", path))
    }
}

/// The same number as one of 64 bits.
const MANIFEST: u64 = manifest::MAX_BYTES as u64;

fn check(id: &str, manifest: View<'_>, release: &str) -> State {
    let directory = directory(id);
    let is_image = |file: &Listed<'_>| file.name != manifest::BOOT;
    for file in manifest.files().filter(is_image) {
        if let Err(why) = check_file(directory, &file) {
            let root = manifest.file(manifest::ROOT);
            let root_usable = root.is_some_and(|root| check_file(directory, &root).is_ok());
            return State::Broken { reason: why.line(), root_usable };
        }
    }
    let is_ours = |file: Listed<'_>| manifest::is_modules_image(file.name, release);
    if manifest.files().any(is_ours) { State::Complete } else { State::NoModulesImage }
}

/// Presence, size and the squashfs superblock.
#[inline(never)]
fn check_file(directory: &str, wanted: &Listed<'_>) -> Result<(), Error> {
    let path = text!("{}/{}", directory, wanted.name);
    let bad = |what| Err(error!("{} {}", path, what));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = file::open_with(path, flags)?;
    let found = uapi::stat::status(file.as_fd()).map_err(|why| Error::call("read", path, why))?;
    if !found.is_file {
        return bad("is not a file");
    }
    if found.size != wanted.bytes {
        let (found, wanted) = (decimal(found.size), decimal(wanted.bytes));
        return bad(text!("has {} bytes instead of {}", found, wanted));
    }
    let mut magic = [0; 4];
    let read = uapi::file::pread(file.as_fd(), &mut magic, 0)
        .map_err(|why| Error::call("read", path, why))?;
    if wanted.name.ends_with(".squashfs") && magic.get(..read) != Some(SQUASHFS) {
        return bad("is no squashfs");
    }
    Ok(())
}

fn file_exists(directory: &str, name: &str) -> bool {
    file::exists(text!("{}/{}", directory, name))
}
