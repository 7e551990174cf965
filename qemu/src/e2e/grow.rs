// SPDX-License-Identifier: MIT OR Apache-2.0
//! An image on a larger card: the first boot takes the rest of it, once, and a cut of power never takes anything away.

mod cuts;
mod extents;

use std::fs::File;

use anyhow::{Context, Result, ensure};

use super::case::{Base, Case, Seen};
use super::checks::{fact, healthy};
use super::disk::DiskCopy;
use crate::image::{self, Partition};
use crate::tool;

/// Length of the larger card.
pub(super) const CARD: u64 = 2 << 30;
/// What stays free at its end.
const MIB: u64 = 1 << 20;
/// Shows the kernel's own idea of the partition.
const SIZE: &str = "/sys/class/block/vda4/size";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (table, base) in [("gpt", Base::Gpt), ("mbr", Base::Mbr)] {
        let grow = Case { base, prepare: enlarge, ..Case::new(&format!("grow-{table}")) };
        cases.push(Case { after: is_grown, ..grow }.boot(words(""), grown).boot(words(""), steady));
        let off = Case { base, prepare: enlarge, ..Case::new(&format!("grow-off-{table}")) };
        cases.push(Case { after: is_as_built, ..off }.boot(words("pivot.grow=off"), left_alone));
    }
    // Nothing to grow into is the case of every other boot here. One that follows is not overwritten.
    let blocked = Case { base: Base::Mbr, prepare: block, ..Case::new("grow-blocked") };
    cases.push(Case { after: is_as_built, ..blocked }.boot(words(""), |seen| {
        healthy(seen)?;
        fact(seen, "data_partition", "not grown: another partition overlaps")
    }));
    cases.extend(cuts::cases());
    cases
}

fn words(more: &str) -> String {
    format!("witness.read={SIZE} {more}")
}

/// As if the image had been written to a larger card.
fn enlarge(disk: &DiskCopy) -> Result<()> {
    Ok(File::options().write(true).open(&disk.path)?.set_len(CARD)?)
}

/// The entry of partition 3 covers the end of partition 4, too.
fn block(disk: &DiskCopy) -> Result<()> {
    use std::os::unix::fs::FileExt;
    enlarge(disk)?;
    let file = File::options().read(true).write(true).open(&disk.path)?;
    // MBR: the number of sectors of entry 3.
    file.write_all_at(&(u32::MAX >> 8).to_le_bytes(), 446 + 2 * 16 + 12)?;
    Ok(())
}

/// The length of partition 4 as the kernel has it.
fn size(seen: &Seen<'_>) -> Result<u64> {
    let read = seen.report()?.read.get(SIZE).cloned().flatten().context("no size")?;
    Ok(512 * read.trim().parse::<u64>()?)
}

fn grown(seen: &Seen<'_>) -> Result<()> {
    healthy(seen)?;
    let size = size(seen)?;
    ensure!(size > CARD - 600 * MIB, "partition 4 has {size} bytes");
    let line = format!("grown to {} MiB", size / MIB);
    fact(seen, "data_partition", &line)?;
    fact(seen, "data_ext4", &line)?;
    seen.says(&format!("pivot: /dev/vda: {line}"))?;
    seen.says(&format!("pivot: /dev/vda4: {line}"))
}

/// Nothing more to do: no fact, no line.
fn steady(seen: &Seen<'_>) -> Result<()> {
    healthy(seen)?;
    no_fact(seen)?;
    seen.silent("grown")
}

fn left_alone(seen: &Seen<'_>) -> Result<()> {
    steady(seen)?;
    let size = size(seen)?;
    ensure!(size < CARD / 2, "partition 4 has {size} bytes");
    Ok(())
}

fn no_fact(seen: &Seen<'_>) -> Result<()> {
    let boot = seen.report()?.boot.as_ref().context("there is no boot.json")?;
    for name in ["data_partition", "data_ext4"] {
        ensure!(boot.get(name).is_none(), "boot.json has {name}: {boot}");
    }
    Ok(())
}

/// Both to the end of the card, and in order.
pub(super) fn is_grown(disk: &DiskCopy) -> Result<()> {
    let data = partition(disk)?;
    ensure!(data.start + data.length == CARD - MIB, "partition 4: {data:?}");
    let blocks = disk.blocks()?;
    ensure!(blocks == data.length / 4096, "ext4 has {blocks} blocks of {}", data.length / 4096);
    in_order(disk)
}

fn is_as_built(disk: &DiskCopy) -> Result<()> {
    let data = partition(disk)?;
    ensure!(data.start + data.length < CARD / 2, "partition 4: {data:?}");
    let blocks = disk.blocks()?;
    ensure!(blocks <= data.length / 4096, "ext4 has {blocks} blocks");
    disk.check_clean()
}

fn in_order(disk: &DiskCopy) -> Result<()> {
    tool::run(tool::command("sfdisk").arg("--verify").arg(&disk.path))?;
    disk.check_clean()
}

fn partition(disk: &DiskCopy) -> Result<Partition> {
    image::partitions(&disk.path)?.get(3).copied().context("there is no partition 4")
}
