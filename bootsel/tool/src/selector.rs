// SPDX-License-Identifier: MIT OR Apache-2.0
//! What chooses the slot at power-on, and how a trial is asked of it: a Raspberry Pi's firmware with `autoboot.txt`
//! and a flag, or GRUB with `grubenv`. A disk may have both files, for one kind of machine each.
//!
//! Partition 1 is never mounted to be written: one sector of a file is overwritten in its place.

mod grub;
mod tryboot;

use bootsel::Slot;
use bootsel::state::{Loader, Selector, Way};

use crate::disk::Disk;
use crate::error::Result;
use crate::flag::{self, Flag};
use crate::root::Root;

/// Where the kernel was started by UEFI, as GRUB is. (Linux, `drivers/firmware/efi/efi.c`)
const EFI: &str = "sys/firmware/efi";
/// Where a Raspberry Pi's firmware says what it did.
const PI: &str = "proc/device-tree/chosen/bootloader";

/// What the selectors of a disk say.
#[derive(Debug)]
pub(crate) struct Found {
    /// The loader that runs here.
    pub(crate) loader: Loader,
    /// Its selector.
    pub(crate) selector: Selector,
    /// That of the other loader, where its file is on the disk.
    pub(crate) other: Option<Selector>,
    /// Whether `grubenv` asks for a trial; `None` where it cannot be read.
    pub(crate) pending: Option<bool>,
}

/// Whether UEFI started this system.
pub(crate) fn is_efi(root: &Root) -> bool {
    root.path(EFI).is_dir()
}

/// Whether partition 1 has the loader's file.
fn is_there(disk: &Disk, loader: Loader) -> bool {
    let find = || {
        let area = disk.bootsel.open()?;
        area.find(&area.volume()?, loader.selector())
    };
    find().is_ok_and(|file| file.is_some())
}

impl Found {
    /// The machine says which loader runs, and where it says neither or both, the files do.
    pub(crate) fn read(root: &Root, disk: &Disk) -> Self {
        let [autoboot, grubenv] = [Loader::Tryboot, Loader::Grub].map(|one| is_there(disk, one));
        let (efi, pi) = (is_efi(root), root.path(PI).is_dir());
        let loader = match (efi, pi) {
            (true, false) => Loader::Grub,
            (false, true) => Loader::Tryboot,
            _ if grubenv && (efi || !autoboot) => Loader::Grub,
            _ => Loader::Tryboot,
        };
        let (of_grub, armed) = grub::read(disk);
        let pending = if grubenv { armed } else { Some(false) };
        let of_pi = tryboot::read(disk);
        let (selector, other) = match loader {
            Loader::Tryboot => (of_pi, grubenv.then_some(of_grub)),
            Loader::Grub => (of_grub, autoboot.then_some(of_pi)),
        };
        Self { loader, selector, other, pending }
    }

    /// Whether slots of this disk are to boot with GRUB.
    pub(crate) fn has_grub(&self) -> bool {
        self.loader == Loader::Grub || self.other.is_some()
    }
}

/// The selectors, and what is done with them.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) found: Found,
    disk: Disk,
    flag: Flag,
    root: Root,
}

impl Environment {
    pub(crate) fn look(root: &Root, disk: &Disk) -> Self {
        let found = Found::read(root, disk);
        Self { found, disk: disk.clone(), flag: Flag::new(root), root: root.clone() }
    }

    /// How a trial is asked for.
    pub(crate) fn way(&self) -> Way {
        match self.found.loader {
            Loader::Tryboot => self.flag.way(),
            Loader::Grub => Way::Grubenv,
        }
    }

    /// Whether the next boot is a trial; `None` where that cannot be read.
    pub(crate) fn is_armed(&self) -> Option<bool> {
        match self.found.loader {
            Loader::Tryboot => self.flag.is_set(),
            Loader::Grub => self.found.pending,
        }
    }

    /// Whether GRUB is shown to know of trials.
    pub(crate) fn grub_knows_trials(&self) -> std::result::Result<(), String> {
        grub::knows_trials(&self.disk)
    }

    /// Refuses what could only be done together with a reboot.
    pub(crate) fn can_wait(&self) -> Result<()> {
        match self.found.loader {
            Loader::Tryboot => self.flag.can_wait(),
            Loader::Grub => Ok(()),
        }
    }

    /// Makes `default` the slot that this loader boots, and the other one that of a trial.
    pub(crate) fn select(&self, loader: Loader, default: Slot) -> Result<()> {
        match loader {
            Loader::Tryboot => tryboot::select(&self.disk, default),
            Loader::Grub => grub::select(&self.disk, default),
        }
    }

    /// Asks for a trial; says how.
    pub(crate) fn arm(&mut self) -> Result<String> {
        if self.found.loader == Loader::Tryboot {
            return self.flag.set();
        }
        grub::arm(&self.disk, true)?;
        self.found.pending = Some(true);
        Ok("the trial is set in grubenv and read back".to_owned())
    }

    /// Calls it off, in every way in which it could have been asked for.
    pub(crate) fn disarm(&mut self) -> Result<()> {
        if self.found.loader == Loader::Tryboot {
            self.flag.clear()?;
        }
        if self.found.loader == Loader::Grub || self.found.pending == Some(true) {
            grub::arm(&self.disk, false)?;
            self.found.pending = Some(false);
        }
        Ok(())
    }

    /// Restarts.
    pub(crate) fn reboot(&self) -> Result<&'static str> {
        match self.found.loader {
            Loader::Tryboot => self.flag.reboot(),
            Loader::Grub => flag::reboot(&self.root, false),
        }
    }
}
