// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records what a guest really writes to a disk, and when it asks for that to be on the medium: what a cut of power can
//! leave is made of it.
//!
//! QEMU's driver `blklogwrites` (block/blklogwrites.c) writes the log, in the format of Linux' dm-log-writes
//! (Documentation/admin-guide/device-mapper/log-writes.rst and the structures in drivers/md/dm-log-writes.c). A request
//! is logged when it is done, so a write that was done while a flush was on its way stands before it although the flush
//! need not cover it: such states are missed, in a guest with one queue a handful at most.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::random::Random;

/// `WRITE_LOG_MAGIC` and `WRITE_LOG_VERSION`.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
/// `LOG_FLUSH_FLAG`, `LOG_FUA_FLAG`, `LOG_DISCARD_FLAG`, `LOG_MARK_FLAG`.
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// What a disk writes as one: of a longer request it may have written any part when the power goes.
pub(crate) const SECTOR: usize = 512;

/// A request of the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Bytes at an offset.
    Write(u64, Vec<u8>),
    /// The content from there on, of that length, may be lost: read as zeros here.
    Discard(u64, u64),
    /// Everything before it is on the medium.
    Flush,
}

/// Adds a virtio disk to a machine whose requests are recorded in `log`.
pub(crate) fn add_disk(qemu: &mut Command, disk: &Path, log: &Path) -> Result<()> {
    fs::write(log, "").with_context(|| format!("cannot make {}", log.display()))?;
    let mut drive = OsString::from("if=none,id=recorded,driver=blklogwrites");
    for (child, path) in [("file", disk), ("log", log)] {
        let path = path.display().to_string().replace(',', ",,");
        drive.push(format!(
            ",{child}.driver=raw,{child}.file.driver=file,{child}.file.filename={path}"
        ));
    }
    qemu.arg("-drive").arg(drive).args(["-device", "virtio-blk-pci,drive=recorded"]);
    Ok(())
}

/// The requests of a log, in the order in which they were done.
pub(crate) fn read(log: &Path) -> Result<Vec<Request>> {
    let file = File::open(log).with_context(|| format!("cannot open {}", log.display()))?;
    parse(std::io::BufReader::new(file)).with_context(|| format!("{}", log.display()))
}

fn parse(mut log: impl Read) -> Result<Vec<Request>> {
    let mut head = [0; SECTOR];
    log.read_exact(&mut head).context("no superblock")?;
    let (magic, version, count) = (number(&head, 0), number(&head, 8), number(&head, 16));
    ensure!((magic, version) == (MAGIC, VERSION), "no log of writes");
    let sector = number(&head, 24) & u64::from(u32::MAX);
    ensure!((512..=4096).contains(&sector), "sectors of {sector} bytes");
    let mut block = vec![0; usize::try_from(sector)?];
    let rest = block.get_mut(SECTOR..).unwrap_or_default();
    log.read_exact(rest).context("no superblock")?;
    let mut requests = Vec::new();
    for entry in 0..count {
        log.read_exact(&mut block).with_context(|| format!("entry {entry} of {count}"))?;
        let [start, length, flags] = [0, 8, 16].map(|at| number(&block, at));
        let (start, length) = (start.saturating_mul(sector), length.saturating_mul(sector));
        match flags {
            DISCARD => requests.push(Request::Discard(start, length)),
            _ if flags & !(FLUSH | FUA) != 0 || flags == MARK => {
                bail!("entry {entry}: flags {flags:#x}")
            }
            _ => {
                // A flush comes before the data that it is sent with; FUA is a flush behind its own.
                if flags & FLUSH != 0 {
                    requests.push(Request::Flush);
                }
                let mut bytes = vec![0; usize::try_from(length)?];
                log.read_exact(&mut bytes).with_context(|| format!("data of entry {entry}"))?;
                if !bytes.is_empty() {
                    requests.push(Request::Write(start, bytes));
                }
                if flags & FUA != 0 {
                    requests.push(Request::Flush);
                }
            }
        }
    }
    Ok(requests)
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u64::from_le_bytes(*field))
}

impl Request {
    /// Does it to a disk image.
    pub(crate) fn apply(&self, disk: &File) -> Result<()> {
        match self {
            Self::Write(offset, bytes) => disk.write_all_at(bytes, *offset)?,
            Self::Discard(offset, length) => {
                disk.write_all_at(&vec![0; usize::try_from(*length)?], *offset)?;
            }
            Self::Flush => {}
        }
        Ok(())
    }

    /// The same for a file that begins at byte `start` of the disk.
    pub(crate) fn moved(&self, start: u64) -> Self {
        match self {
            Self::Write(offset, bytes) => Self::Write(offset.saturating_sub(start), bytes.clone()),
            Self::Discard(offset, length) => Self::Discard(offset.saturating_sub(start), *length),
            Self::Flush => Self::Flush,
        }
    }

    /// A write as far as its first sectors, when the power goes in the middle of it.
    pub(crate) fn torn(&self, sectors: usize) -> Option<Self> {
        let Self::Write(offset, bytes) = self else { return None };
        let part = bytes.get(..sectors.checked_mul(SECTOR)?)?;
        (part.len() < bytes.len()).then(|| Self::Write(*offset, part.to_vec()))
    }

    /// The same write without these sectors: a disk may begin anywhere.
    pub(crate) fn torn_off(&self, sectors: usize) -> Option<Self> {
        let Self::Write(offset, bytes) = self else { return None };
        let at = sectors.checked_mul(SECTOR)?;
        let part = bytes.get(at..)?;
        (0 < at && !part.is_empty()).then(|| Self::Write(*offset + at as u64, part.to_vec()))
    }

    /// What is left of a write whose power goes in the middle, from either end: of a long one about so many parts, of one
    /// of up to eight sectors every part.
    pub(crate) fn parts(&self, most: usize) -> Vec<Self> {
        let Self::Write(_, bytes) = self else { return Vec::new() };
        let sectors = bytes.len() / SECTOR;
        let step = if sectors <= 8 { 1 } else { sectors.div_ceil(most.max(1)) };
        let either = |sectors| [self.torn(sectors), self.torn_off(sectors)];
        (1..sectors).step_by(step).flat_map(either).flatten().collect()
    }

    /// Whether this part of a write ends or begins in the middle of the superblock of the ext4 that begins at byte
    /// `start`. It is two sectors with one checksum: a disk that writes the first alone leaves a file system that only
    /// e2fsck can mend, whoever makes ext4 write it. Flash writes more than a sector at once.
    pub(crate) fn splits_superblock(&self, start: u64) -> bool {
        let middle = start + 1536;
        let ends = self.end() == middle && self.touches(middle - 1, middle);
        ends || matches!(self, Self::Write(offset, _) if *offset == middle)
    }

    /// What takes it back: a write of what is there before it.
    pub(crate) fn undone(&self, disk: &File) -> Result<Self> {
        let start = self.start();
        let mut before = vec![0; usize::try_from(self.end().saturating_sub(start))?];
        disk.read_exact_at(&mut before, start)?;
        Ok(Self::Write(start, before))
    }

    /// The first byte that it changes; 0 for a flush.
    pub(crate) fn start(&self) -> u64 {
        match self {
            Self::Write(offset, _) | Self::Discard(offset, _) => *offset,
            Self::Flush => 0,
        }
    }

    /// The byte behind what it changes; 0 for a flush.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Write(offset, bytes) => offset.saturating_add(bytes.len() as u64),
            Self::Discard(offset, length) => offset.saturating_add(*length),
            Self::Flush => 0,
        }
    }

    /// Whether it changes something from `start` to before `end`, in bytes.
    pub(crate) fn touches(&self, start: u64, end: u64) -> bool {
        *self != Self::Flush && self.start() < end && start < self.end()
    }
}

/// What may be on the medium when the power goes before request number `end`: all that was flushed, and of what came
/// since then some, in another order.
pub(crate) fn reordered<'a>(
    requests: &'a [Request],
    end: usize,
    random: &mut Random,
) -> Vec<&'a Request> {
    let before = requests.get(..end).unwrap_or(requests);
    let flush = before.iter().rposition(|request| *request == Request::Flush);
    let flushed = flush.map_or(0, |at| at + 1);
    let (kept, open) = before.split_at(flushed);
    let mut left: Vec<&Request> = open.iter().collect();
    let mut state: Vec<&Request> = kept.iter().collect();
    let count = random.of(left.len() + 1);
    for _ in 0..count {
        let one = random.of(left.len());
        state.push(left.swap_remove(one));
    }
    state
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn entry(sector: u64, sectors: u64, flags: u64, data: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [sector, sectors, flags, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.resize(SECTOR, 0);
        bytes.extend(data);
        bytes
    }

    fn log(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"rhswfsj\0\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend((entries.len() as u64).to_le_bytes());
        bytes.extend(512_u32.to_le_bytes());
        bytes.resize(SECTOR, 0);
        bytes.extend(entries.concat());
        bytes
    }

    /// As `qemu-io -c "write 0 1k" -c flush -c "discard 4k 1k" -c "write -f 512 512"` has it: QEMU makes a flush of FUA.
    #[test]
    fn a_log_is_its_requests() {
        let (two, one) = ([7; 1024], [9; 512]);
        let bytes = log(&[
            entry(0, 2, 0, &two),
            entry(0, 0, FLUSH, &[]),
            entry(8, 2, DISCARD, &[]),
            entry(1, 1, FUA | FLUSH, &one),
        ]);
        let expected = [
            Request::Write(0, two.to_vec()),
            Request::Flush,
            Request::Discard(4096, 1024),
            Request::Flush,
            Request::Write(512, one.to_vec()),
            Request::Flush,
        ];
        assert_eq!(parse(bytes.as_slice()).unwrap(), expected);
        assert!(parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(parse(log(&[entry(0, 0, MARK, &[])]).as_slice()).is_err());
        assert!(parse([0; 512].as_slice()).is_err());
    }

    #[test]
    fn a_torn_write_has_its_first_sectors() {
        let write = Request::Write(4096, vec![1; 1024]);
        assert_eq!(write.torn(1), Some(Request::Write(4096, vec![1; 512])));
        assert_eq!((write.torn(2), Request::Flush.torn(0)), (None, None));
        assert_eq!(write.torn_off(1), Some(Request::Write(4608, vec![1; 512])));
        assert_eq!((write.torn_off(0), write.torn_off(2), write.torn_off(3)), (None, None, None));
        assert!(write.touches(5119, 9999) && !write.touches(5120, 9999) && !write.touches(0, 4096));
    }

    /// What was flushed is always there, and first; what was not, in any number and order.
    #[test]
    fn reordering_stays_behind_the_last_flush() {
        let write = |at| Request::Write(at, vec![0; 512]);
        let requests = [write(0), Request::Flush, write(1), write(2), write(3)];
        let mut orders = BTreeSet::new();
        for seed in 0..1000 {
            let state = reordered(&requests, 5, &mut Random(seed));
            assert_eq!(state.get(..2), Some(&[&write(0), &Request::Flush][..]));
            let rest: Vec<u64> = state.iter().skip(2).map(|request| request.start()).collect();
            assert_eq!(rest.iter().collect::<BTreeSet<_>>().len(), rest.len(), "one twice");
            orders.insert(rest);
        }
        // of three: none, 3 of one, 6 of two, 6 of three
        assert_eq!(orders.len(), 16);
        assert!(orders.iter().flatten().all(|at| (1..=3).contains(at)));
    }
}
