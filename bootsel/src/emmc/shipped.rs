// SPDX-License-Identifier: MIT OR Apache-2.0

//! The bootloader that a revision brings: whether it is for this device, and when it becomes active.
//!
//! It is a file of the revision like any other, so its hash and its length are in the signed manifest, with the SoC whose
//! ROM starts it. `install` writes it to the boot partition that is not active. The old one starts the slot on trial: both
//! must be able to start both slots. Only a commit makes it active, after the selector says so, because there is no
//! trial of a bootloader and no way back from one that does not start.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use super::note::Note;
use crate::Slot;
use crate::manifest::{File, Manifest};
use crate::state::ThisBoot;

/// Name of the file in a revision's directory.
pub const NAME: &str = "bootloader.img";
/// Key of the manifest: what the device is, as the builder's table of SoCs calls it.
pub const SOC: &str = "soc";

/// The bootloader of a revision; `None` where it brings none. What the device is the manifest of the revision that runs
/// says: it was signed or made with the image, it changes with the revision alone, and no file of the device's own can
/// be forgotten or go stale. A device tree would be no better a witness: it comes out of the slot, too.
///
/// # Errors
/// Where the revision is for another device, or it is not known that it is for this one.
pub fn bootloader<'a>(
    new: &'a Manifest,
    running: Option<&Manifest>,
) -> Result<Option<&'a File>, Unfit> {
    let image = new.file(NAME);
    let here = running.and_then(|manifest| manifest.get(SOC));
    match (new.get(SOC), here) {
        (None, _) if image.is_some() => Err(Unfit::Unnamed),
        (Some(wanted), Some(here)) if wanted != here => {
            Err(Unfit::Other { wanted: wanted.to_owned(), here: here.to_owned() })
        }
        (Some(wanted), None) if image.is_some() => Err(Unfit::Unknown(wanted.to_owned())),
        _ => Ok(image),
    }
}

/// Why a revision is not for this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It brings a bootloader and does not say for which SoC.
    Unnamed,
    /// It is for another SoC.
    Other {
        /// What it is for.
        wanted: String,
        /// What this is.
        here: String,
    },
    /// It brings a bootloader for this SoC, and what this device is, is not known.
    Unknown(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => {
                write!(f, "it brings a bootloader, and its manifest does not say for which {SOC}")
            }
            Self::Other { wanted, here } => {
                write!(f, "it is for {SOC}={wanted}, and this device is {SOC}={here}")
            }
            Self::Unknown(wanted) => write!(
                f,
                "it brings a bootloader for {SOC}={wanted}, and the manifest of the revision that runs does not say what \
                 this device is; install a revision without a bootloader that says it first"
            ),
        }
    }
}

impl core::error::Error for Unfit {}

/// What is to be done about what was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Nothing: it waits for nothing, or what it waited for was overwritten.
    Nothing,
    /// It waits for the commit of its slot.
    Waits,
    /// Its slot is committed and runs: it is to be active.
    Due,
}

/// Decides; `revision` is that of the booted slot, `armed` whether the next boot is a trial. It is due only where the
/// default slot runs and no trial is ahead: a trial is to end with the bootloader that it began with.
pub fn follow(note: &Note, boot: &ThisBoot<'_>, revision: &str, armed: bool) -> Follow {
    let Some(with) = &note.with else { return Follow::Nothing };
    let holds = |slot: Slot| boot.booted != Some(slot) || with.revision.as_str() == revision;
    match boot.default {
        _ if !holds(with.slot) => Follow::Nothing,
        Some(default) if default == with.slot && boot.booted == Some(default) && !armed => {
            Follow::Due
        }
        _ => Follow::Waits,
    }
}
