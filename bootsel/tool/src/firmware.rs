// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the firmware is shown to know `tryboot_a_b`.

use bootsel::{Slot, autoboot};

use crate::disk::Disk;
use crate::root::Root;

/// Build time of the first bootloader of Pi 4 with tryboot_a_b, 2022-10-18; all of Pi 5 are newer. (raspberrypi/
/// rpi-eeprom, firmware-2711/release-notes.md) The capability bit of that name is set in older ones, too.
const FIRST: u32 = 1_666_090_664;
/// No bootcode.bin and no start.elf is larger.
const FILE: u32 = 16 << 20;

/// The build time of the bootloader in the EEPROM, in seconds since 1970.
pub(crate) fn build_timestamp(root: &Root) -> Option<u32> {
    root.tree_number("chosen/bootloader/build-timestamp").filter(|built| *built != 0)
}

/// Whether it does, or why that is not known; for boards without an EEPROM the files on partition 1 and the slot
/// say it.
pub(crate) fn knows_tryboot(root: &Root, disk: &Disk, slot: Slot) -> Result<(), String> {
    let compatible = root.text("proc/device-tree/compatible").unwrap_or_default();
    let is = |chips: &[&str]| {
        compatible.split('\0').any(|name| chips.iter().any(|chip| name == format!("brcm,{chip}")))
    };
    if disk.gpt {
        return Err(
            "the disk has a GPT, and the Raspberry Pi's firmware does not try slots on one"
                .to_owned(),
        );
    }
    if is(&["bcm2835", "bcm2836", "bcm2837"]) {
        // no EEPROM, whatever start.elf says of one
        return in_files(disk, slot);
    }
    match build_timestamp(root) {
        Some(built) if built >= FIRST => Ok(()),
        Some(built) => {
            Err(format!("the bootloader in the EEPROM was built at {built}, before {FIRST}"))
        }
        None if is(&["bcm2711", "bcm2712"]) => {
            Err("the device tree does not say when the bootloader was built".to_owned())
        }
        None => Err("the device tree is not that of a Raspberry Pi".to_owned()),
    }
}

fn in_files(disk: &Disk, slot: Slot) -> Result<(), String> {
    let partitions = [
        (&disk.bootsel, "bootcode.bin", autoboot::IN_BOOTCODE),
        (disk.slot(slot), "start.elf", autoboot::IN_START),
    ];
    for (partition, name, word) in partitions {
        let read = || {
            let area = partition.open()?;
            let volume = area.volume()?;
            area.content(&volume, name, FILE)
        };
        match read().map_err(|why| why.to_string())? {
            Some(bytes) if autoboot::has_word(&bytes, word) => {}
            Some(_) => return Err(format!("{name} does not know the word {word}")),
            None => return Err(format!("there is no {name}")),
        }
    }
    Ok(())
}
