// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be found out of the bootloader, the board and the files for it.

use std::fs::File;
use std::os::fd::AsFd;
use std::result::Result;

use bootsel::board::Board;
use bootsel::eeprom::Chip;
use bootsel::eeprom::attempts::{Attempts, LIMIT};
use bootsel::eeprom::decide::{Decision, Facts, Medium, Shipped, Want, decide};
use bootsel::eeprom::image::{BEGINNING, Image, version};
use bootsel::eeprom::stage::{self, State, shipped};
use bootsel::eeprom::version::{Running, Version};
use uapi::vcio;

use super::bootconf::Bootconf;
use super::files::Files;
use super::{attempts, bootconf};
use crate::area::Partition;
use crate::disk::Disk;
use crate::error::{Error, failed};
use crate::flag::Flag;
use crate::machine;
use crate::root::{Root, word};
use crate::this_boot::ThisBoot;

/// `config.txt` on partition 1, which is empty as it is shipped, is not longer.
const CONFIG: u32 = 64 << 10;
/// `boot-mode` of an SD card or eMMC. (Raspberry Pi documentation, `configuration/device-tree.adoc`: the numbers are those
/// of BOOT_ORDER)
const SD: u32 = 1;

/// How much of the shipped image is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// An eighth of a Pi 5's, where its version is there. That the rest is whole is looked at before it is staged.
    Version,
    Whole,
}

/// Everything that was found out.
#[derive(Debug)]
pub(crate) struct Look {
    pub(super) root: Root,
    partition: Partition,
    pub(super) boot: ThisBoot,
    pub(super) code: Option<u32>,
    pub(super) board: Option<Board>,
    pub(super) medium: Medium,
    pub(super) running: Running,
    /// `ts` of the signature that the bootloader was written with.
    pub(super) updated: Option<u32>,
    pub(super) bootconf: Result<Bootconf, String>,
    is_signed: bool,
    is_protected: bool,
    manufacture: u32,
    is_off: bool,
    pub(super) shipped: Option<Shipped>,
    pub(super) files: Result<State, stage::Error>,
    /// Whether partition 1 has such files at all.
    pub(super) has_files: bool,
    /// Why one of the two above is not known.
    pub(super) problem: Option<String>,
    pub(super) attempts: Result<Option<String>, Error>,
    is_armed: bool,
}

impl Look {
    /// For whoever shows it.
    pub(crate) fn new(root: &Root, disk: &Disk) -> Self {
        Self::to(Depth::Whole, root, disk)
    }

    /// For a boot, where nothing is done most often.
    pub(super) fn at_boot(root: &Root, disk: &Disk) -> Self {
        Self::to(Depth::Version, root, disk)
    }

    fn to(depth: Depth, root: &Root, disk: &Disk) -> Self {
        let boot = ThisBoot::on(root, Some(disk));
        let vcio = File::open(root.path("dev/vcio")).ok();
        let code = root.tree_number("system/linux,revision");
        let code = code.or_else(|| vcio::board_revision(vcio.as_ref()?.as_fd()).ok());
        let (running, updated) = running(root, vcio.as_ref());
        let flag = Flag::new(root).is_set();
        let mut look = Self {
            code,
            board: code.and_then(Board::from_code),
            medium: medium(root),
            running,
            updated,
            bootconf: bootconf::read(root, vcio.as_ref()),
            is_signed: root.tree_number("chosen/bootloader/signed").unwrap_or_default() != 0,
            is_protected: false,
            manufacture: root.tree_number("chosen/rpi-min-boot-ver").unwrap_or_default(),
            is_off: ["off", "0", "no"]
                .contains(&word(&root.cmdline(), "pivot.eeprom").unwrap_or_default()),
            shipped: None,
            files: Ok(State::AtRest),
            has_files: false,
            problem: None,
            attempts: attempts::read(root),
            is_armed: boot.with(|boot| boot.armed(flag)),
            root: root.clone(),
            partition: disk.bootsel.clone(),
            boot,
        };
        if let Some(chip) = look.chip()
            && let Err(why) = look.read_partition(chip, depth)
        {
            look.problem = Some(why.to_string());
        }
        look
    }

    fn read_partition(&mut self, chip: Chip, depth: Depth) -> Result<(), Error> {
        let files = Files::read(&self.partition);
        let files = files.inspect_err(|_| self.files = Err(stage::Error::Mixed))?;
        let Some(files) = files else { return Ok(()) };
        self.has_files = true;
        self.files = files.state();
        self.is_protected = files
            .content("config.txt", CONFIG)?
            .is_some_and(|config| sets_protection(&String::from_utf8_lossy(&config)));
        self.shipped = shipped_version(&files, chip, depth)?;
        Ok(())
    }

    pub(super) fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The board's, where it has an EEPROM.
    pub(crate) fn chip(&self) -> Option<Chip> {
        self.board.and_then(|board| board.eeprom())
    }

    /// What was tried; `None` where that cannot be read.
    pub(super) fn attempts(&self) -> Option<Attempts<'_>> {
        match self.attempts.as_ref().ok()? {
            None => Some(Attempts::default()),
            Some(line) => Attempts::parse(line),
        }
    }

    /// Whether the bootloader that runs is not older than this version.
    pub(super) fn runs(&self, version: u32) -> bool {
        self.running.timestamp().is_some_and(|running| running >= version)
    }

    pub(super) fn decide(&self, want: Want) -> Decision {
        let bootconf = self.bootconf.as_ref().ok();
        let bootconf = bootconf.map(|bootconf| String::from_utf8_lossy(&bootconf.bytes));
        decide(&Facts {
            board: self.board,
            medium: self.medium,
            running: self.running,
            bootconf: bootconf.as_deref(),
            is_signed: self.is_signed,
            is_protected: self.is_protected,
            manufacture: self.manufacture,
            is_off: self.is_off,
            want,
            shipped: self.shipped,
            files: self.files,
            attempts: self.attempts(),
            limit: LIMIT,
            boot_id: &self.boot.boot_id,
            is_trial: self.boot.uncommitted().is_some(),
            is_armed: self.is_armed,
            is_default: self.boot.default.is_some() && self.boot.default == self.boot.booted,
        })
    }

    /// What a boot would do; what was staged on request is staged.
    pub(super) fn decision(&self) -> Decision {
        let least = self.chip().map_or(0, Chip::least);
        match self.decide(Want::Shipped) {
            staged @ Decision::Staged(_) => staged,
            _ => self.decide(Want::Least(least)),
        }
    }
}

fn shipped_version(files: &Files, chip: Chip, depth: Depth) -> Result<Option<Shipped>, Error> {
    let (name, bytes) = (shipped(chip), chip.image_bytes());
    if depth == Depth::Version
        && let Some((length, beginning)) = files.beginning(name, BEGINNING)?
        && length == bytes
        && let Ok((version, manufacture)) = version(&beginning)
    {
        return Ok(Some(Shipped { version, manufacture }));
    }
    let Some(content) = files.content(name, bytes)? else { return Ok(None) };
    let image = Image::parse(&content).map_err(failed(format!("{name} is damaged")))?;
    if image.chip != chip {
        return Err(Error::Failed(format!("{name} is for another chip")));
    }
    Ok(Some(Shipped { version: image.build_timestamp, manufacture: image.manufacture }))
}

/// Which bootloader runs, and the time of its update: the later of two that disagree.
fn running(root: &Root, vcio: Option<&File>) -> (Running, Option<u32>) {
    let answer = vcio.and_then(|vcio| vcio::gencmd(vcio.as_fd(), "bootloader_version").ok());
    let text = answer.as_ref().and_then(|answer| std::str::from_utf8(answer.as_bytes()).ok());
    let version = text.and_then(Version::parse);
    let told = root.tree_number("chosen/bootloader/update-timestamp").filter(|time| *time != 0);
    let updated = told.max(version.and_then(|version| version.updated));
    let built = root.tree_number("chosen/bootloader/build-timestamp");
    (Running::new(built, version.as_ref()), updated)
}

/// Where the firmware does not say it, by the name of the device that the data partition is on.
fn medium(root: &Root) -> Medium {
    let told = root.tree_number("chosen/bootloader/boot-mode").filter(|mode| *mode != 0);
    let is_sd = told.map_or_else(
        || machine::data(root).is_some_and(|data| data.device.starts_with("mmcblk")),
        |mode| mode == SD,
    );
    if is_sd { Medium::SdOrEmmc } else { Medium::Other }
}

/// recovery.bin protects the EEPROM by this line, for good while its pin /WP is low: nothing else that Linux can read says
/// that it is. (Raspberry Pi documentation, `config_txt/boot.adoc`)
fn sets_protection(config: &str) -> bool {
    let lines = config.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(key, _)| key.trim() == "eeprom_write_protect")
        .any(|(_, value)| value.trim() == "1")
}
