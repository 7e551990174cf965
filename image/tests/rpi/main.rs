// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images for the Raspberry Pi from made-up kernels, judged by other programs: mtools, fsck.fat, e2fsck, sfdisk,
//! gzip. Which board boots what from a real image is for the emulated boards of qemu/ to show.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test stops where something is wrong"
)]

#[path = "../common/mod.rs"]
mod common;
mod eeprom;
mod refusals;
mod sources;

use std::fs;
use std::path::{Path, PathBuf};

use common::pi::{self, CONFIG, KERNELS};
use common::{
    Project, assert_equal, built, last_partition, module, output, partition, pivot_image, program,
    read, said,
};

/// Where the slots begin.
const SLOTS: [u64; 2] = [33, 161];
const DATA: u64 = 289;

/// Names on that partition, in their order, without those in directories.
fn names(image: &Path, mib: u64) -> Vec<String> {
    let mut mdir = program("mdir", "mtools").unwrap();
    let text =
        output(mdir.args(["-b", "-i"]).arg(format!("{}@@{mib}M", image.display())).arg("::"));
    text.lines().map(|line| line.trim_start_matches("::/").to_owned()).collect()
}

fn image(project: &Project) -> PathBuf {
    project.path("out/pi.img")
}

#[test]
fn partitions_are_clean() {
    let project = pi::project();
    let (Some(mut sfdisk), Some(mut verify), Some(mut e2fsck), Some(_)) = (
        program("sfdisk", "fdisk"),
        program("sfdisk", "fdisk"),
        program("e2fsck", "e2fsprogs"),
        program("fsck.fat", "dosfstools"),
    ) else {
        return;
    };
    if !built(&project) {
        return;
    }
    let (image, part) = (image(&project), project.path("part"));
    let text = output(verify.arg("--verify").arg(&image));
    assert!(text.contains("No errors detected"), "{text}");
    let text = output(sfdisk.arg("-d").arg(&image));
    assert!(text.contains("label: dos"), "{text}");
    for line in [
        "start=        2048, size=       65536, type=c",
        "start=       67584, size=      262144, type=c",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    for (start, mib) in [(1, 32), (SLOTS[0], 128), (SLOTS[1], 128)] {
        partition(&image, start, mib, &part);
        output(program("fsck.fat", "dosfstools").unwrap().arg("-n").arg(&part));
    }
    last_partition(&image, DATA, &part);
    output(e2fsck.arg("-fn").arg(&part));
}

#[test]
fn first_partition_decides_and_no_more() {
    let project = pi::project();
    if !built(&project) {
        return;
    }
    let image = image(&project);
    assert_eq!(names(&image, 1), ["autoboot.txt", "config.txt", "bootcode.bin"]);
    let autoboot = String::from_utf8(read(&image, 1, "autoboot.txt")).unwrap();
    assert_eq!(autoboot.len(), 512);
    let expected = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n#";
    assert!(autoboot.starts_with(expected) && autoboot.ends_with('\n'), "{autoboot}");
    assert_eq!(read(&image, 1, "config.txt"), b"");
}

#[test]
fn slots_hold_what_the_firmware_looks_for() {
    let project = pi::project();
    if !built(&project) {
        return;
    }
    let image = image(&project);
    let found = names(&image, SLOTS[1]);
    let first = ["config.txt", "cmdline.txt", "kernels.txt", "initrd", "kernel.img", "early.img"];
    assert_eq!(found[..6], first);
    for name in ["start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "LICENCE.broadcom"] {
        assert!(found.iter().any(|found| found == name), "{name}: {found:?}");
    }
    assert!(!found.iter().any(|name| name == "bootcode.bin"));
    let kernels = "# release, kernel, initramfs, early modules\n\
        6.12.0-v6 kernel.img initrd early.img\n6.12.0-v7 kernel7.img initrd early7.img\n\
        6.12.0-v7l kernel7l.img initrd early7l.img\n6.12.0-v8 kernel8.img initrd early8.img\n\
        6.12.0-16k kernel_2712.img initrd early16k.img\n";
    assert_eq!(read(&image, SLOTS[0], "kernels.txt"), kernels.as_bytes());
    for (kernel, (name, early)) in KERNELS.iter().zip([
        ("kernel.img", "early.img"),
        ("kernel7.img", "early7.img"),
        ("kernel7l.img", "early7l.img"),
        ("kernel8.img", "early8.img"),
        ("kernel_2712.img", "early16k.img"),
    ]) {
        let bytes = read(&image, SLOTS[1], name);
        if name.contains('8') || name.contains("2712") {
            // gzip, and neither a name nor a time in it
            assert_eq!(bytes[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "{name}");
            project.write("kernel.gz", &bytes);
            let Some(mut gzip) = program("gzip", "gzip") else { return };
            output(gzip.arg("-d").arg(project.path("kernel.gz")));
            assert_eq!(fs::read(project.path("kernel")).unwrap(), kernel.image(), "{name}");
            fs::remove_file(project.path("kernel")).unwrap();
        } else {
            assert_eq!(bytes, kernel.image(), "{name}");
        }
        let archive = read(&image, SLOTS[1], early);
        let made = project.path("out").join(format!("early_{}", kernel.release));
        assert_eq!(archive, fs::read(made).unwrap(), "{early}");
        assert_eq!(archive.len() % 512, 0, "{early}");
    }
    let cmdline = read(&image, SLOTS[1], "cmdline.txt");
    let cmdline = String::from_utf8(cmdline).unwrap();
    assert!(cmdline.starts_with("pivot.slot=b pivot.data=PARTUUID="), "{cmdline}");
    assert!(cmdline.ends_with(" console=serial0,115200 console=tty1\n"), "{cmdline}");
    let config = String::from_utf8(read(&image, SLOTS[0], "config.txt")).unwrap();
    assert!(config.contains("[pi3]\narm_64bit=1\nkernel=kernel8.img\n"), "{config}");
    assert!(config.contains("\nkernel_watchdog_timeout=60\n"), "{config}");
}

#[test]
fn device_trees_under_both_names() {
    let project = pi::project();
    project.write("v8/usr/lib/linux-image-6.12.0-v8/overlays/a.dtbo", b"v8");
    project.write("v7/usr/lib/linux-image-6.12.0-v7/overlays/a.dtbo", b"v7");
    project.write("v7/usr/lib/linux-image-6.12.0-v7/overlays/b.dtbo", b"v7");
    project.write("v8/usr/lib/linux-image-6.12.0-v8/broadcom/bcm2711-rpi-cm4.dtb", b"own");
    project.write("pi-firmware/overlays/b.dtbo", b"firmware");
    project.write("pi-firmware/overlays/c.dtbo", b"firmware");
    if !built(&project) {
        return;
    }
    let image = image(&project);
    for (name, expected) in [
        ("bcm2835-rpi-zero.dtb", "bcm2835-rpi-zero of v6"),
        ("bcm2708-rpi-zero.dtb", "bcm2835-rpi-zero of v6"),
        ("bcm2709-rpi-2-b.dtb", "bcm2836-rpi-2-b of v7"),
        ("bcm2710-rpi-2-b.dtb", "bcm2836-rpi-2-b of v7"),
        ("bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b of v8"),
        ("bcm2710-rpi-zero-2-w.dtb", "bcm2837-rpi-zero-2-w of v8"),
        ("bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-b of v8"),
        ("bcm2711-rpi-cm4.dtb", "own"),
        ("bcm2712-rpi-5-b.dtb", "bcm2712-rpi-5-b of 16k"),
        ("overlays/a.dtbo", "v8"),
        ("overlays/b.dtbo", "v7"),
        ("overlays/c.dtbo", "firmware"),
    ] {
        assert_eq!(read(&image, SLOTS[0], name), expected.as_bytes(), "{name}");
    }
    assert!(!names(&image, SLOTS[0]).iter().any(|name| name.starts_with("sun50i")));
}

#[test]
fn two_builds_are_equal() {
    let (one, two) = (pi::project(), pi::project());
    if !built(&one) || !built(&two) {
        return;
    }
    assert_equal(&image(&one), &image(&two));
}

#[test]
fn boards_are_told() {
    let project = pi::project();
    if !built(&project) {
        return;
    }
    let report: serde_json::Value =
        serde_json::from_str(&output(project.build("out").arg("--json"))).unwrap();
    let boards =
        ["pi1a+", "pi1b+", "pi0", "pi2b", "pi2b-1.2", "pi3b", "pi02w", "pi4b", "pi5", "pi5-d0"];
    assert_eq!(report["boards"], serde_json::json!(boards));
    let manifest = fs::read_to_string(project.path("out/revision/manifest")).unwrap();
    assert!(manifest.contains(&format!("\nboards={}\n", boards.join(","))), "{manifest}");
    assert!(manifest.contains("\nrequires_bootsel=1\n"), "{manifest}");
}

#[test]
fn without_machines_no_card_is_seen() {
    let project = pi::project();
    project.write("demo.toml", CONFIG.replacen("machines = [\"raspi\"]", "", 1).as_bytes());
    let modules = "v6/lib/modules/6.12.0-v6";
    project.write(&format!("{modules}/modules.builtin"), b"kernel/drivers/mmc/core/mmc_block.ko\n");
    project.write(&format!("{modules}/kernel/drivers/bcm2835.ko"), &module(&[]));
    if program("depmod", "kmod").is_none() {
        return;
    }
    let said = said(&project);
    let warning = "has no driver of the SD card of any Raspberry Pi built in or in the initramfs";
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    assert!(said.contains("warning: kernel 6.12.0-v6 has no driver of"), "{said}");
    assert!(!said.contains("only a machine that is given kernel and initramfs"), "{said}");
    let findings = image::lint::lint(&image(&project)).unwrap().findings;
    let late = findings.iter().find(|finding| finding.rule == "medium-driver").unwrap();
    assert!(late.place.contains("pi0") && !late.place.contains("pi4"), "{late:?}");
}

#[test]
fn without_firmware_it_is_for_emulation() {
    let project = pi::project();
    project.write("demo.toml", CONFIG.replace("firmware = \"pi-firmware\"", "").as_bytes());
    if !built(&project) {
        return;
    }
    let said = said(&project);
    assert!(said.contains("it is for emulation only"), "{said}");
    let text = output(pivot_image().arg("inspect").arg(image(&project)));
    let lacks = "config.txt is there; a Raspberry Pi up to the 4 lacks \
        bootcode.bin, start.elf, fixup.dat, start4.elf, fixup4.dat";
    assert_eq!(text.matches(lacks).count(), 2, "{text}");
    assert!(text.contains("autoboot.txt: partition 2 boots, 3 in a trial"), "{text}");
    let report = output(pivot_image().args(["inspect", "--json"]).arg(image(&project)));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["autoboot"]["default"], &report["autoboot"]["trial"]),
        (&2.into(), &3.into())
    );
    assert_eq!(report["partitions"][1]["content"]["config"], true);
    assert_eq!(report["partitions"][2]["content"]["missing"].as_array().unwrap().len(), 5);
    let config = String::from_utf8(read(&image(&project), SLOTS[0], "config.txt")).unwrap();
    assert!(!config.contains("kernel_watchdog_timeout"), "{config}");
}
