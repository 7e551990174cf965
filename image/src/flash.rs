// SPDX-License-Identifier: MIT OR Apache-2.0
//! `flash`: an image onto a card.
//!
//! First everything is looked at: the target, who uses it, the image and its block map. A damaged image is
//! refused before the first write. Then the first MiB of the card is zeroed, the rest written and read back, and
//! the first MiB, which has the partition table, written last: a card that was pulled out early does not boot
//! halfway.

mod device;
mod source;
mod target;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bootsel::ptable::mbr;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::artifact::beside;
use crate::bmap::Bmap;
use crate::fat::SECTOR;
use crate::progress::{Progress, size};
use crate::tool;
use device::Device;
use source::{PIECE, Source, piece_at};
use target::{Kind, Target};

/// Written last. One piece, which is as long as the place before the first partition.
const HEAD: u64 = PIECE as u64;
/// Bytes that are checked together where no block map says.
const RANGE: u64 = 16 << 20;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Plain, .zst, .xz or .gz.
    pub image: PathBuf,
    /// A disk, or a regular file.
    pub device: PathBuf,
    /// Write a disk that is not removable, or a regular file.
    pub force: bool,
    /// Read everything back.
    pub verify: bool,
    /// Where to look for the block map.
    pub bmap: Map,
}

/// Which block map to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Map {
    /// The one beside the image, if there is one.
    Beside,
    /// This one.
    At(PathBuf),
    /// None: write everything.
    None,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The image.
    pub image: PathBuf,
    /// Where it is now.
    pub device: PathBuf,
    /// Length of the image.
    pub bytes: u64,
    /// Bytes of it that were written.
    pub written: u64,
    /// The block map that said which.
    pub bmap: Option<PathBuf>,
    /// Whether they were read back.
    pub verified: bool,
}

/// What to write.
struct Plan {
    ranges: Vec<Range<u64>>,
    /// SHA-256 of each, where they are known before they are read.
    hashes: Option<Vec<[u8; 32]>>,
    bytes: u64,
    bmap: Option<PathBuf>,
}

impl Plan {
    fn written(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }
}

/// Writes an image to a device.
///
/// # Errors
/// Where the target is refused, the image is damaged, or the device does not keep what was written.
pub fn flash(options: &Options, progress: Progress) -> Result<Report> {
    let target = Target::look(&options.device, Path::new("/"))?;
    // who is mounted hears of it before a long look at the image
    target.check(0, options.force)?;
    let source = Source::open(&options.image)?;
    source.differs_from(&options.device)?;
    let image = options.image.display();
    let plan = plan(options, &source, progress).with_context(|| image.to_string())?;
    target.check(plan.bytes, options.force)?;
    if plan.bmap.is_none() {
        progress.note(&format!("{image}: no block map, all {} are written", size(plan.bytes)));
    }
    write(options, &source, &plan, progress)?;
    if target.kind != Kind::File {
        reread(&options.device, progress);
    }
    Ok(Report {
        image: options.image.clone(),
        device: options.device.clone(),
        bytes: plan.bytes,
        written: plan.written(),
        bmap: plan.bmap,
        verified: options.verify,
    })
}

/// Reads the block map and, where there is something to compare it with, the whole image.
fn plan(options: &Options, source: &Source, progress: Progress) -> Result<Plan> {
    check_table(source)?;
    let Some((path, map)) = find_map(options)? else {
        let bytes = match source.bytes() {
            Some(bytes) => bytes,
            None => {
                let step = progress.step("checking the image", 0);
                let bytes = source.stream()?.finish()?;
                step.done(&format!("{} of {}", size(source.packed_bytes()), size(bytes)));
                bytes
            }
        };
        ensure!(bytes.is_multiple_of(SECTOR), "no disk image: {bytes} bytes are not whole sectors");
        let ranges = (0..bytes.div_ceil(RANGE)).map(|i| i * RANGE..((i + 1) * RANGE).min(bytes));
        return Ok(Plan { ranges: ranges.collect(), hashes: None, bytes, bmap: None });
    };
    let (ranges, hashes): (Vec<_>, Vec<_>) =
        map.ranges.iter().map(|range| (range.bytes.clone(), range.sha256)).unzip();
    let step = progress.step("checking the image", map.mapped());
    let mut stream = source.stream()?;
    let found = stream.ranges(ranges.iter(), |_, piece| {
        step.advance(piece.len() as u64);
        Ok(())
    })?;
    let bytes = stream.finish()?;
    ensure!(
        bytes == map.bytes,
        "{} is the map of another image: of {} bytes, this one has {bytes}",
        path.display(),
        map.bytes
    );
    compare(&ranges, &hashes, &found, |range| {
        format!(
            "differs from its block map {} in {range}: damaged, or another image",
            path.display()
        )
    })?;
    step.done(&format!("{} as the block map says", size(map.mapped())));
    Ok(Plan { ranges, hashes: Some(hashes), bytes, bmap: Some(path) })
}

/// An image without a partition table is one of a partition, or no image at all.
fn check_table(source: &Source) -> Result<()> {
    let mut sector = Vec::new();
    let head = 0..SECTOR;
    source
        .stream()?
        .ranges([head].iter(), |_, piece| {
            sector.extend(piece);
            Ok(())
        })
        .context("no disk image")?;
    let table = mbr::parse(&sector).is_some_and(|all| all.iter().any(|entry| entry.sectors > 0));
    ensure!(table, "no disk image: there is no partition table");
    Ok(())
}

/// `a.img.xz.bmap`, `a.img.bmap`, `a.bmap`, as bmaptool looks for it.
fn find_map(options: &Options) -> Result<Option<(PathBuf, Bmap)>> {
    let path = match &options.bmap {
        Map::None => None,
        Map::At(path) => Some(path.clone()),
        Map::Beside => {
            let names = std::iter::successors(Some(options.image.clone()), |path| {
                path.extension().is_some().then(|| path.with_extension(""))
            });
            names.map(|name| beside(&name, "bmap")).find(|path| path.is_file())
        }
    };
    let Some(path) = path else { return Ok(None) };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let map = Bmap::parse(&bytes)
        .with_context(|| format!("block map {} (--no-bmap does without)", path.display()))?;
    Ok(Some((path, map)))
}

fn compare(
    ranges: &[Range<u64>],
    expected: &[[u8; 32]],
    found: &[[u8; 32]],
    error: impl Fn(&str) -> String,
) -> Result<()> {
    for ((range, expected), found) in ranges.iter().zip(expected).zip(found) {
        if expected != found {
            bail!("{}", error(&format!("bytes {} to {}", range.start, range.end)));
        }
    }
    Ok(())
}

fn write(options: &Options, source: &Source, plan: &Plan, progress: Progress) -> Result<()> {
    let path = options.device.display();
    let mut device = Device::open(&options.device)?;
    let mut head = vec![0; usize::try_from(HEAD.min(plan.bytes))?];
    device.write(&head, 0)?;
    device.sync()?;
    let step = progress.step(&format!("writing {path}"), plan.written());
    let mut stream = source.stream()?;
    let hashes = stream.ranges(plan.ranges.iter(), |place, piece| {
        step.advance(piece.len() as u64);
        if place < HEAD {
            let place = usize::try_from(place)?;
            head[place..place + piece.len()].copy_from_slice(piece);
            return Ok(());
        }
        device.write(piece, place)
    })?;
    if let Some(expected) = &plan.hashes {
        compare(&plan.ranges, expected, &hashes, |range| {
            format!("{} changed while it was written, in {range}", options.image.display())
        })?;
    }
    device.sync()?;
    step.done(&size(plan.written()));
    if options.verify {
        verify(&mut device, &head, plan, &hashes, &path.to_string(), progress)?;
    }
    device.write(&head, 0)?;
    device.sync()?;
    if options.verify {
        ensure!(
            device.read(0, head.len())? == head,
            "{}",
            lost(&path.to_string(), "the first MiB")
        );
    }
    Ok(())
}

/// Reads everything back but the head, which is not there yet.
fn verify(
    device: &mut Device,
    head: &[u8],
    plan: &Plan,
    expected: &[[u8; 32]],
    path: &str,
    progress: Progress,
) -> Result<()> {
    let step = progress.step(&format!("reading {path} back"), plan.written());
    let mut found = Vec::new();
    for range in &plan.ranges {
        let (mut hash, mut place) = (Sha256::new(), range.start);
        while place < range.end {
            let count = piece_at(place, range.end);
            match place < HEAD {
                true => hash.update(&head[usize::try_from(place)?..][..count]),
                false => hash.update(device.read(place, count)?),
            }
            place += count as u64;
            step.advance(count as u64);
        }
        found.push(hash.finalize().into());
    }
    compare(&plan.ranges, expected, &found, |range| lost(path, range))?;
    step.done("all as it was written");
    Ok(())
}

fn lost(path: &str, range: &str) -> String {
    format!("{path} does not hold what was written to {range}: the card or its reader is faulty")
}

/// Tells the kernel of the new partitions. udev does so, too, where it runs: that this fails is no error.
fn reread(device: &Path, progress: Progress) {
    let told = tool::find("blockdev", "util-linux")
        .and_then(|program| tool::run(tool::command(&program).arg("--rereadpt").arg(device)));
    if told.is_err() {
        let text =
            "the kernel did not take the new partition table: plug the card in again to mount it";
        progress.note(&format!("{}: {text}", device.display()));
    }
}
