// SPDX-License-Identifier: MIT OR Apache-2.0
//! Wrong inputs: each is refused by name, before a file is written.

use std::fs;

use super::common::pi::{self, CONFIG, KERNELS};
use super::common::{Project, deb, program, refusal};

/// Refused with these words, before a file is written.
#[track_caller]
fn refused(project: &Project, from: &str, to: &str, why: &str) {
    assert!(CONFIG.contains(from), "{from}");
    project.write("demo.toml", CONFIG.replacen(from, to, 1).as_bytes());
    let (text, code) = refusal(&mut project.build("out"));
    assert!(text.contains(why) && text.contains("demo.toml") && code == 1, "{text}");
    assert!(!project.path("out").exists(), "refused before any work");
}

#[test]
fn wrong_kernels() {
    let project = pi::project();
    let (v7, v8) = (&KERNELS[1], &KERNELS[3]);
    project.write("amd64.deb", &v8.package(&project, "amd64"));
    let why = "amd64.deb is for amd64: expected a kernel for arm64, armhf, armel";
    refused(&project, "directory = \"v8\"", "package = \"amd64.deb\"", why);
    project.write("twice.deb", &v7.package(&project, "armhf"));
    refused(
        &project,
        "directory = \"v6\"",
        "package = \"twice.deb\"",
        "kernel 6.12.0-v7 is there twice, in ",
    );
    let why = "kernels 6.12.0-v8 and 6.12.0-16k are both for kernel8.img";
    let other = "directory = \"16k\"";
    project.write("16k/boot/vmlinuz-6.12.0-16k", &pi::image(4));
    refused(&project, other, other, why);
    project.write("16k/boot/vmlinuz-6.12.0-16k", &pi::image(16));
    let to = "directory = \"16k\"\nfile = \"kernel8.img\"";
    refused(&project, other, to, "pages of 16 KiB");
    refused(
        &project,
        other,
        "directory = \"16k\"\nfile = \"kernel9.img\"",
        "unknown variant `kernel9.img`",
    );
    project.write("16k/boot/vmlinuz-6.12.0-16k", b"MZ\x90\0 something of x86");
    refused(&project, other, other, "kernel 6.12.0-16k: its image is neither an arm64 Image nor");
}

#[test]
fn wrong_settings() {
    let project = pi::project();
    refused(&project, "\"mbr\"", "\"gpt\"", "disk.table: expected \"mbr\" with [rpi]");
    let one = "[rpi]\nfirmware = \"pi-firmware\"";
    let directory = "directory = \"v8\"";
    let text =
        CONFIG.replace(one, "").replace(directory, "directory = \"v8\"\nfile = \"kernel8.img\"");
    project.write("demo.toml", text.as_bytes());
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains("there is no [rpi] section"), "{text}");
    let with = |more: &str| format!("{one}\n{more}");
    let long = with(&format!("config = [{:?}]", "x".repeat(99)));
    refused(&project, one, &long, "has 99 characters, the firmware reads 98");
    refused(&project, one, &with("config = [\"[pi6]\"]"), "no filter that the firmware knows");
    refused(&project, one, &with("boards = [\"pi6\"]"), "no board \"pi6\" is known here");
    let init = "init = [\"init\", \"init-armv6\"]";
    refused(
        &project,
        init,
        "init = [\"init\"]",
        "kernel 6.12.0-v6 is 32-bit, and there is no ARM program",
    );
}

#[test]
fn what_a_board_would_stop_at() {
    let project = pi::project();
    if program("depmod", "kmod").is_none() {
        return;
    }
    let one = "[rpi]\nfirmware = \"pi-firmware\"";
    let with = |more: &str| format!("{one}\n{more}");
    let why =
        "cm4s (Raspberry Pi Compute Module 4S) would not boot: bcm2711-rpi-cm4s.dtb is missing";
    refused(&project, one, &with("boards = [\"pi3b\", \"cm4s\"]"), why);
    let other = with("config = [\"[pi4]\", \"arm_64bit=0\", \"kernel=kernel7l.img\"]");
    let why = "pi4b (Raspberry Pi 4 Model B) would not boot: it takes kernel7l.img with initrd and early8.img";
    refused(&project, one, &other, why);
    let mine = with("config = [\"[pi3]\", \"initramfs mine followkernel\"]");
    refused(&project, one, &mine, "pi3b (Raspberry Pi 3 Model B) would not boot: mine is missing");
}

#[test]
fn old_or_half_firmware() {
    let project = pi::project();
    let same = "[rpi]";
    project.write("pi-firmware/bootcode.bin", b"..\0tryboot.txt\0..");
    refused(&project, same, same, "bootcode.bin does not know the word tryboot_a_b");
    let files: &[(&str, &[u8])] = &[
        ("usr/lib/raspi-firmware/start4.elf", b"\0tryboot.txt\0"),
        ("usr/lib/raspi-firmware/fixup4.dat", b""),
    ];
    project.write("firmware.deb", &deb("all", files, &[]));
    refused(
        &project,
        "\"pi-firmware\"",
        "\"firmware.deb\"",
        "start4.elf does not know the word tryboot",
    );
    fs::remove_file(project.path("pi-firmware/fixup.dat")).unwrap();
    project.write("pi-firmware/bootcode.bin", b"..\0tryboot_a_b\0..");
    refused(&project, same, same, "start.elf is there and fixup.dat, which belongs to it, is not");
}

#[test]
fn what_does_not_fit() {
    let project = pi::project();
    if program("depmod", "kmod").is_none() {
        return;
    }
    let mut large = vec![0; 40 << 20];
    large[36..40].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    project.write("v7/boot/vmlinuz-6.12.0-v7", &large);
    let from = "table = \"mbr\"";
    let why = "does not fit into disk.slot_size; the largest files are kernel7.img 41.9 MB, ";
    refused(&project, from, "table = \"mbr\"\nslot_size = \"40M\"", why);
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains(" bytes of files, room for "), "{text}");
}

#[test]
fn codec_that_one_kernel_cannot_read() {
    let project = pi::project();
    KERNELS[0].configure(&project, &["RD_ZSTD", "SQUASHFS", "SQUASHFS_ZLIB"]);
    let from = "directory = \"rootfs\"";
    let why = "kernel 6.12.0-v6 cannot read zstd";
    refused(&project, from, "directory = \"rootfs\"\ncompression = \"zstd\"", why);
    KERNELS[0].configure(&project, &["SQUASHFS", "SQUASHFS_ZLIB"]);
    refused(&project, from, from, "initramfs: kernel 6.12.0-v6 cannot read zstd");
}
