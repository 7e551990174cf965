// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volumes that a firmware reads: partition 1 and the slots.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use bootsel::autoboot::{self, Autoboot};
use bootsel::grubenv;
use rpifw::partition::{BOOTCODE, CONFIG};

use super::plan::Planned;
use crate::config::Config;
use crate::disk::{NAMES, SLOT_LABEL};
use crate::fat::{Content, Kind, Volume};
use crate::identity::Identity;
use crate::progress::{Progress, size};
use crate::rpi::{check, config_txt, dtb, eeprom::Eeprom, firmware::Firmware};
use crate::slot;
use crate::uefi::Loader;

/// Partitions of slot a and slot b.
const SLOTS: [u8; 2] = [2, 3];
/// Files that are named where they do not fit.
const LARGEST: usize = 5;

/// What an image for the Raspberry Pi brings beside kernels.
#[derive(Debug, Default)]
pub(super) struct Pi {
    pub(super) firmware: Option<Firmware>,
    eeprom: Option<Eeprom>,
}

/// The volume of both slots. It is known to fit.
pub(super) fn slot(
    config: &Config,
    identity: &Identity,
    initramfs: &[u8],
    kernels: &[Planned],
    cmdline: &str,
    firmware: Option<&Firmware>,
) -> Result<Volume> {
    let mut files = Vec::new();
    let trees = if config.rpi.is_some() { dtb::trees(&by_file(kernels))? } else { Vec::new() };
    if config.rpi.is_some() {
        let text = config_text(config, kernels, firmware, &trees);
        files.push((CONFIG.to_owned(), Content::Bytes(text.into_bytes())));
    }
    files.push((slot::CMDLINE.to_owned(), Content::Bytes(format!("{cmdline}\n").into_bytes())));
    files.push((slot::KERNELS.to_owned(), slot::kernels_txt(kernels.iter().map(|k| &k.names))));
    files.push((slot::INITRAMFS.to_owned(), Content::Bytes(initramfs.to_vec())));
    for kernel in kernels {
        files.push((kernel.names.kernel.clone(), Content::Bytes(kernel.image.clone())));
        files.push((kernel.names.early.clone(), Content::Bytes(kernel.early.clone())));
        if let (Some(section), Some((name, own))) = (&config.uefi, &kernel.uefi) {
            let own = own.clone().map(|image| (name.clone(), Content::Bytes(image)));
            files.extend(own);
            let text = slot::for_grub(name, &kernel.names.early, cmdline, &section.cmdline)?;
            files.push((grubenv::SCRIPT.to_owned(), text));
        }
    }
    if config.rpi.is_some() {
        files.extend(firmware.iter().flat_map(|firmware| firmware.files.iter().cloned()));
        files.extend(trees);
        let more = firmware.map_or(&[][..], |firmware| &firmware.overlays);
        files.extend(dtb::overlays(&by_file(kernels), more)?);
    }
    let volume = Volume {
        label: SLOT_LABEL.to_owned(),
        id: identity.volumes[1],
        kind: Kind::Fat32,
        bytes: config.disk.slot_size.0,
        // the volume is installed at either place; no boot loader of ours looks at it
        hidden: 0,
        files,
    };
    volume.plan().with_context(|| largest(&volume))?;
    Ok(volume)
}

fn by_file(kernels: &[Planned]) -> dtb::Kernels<'_> {
    kernels.iter().filter_map(|planned| Some((planned.file?, &planned.kernel))).collect()
}

fn config_text(
    config: &Config,
    kernels: &[Planned],
    firmware: Option<&Firmware>,
    trees: &[(String, Content)],
) -> String {
    let files: BTreeSet<_> = kernels.iter().filter_map(|planned| planned.file).collect();
    config_txt::text(&config_txt::Facts {
        revision: config.revision.id.as_str(),
        kernels: &files,
        watchdog: firmware.is_some_and(|firmware| firmware.watchdog),
        pi5_tree: trees.iter().any(|(name, _)| name.starts_with("bcm2712")),
        lines: config.rpi.as_ref().map_or(&[][..], |rpi| &rpi.config),
    })
}

/// What a person may want to leave out.
fn largest(volume: &Volume) -> String {
    let mut files: Vec<_> =
        volume.files.iter().map(|(name, content)| (content.len(), name)).collect();
    files.sort_by(|a, b| b.cmp(a));
    let line = |(length, name): &(u64, &String)| format!("{name} {}", size(*length));
    let names: Vec<String> = files.iter().take(LARGEST).map(line).collect();
    format!(
        "what belongs on a boot partition does not fit into disk.slot_size; the largest files are {}",
        names.join(", ")
    )
}

/// The volume of partition 1, `hidden` sectors of the disk before it.
pub(super) fn bootsel(
    config: &Config,
    identity: &Identity,
    hidden: u32,
    pi: &Pi,
    loader: Option<&Loader>,
) -> Result<Volume> {
    let mut files = Vec::new();
    if config.rpi.is_some() {
        let autoboot = Autoboot::new(SLOTS[0], SLOTS[1])?.to_bytes()?;
        files.push((autoboot::NAME.to_owned(), Content::Bytes(autoboot.to_vec())));
        // without it firmware up to the Pi 3 passes the partition by
        files.push((CONFIG.to_owned(), Content::Bytes(Vec::new())));
        let bootcode = pi.firmware.as_ref().and_then(|firmware| firmware.bootcode.clone());
        let name = BOOTCODE.to_owned();
        files.extend(bootcode.map(|bytes| (name, Content::Bytes(bytes))));
        // with these the first block of the directory has room for three entries more
        files.extend(pi.eeprom.as_ref().map(Eeprom::files).transpose()?.into_iter().flatten());
    }
    files.extend(loader.map(Loader::files).into_iter().flatten());
    Ok(Volume {
        label: NAMES[0].to_owned(),
        id: identity.volumes[0],
        kind: Kind::Fat16,
        bytes: config.disk.bootsel_size.0,
        hidden,
        files,
    })
}

/// Says which boards boot, and refuses what a board would stop at.
pub(super) fn check(
    config: &Config,
    identity: &Identity,
    slot: &Volume,
    pi: &Pi,
    loader: Option<&Loader>,
    progress: Progress,
) -> Result<Vec<&'static str>> {
    let bootsel = bootsel(config, identity, 0, pi, loader)?;
    bootsel.plan().context("what belongs on partition 1 does not fit into disk.bootsel_size")?;
    let Some(section) = &config.rpi else { return Ok(Vec::new()) };
    let boards = check::boot(section, &bootsel, slot)?;
    progress.note(&format!("boards that find all that they load: {}", boards.boot.join(" ")));
    if !boards.stop.is_empty() {
        progress.note(&format!("boards that do not: {}", check::reasons(&boards.stop)));
    }
    Ok(boards.boot)
}

/// The files of firmware and EEPROM, or a word that there are none of the former.
pub(super) fn pi(config: &Config, progress: Progress) -> Result<Pi> {
    let Some(rpi) = &config.rpi else { return Ok(Pi::default()) };
    config_txt::check_lines(&rpi.config)?;
    check::names(rpi)?;
    let firmware = match &rpi.firmware {
        Some(path) => Some(Firmware::read(path, &rpi.variants)?),
        None => {
            progress.note(
                "warning: no rpi.firmware: start.elf and its like are not in the image; it is for emulation only",
            );
            None
        }
    };
    let eeprom = rpi.eeprom.as_deref();
    let eeprom = eeprom
        .map(|path| Eeprom::read(path, rpi.eeprom_channel.unwrap_or_default()))
        .transpose()?;
    eeprom.iter().flat_map(Eeprom::lines).for_each(|line| progress.note(&line));
    Ok(Pi { firmware, eeprom })
}
