// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on what UEFI and GRUB start from.

use bootsel::fat::{BLOCK, Volume as Fat};
use bootsel::grubenv::{self, Fragment, Grubenv};
use rpifw::Volume;

use super::{Fault, file, place};
use crate::boards::subject::{SLOTS, Subject};
use crate::slot;
use crate::uefi::{self, pe};

/// Whether anything of the image is for UEFI.
pub(super) fn is_for(subject: &Subject<'_>) -> bool {
    let on_first = [uefi::BOOT, grubenv::NAME, grubenv::SCRIPT];
    let first = subject.disk.fat(1);
    first.is_some_and(|volume| on_first.iter().any(|name| volume.exists(name)))
}

fn read(subject: &Subject<'_>, number: u32, name: &str) -> Option<Vec<u8>> {
    subject.disk.fat(number)?.read(name).ok()?
}

/// Firmware looks for the type; Linux and Windows leave such a partition alone.
pub(super) fn partition(subject: &Subject<'_>) -> Vec<Fault> {
    let first = subject.disk.partition(1);
    let found = first.and_then(|partition| partition.type_guid.as_deref());
    let fault = |found: &str| (place(1), format!("has type {found}, expected {}", uefi::ESP));
    found.filter(|found| *found != uefi::ESP).map(fault).into_iter().collect()
}

/// The program that the firmware starts, and the one behind it.
pub(super) fn programs(subject: &Subject<'_>) -> Vec<Fault> {
    let judge = |name: &str| {
        let what = match read(subject, 1, name).map(|bytes| pe::Program::of(&bytes)) {
            None => "is missing: the firmware finds nothing to start",
            Some(None) => "is no UEFI program for 64-bit Arm",
            Some(Some(_)) => return None,
        };
        Some((file(1, name), what.to_owned()))
    };
    let shim = read(subject, 1, uefi::BOOT).is_some_and(|bytes| pe::sbat(&bytes, "shim").is_some());
    let names = [Some(uefi::BOOT), shim.then_some(uefi::BEHIND_SHIM)];
    names.into_iter().flatten().filter_map(judge).collect()
}

/// GRUB's script, and the one that leads to it from where GRUB looks.
pub(super) fn script(subject: &Subject<'_>) -> Vec<Fault> {
    let Some(volume) = subject.disk.fat(1) else { return Vec::new() };
    let mut faults = Vec::new();
    if !volume.exists(grubenv::SCRIPT) {
        faults.push((file(1, grubenv::SCRIPT), "is missing: GRUB chooses no slot".to_owned()));
    }
    let leads = |path: &str| {
        let path = path.to_ascii_lowercase();
        path.starts_with("efi/") && path.ends_with("/grub.cfg")
    };
    if !volume.files().any(|found| leads(&found.path)) {
        let what = "no grub.cfg in any directory of it: GRUB stops at its prompt";
        faults.push((file(1, "EFI"), what.to_owned()));
    }
    faults
}

/// Somebody's own script may be right; none of what is promised of trials was tried with it.
pub(super) fn own_script(subject: &Subject<'_>) -> Vec<Fault> {
    let found = read(subject, 1, grubenv::SCRIPT);
    let other = found.is_some_and(|text| text != uefi::SCRIPT_TEXT.as_bytes());
    let what = "is not the one of this pivot-image: trials are as safe as it makes them";
    other.then(|| (file(1, grubenv::SCRIPT), what.to_owned())).into_iter().collect()
}

/// A device changes it by overwriting a sector, GRUB by overwriting its place.
pub(super) fn environment(subject: &Subject<'_>) -> Vec<Fault> {
    let what = match read(subject, 1, grubenv::NAME) {
        None => {
            "is missing: no trial is possible, and slot a starts whatever was committed".to_owned()
        }
        Some(bytes) => match Grubenv::parse(&bytes) {
            Err(error) => error.to_string(),
            Ok(read) if read.is_armed() => "a trial is armed in it".to_owned(),
            Ok(_) => match in_one_piece(subject) {
                Ok(()) => return Vec::new(),
                Err(what) => what,
            },
        },
    };
    vec![(file(1, grubenv::NAME), what)]
}

fn in_one_piece(subject: &Subject<'_>) -> Result<(), String> {
    let partition = subject.disk.partition(1).ok_or("no such partition")?;
    let mut read = |at, block: &mut [u8; BLOCK]| subject.block(at, block);
    let text = |why: bootsel::fat::Error<_>| why.to_string();
    let volume = Fat::open(partition.start, partition.bytes, &mut read).map_err(text)?;
    let found = volume.find(grubenv::NAME, &mut read).map_err(text)?.ok_or("is missing")?;
    match volume.extents(&found, &mut read).map_err(text)?.len() {
        1 => Ok(()),
        pieces => Err(format!("lies in {pieces} pieces")),
    }
}

/// What each slot gives to GRUB.
pub(super) fn slots(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for number in SLOTS {
        let Some(volume) = subject.disk.fat(number) else { continue };
        let at = file(number, grubenv::SCRIPT);
        let Some(text) = subject.text(number, grubenv::SCRIPT) else {
            faults.push((at, "is missing: GRUB boots nothing from this slot".to_owned()));
            continue;
        };
        let fragment = match Fragment::parse(&text) {
            Ok(fragment) => fragment,
            Err(error) => {
                faults.push((at, error.to_string()));
                continue;
            }
        };
        let named = std::iter::once(&fragment.kernel).chain(&fragment.initrds);
        let missing = named.filter(|name| !volume.exists(name));
        faults.extend(missing.map(|name| (at.clone(), format!("{name} is missing"))));
        faults.extend(words(subject, number, &fragment).map(|what| (at.clone(), what)));
        faults.extend(kernel(subject, number, &fragment));
    }
    faults
}

/// bootsel reads cmdline.txt, the kernel gets these.
fn words(subject: &Subject<'_>, number: u32, fragment: &Fragment) -> Option<String> {
    let line = subject.text(number, slot::CMDLINE)?;
    let words = line.split_ascii_whitespace().filter(|word| !word.starts_with("pivot.slot="));
    let mut given = fragment.cmdline.split_ascii_whitespace();
    let lost = words.into_iter().find(|word| given.next() != Some(word))?;
    Some(format!("pivot_cmdline is not what {} says, from {lost} on", slot::CMDLINE))
}

/// A kernel that sees no disk waits for it until the deadline.
pub(super) fn disk(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for number in SLOTS {
        let text = subject.text(number, grubenv::SCRIPT).unwrap_or_default();
        let Ok(fragment) = Fragment::parse(&text) else { continue };
        let name = fragment.kernel.trim_start_matches('/');
        let parts: Vec<_> =
            fragment.initrds.iter().map(|part| part.trim_start_matches('/').to_owned()).collect();
        // beside a Raspberry Pi's kernel it is not listed itself
        let mut listed = subject.listed(number).into_iter();
        let Some(release) = listed.find(|line| line.initramfs == parts).map(|line| line.release)
        else {
            continue;
        };
        let id = subject.word(number, "pivot.revision").unwrap_or_default();
        let modules = subject.modules(&id, &release);
        let Ok(modules) = modules.as_ref() else { continue };
        let early = subject.early(number, &parts, &release);
        if modules.knows_builtin() && !modules.sees_disk(&early) {
            let what = format!(
                "no driver of a disk is built into {release} or in its initramfs: machines = [\"uefi\"] in its [[kernel]] \
                 puts them there"
            );
            faults.push((file(number, name), what));
        }
    }
    faults
}

fn kernel(subject: &Subject<'_>, number: u32, fragment: &Fragment) -> Option<Fault> {
    let name = fragment.kernel.trim_start_matches('/');
    let bytes = read(subject, number, name)?;
    let grub = [uefi::BEHIND_SHIM, uefi::BOOT].into_iter().find_map(|name| read(subject, 1, name));
    let version = grub.and_then(|grub| pe::sbat(&grub, "grub"));
    let what = match pe::Program::of(&bytes) {
        None => "is no UEFI program for 64-bit Arm (packed? GRUB does not unpack it)".to_owned(),
        Some(program) if program.zboot => {
            let version = version.filter(|version| !uefi::starts_zboot(version))?;
            format!("unpacks itself, and GRUB {version} does not start such kernels")
        }
        Some(_) => return None,
    };
    Some((file(number, name), what))
}
