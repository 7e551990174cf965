// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole disk image with made-up kernels, device trees and firmware, to be broken in one place.

mod content;
mod write;

use std::sync::OnceLock;

use ::image::compress::{Compression, archive};
use ::image::cpio::Archive;

use super::common::efi;
use content::modules_and;
pub(crate) use content::{BASE, UPDATES, bare_root, modules, root};

const MIB: u64 = 1 << 20;
/// MiB where each partition begins, and its length.
const PLACES: [(u64, u64); 4] = [(1, 40), (41, 40), (81, 40), (121, 80)];

/// Kernel, release, early archive.
pub(crate) const RELEASES: [(&str, &str, &str); 5] = [
    ("kernel.img", "6.12-v6", "early.img"),
    ("kernel7.img", "6.12-v7", "early7.img"),
    ("kernel7l.img", "6.12-v7l", "early7l.img"),
    ("kernel8.img", "6.12-v8", "early8.img"),
    ("kernel_2712.img", "6.12-16k", "early16k.img"),
];

/// Names in raspberrypi/firmware `boot/`.
pub(crate) const TREES: [&str; 21] = [
    "bcm2708-rpi-b.dtb",
    "bcm2708-rpi-b-rev1.dtb",
    "bcm2708-rpi-b-plus.dtb",
    "bcm2708-rpi-cm.dtb",
    "bcm2708-rpi-zero.dtb",
    "bcm2708-rpi-zero-w.dtb",
    "bcm2709-rpi-2-b.dtb",
    "bcm2710-rpi-2-b.dtb",
    "bcm2710-rpi-3-b.dtb",
    "bcm2710-rpi-3-b-plus.dtb",
    "bcm2710-rpi-cm3.dtb",
    "bcm2710-rpi-zero-2-w.dtb",
    "bcm2710-rpi-cm0.dtb",
    "bcm2711-rpi-4-b.dtb",
    "bcm2711-rpi-400.dtb",
    "bcm2711-rpi-cm4.dtb",
    "bcm2711-rpi-cm4s.dtb",
    "bcm2712-rpi-5-b.dtb",
    "bcm2712-rpi-cm5-cm5io.dtb",
    "bcm2712-rpi-cm5l-cm5io.dtb",
    "bcm2712-rpi-500.dtb",
];

/// Sixteen lines.
const CONFIG: &str = "\
[pi0]
initramfs initrd,early.img followkernel
[pi1]
initramfs initrd,early.img followkernel
[pi2]
kernel=kernel7.img
initramfs initrd,early7.img followkernel
[pi3]
arm_64bit=1
[pi02]
arm_64bit=1
[cm0]
arm_64bit=1
include wide.txt
[all]
# the end
";
const WIDE: &str = "\
[pi3]
initramfs initrd,early8.img followkernel
[pi02]
initramfs initrd,early8.img followkernel
[cm0]
initramfs initrd,early8.img followkernel
[pi4]
initramfs initrd,early8.img followkernel
[pi5]
initramfs initrd,early16k.img followkernel
";
const CMDLINE: &str = "pivot.slot=_ pivot.data=PARTUUID=11223344-04 pivot.revision=r1 pivot.watchdog=15 \
                       systemd.watchdog_sec=15 panic=5 systemd.gpt_auto=0 quiet\n";
const AUTOBOOT: &str = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n";

const GRUBENV: &str = "# GRUB Environment Block\npivot_default=a\npivot_trial=\n";
const FRAGMENT: &str =
    "# a slot\nset pivot_kernel=\"/vmlinuz\"\nset pivot_initrd=\"/initrd /early8.img\"\n";

type Files = Vec<(String, Vec<u8>)>;

/// An image that is still to be written.
pub(crate) struct Image {
    pub(crate) gpt: bool,
    pub(crate) types: [u8; 4],
    /// Of partition 1 on a GPT.
    pub(crate) first_type: &'static str,
    pub(crate) bootsel: Files,
    pub(crate) slots: [Files; 2],
    pub(crate) letters: [&'static str; 2],
    pub(crate) cmdline: String,
    pub(crate) fat16_slots: bool,
    pub(crate) fat32_bootsel: bool,
    /// Options of mkfs.fat for partition 1.
    pub(crate) foreign_bootsel: Option<Vec<&'static str>>,
    pub(crate) bootsel_sectors: u64,
    pub(crate) revision: Files,
    /// Boards in the manifest.
    pub(crate) claims: String,
    /// A file that the manifest names and nobody finds, or that is longer than it says.
    pub(crate) missing: Option<&'static str>,
    pub(crate) longer: Option<&'static str>,
    /// Whether the manifest has the hash of the slots, as they are before anything is patched.
    pub(crate) hashed: bool,
    /// More keys of the manifest.
    pub(crate) keys: Vec<(&'static str, String)>,
    patches: Vec<(u64, Vec<u8>)>,
}

/// A static AArch64 program of one segment.
pub(crate) fn elf(alignment: u64) -> Vec<u8> {
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    out.extend([0x40_0000_u64, 64, 0].map(u64::to_le_bytes).concat());
    out.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    out.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    out.extend([0, 0x40_0000, 0x40_0000, 120, 120, alignment].map(u64::to_le_bytes).concat());
    out
}

fn revision() -> Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    let make = || {
        let calls = "zlib_inflate\0xz_dec_run\0zstd_init_dstream";
        let builtin = ["vcio", "bcm2835", "sdhci-iproc", "sdhci-brcmstb", "nvme"];
        let mut files: Files = RELEASES
            .iter()
            .map(|(_, release, _)| {
                (format!("modules_{release}.squashfs"), modules(release, &builtin, calls))
            })
            .collect();
        files.push(("firmware.squashfs".to_owned(), root(&[("brcm/a.bin", "x")])));
        files.push(("root.squashfs".to_owned(), root(&UPDATES)));
        files
    };
    FILES.get_or_init(make).clone()
}

fn set(files: &mut Files, name: &str, bytes: &[u8]) {
    files.retain(|(known, _)| known != name);
    files.push((name.to_owned(), bytes.to_vec()));
}

fn initrd(programs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut cpio = Archive::default();
    for (path, program) in programs {
        cpio.file(path, 0o755, program.clone());
    }
    archive(Compression::Zstd, &cpio.to_bytes()).unwrap()
}

fn early_modules(release: &str, list: &str) -> Vec<u8> {
    let mut cpio = Archive::default();
    cpio.file(&format!("lib/modules/{release}/early"), 0o644, list.into());
    archive(Compression::Zstd, &cpio.to_bytes()).unwrap()
}

impl Image {
    /// For the Raspberry Pi, and right.
    pub(crate) fn new() -> Self {
        let bootsel = [("config.txt", ""), ("bootcode.bin", "x\0tryboot_a_b\0y")];
        let mut slot: Files = Vec::new();
        let mut listed = "# kernels\n".to_owned();
        for (kernel, release, early) in RELEASES {
            set(&mut slot, kernel, format!("Linux version {release} (x@y)\0 tryboot\0").as_bytes());
            set(&mut slot, early, &early_modules(release, ""));
            listed += &format!("{release} {kernel} initrd {early}\n");
        }
        let texts = [("kernels.txt", listed.as_str()), ("config.txt", CONFIG), ("wide.txt", WIDE)];
        let firmware = ["start.elf", "start4.elf"].map(|name| (name, "x\0tryboot.txt\0tryboot\0"));
        let fixups = [("fixup.dat", "x"), ("fixup4.dat", "x")];
        let trees = TREES.map(|name| (name, "tree"));
        let all = texts.into_iter().chain(firmware).chain(fixups).chain(trees);
        all.for_each(|(name, text)| set(&mut slot, name, text.as_bytes()));
        let mut image = Self {
            gpt: false,
            types: [0x0c, 0x0c, 0x0c, 0x83],
            first_type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            bootsel: bootsel.map(|(name, text)| (name.to_owned(), text.into())).to_vec(),
            slots: [slot.clone(), slot],
            letters: ["a", "b"],
            cmdline: CMDLINE.to_owned(),
            fat16_slots: false,
            fat32_bootsel: false,
            foreign_bootsel: None,
            bootsel_sectors: PLACES[0].1 * MIB / 512,
            revision: revision(),
            claims: rpifw::BOARDS.iter().map(|board| board.name).collect::<Vec<_>>().join(","),
            missing: None,
            longer: None,
            hashed: false,
            keys: Vec::new(),
            patches: Vec::new(),
        };
        let filler = "#".repeat(511 - AUTOBOOT.len());
        image.bootsel_file("autoboot.txt", format!("{AUTOBOOT}{filler}\n").as_bytes());
        image.set_initrd(&[("init", elf(0x10000)), ("sbin/init", elf(0x10000))]);
        image
    }

    /// For UEFI.
    pub(crate) fn uefi() -> Self {
        let mut image = Self::new();
        image.gpt = true;
        image.cmdline = image.cmdline.replace("quiet", "gpt quiet");
        let mut environment = GRUBENV.as_bytes().to_vec();
        environment.resize(1024, b'#');
        image.bootsel.clear();
        image.bootsel_file("grub.cfg", ::image::uefi::SCRIPT_TEXT.as_bytes());
        image.bootsel_file("grubenv", &environment);
        image.bootsel_file("EFI/BOOT/BOOTAA64.EFI", &efi(true, b"GRUB"));
        image.bootsel_file("EFI/debian/grub.cfg", b"source ($root)/grub.cfg\n");
        let words = image.cmdline.trim_end().trim_start_matches("pivot.slot=_ ");
        let fragment = format!("{FRAGMENT}set pivot_cmdline=\"{words} console=tty0\"\n");
        image.both("grub.cfg", fragment.as_bytes());
        image.both("vmlinuz", &efi(true, b"Linux version 6.12-v8 (x@y)\0"));
        for name in ["config.txt", "wide.txt", "start.elf", "start4.elf", "fixup.dat", "fixup4.dat"]
        {
            image.remove(name);
        }
        image
    }

    pub(crate) fn bootsel_file(&mut self, name: &str, bytes: &[u8]) {
        set(&mut self.bootsel, name, bytes);
    }

    /// Sets a file of both slots.
    pub(crate) fn both(&mut self, name: &str, bytes: &[u8]) {
        self.slots.iter_mut().for_each(|slot| set(slot, name, bytes));
    }

    /// What a release has built in, and a driver that is a module.
    pub(crate) fn drivers(&mut self, release: &str, builtin: &[&str], module: &str) {
        let calls = "zlib_inflate\0xz_dec_run\0zstd_init_dstream";
        let image = modules_and(release, builtin, calls, module);
        self.revision_file(&format!("modules_{release}.squashfs"), image);
    }

    /// The modules that a release loads early.
    pub(crate) fn set_early(&mut self, name: &str, release: &str, list: &str) {
        self.both(name, &early_modules(release, list));
    }

    pub(crate) fn append(&mut self, name: &str, text: &str) {
        let (_, bytes) = self.slots[0].iter().find(|(known, _)| known == name).unwrap();
        let text = [bytes.as_slice(), text.as_bytes()].concat();
        self.both(name, &text);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        for slot in &mut self.slots {
            let before = slot.len();
            slot.retain(|(known, _)| known != name);
            assert!(slot.len() < before, "{name}");
        }
    }

    pub(crate) fn set_initrd(&mut self, programs: &[(&str, Vec<u8>)]) {
        self.both("initrd", &initrd(programs));
    }

    pub(crate) fn revision_file(&mut self, name: &str, bytes: Vec<u8>) {
        set(&mut self.revision, name, &bytes);
    }

    /// Overwrites bytes of a partition.
    pub(crate) fn patch(&mut self, number: usize, at: u64, bytes: &[u8]) {
        self.patches.push((PLACES[number - 1].0 * MIB + at, bytes.to_vec()));
    }

    /// The same of the whole disk.
    pub(crate) fn patch_disk(&mut self, at: u64, bytes: &[u8]) {
        self.patches.push((at, bytes.to_vec()));
    }

    /// Overwrites the beginning of a partition.
    pub(crate) fn wipe(&mut self, number: usize) {
        self.patch(number, 0, &[0; 4096]);
    }
}
