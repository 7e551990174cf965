// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules on what UEFI and GRUB start from.

use super::common::{efi, pivot_image, refusal};
use super::image::Image;
use super::{check_on, lint};

/// As `check`, on an image for UEFI.
#[track_caller]
fn check(change: impl FnOnce(&mut Image), rules: &[&str], place: &str, what: &str) {
    check_on(Image::uefi(), change, rules, place, what);
}

fn without(name: &'static str) -> impl FnOnce(&mut Image) {
    move |image| image.bootsel.retain(|(known, _)| known != name)
}

#[test]
fn programs() {
    let boot = "EFI/BOOT/BOOTAA64.EFI";
    let at = "partition 1, EFI/BOOT/BOOTAA64.EFI";
    check(without("EFI/BOOT/BOOTAA64.EFI"), &["efi-program"], at, "is missing");
    check(|i| i.bootsel_file(boot, b"MZ"), &["efi-program"], at, "no UEFI program");
    let shim = efi(true, b"\nshim,4,UEFI shim,shim,1,https://x/\n");
    let at = "partition 1, EFI/BOOT/grubaa64.efi";
    check(|i| i.bootsel_file(boot, &shim), &["efi-program"], at, "is missing");
    let mut image = Image::uefi();
    image.bootsel_file(boot, &shim);
    image.bootsel_file("EFI/BOOT/grubaa64.efi", &efi(true, b""));
    assert_eq!(lint(&image), []);
    let basic = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7";
    check(|i| i.first_type = basic, &["efi-partition"], "partition 1", "expected c12a7328");
}

#[test]
fn scripts() {
    check(without("grub.cfg"), &["grub-script"], "partition 1, grub.cfg", "is missing");
    check(
        without("EFI/debian/grub.cfg"),
        &["grub-script"],
        "partition 1, EFI",
        "GRUB stops at its prompt",
    );
    check(
        |i| i.bootsel_file("grub.cfg", b"echo mine\n"),
        &["grub-script-other"],
        "partition 1, grub.cfg",
        "is not the one of this pivot-image",
    );
}

#[test]
fn environment() {
    let at = "partition 1, grubenv";
    let block = |text: &str| {
        let mut block = format!("# GRUB Environment Block\n{text}").into_bytes();
        block.resize(1024, b'#');
        block
    };
    let set = |bytes: Vec<u8>| move |i: &mut Image| i.bootsel_file("grubenv", &bytes);
    check(without("grubenv"), &["grubenv"], at, "is missing");
    let right = "pivot_default=b\npivot_trial=\n";
    let mut other = Image::uefi();
    other.bootsel_file("grubenv", &block(right));
    assert_eq!(lint(&other), []);
    check(set(block(right)[..1000].to_vec()), &["grubenv"], at, "1000 bytes");
    check(set(b"x".repeat(1024)), &["grubenv"], at, "first line is not GRUB's");
    check(set(block("pivot_default=c\npivot_trial=\n")), &["grubenv"], at, "pivot_default");
    check(set(block("pivot_default=a\n")), &["grubenv"], at, "no pivot_trial");
    check(set(block("pivot_default=a\npivot_trial=b\n")), &["grubenv"], at, "a trial is armed");
    let long = format!("x={}\n{right}", "y".repeat(600));
    check(set(block(&long)), &["grubenv"], at, "first 512 bytes");
}

#[test]
fn slots() {
    let at = "partition 3, grub.cfg";
    check(|i| i.remove("grub.cfg"), &["grub-slot"], at, "is missing: GRUB boots nothing");
    check(|i| i.append("grub.cfg", "boot\n"), &["grub-slot"], at, "line 5");
    check(|i| i.remove("vmlinuz"), &["grub-slot"], at, "/vmlinuz is missing");
    check(
        |i| i.both("vmlinuz", b"\x1f\x8b\x08"),
        &["grub-slot"],
        "partition 2, vmlinuz",
        "no UEFI program",
    );
    check(
        |i| i.cmdline = i.cmdline.replace("quiet", "debug"),
        &["grub-slot"],
        at,
        "pivot_cmdline is not what cmdline.txt says, from debug on",
    );
    let zboot = |version: &str| {
        let mut kernel = efi(true, b"");
        kernel[4..8].copy_from_slice(b"zimg");
        let table = format!("\ngrub,5,Free Software Foundation,grub,{version},https://x/\n");
        let grub = efi(true, table.as_bytes());
        move |i: &mut Image| {
            i.both("vmlinuz", &kernel);
            i.bootsel_file("EFI/BOOT/BOOTAA64.EFI", &grub);
        }
    };
    check(zboot("2.06"), &["grub-slot"], "partition 2, vmlinuz", "GRUB 2.06 does not start");
    let mut newer = Image::uefi();
    zboot("2.12")(&mut newer);
    assert_eq!(lint(&newer), []);
}

#[test]
fn what_devices_need() {
    check(
        |i| i.revision_file("root.squashfs", super::image::root(&[("sbin/init", "x")])),
        &["bootsel-program"],
        "revision r1, root.squashfs",
        "has no bootsel",
    );
}

#[test]
fn boards_are_no_matter() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.img");
    Image::uefi().write(&path);
    let (text, code) = refusal(pivot_image().arg("boards").arg(&path));
    assert!(code == 1 && text.contains("x.img: is for UEFI"), "{text}");
    // a system partition is none of UEFI's without a program for it
    let mut bare = Image::uefi();
    bare.bootsel.clear();
    bare.write(&path);
    let (text, _) = refusal(pivot_image().arg("boards").arg(&path));
    assert!(text.contains("has no files for a Raspberry Pi's firmware"), "{text}");
}

#[test]
fn drivers_of_disks() {
    let release = "6.12-v8";
    let at = "partition 2, vmlinuz";
    let rule = ["disk-driver"];
    // hosts of a Raspberry Pi, and what all hosts have
    let pi = ["sdhci-iproc", "bcm2835-mmc", "mmc_core", "mmc_block"];
    let late = |i: &mut Image| i.drivers(release, &pi, "nvme");
    let what = "no driver of a disk is built into 6.12-v8 or in its initramfs: machines = ";
    check(late, &rule, at, what);
    for module in ["nvme", "virtio_blk", "dw_mmc-rockchip", "sdhci-pci", "usb-storage"] {
        let mut early = Image::uefi();
        late(&mut early);
        early.set_early("early8.img", release, &format!("kernel/drivers/{module}.ko\n"));
        assert_eq!(lint(&early), [], "{module}");
        let mut builtin = Image::uefi();
        builtin.drivers(release, &[module], "nothing");
        assert_eq!(lint(&builtin), [], "{module}");
    }
    let mut unknown = Image::uefi();
    unknown.drivers(release, &[], "nothing");
    assert_eq!(lint(&unknown), []);
}
