// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be written, what a partition holds, and the note of what was written.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use bootsel::emmc::note::{Hash, NAME, Note};
use bootsel::emmc::{Boot, first_sector};
use sha2::{Digest, Sha256};

use super::card::Card;
use crate::area::{Area, CHUNK};
use crate::error::{Error, Result, failed, refused};
use crate::root::{Root, read};

/// A content, by its hash and its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) sha256: Hash,
    pub(super) bytes: u64,
}

/// An image, in memory: a boot partition has at most 32 MiB, and nothing is written before all of it is there.
#[derive(Debug)]
pub(super) struct Image {
    bytes: Vec<u8>,
    first: usize,
}

impl Image {
    /// Of one that is too long no more is read than shows it.
    pub(super) fn read(path: &Path, most: u64) -> Result<Self> {
        let cannot = || format!("cannot read {}", path.display());
        let file: Box<dyn Read> = match path == Path::new("-") {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path).map_err(failed(cannot()))?),
        };
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed(cannot()))?;
        match first_sector(&bytes) {
            Some(first) => Ok(Self { bytes, first }),
            None => refused(format!("{} is empty, or zeros to its end", path.display())),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { sha256: Hash(Sha256::digest(&self.bytes).into()), bytes: self.bytes() }
    }

    /// What is before its first sector, that sector, and what is behind it.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        let (before, rest) = self.bytes.split_at_checked(self.first).unwrap_or_default();
        let (first, behind) = rest.split_at(rest.len().min(bootsel::emmc::SECTOR));
        [before, first, behind]
    }
}

/// Hash of the first bytes of a boot partition, as the eMMC has them.
pub(super) fn hash(card: &Card, boot: Boot, bytes: u64) -> Result<Hash> {
    let partition = card.partition(boot);
    if bytes > partition.bytes {
        let (name, has) = (card.name_of(boot), partition.bytes);
        return refused(format!("{name} has {has} bytes, not {bytes}"));
    }
    let area = partition.open()?;
    let mut hash = Sha256::new();
    each(&area, 0, bytes, |part| {
        hash.update(part);
        Ok(())
    })?;
    Ok(Hash(hash.finalize().into()))
}

/// Reads bytes, a part after the other.
pub(super) fn each(
    area: &Area,
    from: u64,
    bytes: u64,
    mut act: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let (mut at, end) = (from, from.saturating_add(bytes));
    while at < end {
        let count = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..count).unwrap_or_default();
        area.read(at, part)?;
        act(part)?;
        at += count as u64;
    }
    Ok(())
}

/// The note; none where nothing was written.
pub(super) fn read_note(root: &Root) -> Result<Option<Note>> {
    let path = root.pivot("state").join(NAME);
    if let Err(why) = fs::symlink_metadata(&path)
        && why.kind() == ErrorKind::NotFound
    {
        return Ok(None);
    }
    let text = String::from_utf8(read(&path)?).unwrap_or_default();
    let note = Note::parse(&text).map(Some);
    note.ok_or_else(|| {
        Error::Failed(format!("{} is damaged: `bootsel emmc write` makes it anew", path.display()))
    })
}

/// Replaces it as a whole. It is on the disk when this returns.
pub(super) fn write_note(root: &Root, note: &Note) -> Result<()> {
    let directory = root.pivot("state");
    let path = directory.join(NAME);
    let written = || -> io::Result<()> {
        // not more than one: where DATA is not mounted there is nothing to keep it
        fs::create_dir(&directory).or_else(|why| match why.kind() {
            ErrorKind::AlreadyExists => Ok(()),
            _ => Err(why),
        })?;
        let new = directory.join(format!(".{NAME}.new"));
        let mut file = File::create(&new)?;
        file.write_all(note.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(new, &path)?;
        File::open(&directory)?.sync_all()
    };
    written().map_err(failed(format!("cannot write {}", path.display())))
}
