// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether this board finds in a slot what its firmware loads: kernel, device tree, archives, and the firmware itself.
//! The decision is `rpifw`'s, as it was for all boards when the image was built; others are not judged again by what
//! this tool, which may be years older than the revision, knows of them. Where GRUB boots, its script takes three lines
//! from the slot: what they name has to be there.

use bootsel::autoboot::{self, Autoboot};
use bootsel::board::Board as Code;
use bootsel::grubenv::{Fragment, SCRIPT};
use bootsel::manifest::Manifest;
use bootsel::{Slot, fat};
use rpifw::{BOARDS, Board, Disk, Fat, Start, Table};

use crate::area::Area;
use crate::disk::number;
use crate::error::{Error, Result, failed};
use crate::root::{Root, word};

/// The manifest's key with their names.
const BOARDS_KEY: &str = "boards";
/// What the firmware reads to decide; kernels and archives are looked for only.
const TEXT: u32 = 1 << 20;

/// The slot as the firmware finds it in a trial, behind a first partition that leads there.
struct Tried<'a> {
    first: First,
    slot: InSlot<'a>,
    number: u8,
}

/// Partition 1 as it has to be: its own files are judged elsewhere.
struct First(Vec<u8>);

struct InSlot<'a> {
    area: &'a Area,
    volume: &'a fat::Volume,
}

impl Disk for Tried<'_> {
    fn table(&self) -> Table {
        Table::Mbr
    }

    fn volume(&self, number: u32) -> Option<&dyn rpifw::Volume> {
        match number {
            1 => Some(&self.first),
            _ if number == u32::from(self.number) => Some(&self.slot),
            _ => None,
        }
    }
}

impl rpifw::Volume for First {
    fn read(&self, path: &str) -> std::result::Result<Option<Vec<u8>>, String> {
        Ok((path == autoboot::NAME).then(|| self.0.clone()))
    }

    fn exists(&self, path: &str) -> bool {
        [autoboot::NAME, rpifw::partition::CONFIG, rpifw::partition::BOOTCODE].contains(&path)
    }

    fn fat(&self) -> Fat {
        Fat::Fat16
    }
}

impl rpifw::Volume for InSlot<'_> {
    fn read(&self, path: &str) -> std::result::Result<Option<Vec<u8>>, String> {
        self.area.content(self.volume, path, TEXT).map_err(|why| why.to_string())
    }

    fn exists(&self, path: &str) -> bool {
        let found = self.area.find(self.volume, path.trim_start_matches('/'));
        found.is_ok_and(|file| file.is_some_and(|file| file.bytes > 0))
    }

    fn fat(&self) -> Fat {
        match self.volume.bits() {
            12 => Fat::Fat12,
            16 => Fat::Fat16,
            _ => Fat::Fat32,
        }
    }
}

/// The boards that a revision is for; one that this tool does not know yet is the builder's to judge.
fn claimed(names: &str) -> Vec<&'static Board> {
    names.split(',').filter_map(rpifw::board).collect()
}

/// What the board is, by its revision code.
fn code(root: &Root) -> Option<Code> {
    root.tree_number("system/linux,revision").and_then(Code::from_code)
}

/// Whether the revision is for the board that this is, where that is known.
pub(crate) fn this_board(root: &Root, manifest: &Manifest) -> std::result::Result<(), String> {
    let (Some(names), Some(code)) = (manifest.get(BOARDS_KEY), code(root)) else { return Ok(()) };
    let is_this = |board: &&Board| board.type_code == u32::from(code.kind);
    if BOARDS.iter().any(|board| is_this(&board)) && !claimed(names).iter().any(is_this) {
        return Err(format!("the revision is for {names}, and this is a {}", code.model()));
    }
    Ok(())
}

/// Lets the firmware of this board decide.
pub(crate) fn starts(root: &Root, area: &Area, slot: Slot, manifest: &Manifest) -> Result<()> {
    let (Some(names), Some(code)) = (manifest.get(BOARDS_KEY), code(root)) else { return Ok(()) };
    let volume = &area.volume()?;
    let autoboot = Autoboot::new(number(slot.other()), number(slot));
    let autoboot = autoboot.and_then(|file| file.to_bytes()).map_err(failed(autoboot::NAME))?;
    let first = First(autoboot.to_vec());
    let tried = Tried { first, slot: InSlot { area, volume }, number: number(slot) };
    let mut this =
        claimed(names).into_iter().filter(|board| board.type_code == u32::from(code.kind));
    this.try_for_each(|board| {
        let stops = |why| format!("{} ({}) would not boot: {why}", board.name, board.model);
        boots(board, &tried).map_err(|why| Error::Failed(stops(why)))
    })
}

fn boots(board: &Board, tried: &Tried<'_>) -> std::result::Result<(), String> {
    use rpifw::Volume;
    let start = Start { tryboot: true, arm_64bit: None };
    let boot = rpifw::boot(board, tried, &start).map_err(|stop| stop.reason)?;
    if boot.partition != u32::from(tried.number) {
        return Err(format!("it takes partition {}", boot.partition));
    }
    // a slot without any firmware is one for emulation
    let has_firmware = ["start.elf", "start4.elf"].iter().any(|name| tried.slot.exists(name));
    match boot.missing.first().filter(|_| has_firmware) {
        Some(stop) => Err(stop.reason.clone()),
        None => Ok(()),
    }
}

/// What GRUB's script takes from the slot, and whether it is there and of the slot's revision.
pub(crate) fn grub(area: &Area, revision: &str) -> Result<()> {
    let bad = |why: String| Error::Failed(format!("GRUB would not boot it: {why}"));
    let volume = area.volume()?;
    let text = area.content(&volume, SCRIPT, TEXT)?;
    let text = text.ok_or_else(|| bad(format!("{SCRIPT} is missing")))?;
    let fragment = Fragment::parse(&String::from_utf8_lossy(&text));
    let fragment = fragment.map_err(|why| bad(format!("{SCRIPT}: {why}")))?;
    for path in [&fragment.kernel].into_iter().chain(&fragment.initrds) {
        let file = area.find(&volume, path.trim_start_matches('/'))?;
        if file.is_none_or(|file| file.bytes == 0) {
            return Err(bad(format!("{path} is missing or empty")));
        }
    }
    match word(&fragment.cmdline, "pivot.revision") {
        Some(named) if named == revision => Ok(()),
        named => Err(bad(format!(
            "{SCRIPT} has pivot.revision={}, the slot is one of {revision}",
            named.unwrap_or_default()
        ))),
    }
}
