// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on a slot's kernels and initramfs, and on the revision that it belongs to.

use bootsel::manifest;
use rpifw::Volume;

use super::{Fault, file};
use crate::boards::subject::{SLOTS, Subject};
use crate::kernel::image;
use crate::squashfs::Codec;

/// Parts are padded to this, so that the firmware can lay one behind the other.
const PART: u64 = 512;

/// The revisions that the slots name, each once, with the partition of the first slot that does.
pub(super) fn revisions(subject: &Subject<'_>) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = Vec::new();
    for number in SLOTS {
        let id = subject.word(number, "pivot.revision");
        let new = id.filter(|id| !found.iter().any(|(_, known)| known == id));
        found.extend(new.map(|id| (number, id)));
    }
    found
}

/// The revision is there, with everything that its manifest names.
pub(super) fn complete(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, _) in subject.slots() {
        let Some(id) = subject.word(number, "pivot.revision") else {
            let what = "no pivot.revision=: the slot belongs to no revision".to_owned();
            faults.push((file(number, crate::slot::CMDLINE), what));
            continue;
        };
        let read = subject.revision(&id);
        let at = format!("revision {id}");
        let revision = match read.as_ref() {
            // said once, of the partition
            Err(_) if subject.data.is_none() => continue,
            Err(error) => {
                faults.push((at, error.clone()));
                continue;
            }
            Ok(None) => {
                faults.push((
                    at,
                    format!("is not on the data partition, partition {number} needs it"),
                ));
                continue;
            }
            Ok(Some(revision)) => revision,
        };
        match &revision.manifest {
            Err(error) => faults.push((format!("{at}, {}", manifest::NAME), error.clone())),
            Ok(manifest) => faults.extend(manifest.images().filter_map(|wanted| {
                let found = revision.files.iter().find(|(name, _)| *name == wanted.name);
                let what = match found {
                    None => "is missing".to_owned(),
                    Some((_, bytes)) if *bytes == wanted.bytes => return None,
                    Some((_, bytes)) => format!("has {bytes} bytes of {}", wanted.bytes),
                };
                Some((format!("{at}, {}", wanted.name), what))
            })),
        }
    }
    faults.dedup();
    faults
}

/// `kernels.txt` is what the slot holds.
pub(super) fn listed(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, volume) in subject.slots() {
        let lines = subject.listed(number);
        let at = file(number, crate::slot::KERNELS);
        if lines.is_empty() {
            faults.push((at.clone(), "lists no kernel".to_owned()));
        }
        for line in lines {
            let missing = std::iter::once(&line.kernel).chain(&line.initramfs);
            for name in missing.filter(|name| !volume.exists(name)) {
                faults.push((at.clone(), format!("{name} of {} is missing", line.release)));
            }
            let image = subject.kernel(number, &line.kernel);
            let Ok(image) = image.as_ref() else { continue };
            match &image.release {
                Some(release) if *release != line.release => {
                    let what =
                        format!("{} is {release}, and listed as {}", line.kernel, line.release);
                    faults.push((at.clone(), what));
                }
                _ => {}
            }
        }
    }
    faults
}

/// Each kernel of a slot finds its modules.
pub(super) fn modules(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, id) in revisions(subject) {
        if !matches!(subject.revision(&id).as_ref(), Ok(Some(_))) {
            continue;
        }
        for line in subject.listed(number) {
            if !subject.has_modules(&id, &line.release) {
                let name = manifest::modules_image(&line.release);
                let what = format!("is missing, {} needs it", line.kernel);
                let name = name.unwrap_or_else(|| format!("modules of {}", line.release));
                faults.push((format!("revision {id}, {name}"), what));
            }
        }
    }
    faults
}

/// Each squashfs is one that all kernels of the slot can read, where the image shows what they read; modules are for
/// their own kernel alone.
pub(super) fn codec(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, id) in revisions(subject) {
        let images = codecs(subject, &id);
        for line in subject.listed(number) {
            let Some(reads) = reads(subject, number, &id, &line.release, &line.kernel) else {
                continue;
            };
            let own = manifest::modules_image(&line.release);
            for (name, codec) in &images {
                let foreign = name.starts_with("modules_") && Some(name) != own.as_ref();
                if !foreign && !reads.contains(codec) {
                    let what = format!("is {codec}, which the kernel {} cannot read", line.release);
                    faults.push((format!("revision {id}, {name}"), what));
                }
            }
        }
    }
    faults
}

/// The squashfs images of a revision and their compression.
fn codecs(subject: &Subject<'_>, id: &str) -> Vec<(String, Codec)> {
    let read = subject.revision(id);
    let Ok(Some(revision)) = read.as_ref() else { return Vec::new() };
    let images = revision.files.iter().filter(|(name, _)| name.ends_with(".squashfs"));
    let codec = |(name, _): &(String, u64)| {
        let copy = subject.data?.copy(id, name).ok()?;
        Some((name.clone(), crate::squashfs::codec_of(copy.path()).ok()?))
    };
    images.filter_map(codec).collect()
}

/// What a kernel's squashfs reads: as its module shows, or the configuration inside of the kernel. None: unknown.
fn reads(
    subject: &Subject<'_>,
    number: u32,
    id: &str,
    release: &str,
    kernel: &str,
) -> Option<Vec<Codec>> {
    let modules = subject.modules(id, release);
    if let Some(reads) = modules.as_ref().as_ref().ok().and_then(|modules| modules.reads.clone()) {
        return Some(reads);
    }
    let bytes = subject.disk.fat(number)?.read(kernel).ok()??;
    let config = image::config(&image::plain(bytes))?;
    let config = crate::kconfig::Kconfig::parse(&config);
    Some(Codec::ALL.into_iter().filter(|codec| config.reads(*codec)).collect())
}

/// Files of a slot that are parts of an initramfs.
fn parts_of(subject: &Subject<'_>, number: u32) -> Vec<String> {
    let mut names: Vec<_> =
        subject.listed(number).into_iter().flat_map(|line| line.initramfs).collect();
    names.sort();
    names.dedup();
    names
}

/// Paths of the programs in the initramfs of a slot.
pub(super) fn programs(subject: &Subject<'_>, number: u32) -> Vec<String> {
    let mut found = Vec::new();
    for name in parts_of(subject, number) {
        let archive = subject.archive(number, &name);
        let Ok(archive) = archive.as_ref() else { continue };
        let entries = archive.parts.iter().flat_map(|part| &part.entries);
        let programs = entries.filter(|entry| entry.program.is_some());
        found.extend(programs.map(|entry| entry.path.clone()));
    }
    found
}

/// Every part of an initramfs can be unpacked, and one has an /init.
pub(super) fn initramfs(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, volume) in subject.slots() {
        for name in parts_of(subject, number) {
            if let (true, Err(error)) =
                (volume.exists(&name), subject.archive(number, &name).as_ref())
            {
                faults.push((file(number, &name), error.clone()));
            }
        }
        let programs = programs(subject, number);
        if !programs.iter().any(|path| path == "init") {
            let what = "no part of the initramfs has a program /init".to_owned();
            faults.push((super::place(number), what));
        }
    }
    faults
}

/// The firmware lays the parts one behind the other, and old ones know short names only. (Raspberry Pi documentation,
/// config_txt/boot.adoc, ramfsfile; kernel: init/initramfs.c skips zero bytes between archives)
pub(super) fn parts(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, volume) in subject.slots() {
        for name in parts_of(subject, number) {
            let Some(found) = volume.find(&name) else { continue };
            if !found.bytes.is_multiple_of(PART) {
                let what = format!(
                    "has {} bytes, no multiple of {PART}: the next part does not begin where the kernel looks for it",
                    found.bytes
                );
                faults.push((file(number, &name), what));
            }
            let (stem, end) = name.split_once('.').unwrap_or((&name, ""));
            if stem.len() > 8 || end.len() > 3 || end.contains('.') {
                faults.push((file(number, &name), "is no short name (8.3)".to_owned()));
            }
        }
    }
    faults
}

/// Static programs whose segments lie so that kernels with pages of 16 and 64 KiB take them.
pub(super) fn alignment(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, _) in subject.slots() {
        for name in parts_of(subject, number) {
            let archive = subject.archive(number, &name);
            let Ok(archive) = archive.as_ref() else { continue };
            for entry in archive.parts.iter().flat_map(|part| &part.entries) {
                let problem = entry.program.as_ref().and_then(|program| program.problem.as_ref());
                if let Some(problem) = problem {
                    faults.push((file(number, &name), format!("/{} {problem}", entry.path)));
                }
            }
        }
    }
    faults
}
