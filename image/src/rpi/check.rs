// SPDX-License-Identifier: MIT OR Apache-2.0
//! The builder's own check: the decision of each board's firmware over the files that are about to be written.

use anyhow::{Result, bail, ensure};
use rpifw::{BOARDS, Board, Disk, Fat, Start, Table};

use crate::config::{KernelFile, Rpi};
use crate::fat::{Content, Volume};
use crate::slot::INITRAMFS;

/// Volumes that are not written yet.
#[derive(Debug)]
struct Planned<'a> {
    bootsel: View<'a>,
    slot: View<'a>,
}

#[derive(Debug)]
struct View<'a>(&'a Volume);

impl Disk for Planned<'_> {
    fn table(&self) -> Table {
        Table::Mbr
    }

    fn volume(&self, number: u32) -> Option<&dyn rpifw::Volume> {
        match number {
            1 => Some(&self.bootsel),
            2 | 3 => Some(&self.slot),
            _ => None,
        }
    }
}

impl View<'_> {
    fn find(&self, path: &str) -> Option<&Content> {
        let path = path.trim_start_matches('/');
        let file = self.0.files.iter().find(|(name, _)| name.eq_ignore_ascii_case(path));
        file.map(|(_, content)| content)
    }
}

impl rpifw::Volume for View<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        match self.find(path) {
            None => Ok(None),
            Some(Content::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(Content::File(from, _)) => std::fs::read(from)
                .map(Some)
                .map_err(|error| format!("{}: {error}", from.display())),
        }
    }

    fn exists(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    fn fat(&self) -> Fat {
        self.0.kind.into()
    }
}

/// Refuses names of boards that there are not.
///
/// # Errors
/// Names it, and all that there are.
pub fn names(section: &Rpi) -> Result<()> {
    for name in section.boards.iter().flatten() {
        let known = || BOARDS.iter().map(|board| board.name).collect::<Vec<_>>().join(", ");
        ensure!(
            rpifw::board(name).is_some(),
            "rpi.boards: no board {name:?} is known here; there are {}",
            known()
        );
    }
    Ok(())
}

/// Which boards find all that they load, and why others do not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Boards {
    /// Those that do, in either slot.
    pub boot: Vec<&'static str>,
    /// Those that lack a kernel, a device tree or a file of the firmware, and which.
    pub stop: Vec<(&'static str, String)>,
}

/// Where a board stops.
struct Stop {
    why: String,
    /// Whether that is so because the image was not given what this board needs.
    lacking: bool,
}

/// Lets the firmware of each board decide.
///
/// # Errors
/// Names the board, and where and why it stops: one that the configuration names, or any that is not merely
/// without a kernel, device tree or file of the firmware; and where none is left.
pub fn boot(section: &Rpi, bootsel: &Volume, slot: &Volume) -> Result<Boards> {
    let disk = Planned { bootsel: View(bootsel), slot: View(slot) };
    let mut boards = Boards::default();
    for board in BOARDS {
        let named = section.boards.as_ref();
        let named =
            named.map(|names| names.iter().any(|name| name.eq_ignore_ascii_case(board.name)));
        let firmware = section.firmware.is_some();
        match starts(board, &disk, firmware) {
            Ok(()) => boards.boot.push(board.name),
            Err(stop) if named == Some(true) || !stop.lacking && named.is_none() => {
                bail!("{} ({}) would not boot: {}", board.name, board.model, stop.why)
            }
            Err(stop) => boards.stop.push((board.name, stop.why)),
        }
    }
    ensure!(!boards.boot.is_empty(), "no board boots: {}", reasons(&boards.stop));
    Ok(boards)
}

/// Both slots: without the flag of a trial and with it.
fn starts(board: &Board, disk: &Planned<'_>, firmware: bool) -> Result<(), Stop> {
    let lacks = |file: &str| {
        let kernel = KERNELS.iter().any(|kernel| file.eq_ignore_ascii_case(kernel.name()));
        let tree = file.ends_with(".dtb");
        let of_firmware =
            file.ends_with(".elf") || file.ends_with(".dat") || file.ends_with(".bin");
        (kernel || tree || of_firmware) && !disk.slot.0.files.iter().any(|(name, _)| name == file)
    };
    for (tryboot, partition) in [(false, 2), (true, 3)] {
        let boot = rpifw::boot(board, disk, &Start { tryboot, arm_64bit: None })
            .map_err(|stop| Stop { lacking: lacks(&stop.file), why: stop.reason })?;
        if let Some(stop) = boot.missing.first().filter(|_| firmware) {
            return Err(Stop { lacking: lacks(&stop.file), why: stop.reason.clone() });
        }
        let wrong = |why| Err(Stop { why, lacking: false });
        if boot.partition != partition {
            return wrong(format!("it takes partition {}, not {partition}", boot.partition));
        }
        let kernel = KERNELS.iter().find(|known| boot.kernel == known.name());
        let expected = kernel.map(|kernel| [INITRAMFS, kernel.early()]);
        if expected.is_some_and(|expected| boot.initramfs != expected) {
            let with = boot.initramfs.join(" and ");
            return wrong(format!(
                "it takes {} with {with}, which is another kernel's",
                boot.kernel
            ));
        }
    }
    Ok(())
}

const KERNELS: [KernelFile; 5] =
    [KernelFile::V6, KernelFile::V7, KernelFile::V7l, KernelFile::V8, KernelFile::V2712];

/// Each reason once, with the boards that it is for.
#[must_use]
pub fn reasons(stops: &[(&'static str, String)]) -> String {
    let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
    for (board, why) in stops {
        match out.iter_mut().find(|(known, _)| known == why) {
            Some((_, boards)) => boards.push(board),
            None => out.push((why, vec![board])),
        }
    }
    let one = |(why, boards): &(&str, Vec<&str>)| format!("{} ({why})", boards.join(" "));
    out.iter().map(one).collect::<Vec<_>>().join(", ")
}
