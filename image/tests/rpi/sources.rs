// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where kernels, device trees and firmware come from: packages, a checkout of the vendor's, directories.

use std::fs;

use super::common::pi::{self, CONFIG, KERNELS};
use super::common::{Project, deb, output, pivot_image, program, refusal};
use super::{SLOTS, built, image, names, read};

/// The configuration with one kernel, described by these lines.
fn only(project: &Project, lines: &str) {
    let (head, rest) = CONFIG.split_once("[[kernel]]").unwrap();
    let (_, root) = rest.split_once("[root]").unwrap();
    let text = format!("{head}[[kernel]]\n{lines}\nmachines = [\"raspi\"]\n[root]{root}");
    project.write("demo.toml", text.as_bytes());
}

#[test]
fn package_of_the_vendor() {
    let project = pi::project();
    // a gzip'd kernel is stored as it is
    let packed = pi::gzip(&KERNELS[3].image());
    project.write("v8/boot/vmlinuz-6.12.0-v8", &packed);
    let tree = "v8/usr/lib/linux-image-6.12.0-v8";
    project.write(&format!("{tree}/broadcom/bcm2710-rpi-3-b.dtb"), b"vendor's");
    project.write(&format!("{tree}/overlays/README"), b"readme");
    project.write("v8.deb", &KERNELS[3].package(&project, "arm64"));
    only(&project, "package = \"v8.deb\"");
    if !built(&project) {
        return;
    }
    let image = image(&project);
    assert_eq!(read(&image, SLOTS[0], "kernel8.img"), packed);
    assert_eq!(read(&image, SLOTS[0], "bcm2710-rpi-3-b.dtb"), b"vendor's");
    assert_eq!(read(&image, SLOTS[0], "overlays/README"), b"readme");
    let config = String::from_utf8(read(&image, SLOTS[0], "config.txt")).unwrap();
    assert!(config.contains("[pi5]\nkernel=kernel8.img\n"), "{config}");
    assert!(config.contains("it stops here\nkernel=kernel7.img\n"), "{config}");
}

#[test]
fn checkout_of_the_vendors_firmware() {
    let project = pi::project();
    let named = [pi::image(4), b"Linux version 6.6.31-v8+ (dom@x)".to_vec()].concat();
    for (name, bytes) in [
        ("kernel.img", pi::zimage()),
        ("kernel8.img", pi::gzip(&named)),
        ("bcm2710-rpi-3-b.dtb", b"tree".to_vec()),
        ("bcm2708-rpi-zero.dtb", b"tree".to_vec()),
        ("overlays/disable-bt.dtbo", b"overlay".to_vec()),
        ("start.elf", b"\0tryboot\0".to_vec()),
        ("fixup.dat", Vec::new()),
        ("bootcode.bin", b"\0tryboot_a_b\0".to_vec()),
    ] {
        project.write(&format!("checkout/boot/{name}"), &bytes);
    }
    for release in ["6.6.31+", "6.6.31-v7+", "6.6.31-v8+"] {
        pi::modules(&project, &format!("checkout/modules/{release}"));
    }
    let lines = "directory = \"checkout\"\nfile = \"kernel.img\"\nmachines = [\"raspi\"]\n\
        [[kernel]]\ndirectory = \"checkout\"\nfile = \"kernel8.img\"";
    only(&project, lines);
    let text = fs::read_to_string(project.path("demo.toml")).unwrap();
    project.write("demo.toml", text.replace("pi-firmware", "checkout/boot").as_bytes());
    if !built(&project) {
        return;
    }
    let image = image(&project);
    let kernels = String::from_utf8(read(&image, SLOTS[0], "kernels.txt")).unwrap();
    assert!(kernels.contains("6.6.31+ kernel.img "), "{kernels}");
    assert!(kernels.contains("6.6.31-v8+ kernel8.img "), "{kernels}");
    assert_eq!(read(&image, SLOTS[0], "overlays/disable-bt.dtbo"), b"overlay");
    // what was assumed of kernels that do not say how they were built
    for release in ["6.6.31+", "6.6.31-v8+"] {
        let file = project.path("out").join(format!("modules_{release}.squashfs"));
        let report = output(pivot_image().args(["inspect", "--json"]).arg(file));
        assert!(report.contains("\"codec\": \"xz\""), "{report}");
    }
    only(&project, "directory = \"checkout\"");
    let (text, _) = refusal(&mut project.build("out"));
    assert!(
        text.contains(
            "expected file = \"...\" to say which kernel of boot: kernel.img, kernel8.img"
        ),
        "{text}"
    );
}

#[test]
fn plain_directories() {
    let project = pi::project();
    pi::modules(&project, "plain/lib/modules/6.12.1");
    project.write("plain/boot/kernel8.img", &pi::image(4));
    project.write(
        "plain/boot/config-6.12.1",
        b"CONFIG_RD_ZSTD=y\nCONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_ZSTD=y\n",
    );
    project.write("plain/boot/bcm2711-rpi-4-b.dtb", b"tree");
    only(&project, "directory = \"plain\"\nfile = \"kernel8.img\"");
    if !built(&project) {
        return;
    }
    let found = names(&image(&project), SLOTS[0]);
    let trees: Vec<_> = found.iter().filter(|name| name.ends_with(".dtb")).collect();
    assert_eq!(trees, ["bcm2711-rpi-4-b.dtb"]);
}

#[test]
fn firmware_packages_keep_their_links() {
    let project = pi::project();
    let Some(mut unsquashfs) = program("unsquashfs", "squashfs-tools") else { return };
    let files: &[(&str, &[u8])] =
        &[("usr/lib/firmware/brcm/a.bin", b"A"), ("usr/share/doc/x", b"no")];
    let links = [("usr/lib/firmware/brcm/b.bin", "a.bin")];
    project.write("brcm.deb", &deb("all", files, &links));
    project.write("old.deb", &deb("all", &[("lib/firmware/c.bin", b"C")], &[]));
    let section =
        "[firmware]\npackages = [\"brcm.deb\", \"old.deb\"]\ndirectories = [\"firmware\"]\n[root]";
    project.write("demo.toml", CONFIG.replace("[root]", section).as_bytes());
    if !built(&project) {
        return;
    }
    let text = output(unsquashfs.arg("-ll").arg(project.path("out/firmware.squashfs")));
    assert!(text.contains("brcm/b.bin -> a.bin") && text.contains("/c.bin"), "{text}");
    assert!(!text.contains("doc"), "{text}");
    project.write("old.deb", &deb("all", &[("usr/share/doc/x", b"")], &[]));
    fs::remove_dir_all(project.path("out")).unwrap();
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains("old.deb: no lib/firmware in it"), "{text}");
}
