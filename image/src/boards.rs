// SPDX-License-Identifier: MIT OR Apache-2.0
//! `boards`: what each Raspberry Pi would boot from an image, and whether that can work. The decision is `rpifw`'s.

pub mod evidence;
pub mod root;
pub mod subject;
mod text;

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bootsel::manifest;
use rpifw::{BOARDS, Board, Boot, Start};
use serde::Serialize;

use crate::eeprom::{self, Shipped};
use evidence::Driver;
use subject::Subject;

/// What every board boots.
#[derive(Debug, Serialize)]
pub struct Report {
    /// In the order of their coming out.
    pub boards: Vec<Entry>,
    /// Kernels of the first slot that no board takes as the image is.
    pub other_kernels: Vec<Other>,
    /// What partition 1 has for their EEPROMs.
    pub eeprom: Vec<Bootloader>,
}

/// A board.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// `pi3b`
    pub board: &'static str,
    /// `Raspberry Pi 3 Model B`
    pub model: &'static str,
    /// Without the tryboot flag.
    pub normal: Outcome,
    /// With it.
    pub trial: Outcome,
}

/// What comes of a start.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// The kernel is started.
    Boots(Box<Taken>),
    /// The firmware stops.
    Stops {
        /// Where and why.
        stop: String,
    },
}

impl Outcome {
    /// Where and why it stops.
    #[must_use]
    pub fn stop(&self) -> Option<&str> {
        match self {
            Self::Stops { stop } => Some(stop),
            Self::Boots(_) => None,
        }
    }

    /// What is taken, where it does not stop.
    #[must_use]
    pub fn taken(&self) -> Option<&Taken> {
        match self {
            Self::Boots(taken) => Some(taken),
            Self::Stops { .. } => None,
        }
    }
}

/// What is taken.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// The letter in the slot's command line.
    pub slot: Option<String>,
    /// Partition of the slot.
    pub partition: u32,
    /// File of the kernel.
    pub kernel: String,
    /// Its release, by `kernels.txt` or its own banner.
    pub release: Option<String>,
    /// Whether it starts in 64-bit mode.
    pub arm_64bit: bool,
    /// File of the device tree.
    pub dtb: Option<String>,
    /// Parts of the initramfs.
    pub initramfs: Vec<String>,
    /// `cmdline.txt`
    pub cmdline: String,
    /// The modules image of this kernel.
    pub modules_image: Option<String>,
    /// Whether the revision that the command line names has it.
    pub modules: bool,
    /// The driver of the SD card.
    pub medium_driver: &'static str,
    /// How the kernel has it; none where that cannot be seen.
    pub medium: Option<Driver>,
    /// Whether a reboot passes the tryboot flag on.
    pub tryboot: bool,
    /// Files of the firmware that are not in the image: a board stops, an emulator goes on.
    pub firmware_lacks: Vec<String>,
    /// What the kernel is without and a board needs: an emulator goes on.
    pub kernel_lacks: Vec<String>,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// A kernel that no board takes.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its file.
    pub kernel: String,
    /// The boards that take it with `arm_64bit=0` in config.txt.
    pub with_arm_64bit_0: Vec<&'static str>,
}

/// A bootloader for the EEPROM of some boards.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Bootloader {
    /// What it is.
    #[serde(flatten)]
    pub shipped: Shipped,
    /// The boards whose EEPROM can be written from partition 1.
    pub boards: Vec<&'static str>,
}

/// Looks at an image.
///
/// # Errors
/// Where it cannot be read, has no partition table, or is not for the Raspberry Pi.
pub fn boards(path: &Path) -> Result<Report> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let subject = Subject::open(path, &file).with_context(|| path.display().to_string())?;
    let efi =
        subject.disk.fat(1).is_some_and(|volume| rpifw::Volume::exists(volume, crate::uefi::BOOT));
    let what = if efi {
        "is for UEFI, where no board has rules of its own"
    } else {
        "has no files for a Raspberry Pi's firmware"
    };
    ensure!(
        crate::lint::is_for_pi(&subject),
        "{}: {what}: `lint` and `inspect` look at it",
        path.display()
    );
    Ok(report(&subject))
}

/// The report on an image that is open.
#[must_use]
pub fn report(subject: &Subject<'_>) -> Report {
    let boards: Vec<Entry> = BOARDS
        .iter()
        .map(|board| Entry {
            board: board.name,
            model: board.model,
            normal: outcome(subject, board, false),
            trial: outcome(subject, board, true),
        })
        .collect();
    let other_kernels = others(subject, &boards);
    Report { boards, other_kernels, eeprom: bootloaders(subject) }
}

fn bootloaders(subject: &Subject<'_>) -> Vec<Bootloader> {
    let Some(volume) = subject.disk.fat(1) else { return Vec::new() };
    let found = eeprom::find(|name| rpifw::Volume::read(volume, name));
    let one = |(chip, shipped)| Bootloader { shipped, boards: eeprom::boards(chip).collect() };
    found.into_iter().map(one).collect()
}

fn outcome(subject: &Subject<'_>, board: &Board, tryboot: bool) -> Outcome {
    match rpifw::boot(board, &subject.disk, &Start { tryboot, arm_64bit: None }) {
        Ok(boot) => Outcome::Boots(Box::new(taken(subject, board, boot))),
        Err(stop) => Outcome::Stops { stop: stop.to_string() },
    }
}

fn taken(subject: &Subject<'_>, board: &Board, boot: Boot) -> Taken {
    let number = boot.partition;
    let image = subject.kernel(number, &boot.kernel);
    let image = image.as_ref().as_ref().ok();
    let mut listed = subject.listed(number).into_iter();
    let listed = listed.find(|line| line.kernel.eq_ignore_ascii_case(&boot.kernel));
    let banner = image.and_then(|image| image.release.clone());
    let release = listed.map(|line| line.release).or(banner);
    let id = subject::value(&boot.cmdline, "pivot.revision").unwrap_or_default();
    let known = release.as_deref().unwrap_or_default();
    let early = subject.early(number, &boot.initramfs, known);
    let modules = subject.modules(&id, known);
    let driver = |names: &[&'static str]| match &*modules {
        Ok(modules) => {
            let (name, driver) = modules.driver(names, &early);
            (name, Some(driver).filter(|how| *how != Driver::None || modules.knows_builtin()))
        }
        Err(_) => (names.first().copied().unwrap_or_default(), None),
    };
    let (medium_driver, medium) = driver(evidence::medium(board.chip));
    // raspberrypi/linux: drivers/char/broadcom/vcio.c
    let vcio = !matches!(driver(&["vcio"]).1, None | Some(Driver::None));
    let tryboot = vcio || image.is_some_and(|image| image.tryboot);
    Taken {
        slot: subject::value(&boot.cmdline, "pivot.slot"),
        partition: number,
        kernel: boot.kernel,
        modules_image: release.as_deref().and_then(manifest::modules_image),
        modules: release.as_deref().is_some_and(|release| subject.has_modules(&id, release)),
        release,
        arm_64bit: boot.arm_64bit,
        dtb: boot.dtb,
        initramfs: boot.initramfs,
        cmdline: boot.cmdline,
        medium_driver,
        medium,
        tryboot,
        firmware_lacks: boot.missing.iter().map(ToString::to_string).collect(),
        kernel_lacks: kernel_lacks(medium_driver, medium, tryboot),
        notes: boot.notes,
    }
}

fn kernel_lacks(driver: &str, medium: Option<Driver>, tryboot: bool) -> Vec<String> {
    let mut lacks = Vec::new();
    match medium {
        Some(Driver::None) => {
            lacks.push(format!("the kernel has no {driver}, the driver of the SD card"));
        }
        Some(Driver::Late) => lacks.push(format!(
            "{driver}, the driver of the SD card, is not in the initramfs: it lies on that card alone"
        )),
        Some(Driver::BuiltIn | Driver::Early) | None => {}
    }
    if !tryboot {
        let what =
            "the kernel cannot pass the tryboot flag on: neither vcio nor \" tryboot\" is in it";
        lacks.push(what.to_owned());
    }
    lacks
}

/// Kernels that the first slot lists and nobody takes.
fn others(subject: &Subject<'_>, boards: &[Entry]) -> Vec<Other> {
    let Some((number, _)) = subject.slots().next() else { return Vec::new() };
    let is_taken = |kernel: &str| {
        let takes = |outcome: &Outcome| {
            outcome.taken().is_some_and(|taken| taken.kernel.eq_ignore_ascii_case(kernel))
        };
        boards.iter().any(|entry| takes(&entry.normal) || takes(&entry.trial))
    };
    let narrow = Start { tryboot: false, arm_64bit: Some(false) };
    let with = |kernel: &str| {
        let takes = |board: &&Board| {
            rpifw::boot(board, &subject.disk, &narrow)
                .is_ok_and(|boot| boot.kernel.eq_ignore_ascii_case(kernel))
        };
        BOARDS.iter().filter(takes).map(|board| board.name).collect()
    };
    let listed = subject.listed(number).into_iter().map(|line| line.kernel);
    listed
        .filter(|kernel| !is_taken(kernel))
        .map(|kernel| Other { with_arm_64bit_0: with(&kernel), kernel })
        .collect()
}
