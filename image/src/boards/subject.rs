// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk image with all that is asked of it by `boards` and `lint`, read once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use bootsel::manifest;
use rpifw::Volume;
use sha2::{Digest, Sha256};

use super::evidence::{self, Data, Image, Listed, Modules, Revision};
use super::root::Root;
use crate::inspect::archive::Initramfs;
use crate::rpidisk::{ImageDisk, ImageVolume};
use crate::slot;

/// Partitions of the slots.
pub const SLOTS: [u32; 2] = [2, 3];
/// Bytes that are compared at a time.
const PIECE: u64 = 1 << 20;

type Shared<K, T> = RefCell<BTreeMap<K, Rc<Result<T, String>>>>;

/// An image.
#[derive(Debug)]
pub struct Subject<'a> {
    file: &'a File,
    /// Its partitions and FAT volumes.
    pub disk: ImageDisk<'a>,
    /// The data partition.
    pub data: Option<Data<'a>>,
    /// Bytes in which the volumes of the slots differ, counted up to a few; none where one is missing or shorter.
    pub differences: Option<usize>,
    kernels: Shared<(u32, String), Image>,
    archives: Shared<(u32, String), Initramfs>,
    revisions: Shared<String, Option<Revision>>,
    modules: Shared<(String, String), Modules>,
    roots: Shared<String, Option<Root>>,
}

impl<'a> Subject<'a> {
    /// Opens an image; kernels, archives and revisions are read when they are asked for.
    ///
    /// # Errors
    /// Where it has no partition table.
    pub fn open(path: &'a Path, file: &'a File) -> Result<Self> {
        let disk = ImageDisk::open(file)?;
        let data = disk.partitions.iter().find_map(|part| Data::at(path, file, part.start));
        Ok(Self {
            file,
            differences: differences(&disk, file)?,
            disk,
            data,
            kernels: RefCell::default(),
            archives: RefCell::default(),
            revisions: RefCell::default(),
            modules: RefCell::default(),
            roots: RefCell::default(),
        })
    }

    /// The slots that have a FAT volume.
    pub fn slots(&self) -> impl Iterator<Item = (u32, &ImageVolume<'a>)> {
        SLOTS.into_iter().filter_map(|number| Some((number, self.disk.fat(number)?)))
    }

    /// A text file of a volume; none where it is not there or cannot be read.
    #[must_use]
    pub fn text(&self, number: u32, path: &str) -> Option<String> {
        let bytes = self.disk.fat(number)?.read(path).ok()??;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The value of a word of a slot's command line, the last one as for the kernel.
    #[must_use]
    pub fn word(&self, number: u32, key: &str) -> Option<String> {
        value(&self.text(number, slot::CMDLINE)?, key)
    }

    /// The lines of `kernels.txt`.
    #[must_use]
    pub fn listed(&self, number: u32) -> Vec<Listed> {
        evidence::kernels_txt(&self.text(number, slot::KERNELS).unwrap_or_default())
    }

    /// What a kernel is.
    pub fn kernel(&self, number: u32, path: &str) -> Rc<Result<Image, String>> {
        self.shared(&self.kernels, number, path, |bytes| Ok(Image::of(bytes)))
    }

    /// What is in a part of an initramfs.
    pub fn archive(&self, number: u32, path: &str) -> Rc<Result<Initramfs, String>> {
        self.shared(&self.archives, number, path, |bytes| {
            evidence::initramfs(&bytes).map_err(|error| format!("{error:#}"))
        })
    }

    fn shared<T>(
        &self,
        known: &Shared<(u32, String), T>,
        number: u32,
        path: &str,
        look: impl FnOnce(Vec<u8>) -> Result<T, String>,
    ) -> Rc<Result<T, String>> {
        // one letter apart: what is true of one slot is of the other
        let twins = self.differences.is_some_and(|count| count <= 1);
        let key = (if twins { SLOTS[0] } else { number }, path.to_ascii_lowercase());
        once(known, key, || {
            let volume = self.disk.fat(number).ok_or("no FAT file system")?;
            look(volume.read(path)?.ok_or("is missing")?)
        })
    }

    /// A revision by its name; none where it is not there.
    pub fn revision(&self, id: &str) -> Rc<Result<Option<Revision>, String>> {
        once(&self.revisions, id.to_owned(), || {
            let data = self.data.ok_or("no data partition")?;
            data.revision(id).map_err(|error| format!("{error:#}"))
        })
    }

    /// The root file system of a revision; none where it brings none.
    pub fn root(&self, id: &str) -> Rc<Result<Option<Root>, String>> {
        once(&self.roots, id.to_owned(), || {
            let revision = self.revision(id);
            let files = revision.as_ref().as_ref().map_err(Clone::clone)?.iter();
            let mut files = files.flat_map(|revision| &revision.files);
            if !files.any(|(name, _)| name == manifest::ROOT) {
                return Ok(None);
            }
            let read = || {
                let copy = self.data.context("no data partition")?.copy(id, manifest::ROOT)?;
                Root::read(copy.path())
            };
            read().map(Some).map_err(|error| format!("{error:#}"))
        })
    }

    /// Reads a block of the disk, as a device does that looks for a file's place.
    ///
    /// # Errors
    /// Where the image ends before it.
    pub fn block(&self, at: u64, block: &mut [u8]) -> std::io::Result<()> {
        self.file.read_exact_at(block, at)
    }

    /// The hash of the first `bytes` of a slot, one of which counts as this letter.
    ///
    /// # Errors
    /// Where the slot is shorter.
    pub fn hash_slot(&self, number: u32, bytes: u64, at: u64, letter: u8) -> Result<[u8; 32]> {
        let slot = self.disk.partition(number).context("no such partition")?;
        ensure!(bytes <= slot.bytes, "has {} bytes, its boot.img {bytes}", slot.bytes);
        let (mut hash, mut offset) = (Sha256::new(), 0);
        while offset < bytes {
            let mut piece = vec![0; usize::try_from(PIECE.min(bytes - offset))?];
            self.file.read_exact_at(&mut piece, slot.start + offset).context("is cut short")?;
            let inside = at.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = inside.and_then(|at| piece.get_mut(at)) {
                *byte = letter;
            }
            hash.update(&piece);
            offset += PIECE;
        }
        Ok(hash.finalize().into())
    }

    /// What the modules image of a release in a revision holds.
    pub fn modules(&self, id: &str, release: &str) -> Rc<Result<Modules, String>> {
        once(&self.modules, (id.to_owned(), release.to_owned()), || {
            if !self.has_modules(id, release) {
                return Err(format!("revision {id} has no modules image of {release}"));
            }
            let read = || -> Result<Modules> {
                let name = manifest::modules_image(release).context("no name for an image")?;
                let copy = self.data.context("no data partition")?.copy(id, &name)?;
                Modules::read(copy.path(), release).context(name)
            };
            read().map_err(|error| format!("{error:#}"))
        })
    }

    /// Whether the revision has the modules image of a release.
    #[must_use]
    pub fn has_modules(&self, id: &str, release: &str) -> bool {
        let revision = self.revision(id);
        let (Ok(Some(revision)), Some(name)) = (&*revision, manifest::modules_image(release))
        else {
            return false;
        };
        revision.files.iter().any(|(file, _)| *file == name)
    }

    /// The modules that a release loads from these parts of an initramfs.
    #[must_use]
    pub fn early(&self, number: u32, parts: &[String], release: &str) -> BTreeSet<String> {
        let read = parts.iter().map(|part| self.archive(number, part));
        let one = |archive: Rc<Result<Initramfs, String>>| match &*archive {
            Ok(archive) => evidence::early(std::slice::from_ref(archive), release),
            Err(_) => BTreeSet::new(),
        };
        read.flat_map(one).collect()
    }
}

/// The value of the last `key=value` among the words of a command line.
#[must_use]
pub fn value(line: &str, key: &str) -> Option<String> {
    let words = line.split_ascii_whitespace().rev();
    let mut pairs = words.filter_map(|word| word.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('"').to_owned())
}

fn once<K: Ord, T>(
    known: &Shared<K, T>,
    key: K,
    read: impl FnOnce() -> Result<T, String>,
) -> Rc<Result<T, String>> {
    if let Some(found) = known.borrow().get(&key) {
        return Rc::clone(found);
    }
    let found = Rc::new(read());
    known.borrow_mut().insert(key, Rc::clone(&found));
    found
}

/// Counts bytes that differ between the volumes of the slots, and stops after a few.
fn differences(disk: &ImageDisk<'_>, file: &File) -> Result<Option<usize>> {
    let [Some(a), Some(b)] = SLOTS.map(|number| disk.partition(number)) else { return Ok(None) };
    if a.bytes != b.bytes {
        return Ok(None);
    }
    let (mut count, mut offset) = (0, 0);
    while offset < a.bytes && count < 2 {
        let length = usize::try_from(PIECE.min(a.bytes - offset))?;
        let (mut one, mut other) = (vec![0; length], vec![0; length]);
        file.read_exact_at(&mut one, a.start + offset).context("a slot is cut short")?;
        file.read_exact_at(&mut other, b.start + offset).context("a slot is cut short")?;
        if one != other {
            count += one.iter().zip(&other).filter(|(a, b)| a != b).count();
        }
        offset += PIECE;
    }
    Ok(Some(count))
}
