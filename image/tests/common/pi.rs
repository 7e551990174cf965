// SPDX-License-Identifier: MIT OR Apache-2.0
//! Five made-up kernels for the Raspberry Pi, and firmware that is nothing but the words that it knows.

use std::io::Write;

use super::{Project, deb, elf, files_below, module, noise};

/// A kernel: directory, release, options.
pub(crate) struct Made {
    pub(crate) name: &'static str,
    pub(crate) release: &'static str,
    options: &'static [&'static str],
    /// KiB of a page of a 64-bit kernel.
    page: Option<u8>,
}

/// In the order of their files: `kernel.img` to `kernel_2712.img`.
pub(crate) const KERNELS: [Made; 5] = [
    Made { name: "v6", release: "6.12.0-v6", options: &["CPU_V6K"], page: None },
    Made { name: "v7", release: "6.12.0-v7", options: &["CPU_V7"], page: None },
    Made { name: "v7l", release: "6.12.0-v7l", options: &["CPU_V7", "ARM_LPAE"], page: None },
    Made { name: "v8", release: "6.12.0-v8", options: &["ARM64"], page: Some(4) },
    Made { name: "16k", release: "6.12.0-16k", options: &["ARM64"], page: Some(16) },
];

/// Under the names of kernel.org; a tree says whose it is.
const TREES: &[&str] = &[
    "bcm2835-rpi-zero",
    "bcm2835-rpi-b-plus",
    "bcm2836-rpi-2-b",
    "bcm2837-rpi-3-b",
    "bcm2837-rpi-zero-2-w",
    "bcm2711-rpi-4-b",
    "bcm2712-rpi-5-b",
    "sun50i-a64-pine64",
];

/// A configuration of all five.
pub(crate) const CONFIG: &str = r#"
name = "pi"
zstd_level = 3
[revision]
id = "r1"
version = 1
[disk]
table = "mbr"
cmdline = "console=serial0,115200 console=tty1"
[rpi]
firmware = "pi-firmware"
[initramfs]
init = ["init", "init-armv6"]
[[kernel]]
directory = "v6"
machines = ["raspi"]
[[kernel]]
directory = "v7"
machines = ["raspi"]
[[kernel]]
directory = "v7l"
machines = ["raspi"]
[[kernel]]
directory = "v8"
machines = ["raspi"]
[[kernel]]
directory = "16k"
machines = ["raspi"]
[root]
directory = "rootfs"
"#;

/// A zImage: it is known by one word.
pub(crate) fn zimage() -> Vec<u8> {
    let mut image = noise(50_000);
    image[36..40].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    image
}

/// An arm64 Image of this page size, which compresses somewhat.
pub(crate) fn image(page: u8) -> Vec<u8> {
    let mut image = [noise(60_000), vec![7; 60_000]].concat();
    image[..2].copy_from_slice(b"MZ");
    image[24] = if page == 16 { 0b0100 } else { 0b0010 };
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// As the vendor packs a 64-bit kernel.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A static ARM program of one segment that says it is compiled for ARMv6.
fn armv6() -> Vec<u8> {
    let attributes = [&b"A"[..], &[17, 0, 0, 0], b"aeabi\0", &[1, 7, 0, 0, 0, 6, 6]].concat();
    let mut out = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x28\0".to_vec();
    out.extend([1, 0x10000, 52, 84, 0x0500_0200_u32].map(u32::to_le_bytes).concat());
    out.extend([52, 32, 1, 40, 2, 1_u16].map(u16::to_le_bytes).concat());
    out.extend([1, 0, 0x10000, 0x10000, 84, 84, 5, 0x10000_u32].map(u32::to_le_bytes).concat());
    out.resize(124, 0);
    let size = u32::try_from(attributes.len()).unwrap();
    // SHT_ARM_ATTRIBUTES
    let section = [0, 0x7000_0003, 0, 0, 164, size, 0, 0, 1, 0_u32];
    out.extend(section.map(u32::to_le_bytes).concat());
    out.extend(attributes);
    out
}

/// Modules of a kernel in the directory of its release, and what it has built in.
pub(crate) fn modules(project: &Project, directory: &str) {
    for name in
        ["drivers/block/loop", "fs/squashfs/squashfs", "fs/ext4/ext4", "fs/overlayfs/overlay"]
    {
        project.write(&format!("{directory}/kernel/{name}.ko"), &module(&[]));
    }
    let builtin = "kernel/drivers/watchdog/bcm2835_wdt.ko\nkernel/drivers/mmc/core/mmc_block.ko\n\
        kernel/drivers/mmc/host/bcm2835.ko\n";
    project.write(&format!("{directory}/modules.builtin"), builtin.as_bytes());
}

/// Everything that [`CONFIG`] names, beside what a project has anyway; the configuration is `demo.toml`.
pub(crate) fn project() -> Project {
    let project = Project::new();
    project.write("init-armv6", &armv6());
    project.write("init", &elf());
    for kernel in &KERNELS {
        kernel.write(&project, &["RD_ZSTD", "SQUASHFS", "SQUASHFS_ZSTD", "SQUASHFS_ZLIB"]);
    }
    let words: &[u8] = b"..\0tryboot_a_b\0..\0tryboot\0..\0kernel_watchdog_timeout\0..";
    for name in ["bootcode.bin", "start.elf", "start4.elf", "fixup.dat", "fixup4.dat"] {
        project.write(&format!("pi-firmware/{name}"), words);
    }
    project.write("pi-firmware/LICENCE.broadcom", b"terms");
    project.write("demo.toml", CONFIG.as_bytes());
    project
}

impl Made {
    /// As Debian's package has it.
    fn write(&self, project: &Project, options: &[&str]) {
        let Self { name, release, .. } = self;
        modules(project, &format!("{name}/lib/modules/{release}"));
        project.write(&format!("{name}/boot/vmlinuz-{release}"), &self.image());
        self.configure(project, options);
        let wide = if self.page.is_some() { "broadcom/" } else { "" };
        for tree in TREES {
            let path = format!("{name}/usr/lib/linux-image-{release}/{wide}{tree}.dtb");
            project.write(&path, format!("{tree} of {name}").as_bytes());
        }
    }

    /// Options that are `y` beside those that say for which processor it is.
    pub(crate) fn configure(&self, project: &Project, options: &[&str]) {
        let Self { name, release, .. } = self;
        let options = self.options.iter().chain(options);
        let text: String = options.map(|option| format!("CONFIG_{option}=y\n")).collect();
        project.write(&format!("{name}/boot/config-{release}"), text.as_bytes());
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        self.page.map_or_else(zimage, image)
    }

    /// Its Debian package.
    pub(crate) fn package(&self, project: &Project, architecture: &str) -> Vec<u8> {
        let files = files_below(&project.path(self.name));
        let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
        deb(architecture, &files, &[])
    }
}
