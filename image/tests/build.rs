// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds whole images from small parts and has other programs judge them: fsck.fat, mtools, sgdisk, e2fsck,
//! debugfs, cpio, unsquashfs. What it cannot show is that a device boots: the runner in qemu/ does.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test stops where something is wrong"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{
    Project, RELEASE, as_user, assert_equal, last_partition, output, partition, pivot_image,
    program, refusal,
};

/// Start and length of the four partitions in MiB; the last is as long as it is.
const SLOT_A: (u64, u64) = (33, 128);
const SLOT_B: (u64, u64) = (161, 128);
const DATA: u64 = 289;

/// A built image, once for all tests that only look at it; none where a program is missing.
fn built(project: &Project) -> bool {
    let needed = [("depmod", "kmod"), ("mke2fs", "e2fsprogs"), ("mksquashfs", "squashfs-tools")];
    if !needed.iter().all(|(name, package)| program(name, package).is_some()) {
        return false;
    }
    output(&mut project.build("out"));
    true
}

#[test]
fn every_file_is_there() {
    let project = Project::new();
    if !built(&project) {
        return;
    }
    let images = ["firmware.squashfs", "root.squashfs", &format!("modules_{RELEASE}.squashfs")];
    let others = [
        "initramfs",
        "demo.img",
        "boot.img.zst",
        &format!("early_{RELEASE}"),
        &format!("vmlinuz_{RELEASE}"),
    ];
    for name in images.iter().chain(&others) {
        assert!(project.path("out").join(name).is_file(), "{name}");
    }
    for name in ["initramfs", &format!("early_{RELEASE}")] {
        assert_eq!(fs::metadata(project.path("out").join(name)).unwrap().len() % 512, 0, "{name}");
    }
    let manifest = fs::read_to_string(project.path("out/revision/manifest")).unwrap();
    assert!(manifest.starts_with("format=1\nrevision=r1\nversion=1\nslot_letter="), "{manifest}");
    for name in images {
        assert!(manifest.contains(&format!("  {name}\n")), "{manifest}");
        let (out, revision) = (project.path("out"), project.path("out/revision"));
        assert_equal(&out.join(name), &revision.join(name));
    }
}

#[test]
fn two_builds_are_equal() {
    let (one, two) = (Project::new(), Project::new());
    if !built(&one) {
        return;
    }
    // other directories, another time, other permissions of what is staged
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut build = std::process::Command::new("sh");
    build.arg("-c").arg("umask 077; exec \"$@\"").arg("sh").arg(env!("CARGO_BIN_EXE_pivot-image"));
    build.arg("--no-cache").arg("build").arg(two.path("demo.toml")).arg("-o").arg(two.path("out"));
    output(&mut build);
    let mut compared = 0;
    for entry in fs::read_dir(one.path("out")).unwrap() {
        let name = entry.unwrap().file_name();
        if one.path("out").join(&name).is_file() {
            assert_equal(&one.path("out").join(&name), &two.path("out").join(&name));
            compared += 1;
        }
    }
    assert_eq!(compared, 9);
}

#[test]
fn partition_table_for_others() {
    let project = Project::new();
    let Some(mut sgdisk) = program("sgdisk", "gdisk") else { return };
    if !built(&project) {
        return;
    }
    let image = project.path("out/demo.img");
    let text = output(sgdisk.arg("-v").arg("-p").arg(&image));
    assert!(text.contains("No problems found"), "{text}");
    for name in ["BOOTSEL", "BOOT_A", "BOOT_B", "DATA"] {
        assert!(text.contains(name), "{text}");
    }
    project.configure("\"gpt\"", "\"mbr\"");
    output(&mut project.build("out"));
    let Some(mut sfdisk) = program("sfdisk", "fdisk") else { return };
    let text = output(sfdisk.arg("-d").arg(&image));
    let types: Vec<_> = text.lines().filter_map(|line| line.split("type=").nth(1)).collect();
    assert_eq!(types, ["c", "c", "c", "83"], "{text}");
    let id = text.lines().find_map(|line| line.strip_prefix("label-id: 0x")).unwrap().to_owned();
    let cmdline = slot_file(&image, SLOT_A, "cmdline.txt").unwrap_or_default();
    assert!(cmdline.contains(&format!("pivot.data=PARTUUID={id}-04 ")), "{cmdline}");
    assert!(!cmdline.contains(" gpt "), "{cmdline}");
}

/// A text file of a slot, read by mtools.
fn slot_file(image: &Path, slot: (u64, u64), name: &str) -> Option<String> {
    let mut mtype = program("mtype", "mtools")?;
    let place = format!("{}@@{}M", image.display(), slot.0);
    Some(output(mtype.arg("-i").arg(place).arg(format!("::{name}"))))
}

#[test]
fn boot_partitions_are_clean_and_hold_the_files() {
    let project = Project::new();
    let (Some(_), Some(_)) = (program("fsck.fat", "dosfstools"), program("mcopy", "mtools")) else {
        return;
    };
    if !built(&project) {
        return;
    }
    let image = project.path("out/demo.img");
    let part = project.path("part");
    for (start, mib) in [(1, 32), SLOT_A, SLOT_B] {
        partition(&image, start, mib, &part);
        output(program("fsck.fat", "dosfstools").unwrap().arg("-n").arg(&part));
    }
    let early = format!("early_{RELEASE}");
    let vmlinuz = format!("vmlinuz_{RELEASE}");
    for (name, file) in
        [("vmlinuz0", vmlinuz.as_str()), ("initrd", "initramfs"), ("early0", &early)]
    {
        let copy = project.path("copy");
        let mut mcopy = program("mcopy", "mtools").unwrap();
        mcopy.args(["-n", "-o", "-i"]).arg(format!("{}@@{}M", image.display(), SLOT_B.0));
        output(mcopy.arg(format!("::{name}")).arg(&copy));
        assert_equal(&copy, &project.path("out").join(file));
    }
    let line =
        format!("# release, kernel, initramfs, early modules\n{RELEASE} vmlinuz0 initrd early0\n");
    assert_eq!(slot_file(&image, SLOT_A, "kernels.txt").unwrap(), line);
}

#[test]
fn slots_differ_in_one_byte() {
    let project = Project::new();
    if !built(&project) {
        return;
    }
    let image = project.path("out/demo.img");
    let (a, b) = (project.path("a"), project.path("b"));
    partition(&image, SLOT_A.0, SLOT_A.1, &a);
    partition(&image, SLOT_B.0, SLOT_B.1, &b);
    let (a, b) = (fs::read(a).unwrap(), fs::read(b).unwrap());
    let differ: Vec<usize> = (0..a.len()).filter(|place| a[*place] != b[*place]).collect();
    let manifest = fs::read_to_string(project.path("out/revision/manifest")).unwrap();
    let letter = manifest.lines().find_map(|line| line.strip_prefix("slot_letter=")).unwrap();
    assert_eq!(differ, [letter.parse::<usize>().unwrap()]);
    assert_eq!((a[differ[0]], b[differ[0]]), (b'a', b'b'));
    assert_eq!(&a[differ[0] - 11..=differ[0]], b"pivot.slot=a");
}

#[test]
fn data_partition_is_clean_and_owned_by_root() {
    let project = Project::new();
    let (Some(mut e2fsck), Some(mut debugfs), Some(_)) = (
        program("e2fsck", "e2fsprogs"),
        program("debugfs", "e2fsprogs"),
        program("setpriv", "util-linux"),
    ) else {
        return;
    };
    if !built(&project) {
        return;
    }
    fs::remove_dir_all(project.path("out")).unwrap();
    output(&mut as_user(&project, &project.build("out")));
    let (image, data) = (project.path("out/demo.img"), project.path("data"));
    last_partition(&image, DATA, &data);
    output(e2fsck.arg("-fn").arg(&data));
    let requests = [
        "ls -l /",
        "ls -l /pivot",
        "ls -l /pivot/log",
        "ls -l /pivot/state",
        "ls -l /pivot/revisions/r1",
        "stat /pivot/log/init.log",
        &format!("dump /pivot/log/init.log {}", project.path("log").display()),
        &format!("dump /pivot/revisions/r1/manifest {}", project.path("manifest").display()),
    ];
    project.write("requests", requests.join("\n").as_bytes());
    let text = output(debugfs.arg("-f").arg(project.path("requests")).arg(&data));
    let listed = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listed: Vec<_> = listed.filter(|fields| fields.len() == 9).collect();
    let mode = |name: &str| listed.iter().find(|f| f[8] == name).unwrap()[1].to_owned();
    assert!(listed.iter().all(|f| f[3] == "0" && f[4] == "0"), "{text}");
    assert_eq!(
        [mode("revisions"), mode("state"), mode("init.log"), mode("root.squashfs")],
        ["40755", "40755", "100644", "100644"]
    );
    // 8 blocks of 4 KiB are really there, and zero
    assert!(text.contains("Size: 32768") && text.contains("Blockcount: 64"), "{text}");
    assert_eq!(fs::read(project.path("log")).unwrap(), [0; 32 << 10]);
    assert_equal(&project.path("manifest"), &project.path("out/revision/manifest"));
}

#[test]
fn modules_image_has_modules_indexes_and_lists() {
    let project = Project::new();
    let Some(mut unsquashfs) = program("unsquashfs", "squashfs-tools") else { return };
    if !built(&project) {
        return;
    }
    let to = project.path("modules");
    unsquashfs.args(["-no-progress", "-d"]).arg(&to);
    output(unsquashfs.arg(project.path("out").join(format!("modules_{RELEASE}.squashfs"))));
    let read = |name: &str| fs::read_to_string(to.join(RELEASE).join(name)).unwrap();
    assert_eq!(read("load/ext4"), "-kernel/crypto/sum.ko\nkernel/fs/ext4/ext4.ko\n");
    assert_eq!(read("load/loop"), "kernel/drivers/block/loop.ko\n");
    assert_eq!(read("load/virtio_pci"), "");
    assert!(read("modules.softdep").contains("softdep ext4 pre: sum"));
    assert!(to.join(RELEASE).join("modules.dep.bin").is_file());
    let module = "kernel/fs/ext4/ext4.ko";
    let source = project.path(&format!("linux/lib/modules/{RELEASE}/{module}"));
    assert_equal(&to.join(RELEASE).join(module), &source);
}

#[test]
fn archives_for_cpio() {
    let project = Project::new();
    let (Some(_), Some(_)) = (program("cpio", "cpio"), program("zstd", "zstd")) else { return };
    if !built(&project) {
        return;
    }
    let list = |name: &str| {
        // zstd stops at the padding, which is no frame
        let script =
            format!("zstd -dcq '{}' 2>/dev/null | cpio -tv --quiet", project.path(name).display());
        output(std::process::Command::new("sh").arg("-c").arg(script))
    };
    let text = list("out/initramfs");
    for part in ["5,   1", "1,   3", "dev/console", "dev/null", "sysroot", "init"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = list(&format!("out/early_{RELEASE}"));
    assert!(text.contains(&format!("lib/modules/{RELEASE}/kernel/drivers/watchdog/i6300esb.ko")));
}

#[test]
fn early_modules_in_their_order() {
    let project = Project::new();
    if !built(&project) {
        return;
    }
    let mut inspect = pivot_image();
    inspect.arg("inspect").arg("--json").arg(project.path("out").join(format!("early_{RELEASE}")));
    let report: serde_json::Value = serde_json::from_str(&output(&mut inspect)).unwrap();
    let modules = &report["parts"][0]["early"][0]["modules"];
    let expected = [
        "kernel/drivers/watchdog/i6300esb.ko",
        "kernel/drivers/block/virtio_blk.ko",
        "kernel/drivers/block/loop.ko",
        "kernel/fs/squashfs/squashfs.ko",
        "-kernel/crypto/sum.ko",
        "kernel/fs/ext4/ext4.ko",
        "kernel/fs/overlayfs/overlay.ko",
    ];
    assert_eq!(*modules, serde_json::json!(expected));
}

#[test]
fn missing_driver_is_named() {
    let project = Project::new();
    if program("depmod", "kmod").is_none() {
        return;
    }
    project.configure("\"virt\"", "\"raspi\"");
    let (text, code) = refusal(&mut project.build("out"));
    let expected = format!(
        "kernel {RELEASE} has no module bcm2835_wdt and does not have it built in: machine raspi needs it"
    );
    assert!(text.contains(&expected) && text.contains("demo.toml") && code == 1, "{text}");
    project.configure("[\"virt\"]", "[\"virt\"]\nearly = [\"nvme\"]");
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains("no module nvme") && text.contains("configured list"), "{text}");
    fs::remove_file(
        project.path(&format!("linux/lib/modules/{RELEASE}/kernel/fs/squashfs/squashfs.ko")),
    )
    .unwrap();
    project.configure("\"virt\"", "\"virt\"");
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains("no module squashfs") && text.contains("every boot needs it"), "{text}");
    assert!(!project.path("out").exists(), "refused before any work");
}

#[test]
fn codec_that_a_kernel_cannot_read() {
    let project = Project::new();
    if program("depmod", "kmod").is_none() {
        return;
    }
    project.configure("machines =", "compression = \"xz\"\nmachines =");
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains(&format!("kernel {RELEASE} cannot read xz")), "{text}");
    assert!(text.contains("CONFIG_SQUASHFS_XZ"), "{text}");
    project.configure_kernel(&["RD_ZSTD", "SQUASHFS"]);
    project.configure("\"virt\"", "\"virt\"");
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains("no squashfs compression is known to all"), "{text}");
    project.configure_kernel(&["RD_GZIP", "SQUASHFS", "SQUASHFS_ZLIB"]);
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains("cannot read zstd (it is without CONFIG_RD_ZSTD)"), "{text}");
}

#[test]
fn exit_codes() {
    let (text, code) = refusal(pivot_image().arg("build"));
    assert!(code == 2 && text.contains("Usage:"), "{text}");
    let (text, code) = refusal(pivot_image().args(["build", "/no/such.toml"]));
    assert!(code == 1 && text.contains("cannot read configuration /no/such.toml"), "{text}");
    let (text, code) = refusal(pivot_image().args(["inspect", "/no/such"]));
    assert!(code == 1 && text.contains("cannot read /no/such"), "{text}");
}
