// SPDX-License-Identifier: MIT OR Apache-2.0
//! One image for the Raspberry Pi and for UEFI.

use super::common::pi::{self, CONFIG};
use super::common::{deb, efi, module, output, pivot_image, program};
use super::{SIGNED, built, findings, grub, read, text};

/// The 64-bit kernel of the Raspberry Pi's set with an EFI stub.
fn kernel() -> Vec<u8> {
    let mut image = [efi(false, b""), pi::image(4)].concat();
    image[24] = 0b0010;
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    image
}

#[test]
fn both_find_their_files() {
    let project = pi::project();
    project.write("v8/boot/vmlinuz-6.12.0-v8", &kernel());
    project.write("grub.deb", &deb("arm64", &[(SIGNED, &grub("2.12"))], &[]));
    let section = "[uefi]\ngrub = \"grub.deb\"\ncmdline = \"console=ttyAMA0\"\n[initramfs]";
    let config = CONFIG.replace("[initramfs]", section);
    project.write("demo.toml", config.as_bytes());
    if !built(&project) {
        return;
    }
    // drivers for a Raspberry Pi are none for other machines
    let found = findings(&project.path("out/pi.img"));
    assert!(found.iter().all(|line| line.ends_with("[disk-driver]")) && !found.is_empty());
    project.write("v8/lib/modules/6.12.0-v8/kernel/drivers/nvme.ko", &module(&[]));
    let more = "directory = \"v8\"\nearly = [\"nvme\"]";
    project.write("demo.toml", config.replace("directory = \"v8\"", more).as_bytes());
    if !built(&project) {
        return;
    }
    let image = project.path("out/pi.img");
    assert!(text(&image, 1, "autoboot.txt").contains("boot_partition=2"));
    assert_eq!(read(&image, 1, "EFI/BOOT/BOOTAA64.EFI"), grub("2.12"));
    assert_eq!(read(&image, 33, "vmlinuz"), kernel());
    assert!(read(&image, 33, "kernel8.img").starts_with(&[0x1f, 0x8b]));
    let fragment = text(&image, 33, "grub.cfg");
    assert!(
        fragment
            .contains("set pivot_kernel=\"/vmlinuz\"\nset pivot_initrd=\"/initrd /early8.img\"\n")
    );
    assert!(fragment.ends_with(" console=tty1 console=ttyAMA0\"\n"), "{fragment}");
    assert_eq!(findings(&image), [""; 0]);
    let boards = output(pivot_image().arg("boards").arg(&image));
    assert!(boards.contains("pi4b"), "{boards}");
    let Some(mut sfdisk) = program("sfdisk", "fdisk") else { return };
    let dump = output(sfdisk.arg("-d").arg(&image));
    assert!(dump.contains("label: dos") && dump.contains("type=c"), "{dump}");
}
