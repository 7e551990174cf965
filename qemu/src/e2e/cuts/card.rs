// SPDX-License-Identifier: MIT OR Apache-2.0
//! The card in every state that a cut can leave it in: requests are done to one file and undone again, which costs what
//! they changed and not what the card holds.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use super::device::{Device, Hash, PIECE, Revision, piece_at};
use crate::image::{self, Partition};
use crate::recorder::Request;
use crate::tool;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// This revision, to the last byte.
    Whole(u32),
    /// Something else, that begins with zeros: nothing boots it.
    Blank,
    /// Something else.
    Other,
}

/// A slot and how it differs from what it may hold.
#[derive(Debug)]
struct Slot<'a> {
    place: Partition,
    /// For each revision its pieces, and for each piece whether it differs.
    known: BTreeMap<u32, (&'a [Hash], Vec<bool>)>,
}

/// What is needed to go back.
#[derive(Debug)]
struct Before {
    back: Request,
    data: u64,
}

/// The card.
#[derive(Debug)]
pub(super) struct Card<'a> {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Partition 4.
    pub(super) data: Partition,
    slots: [Slot<'a>; 2],
    undo: Vec<Before>,
    /// Names the content of partition 4: equal content may have two names, other content never has the same, not even on
    /// another card.
    data_name: u64,
}

fn new_name() -> u64 {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    NAMES.fetch_add(1, Ordering::Relaxed)
}

impl<'a> Card<'a> {
    /// A copy of a disk that this device made.
    pub(super) fn copy(device: &'a Device, from: &Path, to: PathBuf) -> Result<Self> {
        tool::copy_sparse(from, &to)?;
        let partitions = image::partitions(&to)?;
        let [_, a, b, data] = partitions.as_slice() else {
            anyhow::bail!("{} has not four partitions", from.display())
        };
        let file = File::options().read(true).write(true).open(&to)?;
        let slot = |index: usize, place: &Partition| {
            let known = device.revisions.iter();
            let known = known.map(|(id, revision)| (*id, (pieces(revision, index), Vec::new())));
            let mut slot = Slot { place: *place, known: known.collect() };
            slot.look_anew(&file)?;
            Ok::<_, anyhow::Error>(slot)
        };
        let slots = [slot(0, a)?, slot(1, b)?];
        Ok(Self { path: to, data: *data, slots, undo: Vec::new(), data_name: new_name(), file })
    }

    /// Does a request.
    pub(super) fn apply(&mut self, request: &Request) -> Result<()> {
        let back = request.undone(&self.file).context("a request past the card's end")?;
        self.undo.push(Before { back, data: self.data_name });
        if request.touches(self.data.start, self.data.start + self.data.length) {
            self.data_name = new_name();
        }
        self.change(request)
    }

    fn change(&mut self, request: &Request) -> Result<()> {
        request.apply(&self.file)?;
        let (start, end) = (request.start(), request.end());
        self.slots.iter_mut().try_for_each(|slot| slot.look(&self.file, start, end))
    }

    /// A point to go back to.
    pub(super) fn here(&self) -> usize {
        self.undo.len()
    }

    /// Undoes all that was done since.
    pub(super) fn back_to(&mut self, point: usize) -> Result<()> {
        while self.undo.len() > point {
            let Some(before) = self.undo.pop() else { break };
            self.change(&before.back)?;
            self.data_name = before.data;
        }
        Ok(())
    }

    /// What is done can be undone no more.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }

    /// See [`Card::data_name`].
    pub(super) fn data_name(&self) -> u64 {
        self.data_name
    }

    /// What slot a, and slot b, holds.
    pub(super) fn contents(&self) -> Result<[Content; 2]> {
        let [a, b] = &self.slots;
        Ok([a.content(&self.file)?, b.content(&self.file)?])
    }
}

fn pieces(revision: &Revision, slot: usize) -> &[Hash] {
    let [a, b] = &revision.slots;
    if slot == 0 { a } else { b }
}

impl Slot<'_> {
    fn look_anew(&mut self, file: &File) -> Result<()> {
        for (pieces, differs) in self.known.values_mut() {
            *differs = vec![true; pieces.len()];
            ensure!(pieces.len() as u64 * PIECE as u64 == self.place.length, "another slot's size");
        }
        self.look(file, self.place.start, self.place.start + self.place.length)
    }

    /// Compares the pieces that have bytes from `start` to before `end` of the card.
    fn look(&mut self, file: &File, start: u64, end: u64) -> Result<()> {
        let Partition { start: first, length } = self.place;
        let (start, end) = (start.max(first), end.min(first + length));
        if start >= end {
            return Ok(());
        }
        for piece in (start - first) / PIECE as u64..=(end - 1 - first) / PIECE as u64 {
            let hash = piece_at(file, first + piece * PIECE as u64)?;
            let piece = usize::try_from(piece)?;
            for (pieces, differs) in self.known.values_mut() {
                if let Some(differs) = differs.get_mut(piece) {
                    *differs = pieces.get(piece) != Some(&hash);
                }
            }
        }
        Ok(())
    }

    fn content(&self, file: &File) -> Result<Content> {
        let whole = self.known.iter().find(|(_, (_, differs))| !differs.contains(&true));
        if let Some((id, _)) = whole {
            return Ok(Content::Whole(*id));
        }
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, self.place.start)?;
        let blank = sector.iter().all(|byte| *byte == 0);
        Ok(if blank { Content::Blank } else { Content::Other })
    }
}
