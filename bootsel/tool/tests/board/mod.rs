// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Raspberry Pi with an EEPROM: a device with the files for it on partition 1, its mailbox, and its ROM.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong, and not every test needs everything"
)]

use std::os::unix::fs::symlink;

use bootsel::eeprom::signature::Signature;
use image::fat::Content;
use rpieeprom::{Chip, Release};

use crate::device::{Device, Outcome, PARTITIONS, sha256};
use crate::traced::{End, firmware::Firmware, run};

/// Build times: of a bootloader of 2020-09, and of the one that is shipped.
pub(crate) const OLD: u32 = 1_600_000_000;
pub(crate) const NEW: u32 = 1_779_045_198;
/// A configuration that somebody chose.
pub(crate) const CHOSEN: &str = "[all]\nBOOT_UART=1\nBOOT_ORDER=0xf14\n";
/// A Pi 4 Model B 1.1 with 4 GiB.
const PI4: u32 = 0x00c0_3111;
const BLOCK: usize = 512;
const ENTRY: usize = 32;

/// What a reset makes of files that are staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rom {
    /// recovery.bin writes the EEPROM and renames itself.
    Writes,
    /// It is not found, or not run.
    PassesOver,
    /// It runs, renames itself, and does not write.
    Refuses,
    /// The power is cut while it writes, and it runs again at the next reset, which finds it as it was.
    CutWhileWriting,
}

/// What is put on partition 1.
pub(crate) struct Files {
    pub(crate) chip: Chip,
    pub(crate) version: u32,
    pub(crate) image: Option<Vec<u8>>,
    pub(crate) recovery: Vec<u8>,
    pub(crate) config: &'static str,
    /// Partition 1 has none of them.
    pub(crate) none: bool,
}

/// What is staged, and verifies.
pub(crate) struct Staged {
    pub(crate) bootconf: String,
    pub(crate) signed_at: u32,
}

pub(crate) struct Pi {
    pub(crate) device: Device,
    pub(crate) firmware: Firmware,
}

impl Pi {
    /// With a bootloader of that time.
    pub(crate) fn new(running: u32) -> Self {
        Self::with(running, |_| {})
    }

    pub(crate) fn with(running: u32, change: impl FnOnce(&mut Files)) -> Self {
        let release = Release::new(Chip::Bcm2711, NEW);
        let mut files = Files {
            chip: release.chip,
            version: NEW,
            image: Some(release.image()),
            recovery: release.recovery(),
            config: "",
            none: false,
        };
        change(&mut files);
        if (files.chip, files.version) != (release.chip, release.build_timestamp) {
            files.image = Some(Release::new(files.chip, files.version).image());
        }
        let number = files.chip.number();
        let zeros = vec![0; files.chip.image_bytes()];
        let mut more = vec![
            (format!("EEPR{number}.UPD"), zeros),
            (format!("EEPR{number}.SIG"), vec![b'0'; 97]),
            (format!("EEPR{number}.REC"), files.recovery),
        ];
        match files.image {
            Some(image) => more.push((format!("EEPR{number}.IMG"), image)),
            // the partition has such files, and not the image for this chip
            None => more.push(("EEPR2712.IMG".to_owned(), Vec::new())),
        }
        more.retain(|_| !files.none);
        let more = more.into_iter().map(|(name, bytes)| (name, Content::Bytes(bytes)));
        let device = Device::with_config(files.config, more.collect());
        device.put("dev/vcio", "");
        device.put("proc/device-tree/system/linux,revision", PI4.to_be_bytes());
        device.put("proc/device-tree/chosen/bootloader/boot-mode", 1_u32.to_be_bytes());
        let mut pi = Self { device, firmware: Firmware::new(PI4, running, CHOSEN) };
        pi.runs(running);
        pi
    }

    /// The bootloader of that time runs from now on.
    fn runs(&mut self, version: u32) {
        let tree = "proc/device-tree/chosen/bootloader/build-timestamp";
        self.device.put(tree, version.to_be_bytes());
        let Firmware { flags, fault, config, board, .. } = self.firmware.clone();
        self.firmware = Firmware { flags, fault, ..Firmware::new(board, version, &config) };
    }

    /// Puts another image there, as an update of the whole card would.
    pub(crate) fn ship(&self, version: u32) {
        let image = Release::new(Chip::Bcm2711, version).image();
        let (at, bytes) = self.file(b"EEPR2711IMG").unwrap();
        assert_eq!(bytes, image.len());
        self.device.poke(at, &image);
    }

    /// The configuration in memory, with the rest of its room, behind the alias.
    pub(crate) fn nvmem(&self, config: &str) {
        let node = "/reserved-memory/nvram@1";
        self.device.put("proc/device-tree/aliases/blconfig", format!("{node}\0"));
        self.device.put(&format!("sys/firmware/devicetree/base{node}/reg"), "");
        self.device.put("sys/firmware/devicetree/base/reserved-memory/nvram@0/reg", "");
        for (device, node, config) in [("rmem0", "nvram@0", "not it"), ("rmem1", "nvram@1", config)]
        {
            let directory = format!("sys/bus/nvmem/devices/{device}");
            let mut content = config.as_bytes().to_vec();
            content.resize(4096, 0);
            self.device.put(&format!("{directory}/nvmem"), content);
            let target = format!("../../../../firmware/devicetree/base/reserved-memory/{node}");
            symlink(target, self.device.path(&format!("{directory}/of_node"))).unwrap();
        }
    }

    pub(crate) fn run(&mut self, arguments: &[&str]) -> Outcome {
        run(&self.device, arguments, &mut self.firmware, None).outcome()
    }

    /// Whether it was ended before its n-th call that changes something; it may have come to its end before.
    pub(crate) fn run_until(&mut self, arguments: &[&str], until: usize) -> bool {
        matches!(run(&self.device, arguments, &mut self.firmware, Some(until)), End::Killed(_))
    }

    #[track_caller]
    pub(crate) fn done(&mut self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        outcome
    }

    /// `eeprom boot`, as init runs it.
    #[track_caller]
    pub(crate) fn boot(&mut self, code: i32) -> Outcome {
        let outcome = self.run(&["eeprom", "boot"]);
        assert_eq!(outcome.code, code, "{outcome:?}");
        outcome
    }

    /// A command that changes neither disk nor data partition.
    #[track_caller]
    pub(crate) fn unchanged(&mut self, arguments: &[&str], code: i32) -> Outcome {
        let before = self.device.state();
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, code, "{arguments:?}: {outcome:?}");
        assert!(before == self.device.state(), "{arguments:?} changed something");
        outcome
    }

    #[track_caller]
    pub(crate) fn json(&mut self) -> serde_json::Value {
        let outcome = self.run(&["eeprom", "--json"]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        serde_json::from_str(&outcome.out).unwrap()
    }

    /// What ROM and recovery.bin do, then a boot. The version that was written.
    pub(crate) fn reset(&mut self, rom: Rom) -> Option<u32> {
        let program = self.entry(b"RECOVERYBIN").filter(|_| rom != Rom::PassesOver);
        let written = program.and_then(|at| {
            let image = self.staged_bytes();
            let version = image.windows(16).position(|text| text == b"BUILD_TIMESTAMP=").unwrap();
            let version = std::str::from_utf8(&image[version + 16..version + 26]).unwrap();
            if rom == Rom::CutWhileWriting {
                return None;
            }
            self.device.poke(at, b"RECOVERY000");
            (rom == Rom::Writes).then(|| version.parse().unwrap())
        });
        if let Some(version) = written {
            self.runs(version);
        }
        self.device.boot();
        written
    }

    /// The first block of the root directory of partition 1.
    fn root_at(&self) -> u64 {
        let (start, _) = PARTITIONS[0];
        let boot = self.device.peek(start, 512);
        let half = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        start + (half(14) + u64::from(boot[16]) * half(22)) * half(11)
    }

    pub(crate) fn directory(&self) -> Vec<u8> {
        self.device.peek(self.root_at(), BLOCK as u64)
    }

    /// Where the entry of that name is on the disk.
    fn entry(&self, name: &[u8; 11]) -> Option<u64> {
        let block = self.directory();
        let place = block.chunks(ENTRY).position(|entry| entry.starts_with(name))?;
        Some(self.root_at() + (place * ENTRY) as u64)
    }

    /// Where a file lies, in one piece, and its length.
    fn file(&self, name: &[u8; 11]) -> Option<(u64, usize)> {
        let (start, _) = PARTITIONS[0];
        let boot = self.device.peek(start, 512);
        let half = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let data = self.root_at() + half(17) * ENTRY as u64;
        let entry = self.device.peek(self.entry(name)?, ENTRY as u64);
        let cluster = u64::from(u16::from_le_bytes([entry[26], entry[27]]));
        let bytes = u32::from_le_bytes(entry[28..].try_into().unwrap());
        Some((data + (cluster - 2) * u64::from(boot[13]) * half(11), bytes as usize))
    }

    fn read(&self, name: &[u8; 11]) -> Vec<u8> {
        let (at, bytes) = self.file(name).expect("the file is there");
        self.device.peek(at, bytes as u64)
    }

    /// Whether the ROM would run recovery.bin.
    pub(crate) fn is_staged(&self) -> bool {
        self.entry(b"RECOVERYBIN").is_some()
    }

    /// What recovery.bin looks at: it writes no image whose hash is another.
    fn staged_bytes(&self) -> Vec<u8> {
        let image = self.read(b"PIEEPROMUPD");
        let signature = Signature::parse(&self.read(b"PIEEPROMSIG")).unwrap();
        assert_eq!(signature.sha256, sha256(&image), "recovery.bin would refuse it");
        assert_eq!(signature.chip.map(|chip| chip.number()), Some(2711));
        assert!(self.read(b"RECOVERYBIN") == Release::new(Chip::Bcm2711, NEW).recovery());
        image
    }

    #[track_caller]
    pub(crate) fn staged(&self) -> Staged {
        let image = self.staged_bytes();
        let at = image.windows(12).rposition(|name| name == b"bootconf.txt").unwrap();
        let length = u32::from_be_bytes(image[at - 4..at].try_into().unwrap()) as usize;
        let bootconf = String::from_utf8(image[at + 16..at + length].to_vec()).unwrap();
        // nothing but the configuration is another one than it was
        let shipped = self.read(b"EEPR2711IMG");
        assert!(image[..at - 8] == shipped[..at - 8]);
        let signature = Signature::parse(&self.read(b"PIEEPROMSIG")).unwrap();
        Staged { bootconf, signed_at: signature.timestamp.unwrap() }
    }
}
