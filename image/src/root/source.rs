// SPDX-License-Identifier: MIT OR Apache-2.0
//! A root file system as it was given: what is at a path of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tar::{Archive, Builder, Entry, EntryType, Header};

use super::{Added, Kind, New};
use crate::config;

/// Members of an archive begin at multiples of it.
const BLOCK: u64 = 512;

/// A root file system.
#[derive(Debug)]
pub enum Source {
    /// A directory.
    Directory(PathBuf),
    /// An archive.
    Tar(Tar),
}

impl Source {
    /// A root that is packed here; none where it is a squashfs already.
    #[must_use]
    pub fn of(section: &config::Root) -> Option<Self> {
        match (&section.directory, &section.tar) {
            (Some(directory), _) => Some(Self::Directory(directory.clone())),
            (_, Some(tar)) => Some(Self::Tar(Tar::of(tar))),
            _ => None,
        }
    }

    /// Finds out what is in it: an archive is read to its end.
    ///
    /// # Errors
    /// Where that is none.
    pub fn look(&mut self) -> Result<()> {
        match self {
            Self::Directory(root) => {
                let read = fs::read_dir(&*root).map(drop);
                read.with_context(|| {
                    format!("root.directory: cannot read directory {}", root.display())
                })
            }
            Self::Tar(tar) => {
                tar.look().with_context(|| format!("cannot read {}", tar.path.display()))
            }
        }
    }

    /// What is at a path without links in it.
    pub(super) fn kind(&self, path: &str) -> Result<Option<Kind>> {
        let root = match self {
            Self::Directory(root) => root,
            Self::Tar(tar) => return Ok(tar.members.get(path).map(|(kind, _)| kind.clone())),
        };
        let at = root.join(path);
        let facts = match fs::symlink_metadata(&at) {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
            facts => facts.with_context(|| format!("cannot look at {}", at.display()))?,
        };
        Ok(Some(match facts.file_type() {
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Link(fs::read_link(&at)?),
            _ => Kind::Other,
        }))
    }

    /// The names in a directory whose path has no links in it, sorted.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let mut names: Vec<_> = match self {
            Self::Directory(root) => {
                let entries = fs::read_dir(root.join(path)).into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
            Self::Tar(tar) => {
                let start = format!("{path}/");
                let below = tar.members.keys().filter_map(|path| path.strip_prefix(&start));
                below.filter(|name| !name.contains('/')).map(str::to_owned).collect()
            }
        };
        names.sort();
        names
    }
}

/// A tar file, and where in its plain bytes each member is.
#[derive(Debug)]
pub struct Tar {
    path: PathBuf,
    members: BTreeMap<String, (Kind, Vec<Range<u64>>)>,
    /// Where its last member ends.
    end: u64,
    /// Permissions of the root itself.
    mode: u32,
    /// Time of the newest member, in seconds since 1970.
    newest: u32,
}

impl Tar {
    fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), members: BTreeMap::new(), end: 0, mode: 0o755, newest: 0 }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Permissions of the root itself.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// When its newest member was changed, in seconds since 1970.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.newest
    }

    fn look(&mut self) -> Result<()> {
        let at = Cell::new(0);
        let mut archive = Archive::new(Counting { plain: plain(&self.path)?, at: &at });
        for entry in archive.entries()? {
            let entry = entry?;
            let header = entry.header();
            // of a sparse file it says how long it is unpacked
            let sparse = header.entry_type() == EntryType::GNUSparse;
            let bytes = if sparse { header.entry_size()? } else { entry.size() };
            let end = bytes.checked_next_multiple_of(BLOCK).and_then(|b| b.checked_add(at.get()));
            let end = end.context("a member without end")?;
            self.add(&entry, self.end..end)?;
            self.end = end;
        }
        ensure!(self.end > 0, "nothing in it");
        Ok(())
    }

    /// Of two members with the same path mksquashfs takes the first.
    fn add(&mut self, entry: &Entry<'_, impl Read>, range: Range<u64>) -> Result<()> {
        let header = entry.header();
        let kind = match header.entry_type() {
            EntryType::XGlobalHeader => return Ok(()),
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Link(entry.link_name()?.unwrap_or_default().into_owned()),
            _ => Kind::Other,
        };
        let mut names = Vec::new();
        for component in entry.path()?.components() {
            match component {
                Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
                Component::ParentDir => return Ok(()),
                _ => {}
            }
        }
        for above in 1..names.len() {
            let path = names[..above].join("/");
            self.members.entry(path).or_insert((Kind::Directory, Vec::new()));
        }
        self.newest = self.newest.max(u32::try_from(header.mtime()?).unwrap_or(0));
        if names.is_empty() {
            self.mode = header.mode()? & 0o7777;
        } else {
            let member = self.members.entry(names.join("/")).or_insert((kind, Vec::new()));
            member.1.push(range);
        }
        Ok(())
    }

    /// Writes it, unpacked, with something laid into it. It must have been looked at.
    ///
    /// # Errors
    /// Where it cannot be read or written, or became shorter since.
    pub fn write(&self, added: &Added, mut out: impl Write) -> io::Result<()> {
        let mut plain = plain(&self.path).map_err(io::Error::other)?;
        let members = added.replaced.iter().filter_map(|path| self.members.get(path));
        let mut dropped: Vec<_> = members.flat_map(|(_, ranges)| ranges.clone()).collect();
        dropped.sort_by_key(|range| range.start);
        dropped.push(self.end..self.end);
        let mut at = 0;
        for range in dropped {
            exactly(&mut plain, range.start - at, &mut out)?;
            exactly(&mut plain, range.end - range.start, &mut io::sink())?;
            at = range.end;
        }
        let mut builder = Builder::new(out);
        // of those that are on the way to a member and are none themselves it makes directories of this moment
        let implied = self.members.iter().filter(|(_, (_, ranges))| ranges.is_empty());
        for (path, _) in implied {
            append(&mut builder, path, &New::Directory)?;
        }
        for (path, node) in &added.nodes {
            append(&mut builder, path, node)?;
        }
        builder.finish()
    }
}

fn plain(path: &Path) -> Result<Box<dyn Read>> {
    crate::compress::reader(&path.to_string_lossy(), File::open(path)?)
}

fn exactly(from: &mut impl Read, bytes: u64, to: &mut impl Write) -> io::Result<()> {
    match io::copy(&mut from.take(bytes), to)? {
        copied if copied == bytes => Ok(()),
        _ => Err(io::Error::new(ErrorKind::UnexpectedEof, "it is shorter than it was")),
    }
}

fn append(builder: &mut Builder<impl Write>, path: &str, node: &New) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(node.mode());
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match node {
        New::Directory => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, path, io::empty())
        }
        New::File(bytes, _) => {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())
        }
        New::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, path, target)
        }
    }
}

/// Knows how much was read.
struct Counting<'a> {
    plain: Box<dyn Read>,
    at: &'a Cell<u64>,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        self.at.set(self.at.get() + count as u64);
        Ok(count)
    }
}
