// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on bootloaders outside of any file system, for images whose manifest says which SoC they are for.

use bootsel::emmc::shipped::{NAME, SOC};
use bootsel::manifest::{self, Manifest};

use super::{Fault, place};
use crate::boards::subject::Subject;
use crate::soc::{self, BOOT_MAX, Profile};

/// Each revision's manifest, with where that is.
fn manifests(subject: &Subject<'_>) -> Vec<(String, Manifest)> {
    let named = super::revision::revisions(subject).into_iter();
    let read = named.filter_map(|(_, id)| {
        let read = subject.revision(&id);
        let manifest = read.as_ref().as_ref().ok()?.as_ref()?.manifest.as_ref().ok()?.clone();
        Some((format!("revision {id}, {}", manifest::NAME), manifest))
    });
    read.collect()
}

/// What the device is, of each revision without a bootloader: where its disk has to have one.
fn on_disk(subject: &Subject<'_>) -> Vec<Profile> {
    let all = manifests(subject).into_iter().filter(|(_, manifest)| manifest.file(NAME).is_none());
    all.filter_map(|(_, manifest)| soc::profile(manifest.get(SOC)?).ok()).collect()
}

/// What every device refuses, or that is not known here.
pub(super) fn shipped(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (at, manifest) in manifests(subject) {
        let image = manifest.file(NAME);
        match (manifest.get(SOC), image) {
            (None, Some(_)) => {
                faults.push((
                    at.clone(),
                    format!("lists {NAME} and has no {SOC}=: no device takes it"),
                ));
            }
            (Some(name), _) => {
                let unknown = soc::profile(name).err();
                faults.extend(unknown.map(|why| (at.clone(), format!("{SOC}=: {why}"))));
            }
            _ => {}
        }
        if let Some(image) = image.filter(|image| image.bytes > BOOT_MAX) {
            let what =
                format!("{NAME} has {} bytes, no boot partition more than {BOOT_MAX}", image.bytes);
            faults.push((at, what));
        }
    }
    faults
}

/// Nothing where the ROM looks: the disk does not start by itself.
pub(super) fn missing(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for profile in on_disk(subject) {
        let Some(at) = profile.on_disk() else { continue };
        let mut block = [0; 512];
        if subject.block(at, &mut block).is_ok() && block.iter().all(|byte| *byte == 0) {
            let name = &profile.name;
            let what = format!(
                "zeros, where {SOC}={name} looks for a bootloader: NAME-boot.img is to be written there"
            );
            faults.push((format!("byte {at}"), what));
        }
    }
    faults
}

/// A partition where the bootloader is.
pub(super) fn overlap(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for profile in on_disk(subject) {
        let first = subject.disk.partitions.iter().min_by_key(|partition| partition.start);
        let Some(first) = first.filter(|first| first.start < profile.partitions()) else {
            continue;
        };
        let what = format!(
            "begins at byte {}, and {SOC}={} needs what is before byte {}",
            first.start,
            profile.name,
            profile.partitions()
        );
        faults.push((place(first.number), what));
    }
    faults
}
