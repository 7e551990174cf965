// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a slot holds, and whether slot and revision are what their manifest says.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bootsel::manifest::{self, Manifest, RevisionId, modules_image};
use bootsel::{Slot, fat, slot};
use sha2::{Digest, Sha256};

use crate::area::{Area, CHUNK};
use crate::disk::Disk;
use crate::error::{Error, Result, failed};
use crate::preflight;
use crate::root::{Root, read, word};

const CMDLINE: &str = "cmdline.txt";
/// What lies in the slot: a line for each kernel with its release, its file, and the archives that it is given.
const KERNELS: &str = "kernels.txt";
/// Neither of the two is longer.
const TEXT: u32 = 64 << 10;

/// How much of a slot is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Presence and sizes.
    Quick,
    /// Every byte.
    Hashed,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Slotted {
    pub(crate) revision: Option<String>,
    pub(crate) manifest: Option<Manifest>,
    pub(crate) verified: std::result::Result<(), String>,
    /// Whether the firmware is expected to start it on this board; asked only where every byte is looked at.
    pub(crate) starts: std::result::Result<(), String>,
}

impl Slotted {
    const NONE: Self = Self { revision: None, manifest: None, verified: Ok(()), starts: Ok(()) };

    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<&String> {
        self.verified.as_ref().and(self.starts.as_ref()).err()
    }
}

/// Looks at a slot and its revision; `grub`: it has to boot with that.
pub(crate) fn look(root: &Root, disk: &Disk, slot: Slot, depth: Depth, grub: bool) -> Slotted {
    match disk.slot(slot).open() {
        Ok(area) => look_at(root, &area, slot, |_| depth, grub),
        Err(why) => Slotted { verified: Err(why.to_string()), ..Slotted::NONE },
    }
}

/// The same in an open partition, each file as deep as is asked for.
pub(crate) fn look_at(
    root: &Root,
    area: &Area,
    slot: Slot,
    depth: impl Fn(&str) -> Depth,
    grub: bool,
) -> Slotted {
    let mut found = Slotted::NONE;
    let boot = depth(manifest::BOOT);
    let mut checked = check(root, area, slot, depth, &mut found);
    if let Some(revision) = found.revision.as_deref().filter(|_| grub && boot == Depth::Hashed) {
        checked = checked.and_then(|()| preflight::grub(area, revision));
    }
    found.verified = checked.map_err(|why| why.to_string());
    if let Some(manifest) = found.manifest.as_ref().filter(|_| boot == Depth::Hashed) {
        found.starts = preflight::starts(root, area, slot, manifest).map_err(|why| why.to_string());
    }
    found
}

fn check(
    root: &Root,
    area: &Area,
    slot: Slot,
    depth: impl Fn(&str) -> Depth,
    found: &mut Slotted,
) -> Result<()> {
    let bad = |what: String| Err(Error::Failed(what));
    let volume = area.volume()?;
    let text = |name| match area.content(&volume, name, TEXT)? {
        Some(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        None => Err(Error::Failed(format!("there is no {name}"))),
    };
    let cmdline = text(CMDLINE)?;
    let Some(revision) = word(&cmdline, "pivot.revision") else {
        return bad(format!("{CMDLINE} has no pivot.revision="));
    };
    found.revision = Some(revision.to_owned());
    let letter = word(&cmdline, "pivot.slot").unwrap_or_default();
    if letter != slot.as_str() {
        return bad(format!("{CMDLINE} has pivot.slot={letter}"));
    }
    let id: RevisionId = revision.parse().map_err(failed(CMDLINE))?;
    let manifest = read_manifest(root, &id)?;
    found.manifest = Some(manifest.clone());
    kernels(area, &volume, &text(KERNELS)?, &manifest)?;
    let directory = root.pivot("revisions").join(id.as_str());
    for file in manifest.images() {
        check_file(&directory, file, depth(&file.name))?;
    }
    if depth(manifest::BOOT) == Depth::Quick {
        return Ok(());
    }
    preflight::this_board(root, &manifest).map_err(Error::Failed)?;
    match manifest.file(manifest::BOOT) {
        Some(boot) => hash_slot(area, &manifest, boot, slot),
        None => Ok(()),
    }
}

/// The manifest of a revision on the data partition.
pub(crate) fn read_manifest(root: &Root, id: &RevisionId) -> Result<Manifest> {
    let path = root.pivot("revisions").join(id.as_str()).join(manifest::NAME);
    let manifest = Manifest::parse(&read(&path)?).map_err(failed(path.display()))?;
    if manifest.revision().as_ref() != Some(id) {
        let path = path.display();
        return Err(Error::Failed(format!("{path} is the manifest of another revision")));
    }
    Ok(manifest)
}

/// Whether everything that each kernel needs is there, so that every board that the slot is for finds its own.
fn kernels(area: &Area, volume: &fat::Volume, text: &str, manifest: &Manifest) -> Result<()> {
    let mut lines =
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).peekable();
    if lines.peek().is_none() {
        return Err(Error::Failed(format!("{KERNELS} lists no kernel")));
    }
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        let release = words.next().unwrap_or_default();
        for name in words {
            if area.find(volume, name)?.is_none_or(|file| file.bytes == 0) {
                return Err(Error::Failed(format!(
                    "{name} of kernel {release} is missing or empty"
                )));
            }
        }
        let image = modules_image(release).filter(|name| manifest.file(name).is_some());
        if image.is_none() {
            return Err(Error::Failed(format!("no modules image for kernel {release}")));
        }
    }
    Ok(())
}

/// A file of a revision.
fn check_file(directory: &Path, wanted: &manifest::File, depth: Depth) -> Result<()> {
    let path = directory.join(&wanted.name);
    let name = path.display();
    let meta = std::fs::symlink_metadata(&path).map_err(failed(format!("cannot read {name}")))?;
    if !meta.is_file() {
        return Err(Error::Failed(format!("{name} is not a file")));
    }
    if meta.len() != wanted.bytes {
        return Err(Error::Failed(format!("{name} has {} bytes of {}", meta.len(), wanted.bytes)));
    }
    if depth == Depth::Hashed && hash_file(&path)? != wanted.sha256 {
        return Err(Error::Failed(format!("{name}: the content is not what its manifest says")));
    }
    Ok(())
}

/// Opens a file so that what is read is what the disk has: what the page cache holds of it is dropped.
pub(crate) fn uncached(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(failed(format!("cannot read {}", path.display())))?;
    // only a hint, and dirty pages stay: whoever wrote the file synced it
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    Ok(file)
}

/// Hash of a file as the disk has it.
pub(crate) fn hash_file(path: &Path) -> Result<[u8; 32]> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = uncached(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        let count = file.read(&mut buffer).map_err(failed(cannot()))?;
        if count == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}

/// Reads the whole volume from the disk; its letter counts as not set.
fn hash_slot(area: &Area, manifest: &Manifest, boot: &manifest::File, slot: Slot) -> Result<()> {
    let letter = manifest.slot_letter().unwrap_or(u64::MAX);
    if boot.bytes > area.bytes() {
        return Err(Error::Failed("boot.img is larger than the slot".to_owned()));
    }
    let (mut hash, mut buffer, mut at) = (Sha256::new(), vec![0; CHUNK], 0);
    while at < boot.bytes {
        let count = usize::try_from(boot.bytes - at).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..count).unwrap_or_default();
        area.read(at, part)?;
        if let Some(byte) =
            letter.checked_sub(at).and_then(|at| part.get_mut(usize::try_from(at).ok()?))
        {
            if *byte != set_letter(slot) {
                return Err(Error::Failed("the slot has another letter".to_owned()));
            }
            *byte = placeholder();
        }
        hash.update(part);
        at += count as u64;
    }
    let found: [u8; 32] = hash.finalize().into();
    if found == boot.sha256 {
        Ok(())
    } else {
        Err(Error::Failed("the boot partition is not what its manifest says".to_owned()))
    }
}

/// The byte that names the slot in its command line.
pub(crate) fn set_letter(slot: Slot) -> u8 {
    slot.as_str().bytes().next().unwrap_or_default()
}

/// The byte in its place in a volume that no slot was chosen for.
pub(crate) fn placeholder() -> u8 {
    slot::PLACEHOLDER.bytes().next().unwrap_or_default()
}
