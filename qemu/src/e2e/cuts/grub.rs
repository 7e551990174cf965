// SPDX-License-Identifier: MIT OR Apache-2.0
//! A computer with UEFI: what our grub.cfg makes of a disk, played by hand, and the real firmware and GRUB in QEMU.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use ::image::rpidisk::ImageDisk;
use anyhow::{Context, Result, anyhow, ensure};
use rpifw::Disk as _;

use super::operations::{A, B};
use super::world::{Chosen, PowerOn};
use crate::image::{self, Image};
use crate::recorder::{Request, SECTOR};
use crate::uefi::Uefi;

const SIGNATURE: &str = "# GRUB Environment Block\n";

/// The computer without its disk, and where `grubenv` lies there.
#[derive(Debug)]
pub(super) struct Grub {
    computer: Uefi,
    at: u64,
    /// Where partition 1 begins and ends.
    partition: [u64; 2],
}

/// All that may ever stand in `grubenv`: the default, and what is to be tried.
const BLOCKS: [[u32; 2]; 4] = [[A, 0], [A, B], [B, 0], [B, A]];

fn letter(partition: u32) -> &'static str {
    match partition {
        A => "a",
        B => "b",
        _ => "",
    }
}

/// As the image builder makes it, `bootsel` writes it and GRUB saves it.
fn block([default, trial]: [u32; 2]) -> Vec<u8> {
    let (default, trial) = (letter(default), letter(trial));
    let text = format!("{SIGNATURE}pivot_default={default}\npivot_trial={trial}\n");
    let mut bytes = text.into_bytes();
    bytes.resize(1024, b'#');
    bytes
}

impl Grub {
    /// With the image that the factory puts on its disk.
    pub(super) fn new(factory: &Image, directory: &Path) -> Result<Self> {
        let computer = Uefi::new(&factory.disk, directory)?;
        let place = factory.partitions.first().copied().context("no partition 1")?;
        let bytes = image::content(&factory.disk, 1)?;
        let wanted = block([A, 0]);
        let at = bytes.windows(wanted.len()).position(|window| window == wanted);
        let at = place.start + at.context("grubenv is not as expected")? as u64;
        Ok(Self { computer, at, partition: [place.start, place.start + place.length] })
    }

    /// Both sectors of `grubenv` are lost.
    pub(super) fn lose(&self, card: &Path) -> Result<()> {
        Ok(File::options().write(true).open(card)?.write_all_at(&[0; 1024], self.at)?)
    }

    /// Nothing but `grubenv` is ever written on partition 1.
    pub(super) fn keeps_partition_1(&self, requests: &[Request]) -> Result<()> {
        let [start, end] = self.partition;
        let (first, last) = (self.at, self.at + 1024);
        let bad = requests
            .iter()
            .position(|request| request.touches(start, first) || request.touches(last, end));
        ensure!(bad.is_none(), "request {bad:?} writes to partition 1, and not to grubenv alone");
        Ok(())
    }

    /// The machine with its disk, whose requests go to the log; it is told these words.
    pub(super) fn start(&self, card: &Path, words: &[String], log: &Path) -> Result<Command> {
        let mut computer = self.computer.clone();
        card.clone_into(&mut computer.disk);
        computer.record = Some(log.to_owned());
        computer.command(&words.join(" "))
    }

    /// What the script does.
    pub(super) fn power_on(&self, card: &File) -> Result<PowerOn> {
        let disk = ImageDisk::open(card)?;
        let esp = disk.volume(1).context("partition 1 has no file system")?;
        for path in ["EFI/BOOT/BOOTAA64.EFI", "grub.cfg"] {
            ensure!(esp.exists(path), "{path} is not there");
        }
        let found = esp.read("grubenv").map_err(|why| anyhow!("{why}"))?;
        let found = found.context("grubenv is not there")?;
        let mut there = [0; 1024];
        card.read_exact_at(&mut there, self.at)?;
        ensure!(found == there, "grubenv lies elsewhere");
        let known = BLOCKS.into_iter().find(|known| block(*known) == found);
        // `load_env` takes nothing from a block without its first line, and slot a is the default then
        let lost = !found.starts_with(SIGNATURE.as_bytes());
        ensure!(
            known.is_some() || lost,
            "grubenv is one that nobody writes: {:?}",
            String::from_utf8_lossy(&found).trim_end_matches('#')
        );
        let [default, trial] = known.unwrap_or([A, 0]);
        let target = if default == A { B } else { A };
        // the trial is taken out of the block and saved before anything is loaded
        let saved = block([default, 0]).get(..SECTOR).map(<[u8]>::to_vec);
        let writes = saved.filter(|_| trial != 0).map(|sector| Request::Write(self.at, sector));
        Ok(PowerOn {
            selector: known.unwrap_or_default(),
            boots: choose(&disk, default, target, trial != 0)?,
            target,
            tries: choose(&disk, default, target, true),
            writes,
        })
    }
}

/// The trial, the default, the other one: the first that can be loaded.
fn choose(disk: &ImageDisk<'_>, default: u32, other: u32, trial: bool) -> Result<Chosen> {
    let turns = [(other, true), (default, false), (other, false)];
    let mut turns = turns.into_iter().filter(|(_, tried)| trial || !tried);
    let chosen = turns.find_map(|(partition, trial)| load(disk, partition, trial));
    chosen.context("GRUB finds nothing that it can boot")
}

/// What GRUB finds in a slot, if that is enough.
fn load(disk: &ImageDisk<'_>, partition: u32, trial: bool) -> Option<Chosen> {
    let volume = disk.volume(partition)?;
    let text = String::from_utf8(volume.read("grub.cfg").ok()??).ok()?;
    let setting = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("set ")?.strip_prefix(name));
        line?.strip_prefix("=\"")?.strip_suffix('"')
    };
    let (kernel, initrd) = (setting("pivot_kernel")?, setting("pivot_initrd")?);
    let words = setting("pivot_cmdline")?;
    let mut files = [kernel].into_iter().chain(initrd.split(' '));
    let added = if trial { " pivot.trial" } else { "" };
    let slot = letter(partition);
    let cmdline = format!("BOOT_IMAGE={kernel} pivot.slot={slot}{added} {words}");
    files.all(|path| volume.exists(path)).then_some(Chosen { partition, trial, cmdline })
}
