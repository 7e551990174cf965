// SPDX-License-Identifier: MIT OR Apache-2.0
//! One end-to-end case as data: what is booted, what is done to it before, and what must come of it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cuts::World;
use super::disk::DiskCopy;
use super::fixture::{Fixture, Virt};
pub(crate) use super::seen::Seen;
use crate::image::{self, Image};
use crate::machine::{CORTEX_A72, CORTEX_A76, Disk, Machine};
use crate::rootfs::Rootfs;
use crate::run::{self, Ended, Typed};
use crate::standin::{self, Cause, Standin};
use crate::tool;

/// The first disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The image with a GPT.
    Gpt,
    /// The image with an MBR.
    Mbr,
    /// A disk of `roots`: a GPT whose partitions hold roots.
    RootsGpt,
    /// The same with an MBR.
    RootsMbr,
    /// The image with a Debian.
    Debian(Rootfs),
    /// The image for every Raspberry Pi, in the SD card slot of one.
    Board(OnBoard),
    /// An image with a Debian for a Raspberry Pi 3, likewise.
    DebianOnPi3(Rootfs),
    /// A small image and bundles for it, on cards that the case makes itself.
    Life,
    /// The same for a computer with UEFI.
    Uefi,
    /// A small image, and what else it takes, which the case makes itself.
    Own,
    /// Likewise, with what power cuts are recorded with.
    Cuts(World),
}

/// Which Raspberry Pi, and how it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OnBoard {
    /// As the stand-in knows it.
    pub(crate) name: &'static str,
    /// In place of what config.txt says of it.
    pub(crate) arm_64bit: Option<bool>,
    /// The first start is one after `reboot "0 tryboot"`.
    pub(crate) tryboot: bool,
}

impl OnBoard {
    /// Its power is switched on.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, arm_64bit: None, tryboot: false }
    }
}

impl Base {
    /// Whether it is of the fixture's part for `virt`.
    pub(crate) fn is_virt(self) -> bool {
        matches!(self, Self::Gpt | Self::Mbr | Self::RootsGpt | Self::RootsMbr)
    }

    /// Whether it is of the fixture's part for Raspberry Pis.
    pub(crate) fn is_pi(self) -> bool {
        matches!(self, Self::Board(_))
    }
}

/// Which initramfs is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initrd {
    /// What lies in the slot.
    Shipped,
    /// With e2fsck and a shell.
    Tools,
    /// With an init for pages of 4 KiB.
    Misaligned,
    /// With the early modules of the other kernel.
    Foreign,
    /// With the ARMv6 init alone.
    Armv6,
}

/// A check of what a boot has shown.
pub(crate) type Check = Box<dyn Fn(&Seen<'_>) -> Result<()> + Send + Sync>;

/// One boot of a case.
pub(crate) struct Boot {
    /// Added to the command line; may be no text.
    pub(crate) append: Vec<u8>,
    pub(crate) check: Check,
}

/// The words of a command line that is not the slot's.
const PLAIN: &str = "console=ttyAMA0 panic=-1";

/// A case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) base: Base,
    /// Whether a copy of the first disk is there as a second one.
    pub(crate) twin: bool,
    pub(crate) pages_16k: bool,
    pub(crate) initrd: Initrd,
    /// See [`Machine::icount`].
    pub(crate) icount: bool,
    /// Whether it sleeps more than it works, so that it may run beside others.
    pub(crate) waits: bool,
    pub(crate) read_only: bool,
    /// More options of the first disk's `-drive`.
    pub(crate) drive: &'static str,
    pub(crate) prepare: fn(&DiskCopy) -> Result<()>,
    pub(crate) script: &'static [Typed],
    /// In place of boots: what takes more than to boot one after the other. It works in the directory and says how much
    /// it did.
    pub(crate) custom: Option<fn(&Fixture, &Path) -> Result<String>>,
    /// One after the other on the same disk.
    pub(crate) boots: Vec<Boot>,
    /// What must be on the disk at the end.
    pub(crate) after: fn(&DiskCopy) -> Result<()>,
    pub(crate) limit: Duration,
}

impl Case {
    /// A boot of the image with a GPT as it ships.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            base: Base::Gpt,
            twin: false,
            pages_16k: false,
            initrd: Initrd::Shipped,
            icount: false,
            waits: false,
            read_only: false,
            drive: "",
            prepare: |_| Ok(()),
            script: &[],
            custom: None,
            boots: Vec::new(),
            after: |_| Ok(()),
            limit: Duration::from_secs(120),
        }
    }

    /// Adds a boot.
    pub(crate) fn boot(
        mut self,
        append: impl Into<Vec<u8>>,
        check: impl Fn(&Seen<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.boots.push(Boot { append: append.into(), check: Box::new(check) });
        self
    }

    /// Runs it. What was seen stays in the directory where it fails.
    pub(crate) fn run(&self, fixture: &Fixture) -> Result<String> {
        let directory = fixture.directory.join("cases").join(&self.name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        if let Some(custom) = self.custom {
            let note = custom(fixture, &directory)?;
            fs::remove_dir_all(&directory)?;
            return Ok(note);
        }
        let setting = self.setting(fixture, &directory)?;
        let mut cause = self.first_cause();
        for (number, boot) in (1..).zip(&self.boots) {
            let append = OsString::from_vec(boot.append.clone());
            let (qemu, chosen) = match &setting {
                Setting::Virt { disk, boot } => (self.machine(disk, boot, &append).command(), None),
                Setting::Board(standin) => {
                    let started = standin.start(cause, &append)?;
                    fs::write(directory.join(format!("started{number}")), started.told)?;
                    (started.qemu, Some(started.boot))
                }
            };
            let outcome = run::run(qemu, self.script, self.limit)?;
            fs::write(directory.join(format!("console{number}")), &outcome.console)?;
            let seen = Seen { outcome: &outcome, disk: setting.copy(), chosen: chosen.as_ref() };
            self.judge(&seen, boot).with_context(|| seen.told(number, &directory))?;
            cause = Cause::after(&outcome.console);
        }
        self.afterwards(&setting, fixture, &directory).context("the disk afterwards")?;
        fs::remove_dir_all(&directory)?;
        Ok(String::new())
    }

    fn first_cause(&self) -> Cause {
        let tryboot = matches!(self.base, Base::Board(OnBoard { tryboot: true, .. }));
        Cause { tryboot, restarted: false }
    }

    fn afterwards(&self, setting: &Setting, fixture: &Fixture, directory: &Path) -> Result<()> {
        match setting {
            Setting::Virt { disk: Ok(disk), .. } => (self.after)(disk),
            Setting::Virt { disk: Err(_), .. } => Ok(()),
            Setting::Board(standin) => {
                let card = DiskCopy::open(standin.card(), directory)?;
                card.check_clean()?;
                (self.after)(&card)?;
                match &fixture.pi {
                    Some(pi) if pi.image.disk == standin.image => {
                        let (found, built) = (tool::sha256(&standin.image)?, &pi.sha256);
                        ensure!(found == *built, "the image has changed: its sha256 was {built}");
                    }
                    _ => {}
                }
                Ok(())
            }
        }
    }

    fn judge(&self, seen: &Seen<'_>, boot: &Boot) -> Result<()> {
        ensure!(seen.outcome.ended == Ended::Itself, "it did not end within {:?}", self.limit);
        (boot.check)(seen)
    }

    fn setting(&self, fixture: &Fixture, directory: &Path) -> Result<Setting> {
        match self.base {
            Base::Debian(rootfs) => {
                let image = fixture.debian(rootfs, directory)?;
                let disk = Ok(self.copy(&image, directory)?);
                Ok(Setting::Virt { disk, boot: image.boot(|_| true)? })
            }
            Base::Board(board) => self.board(board, &fixture.pi()?.image.disk, directory),
            Base::DebianOnPi3(rootfs) => {
                let image = fixture.debian_for_pi3(rootfs, directory)?;
                self.board(OnBoard::new("pi3b"), &image.disk, directory)
            }
            _ => self.virt(fixture.virt()?, directory),
        }
    }

    fn board(&self, board: OnBoard, image: &Path, directory: &Path) -> Result<Setting> {
        let standin = Standin {
            board: standin::board(board.name)?,
            image: image.to_owned(),
            directory: directory.to_owned(),
            arm_64bit: board.arm_64bit,
            quick: false,
            ramoops: false,
            eeprom: None,
            record: None,
        };
        standin.insert_card(None)?;
        let card = DiskCopy::open(standin.card(), directory)?;
        (self.prepare)(&card).context("preparing the card")?;
        Ok(Setting::Board(standin))
    }

    fn copy(&self, image: &Image, directory: &Path) -> Result<DiskCopy> {
        let copy = DiskCopy::make(image, directory)?;
        (self.prepare)(&copy).context("preparing the disk")?;
        Ok(copy)
    }

    fn virt(&self, fixture: &Virt, directory: &Path) -> Result<Setting> {
        let kernel = if self.pages_16k { &fixture.kernel_16k } else { &fixture.kernel };
        let plain = image::Boot { cmdline: PLAIN.into(), ..kernel.clone() };
        let (disk, mut boot) = match self.base {
            Base::Mbr => (Ok(self.copy(&fixture.mbr, directory)?), fixture.mbr_kernel.clone()),
            Base::RootsGpt => (Err(fixture.roots_gpt.clone()), plain),
            Base::RootsMbr => (Err(fixture.roots_mbr.clone()), plain),
            _ => (Ok(self.copy(&fixture.gpt, directory)?), kernel.clone()),
        };
        match self.initrd {
            Initrd::Shipped => {}
            Initrd::Tools => boot.initrd.clone_from(&fixture.tools),
            Initrd::Misaligned => boot.initrd.clone_from(&fixture.misaligned),
            Initrd::Foreign => boot.initrd.clone_from(&fixture.kernel.initrd),
            Initrd::Armv6 if self.pages_16k => boot.initrd.clone_from(&fixture.armv6_16k),
            Initrd::Armv6 => boot.initrd.clone_from(&fixture.armv6),
        }
        Ok(Setting::Virt { disk, boot })
    }

    fn machine(
        &self,
        disk: &Result<DiskCopy, PathBuf>,
        boot: &image::Boot,
        append: &OsStr,
    ) -> Machine {
        Machine {
            cpu: if self.pages_16k { CORTEX_A76 } else { CORTEX_A72 },
            memory: "512M".into(),
            disks: self.disks(disk),
            kernel: boot.kernel.clone(),
            initrd: boot.initrd.clone(),
            append: image::append(&boot.cmdline, append),
            icount: self.icount,
        }
    }

    fn disks(&self, disk: &Result<DiskCopy, PathBuf>) -> Vec<Disk> {
        let first = match disk {
            Ok(copy) => {
                Disk { path: copy.path.clone(), read_only: self.read_only, options: self.drive }
            }
            // Shared by several cases: what is written goes to a temporary file of QEMU's.
            Err(path) => Disk { path: path.clone(), read_only: false, options: "snapshot=on" },
        };
        let twin = Disk { read_only: true, options: "file.locking=off", ..first.clone() };
        if self.twin {
            vec![Disk { options: "file.locking=off", ..first }, twin]
        } else {
            vec![first]
        }
    }
}

/// Where a case runs.
enum Setting {
    /// On `virt`: disk and loaded files. The disk is a copy, or the path of one that nothing is written to.
    Virt { disk: Result<DiskCopy, PathBuf>, boot: image::Boot },
    /// On a board.
    Board(Standin),
}

impl Setting {
    fn copy(&self) -> Option<&DiskCopy> {
        match self {
            Self::Virt { disk, .. } => disk.as_ref().ok(),
            Self::Board(_) => None,
        }
    }
}
