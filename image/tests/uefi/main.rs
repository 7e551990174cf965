// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images for UEFI from a made-up GRUB and kernel, judged by other programs: sgdisk, sfdisk, fsck.fat, mtools,
//! grub-script-check. That AAVMF and a real GRUB boot one is for qemu/ to show.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test stops where something is wrong"
)]

#[path = "../common/mod.rs"]
mod common;
mod universal;

use std::fs;
use std::path::Path;

use common::pi::gzip;
use common::{
    Project, RELEASE, assert_equal, built, deb, efi, module, output, partition, pivot_image,
    program, read, refusal, said,
};

/// Where GRUB is in Debian's packages.
const SIGNED: &str = "usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed";
const PLAIN: &str = "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi";
const SHIM: &str = "usr/lib/shim/shimaa64.efi.signed";

/// Every driver of the set for UEFI that has no other name here.
const DRIVERS: [&str; 8] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "nvme",
    "ahci",
    "xhci-pci",
    "usb-storage",
];

fn grub(version: &str) -> Vec<u8> {
    let table = format!("\0sbat,1,x\ngrub,5,Free Software Foundation,grub,{version},https://x/\n");
    efi(true, table.as_bytes())
}

/// A 64-bit kernel with an EFI stub.
fn kernel() -> Vec<u8> {
    let mut image = efi(true, &common::noise(200_000));
    image[24] = 0b0010;
    // the machine's part of both headers
    image[0x38..0x3c].copy_from_slice(b"ARM\x64");
    image
}

fn project() -> Project {
    let project = Project::new();
    project.write(&format!("linux/boot/vmlinuz-{RELEASE}"), &kernel());
    for name in DRIVERS {
        let path = format!("linux/lib/modules/{RELEASE}/kernel/drivers/{name}.ko");
        project.write(&path, &module(&[]));
    }
    project.write(
        "grub.deb",
        &deb("arm64", &[(PLAIN, &efi(false, b"")), (SIGNED, &grub("2.06"))], &[]),
    );
    project.write(
        "shim.deb",
        &deb("arm64", &[(SHIM, &efi(true, b"\nshim,4,x,shim,1,https://x/\n"))], &[]),
    );
    configure(&project, "grub = \"grub.deb\"");
    project
}

fn configure(project: &Project, uefi: &str) {
    let section = format!("[uefi]\n{uefi}\n[initramfs]");
    let text = common::CONFIG.replace("[initramfs]", &section).replace("\"virt\"", "\"uefi\"");
    project.write("demo.toml", text.as_bytes());
}

#[track_caller]
fn text(image: &Path, mib: u64, name: &str) -> String {
    String::from_utf8(read(image, mib, name)).unwrap()
}

/// What `lint` says beside what is true of modules, roots and boards that are made up.
fn findings(image: &Path) -> Vec<String> {
    let lines = pivot_image().arg("lint").arg(image).output().unwrap().stdout;
    let lines = String::from_utf8(lines).unwrap();
    let made_up = ["[codec]", "[bootsel-program]", "[board-unserved]", "[emulation-only]"];
    let other = |line: &&str| !made_up.iter().any(|rule| line.ends_with(rule));
    lines.lines().filter(other).map(str::to_owned).collect()
}

#[test]
fn partition_table() {
    let project = project();
    let (Some(mut sgdisk), Some(mut sfdisk), Some(mut dump)) =
        (program("sgdisk", "gdisk"), program("sfdisk", "fdisk"), program("sfdisk", "fdisk"))
    else {
        return;
    };
    if !built(&project) {
        return;
    }
    let image = project.path("out/demo.img");
    let text = output(sgdisk.arg("-v").arg(&image));
    assert!(text.contains("No problems found"), "{text}");
    output(sfdisk.arg("--verify").arg(&image));
    let dump = output(dump.arg("-d").arg(&image));
    let lines: Vec<_> = dump.lines().filter(|line| line.contains("type=")).collect();
    let has = |index: usize, what: &str| assert!(lines[index].contains(what), "{dump}");
    has(0, "type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
    assert!(!lines[0].contains("attrs="), "{dump}");
    for index in [1, 2] {
        has(index, "type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7");
    }
    has(3, "type=0FC63DAF-8483-4772-8E79-3D69D8477DE4");
    (1..4).for_each(|index| has(index, "attrs=\"GUID:63\""));
}

#[test]
fn files_and_what_is_in_them() {
    let project = project();
    if !built(&project) {
        return;
    }
    let image = project.path("out/demo.img");
    assert_eq!(read(&image, 1, "EFI/BOOT/BOOTAA64.EFI"), grub("2.06"));
    assert!(text(&image, 1, "EFI/debian/grub.cfg").ends_with("\nsource ($root)/grub.cfg\n"));
    assert_eq!(text(&image, 1, "grub.cfg"), ::image::uefi::SCRIPT_TEXT);
    let environment = text(&image, 1, "grubenv");
    assert_eq!(
        (environment.len(), environment.trim_end_matches('#')),
        (1024, "# GRUB Environment Block\npivot_default=a\npivot_trial=\n")
    );
    let line = text(&image, 161, "cmdline.txt");
    let words = line.strip_prefix("pivot.slot=b ").unwrap().trim_end();
    assert!(words.ends_with(" gpt console=ttyAMA0"), "{words}");
    for slot in [33, 161] {
        assert_eq!(
            text(&image, slot, "grub.cfg"),
            format!(
                "# What GRUB boots from this slot; grub.cfg of partition 1 reads it.\n\
                 set pivot_kernel=\"/vmlinuz0\"\nset pivot_initrd=\"/initrd /early0\"\n\
                 set pivot_cmdline=\"{words}\"\n"
            )
        );
        assert_eq!(read(&image, slot, "vmlinuz0"), kernel());
    }
    let part = project.path("part");
    for (start, mib) in [(1, 32), (33, 128)] {
        partition(&image, start, mib, &part);
        if let Some(mut fsck) = program("fsck.fat", "dosfstools") {
            output(fsck.arg("-n").arg(&part));
        }
    }
    let manifest = fs::read_to_string(project.path("out/revision/manifest")).unwrap();
    assert!(manifest.contains("\nrequires_bootsel=1\n"), "{manifest}");
}

#[test]
fn looked_at_by_pivot_image() {
    let project = project();
    if !built(&project) {
        return;
    }
    let image = project.path("out/demo.img");
    assert_eq!(findings(&image), [""; 0]);
    let shown = output(pivot_image().arg("inspect").arg(&image));
    assert!(shown.contains("  GRUB 2.06\n  grubenv: slot a boots\n"), "{shown}");
    let json = output(pivot_image().args(["inspect", "--json"]).arg(&image));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["grub"]["default"], "a");
    assert_eq!((&json["grub"]["shim"], &json["grub"]["trial"]), (&false.into(), &().into()));
}

#[test]
fn behind_shim() {
    let project = project();
    let section = "grub = \"grub.deb\"\nshim = \"shim.deb\"\nprefix = \"/EFI/BOOT\"\ncmdline = \"console=tty0\"";
    configure(&project, section);
    if !built(&project) {
        return;
    }
    let image = project.path("out/demo.img");
    assert_eq!(read(&image, 1, "EFI/BOOT/grubaa64.efi"), grub("2.06"));
    assert!(read(&image, 1, "EFI/BOOT/BOOTAA64.EFI").ends_with(b"\nshim,4,x,shim,1,https://x/\n"));
    assert!(text(&image, 1, "EFI/BOOT/grub.cfg").contains("source"));
    assert!(text(&image, 33, "grub.cfg").ends_with(" gpt console=ttyAMA0 console=tty0\"\n"));
    assert!(text(&image, 33, "cmdline.txt").ends_with(" gpt console=ttyAMA0\n"));
    let shown = output(pivot_image().arg("inspect").arg(&image));
    assert!(shown.contains("  GRUB 2.06, started by shim\n"), "{shown}");
    assert_eq!(findings(&image), [""; 0]);
}

#[test]
fn equal_each_time() {
    let (one, two) = (project(), project());
    // as a vendor packs it
    two.write(&format!("linux/boot/vmlinuz-{RELEASE}"), &gzip(&kernel()));
    two.write("grub.efi", &grub("2.06"));
    configure(&two, "grub = \"grub.efi\"");
    if built(&one) && built(&two) {
        assert_equal(&one.path("out/demo.img"), &two.path("out/demo.img"));
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&Project), why: &str) {
    if program("depmod", "kmod").is_none() {
        return;
    }
    let project = project();
    change(&project);
    let (text, code) = refusal(&mut project.build("out"));
    assert!(code == 1 && text.contains(why), "{text}");
    assert!(!project.path("out").exists(), "refused before any work");
}

#[test]
fn notes() {
    let project = project();
    if !built(&project) {
        return;
    }
    let text = fs::read_to_string(project.path("demo.toml")).unwrap();
    output(pivot_image().arg("keys").arg("-o").arg(project.path("keys")));
    let signed = text.replace("version = 1", "version = 1\nkey = \"keys/pivot.key\"");
    let section = "[bootsel]\nprogram = \"init\"\nunits = false\n";
    project.write("demo.toml", format!("{signed}{section}").as_bytes());
    let quiet = said(&project);
    assert!(quiet.contains("bootsel: the AArch64 program"), "{quiet}");
    for text in [
        "nothing to choose slots by",
        "unpacks itself",
        "no driver of",
        "only a machine that is given kernel",
    ] {
        assert!(!quiet.contains(text), "{text}: {quiet}");
    }
    let mut zboot = kernel();
    zboot[4..8].copy_from_slice(b"zimg");
    zboot[0x38..0x3c].fill(0);
    project.write(&format!("linux/boot/vmlinuz-{RELEASE}"), &zboot);
    project.write("grub.deb", &deb("arm64", &[(SIGNED, &grub("2.12"))], &[]));
    project.write("demo.toml", text.replace("machines = [\"uefi\"]", "").as_bytes());
    let said = said(&project);
    assert!(said.contains(&format!("note: kernel {RELEASE} unpacks itself")), "{said}");
    let warning = format!("warning: kernel {RELEASE} has no driver of a disk built in");
    assert!(said.contains(&warning) && said.contains("machines = [\"uefi\"]"), "{said}");
    let found = findings(&project.path("out/demo.img"));
    assert!(matches!(&found[..], [a, b] if [a, b].iter().all(|f| f.ends_with("[disk-driver]"))));
}

#[test]
fn refusals() {
    let uefi = |text: &'static str| move |project: &Project| configure(project, text);
    refused(uefi("grub = \"shim.deb\""), "uefi.grub: ");
    refused(uefi("grub = \"grub.deb\"\nshim = \"grub.deb\""), "uefi.shim: ");
    refused(uefi("grub = \"init\""), "init is no UEFI program for 64-bit Arm");
    refused(uefi("grub = \"nowhere\""), "nowhere");
    refused(uefi("shim = \"shim.deb\""), "missing field `grub`");
    refused(
        uefi("grub = \"grub.deb\"\nprefix = \"EFI\""),
        "expected a directory like \"/EFI/debian\"",
    );
    refused(uefi("grub = \"grub.deb\"\ncmdline = \"a='b'\""), "GRUB does not pass quotes");
    let image = |bytes: Vec<u8>| {
        move |project: &Project| project.write(&format!("linux/boot/vmlinuz-{RELEASE}"), &bytes)
    };
    let mut zboot = kernel();
    zboot[4..8].copy_from_slice(b"zimg");
    zboot[0x38..0x3c].fill(0);
    refused(image(zboot), "GRUB 2.06 does not start such ones: 2.12 does");
    let mut bare = kernel();
    bare[0] = 0;
    refused(image(bare), "built without CONFIG_EFI_STUB");
    refused(image(common::pi::zimage()), "kernel");
}

/// GRUB's own opinion of the script; the package grub-common has it.
#[test]
fn script_for_grub() {
    let Some(mut check) = program("grub-script-check", "grub-common") else { return };
    let project = project();
    project.write("grub.cfg", ::image::uefi::SCRIPT_TEXT.as_bytes());
    output(check.arg(project.path("grub.cfg")));
}
