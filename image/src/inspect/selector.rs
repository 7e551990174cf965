// SPDX-License-Identifier: MIT OR Apache-2.0
//! What partition 1 decides by: `autoboot.txt` of a Raspberry Pi, GRUB's `grubenv`; and what it has for EEPROMs.

use anyhow::Result;
use bootsel::{autoboot, grubenv};
use serde::Serialize;

use super::disk::TEXT;
use crate::eeprom::{self, Shipped};
use crate::fat::read::{Found, Reader};
use crate::uefi::{self, pe};

/// Debian's GRUB has 4.3 MB.
const PROGRAM: u64 = 32 << 20;
/// An image of a Pi 5 is the largest file for the EEPROM, and one that is longer is none.
const EEPROM: u64 = (2 << 20) + 1;

/// What a Raspberry Pi's autoboot.txt decides.
#[derive(Debug, Serialize)]
pub struct Autoboot {
    /// The partition that boots; 0: the first that can be booted.
    pub default: u8,
    /// The partition that a trial boots.
    pub trial: u8,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// What GRUB decides.
#[derive(Debug, Default, Serialize)]
pub struct Grub {
    /// The slot that boots.
    pub default: Option<String>,
    /// The slot that boots once.
    pub trial: Option<String>,
    /// The version of the GRUB on partition 1.
    pub version: Option<String>,
    /// Whether shim starts it.
    pub shim: bool,
    /// What is wrong with grubenv.
    pub problem: Option<String>,
}

/// What autoboot.txt says.
pub(super) fn autoboot<'a>(
    reader: &Reader<'_>,
    find: impl Fn(&str) -> Option<&'a Found>,
) -> Result<Option<Autoboot>> {
    let Some(found) = find(autoboot::NAME) else { return Ok(None) };
    Ok(Some(match autoboot::Autoboot::parse(&reader.read(found, TEXT)?) {
        Ok(read) => {
            let (default, trial) = (read.target(false), read.target(true));
            let problem = (default == trial).then(|| "a trial would be no other slot".to_owned());
            Autoboot { default, trial, problem }
        }
        Err(error) => Autoboot { default: 0, trial: 0, problem: Some(error.to_string()) },
    }))
}

/// What there is for the EEPROM of a Pi 4 and 5.
pub(super) fn shipped<'a>(
    reader: &Reader<'_>,
    find: impl Fn(&str) -> Option<&'a Found>,
) -> Vec<Shipped> {
    let read = |name: &str| {
        let bytes = find(name).map(|found| reader.read(found, EEPROM));
        bytes.transpose().map_err(|error| format!("{error:#}"))
    };
    eeprom::find(read).into_iter().map(|(_, shipped)| shipped).collect()
}

/// What grubenv says, and to which GRUB.
pub(super) fn grub<'a>(
    reader: &Reader<'_>,
    find: impl Fn(&str) -> Option<&'a Found>,
) -> Option<Grub> {
    let bytes = reader.read(find(grubenv::NAME)?, TEXT).unwrap_or_default();
    let program = |name: &str| reader.read(find(name)?, PROGRAM).ok();
    let behind = program(uefi::BEHIND_SHIM);
    let shim = behind.is_some();
    let version = behind.or_else(|| program(uefi::BOOT)).and_then(|bytes| pe::sbat(&bytes, "grub"));
    let found = Grub { version, shim, ..Grub::default() };
    Some(match grubenv::Grubenv::parse(&bytes) {
        Ok(read) => Grub {
            default: Some(read.default().to_string()),
            trial: read.is_armed().then(|| read.default().other().to_string()),
            ..found
        },
        Err(error) => Grub { problem: Some(error.to_string()), ..found },
    })
}
