// SPDX-License-Identifier: MIT OR Apache-2.0
//! One end-to-end case as data: what is booted, what is done to it before, and what must come of it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use witness::Report;

use super::disk::DiskCopy;
use super::fixture::Fixture;
use crate::image::{self, Image};
use crate::machine::{CORTEX_A72, CORTEX_A76, Disk, Machine};
use crate::rootfs::Rootfs;
use crate::run::{self, Ended, Outcome, Typed};

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
    pub(crate) fn run(&self, fixture: &Fixture) -> Result<()> {
        let directory = fixture.directory.join("cases").join(&self.name);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let setting = self.setting(fixture, &directory)?;
        for (number, boot) in (1..).zip(&self.boots) {
            let machine = self.machine(&setting, &boot.append);
            let outcome = run::run(&machine, self.script, self.limit)?;
            fs::write(directory.join(format!("console{number}")), &outcome.console)?;
            let seen = Seen { outcome: &outcome, disk: setting.disk.as_ref().ok() };
            self.judge(&seen, boot).with_context(|| seen.told(number, &directory))?;
        }
        if let Ok(disk) = &setting.disk {
            (self.after)(disk).context("the disk afterwards")?;
        }
        Ok(fs::remove_dir_all(&directory)?)
    }

    fn judge(&self, seen: &Seen<'_>, boot: &Boot) -> Result<()> {
        ensure!(seen.outcome.ended == Ended::Itself, "it did not end within {:?}", self.limit);
        (boot.check)(seen)
    }

    fn setting(&self, fixture: &Fixture, directory: &Path) -> Result<Setting> {
        let copy = |image: &Image| -> Result<Result<DiskCopy, PathBuf>> {
            let copy = DiskCopy::make(image, directory)?;
            (self.prepare)(&copy).context("preparing the disk")?;
            Ok(Ok(copy))
        };
        let kernel = if self.pages_16k { &fixture.kernel_16k } else { &fixture.kernel };
        let plain = image::Boot { cmdline: PLAIN.into(), ..kernel.clone() };
        let (disk, mut boot) = match self.base {
            Base::Gpt => (copy(&fixture.gpt)?, kernel.clone()),
            Base::Mbr => (copy(&fixture.mbr)?, fixture.mbr_kernel.clone()),
            Base::RootsGpt => (Err(fixture.roots_gpt.clone()), plain),
            Base::RootsMbr => (Err(fixture.roots_mbr.clone()), plain),
            Base::Debian(rootfs) => {
                let image = fixture.debian(rootfs, directory)?;
                (copy(&image)?, image.boot(|_| true)?)
            }
        };
        match self.initrd {
            Initrd::Shipped => {}
            Initrd::Tools => boot.initrd.clone_from(&fixture.tools),
            Initrd::Misaligned => boot.initrd.clone_from(&fixture.misaligned),
            Initrd::Foreign => boot.initrd.clone_from(&fixture.kernel.initrd),
        }
        Ok(Setting { disk, boot })
    }

    fn machine(&self, setting: &Setting, append: &[u8]) -> Machine {
        let boot = &setting.boot;
        Machine {
            cpu: if self.pages_16k { CORTEX_A76 } else { CORTEX_A72 },
            memory: "512M".into(),
            disks: self.disks(&setting.disk),
            kernel: boot.kernel.clone(),
            initrd: boot.initrd.clone(),
            append: image::append(&boot.cmdline, &OsString::from_vec(append.to_vec())),
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

/// Disk and loaded files of a case.
struct Setting {
    /// A copy, or the path of a disk that nothing is written to.
    disk: Result<DiskCopy, PathBuf>,
    boot: image::Boot,
}

/// What a check looks at.
pub(crate) struct Seen<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) disk: Option<&'a DiskCopy>,
}

impl Seen<'_> {
    /// What the witness said; an error where it did not come to its end.
    pub(crate) fn report(&self) -> Result<&Report> {
        self.outcome.report.as_ref().map_err(|why| anyhow!("{why}"))
    }

    /// The console shows this text.
    pub(crate) fn says(&self, text: &str) -> Result<()> {
        ensure!(self.outcome.console.contains(text), "the console does not show {text:?}");
        Ok(())
    }

    /// The console does not show this text.
    pub(crate) fn silent(&self, text: &str) -> Result<()> {
        ensure!(!self.outcome.console.contains(text), "the console shows {text:?}");
        Ok(())
    }

    /// Why QEMU ended: the reason of its SHUTDOWN.
    pub(crate) fn ended_by(&self, reason: &str) -> Result<()> {
        let events = &self.outcome.events;
        let found = events.iter().any(|event| event.name == "SHUTDOWN" && event.reason == reason);
        ensure!(found, "QEMU did not end by {reason}: {events:?}");
        Ok(())
    }

    /// Whether the watchdog has reset the machine.
    pub(crate) fn watchdog_fired(&self) -> bool {
        self.outcome.events.iter().any(|e| e.name == "WATCHDOG" && e.reason == "reset")
    }

    fn told(&self, number: u32, directory: &Path) -> String {
        let report = match &self.outcome.report {
            Ok(_) => "complete".to_owned(),
            Err(why) => why.clone(),
        };
        format!(
            "boot {number} ({:.1} s); witness: {report}; end of {}/console{number}:\n{}\n",
            self.outcome.wall.as_secs_f64(),
            directory.display(),
            crate::tool::tail(&self.outcome.console, 25)
        )
    }
}
