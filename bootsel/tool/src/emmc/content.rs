// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be written, what a partition holds, and the note of what was written.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bootsel::emmc::note::{Hash, NAME, Note};
use bootsel::emmc::{Boot, first_sector};
use sha2::{Digest, Sha256};

use super::card::Card;
use crate::area::{Area, CHUNK};
use crate::error::{Error, Result, failed, refused};
use crate::root::Root;
use crate::state_file;

/// A content, by its hash and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    let text = state_file::read(root, NAME, |text| Note::parse(text).is_some());
    match text {
        Ok(text) => Ok(text.as_deref().and_then(Note::parse)),
        Err(why) => Err(Error::Failed(format!("{why}: `bootsel emmc write` makes it anew"))),
    }
}

pub(super) fn write_note(root: &Root, note: &Note) -> Result<()> {
    state_file::write(root, NAME, &note.to_string())
}
