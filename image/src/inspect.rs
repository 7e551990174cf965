// SPDX-License-Identifier: MIT OR Apache-2.0
//! `inspect`: what is in a file that was built here, or that a device is about to get.

pub(crate) mod archive;
pub(crate) mod disk;
pub mod packed;
pub mod selector;
mod text;

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, Result, bail};
use bootsel::manifest::{self, Manifest};
use serde::Serialize;
use signed::Keys;

use crate::bmap::Bmap;
use crate::bundle::{self, read::Bundle};
use crate::elf::Facts;
use crate::fat::read::Reader;
use crate::squashfs::{Codec, bytes_used, cause};
use crate::tree::{hash_file, hex};

/// Where a tar archive says that it is one.
const MAGIC: std::ops::Range<usize> = 257..262;

/// What was found.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Report {
    /// A whole disk.
    Disk(disk::Disk),
    /// A boot partition by itself.
    Volume(disk::Volume),
    /// Something compressed that is no initramfs.
    Packed(packed::Packed),
    /// Which blocks of a disk image are to be written.
    Bmap(Map),
    /// One or several cpio archives.
    Initramfs(archive::Initramfs),
    /// An ELF program.
    Program(Program),
    /// A manifest by itself.
    Manifest(Listing),
    /// A directory with a manifest.
    Revision(Listing),
    /// A squashfs image.
    Squashfs(Squashfs),
    /// What a device installs.
    Bundle(Bundle),
}

/// An ELF program and whether it can run from an initramfs.
#[derive(Debug, Serialize)]
pub struct Program {
    /// Its facts.
    #[serde(flatten)]
    pub facts: Facts,
    /// What is wrong; none: nothing.
    pub problem: Option<String>,
}

impl Program {
    /// Reads and judges a program.
    ///
    /// # Errors
    /// Where it is no ELF file.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let facts = Facts::read(bytes)?;
        let problem = facts.check().err().map(|error| error.to_string());
        Ok(Self { facts, problem })
    }
}

/// What a manifest says, and what is true of it.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// Its keys.
    pub keys: Vec<(String, String)>,
    /// Its files.
    pub files: Vec<Item>,
}

/// A file of a manifest.
#[derive(Debug, Serialize)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
    /// Whether the file that belongs to the manifest was looked at; on a disk its length alone is.
    pub checked: bool,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// What is known of a file that a manifest lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It was not looked at.
    Not,
    /// Nothing is wrong.
    Good,
    /// This is wrong.
    Wrong(String),
}

impl Listing {
    /// Of a manifest; `judge` says what is wrong with a file of the revision.
    ///
    /// # Errors
    /// Where it is no manifest.
    pub fn read(text: &[u8], judge: impl Fn(&manifest::File) -> Judged) -> Result<Self> {
        let manifest = Manifest::parse(text)?;
        let item = |file: &manifest::File| {
            let (name, bytes, sha256) = (file.name.clone(), file.bytes, hex(&file.sha256));
            let mut item = Item { name, bytes, sha256, checked: false, problem: None };
            item.judge(judge(file));
            item
        };
        Ok(Self { files: manifest.files.iter().map(item).collect(), keys: manifest.keys })
    }
}

impl Item {
    /// Keeps what was found.
    pub fn judge(&mut self, found: Judged) {
        self.checked = found != Judged::Not;
        self.problem = match found {
            Judged::Wrong(what) => Some(what),
            Judged::Not | Judged::Good => None,
        };
    }
}

/// A block map that is what its own checksum says.
#[derive(Debug, Serialize)]
pub struct Map {
    /// Length of the image.
    pub image: u64,
    /// Bytes of it that are to be written.
    pub mapped: u64,
    /// How many pieces they are, each with its SHA-256.
    pub ranges: usize,
}

/// A squashfs image.
#[derive(Debug, Serialize)]
pub struct Squashfs {
    /// Compression.
    pub codec: String,
    /// Length of the file.
    pub bytes: u64,
    /// Length that the superblock gives.
    pub used: u64,
    /// Bytes of a block.
    pub block: u32,
    /// Files in it.
    pub files: usize,
    /// Kernel modules among them.
    pub modules: usize,
    /// The names at its top: a kernel release, in an image of modules.
    pub top: Vec<String>,
    /// What is wrong.
    pub problem: Option<String>,
}

/// Looks at a file or directory; `keys` are for the signature of a bundle.
///
/// # Errors
/// Where it cannot be read, or is nothing that is known here.
pub fn inspect(path: &Path, keys: Option<&Keys>) -> Result<Report> {
    if path.is_dir() {
        return revision(path).map(Report::Revision);
    }
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut head = Vec::new();
    file.by_ref().take(4096).read_to_end(&mut head)?;
    if head.get(MAGIC).is_some_and(|magic| magic == b"ustar") {
        file.rewind()?;
        return Ok(Report::Bundle(bundle::read::bundle(BufReader::new(file), keys)));
    }
    recognized(path, &file, &head).with_context(|| path.display().to_string())
}

fn recognized(path: &Path, file: &File, head: &[u8]) -> Result<Report> {
    if head.starts_with(b"\x7fELF") {
        Program::read(&fs::read(path)?).map(Report::Program)
    } else if head.starts_with(b"hsqs") {
        squashfs(file, head).map(Report::Squashfs)
    } else if let Some(packed) = packed::Packed::look(file, head)? {
        Ok(Report::Packed(packed))
    } else if archive::compression(head).is_some() {
        archive::read(&fs::read(path)?).map(Report::Initramfs)
    } else if head.starts_with(b"<?xml") || head.starts_with(b"<bmap") {
        bmap(&fs::read(path)?).map(Report::Bmap)
    } else if head.starts_with(b"format=") {
        Listing::read(&fs::read(path)?, |_| Judged::Not).map(Report::Manifest)
    } else if let Some(disk) = disk::read(path, file, head)? {
        Ok(Report::Disk(disk))
    } else if let Ok(volume) = Reader::open(file, 0) {
        disk::volume(&volume).map(Report::Volume)
    } else {
        bail!(
            "not known here: expected a disk image, its block map, a boot partition, an initramfs, a program, a \
             manifest, the directory of a revision, a squashfs, or a bundle"
        )
    }
}

fn bmap(text: &[u8]) -> Result<Map> {
    let map = Bmap::parse(text)?;
    Ok(Map { image: map.bytes, mapped: map.mapped(), ranges: map.ranges.len() })
}

/// A directory with a manifest: every file is hashed.
fn revision(directory: &Path) -> Result<Listing> {
    let path = directory.join(manifest::NAME);
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let judge = |file: &manifest::File| match hash_file(&directory.join(&file.name)) {
        // it lies in a slot
        _ if file.name == manifest::BOOT => Judged::Not,
        Err(_) => Judged::Wrong("is missing".to_owned()),
        Ok((_, bytes)) if bytes != file.bytes => Judged::Wrong(format!("has {bytes} bytes")),
        Ok((hash, _)) if hash != file.sha256 => Judged::Wrong("has another sha256".to_owned()),
        Ok(_) => Judged::Good,
    };
    Listing::read(&text, judge).with_context(|| path.display().to_string())
}

fn squashfs(file: &File, head: &[u8]) -> Result<Squashfs> {
    let bytes = file.metadata()?.len();
    let codec = Codec::of(head).context("a squashfs of a compression that is not known here")?;
    let used = bytes_used(head).context("superblock is cut short")?;
    let mut report = Squashfs {
        codec: codec.to_string(),
        bytes,
        used,
        block: crate::compress::le32(head, 12).unwrap_or(0),
        files: 0,
        modules: 0,
        top: Vec::new(),
        problem: (used > bytes).then(|| format!("is cut short: {bytes} of {used} bytes")),
    };
    if report.problem.is_none() {
        let mut file = file.try_clone()?;
        file.rewind()?;
        match backhand::FilesystemReader::from_reader(BufReader::new(file)) {
            Ok(image) => count(&image, &mut report),
            Err(error) => report.problem = Some(format!("cannot be read: {:#}", cause(error))),
        }
    }
    Ok(report)
}

fn count(image: &backhand::FilesystemReader<'_>, report: &mut Squashfs) {
    for node in image.files() {
        let path = &node.fullpath;
        if path.components().count() == 2 {
            report.top.push(path.display().to_string().trim_start_matches('/').to_owned());
        }
        if matches!(node.inner, backhand::InnerNode::File(_)) {
            report.files += 1;
            let name = path.to_string_lossy();
            report.modules += usize::from(name.ends_with(".ko") || name.contains(".ko."));
        }
    }
}
