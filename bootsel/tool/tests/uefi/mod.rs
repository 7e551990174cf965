// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that UEFI and GRUB boot: the files of [`Device`] with a GPT, a `grubenv` and our script's decision, played as
//! it is described in `bootsel::grubenv`, by other code.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "a test stops where something is wrong, and not every test needs everything"
)]

use std::fs;

use bootsel::Slot;
use bootsel::autoboot::Autoboot;
use bootsel::ptable::{Guid, gpt};
use image::fat::{Content, Kind, Volume};

use crate::device::{Device, PARTITIONS};

const SIGNATURE: &str = "# GRUB Environment Block\n";

pub(crate) struct Uefi {
    pub(crate) device: Device,
    /// Whether GRUB can write to partition 1.
    pub(crate) saves: bool,
    /// Where grubenv lies.
    pub(crate) at: u64,
    boots: u32,
}

/// A block with this text behind the first line.
pub(crate) fn block(text: &str) -> Vec<u8> {
    let mut bytes = format!("{SIGNATURE}{text}").into_bytes();
    bytes.resize(1024, b'#');
    bytes
}

/// The tables of a disk with sectors of so many bytes: what lies at its beginning, and at its end.
pub(crate) fn tables(device: &Device, sector: u32) -> (Vec<u8>, Vec<u8>) {
    let entry = |(number, (start, bytes)): (u32, (u64, u64))| gpt::Entry {
        number,
        type_guid: "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7".parse().unwrap(),
        guid: Guid::from_bytes([u8::try_from(number).unwrap(); 16]),
        first: start / u64::from(sector),
        last: (start + bytes) / u64::from(sector) - 1,
        attributes: 0,
        name: "partition".into(),
    };
    let entries: Vec<_> = (1..).zip(PARTITIONS).map(entry).collect();
    let bytes = fs::metadata(&device.disk).unwrap().len();
    gpt::build(sector, bytes / u64::from(sector), Guid::from_bytes([9; 16]), &entries).unwrap()
}

impl Uefi {
    /// A disk with a GPT that GRUB boots. Slot a runs.
    pub(crate) fn new() -> Self {
        let uefi = Self::with("set x=$pivot_trial\n", Vec::new());
        let (first, second) = tables(&uefi.device, 512);
        uefi.device.poke(0, &first);
        let end = fs::metadata(&uefi.device.disk).unwrap().len();
        uefi.device.poke(end - second.len() as u64, &second);
        uefi
    }

    /// A disk with an MBR that a Raspberry Pi boots, too.
    pub(crate) fn both() -> Self {
        let autoboot = Autoboot::new(2, 3).unwrap().to_bytes().unwrap();
        let config = ("config.txt".into(), Content::Bytes(Vec::new()));
        let files = vec![("autoboot.txt".into(), Content::Bytes(autoboot.to_vec())), config];
        Self::with("set x=$pivot_trial\n", files)
    }

    /// With this script and these files on partition 1.
    pub(crate) fn with(script: &str, more: Vec<(String, Content)>) -> Self {
        let device = Device::new();
        let grubenv = block("pivot_default=a\npivot_trial=\n");
        let files = [("grub.cfg", script.into()), ("grubenv", grubenv)];
        let files = files.map(|(name, bytes)| (name.to_owned(), Content::Bytes(bytes)));
        let (start, bytes) = PARTITIONS[0];
        let volume = Volume {
            label: "BOOTSEL".into(),
            id: 1,
            kind: Kind::Fat16,
            bytes,
            hidden: 2048,
            files: files.into_iter().chain(more).collect(),
        };
        let plan = volume.plan().unwrap();
        let disk = fs::OpenOptions::new().write(true).open(&device.disk).unwrap();
        plan.write(&disk, start).unwrap();
        let at = start + plan.offset_of("grubenv").unwrap();
        let mut uefi = Self { device, saves: true, at, boots: 0 };
        uefi.boot();
        uefi
    }

    pub(crate) fn grubenv(&self) -> Vec<u8> {
        self.device.peek(self.at, 1024)
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        let found = self.grubenv();
        assert!(found == block(text), "{}", String::from_utf8_lossy(&found));
    }

    pub(crate) fn overwrite(&self, bytes: &[u8]) {
        self.device.poke(self.at, bytes);
    }

    fn variable(&self, name: &str) -> Option<Slot> {
        let text = String::from_utf8_lossy(&self.grubenv()).into_owned();
        let lines = text.strip_prefix(SIGNATURE)?.lines();
        let mut value =
            lines.filter_map(|line| line.split_once('=')).filter(|(key, _)| *key == name);
        value.next_back()?.1.parse().ok()
    }

    /// `save_env pivot_trial`, empty: what follows moves forward.
    fn save(&self) -> bool {
        let found = String::from_utf8(self.grubenv()).unwrap();
        let whole = found.trim_end_matches('#').ends_with('\n');
        if self.saves && whole {
            let text = found.replacen("pivot_trial=a\n", "pivot_trial=\n", 1);
            let mut text = text.replacen("pivot_trial=b\n", "pivot_trial=\n", 1).into_bytes();
            text.resize(1024, b'#');
            self.overwrite(&text);
        }
        self.saves && whole
    }

    /// The slot's command line, where its volume and its kernel can be read.
    fn load(&self, slot: Slot) -> Option<String> {
        let (start, bytes) = PARTITIONS[usize::try_from(slot.partition()).unwrap() - 1];
        let volume = self.device.peek(start, bytes);
        let at = |text: &[u8]| volume.windows(text.len()).position(|window| window == text);
        let key = b"set pivot_cmdline=\"";
        let line = &volume[at(key)? + key.len()..];
        let line = line.iter().copied().take_while(|byte| *byte != b'"').collect();
        let boots = volume[510..512] == [0x55, 0xaa] && at(b"KERNEL8 IMG").is_some();
        boots.then(|| String::from_utf8(line).unwrap())
    }

    /// What UEFI, GRUB and our script do. Returns the slot, and whether it is told that it is a trial.
    pub(crate) fn boot(&mut self) -> (Slot, bool) {
        let asked = self.variable("pivot_trial");
        // damage: no trial, and what a trial was asked for is not what was good
        let other = asked.map_or(Slot::A, Slot::other);
        let (default, whole) = self.variable("pivot_default").map_or((other, false), |a| (a, true));
        let trial = asked.filter(|trial| whole && *trial != default);
        let trial = trial.filter(|_| self.save()).map(|slot| (slot, true));
        let order = [trial, Some((default, false)), Some((default.other(), false))];
        let loads = |(slot, trial)| Some((self.load(slot)?, slot, trial));
        let (line, slot, trial) = order.into_iter().flatten().find_map(loads).unwrap();
        let word = if trial { "pivot.trial" } else { "" };
        self.boots += 1;
        let device = &self.device;
        device.put("proc/sys/kernel/random/boot_id", format!("u{:07}-boot", self.boots));
        device.put("proc/cmdline", format!("pivot.slot={slot} {word} {line}\n"));
        let _ = fs::remove_dir_all(device.path("proc/device-tree"));
        fs::create_dir_all(device.path("sys/firmware/efi")).unwrap();
        (slot, trial)
    }

    /// The disk is put into a Raspberry Pi 4. Returns the partition.
    pub(crate) fn boot_as_pi(&mut self) -> u8 {
        let device = &mut self.device;
        let _ = fs::remove_dir_all(device.path("sys/firmware/efi"));
        device.put("proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0");
        let built = "proc/device-tree/chosen/bootloader/build-timestamp";
        device.put(built, 1_700_000_000_u32.to_be_bytes());
        device.boot()
    }
}
