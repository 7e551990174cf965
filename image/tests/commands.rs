// SPDX-License-Identifier: MIT OR Apache-2.0
//! The subcommands beside `build`, as a person uses them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Project, RELEASE, output, pivot_image, program, refusal};
use serde_json::Value;

fn inspect(path: &Path) -> Value {
    serde_json::from_str(&output(pivot_image().args(["inspect", "--json"]).arg(path))).unwrap()
}

fn text(path: &Path) -> String {
    output(pivot_image().arg("inspect").arg(path))
}

#[test]
fn initramfs_for_an_own_pipeline() {
    let project = Project::new();
    let out = project.path("initrd.img");
    let initramfs = || {
        let mut command = pivot_image();
        command.arg("initramfs").arg("--init").arg(project.path("init")).arg("-o").arg(&out);
        command
    };
    for (compression, name) in [("zstd", "zstd"), ("lz4", "lz4"), ("none", "none")] {
        output(initramfs().args(["--compression", compression]));
        let report = inspect(&out);
        assert_eq!(report["kind"], "initramfs");
        assert_eq!(report["parts"][0]["compression"], name);
        let paths: Vec<_> = report["parts"][0]["entries"].as_array().unwrap().iter().collect();
        assert!(paths.iter().any(|entry| entry["path"] == "init" && entry["mode"] == "100755"));
    }
    if program("depmod", "kmod").is_none() {
        return;
    }
    output(initramfs().args(["--machine", "virt", "--kernel"]).arg(project.path("linux")));
    let report = inspect(&out);
    assert_eq!(report["parts"].as_array().unwrap().len(), 2);
    assert_eq!(report["parts"][1]["early"][0]["release"], RELEASE);
    assert_eq!(report["parts"][1]["offset"].as_u64().unwrap() % 512, 0);
    let (error, code) = refusal(initramfs().args(["--init", "/no/such"]));
    assert!(code == 1 && error.contains("cannot read /no/such"), "{error}");
}

/// They are of a kernel: without one they would do nothing.
#[test]
fn early_modules_need_a_kernel() {
    for option in [["--machine", "virt"], ["--early", "loop"]] {
        let (error, code) = refusal(pivot_image().arg("initramfs").args(option));
        assert!(code == 2 && error.contains("--kernel <KERNEL>"), "{error}");
    }
}

#[test]
fn no_init_says_how_to_make_one() {
    let empty = tempfile::tempdir().unwrap();
    let mut command = pivot_image();
    command.arg("initramfs").current_dir(empty.path()).env_remove("CARGO_TARGET_DIR");
    let (error, _) = refusal(&mut command);
    assert!(error.contains("target/aarch64-unknown-linux-musl/release/init"), "{error}");
    assert!(error.contains("cargo device"), "{error}");
}

#[test]
fn modules_of_a_kernel() {
    let project = Project::new();
    if program("depmod", "kmod").is_none() {
        return;
    }
    let modules = || {
        let mut command = pivot_image();
        command.arg("modules").arg(project.path("linux")).arg("-o").arg(project.path("out"));
        command
    };
    output(modules().args(["--machine", "virt"]));
    let image = project.path("out").join(format!("modules_{RELEASE}.squashfs"));
    let report = inspect(&image);
    assert_eq!((&report["codec"], &report["top"][0]), (&"zstd".into(), &RELEASE.into()));
    assert_eq!(report["modules"], 8);
    output(modules().args(["--compression", "gzip"]));
    assert_eq!(inspect(&image)["codec"], "gzip");
    let (error, _) = refusal(modules().args(["--compression", "xz"]));
    assert!(error.contains("cannot read xz"), "{error}");
    if program("mksquashfs", "squashfs-tools").is_some() {
        output(modules().args(["--writer", "mksquashfs", "--zstd-level", "3"]));
        assert_eq!(inspect(&image)["modules"], 8);
    }
}

#[test]
fn firmware_is_merged() {
    let project = Project::new();
    project.write("more/brcm/a.bin", b"other");
    project.write("more/b.bin", b"more");
    let out = project.path("firmware.squashfs");
    let mut command = pivot_image();
    command.arg("firmware").args([project.path("firmware"), project.path("more")]);
    output(command.arg("-o").arg(&out));
    let report = inspect(&out);
    assert_eq!((&report["files"], &report["problem"]), (&2.into(), &Value::Null));
    let Some(mut unsquashfs) = program("unsquashfs", "squashfs-tools") else { return };
    assert_eq!(output(unsquashfs.arg("-cat").arg(&out).arg("brcm/a.bin")), "other");
}

#[test]
fn revision_alone() {
    let project = Project::new();
    if program("depmod", "kmod").is_none() || program("mksquashfs", "squashfs-tools").is_none() {
        return;
    }
    let mut command = pivot_image();
    command.arg("revision").arg("--json").arg(project.path("demo.toml"));
    let report: Value =
        serde_json::from_str(&output(command.arg("-o").arg(project.path("out")))).unwrap();
    assert_eq!(report["revision"], "r1");
    assert!(report["cmdline"].as_str().unwrap().starts_with("pivot.slot=_ pivot.data=PARTUUID="));
    assert!(!project.path("out/demo.img").exists());
    assert!(!text(&project.path("out/revision")).contains("PROBLEM"));
    fs::write(project.path("out/revision/firmware.squashfs"), "x").unwrap();
    fs::remove_file(project.path("out/revision/root.squashfs")).unwrap();
    let found = text(&project.path("out/revision"));
    assert!(found.contains("firmware.squashfs  PROBLEM: has 1 bytes"), "{found}");
    assert!(found.contains("root.squashfs  PROBLEM: is missing"), "{found}");
}

#[test]
fn disk_as_json_and_text() {
    let project = Project::new();
    if program("depmod", "kmod").is_none() || program("debugfs", "e2fsprogs").is_none() {
        return;
    }
    output(&mut project.build("out"));
    let image = project.path("out/demo.img");
    let report = inspect(&image);
    assert_eq!((&report["kind"], &report["table"]), (&"disk".into(), &"gpt".into()));
    let partitions = report["partitions"].as_array().unwrap();
    let names: Vec<_> = partitions.iter().map(|partition| &partition["name"]).collect();
    assert_eq!(names, ["BOOTSEL", "BOOT_A", "BOOT_B", "DATA"]);
    for (index, slot) in [(1, "a"), (2, "b")] {
        let content = &partitions[index]["content"];
        assert_eq!((&content["slot"], &content["kernels"][0]), (&slot.into(), &RELEASE.into()));
        let cmdline = content["cmdline"].as_str().unwrap();
        let data = partitions[3]["partuuid"].as_str().unwrap();
        assert!(cmdline.contains(&format!("pivot.data=PARTUUID={data} ")), "{cmdline}");
    }
    let data = &partitions[3]["content"];
    assert_eq!((&data["label"], &data["problem"]), (&"DATA".into(), &Value::Null));
    assert_eq!(data["revisions"][0]["keys"][1][1], "r1");
    let found = text(&image);
    assert!(found.contains("slot b, kernels 6.12.0-test") && !found.contains("PROBLEM"), "{found}");
    // the first table is damaged: said, and read from the second
    let bytes = fs::read(&image).unwrap();
    let mut damaged = bytes;
    damaged[512 + 60] ^= 1;
    fs::write(&image, damaged).unwrap();
    let found = text(&image);
    assert!(found.contains("PROBLEM: the first partition table: gpt: checksum"), "{found}");
    assert!(found.contains("partition 4 DATA"), "{found}");
}

#[test]
fn programs_are_judged() {
    let project = Project::new();
    let report = inspect(&project.path("init"));
    assert_eq!((&report["kind"], &report["machine"]), (&"program".into(), &"aarch64".into()));
    assert_eq!((&report["alignment"], &report["problem"]), (&0x10000.into(), &Value::Null));
    let host = inspect(Path::new("/bin/sh"));
    assert!(host["problem"].as_str().unwrap().contains("linked dynamically"), "{host}");
}

#[test]
fn unknown_files_are_refused() {
    let project = Project::new();
    for bytes in [&b""[..], b"hello", &[0; 4096], b"hsqs", b"format=9\n", b"\x7fELF", b"070701"] {
        project.write("x", bytes);
        let (error, code) = refusal(pivot_image().arg("inspect").arg(project.path("x")));
        assert!(code == 1 && error.contains("/x: "), "{error}");
    }
    project.write("x", &zstd::bulk::compress(b"hello", 1).unwrap());
    let (error, _) = refusal(pivot_image().arg("inspect").arg(project.path("x")));
    assert!(error.contains("packed with zstd, and not an initramfs: unpack it first"), "{error}");
    // a map that somebody edited
    project.write("x", b"<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\"></bmap>\n");
    let (error, _) = refusal(pivot_image().arg("inspect").arg(project.path("x")));
    assert!(error.contains("not a block map: no element ChecksumType"), "{error}");
}

/// A Debian package of the made-up kernel.
fn package(project: &Project) {
    let files = common::files_below(&project.path("linux"));
    let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    project.write("linux.deb", &common::deb("arm64", &files, &[]));
}

#[test]
fn package_is_unpacked_once() {
    let project = Project::new();
    if program("depmod", "kmod").is_none() {
        return;
    }
    package(&project);
    let modules = |out: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pivot-image"));
        command.arg("--cache").arg(project.path("cache")).arg("modules");
        command.arg(project.path("linux.deb")).arg("-o").arg(project.path(out));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    let first = modules("one");
    assert!(first.contains("unpacking linux.deb") && first.contains("written"), "{first}");
    let second = modules("two");
    assert!(!second.contains("unpacking") && second.contains("unchanged"), "{second}");
    let name = format!("modules_{RELEASE}.squashfs");
    common::assert_equal(&project.path("one").join(&name), &project.path("two").join(&name));
    // and it is what the directory gives
    output(
        pivot_image()
            .arg("modules")
            .arg(project.path("linux"))
            .arg("-o")
            .arg(project.path("three")),
    );
    common::assert_equal(&project.path("one").join(&name), &project.path("three").join(&name));
}

#[test]
fn root_from_a_tar_file_keeps_its_owners() {
    let project = Project::new();
    let Some(mut unsquashfs) = program("unsquashfs", "squashfs-tools") else { return };
    if program("depmod", "kmod").is_none() {
        return;
    }
    let mut tar = tar::Builder::new(Vec::new());
    for (name, owner) in [("sbin/init", 0), ("home/user/file", 1000)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o640);
        header.set_uid(owner);
        header.set_gid(owner + 1);
        tar.append_data(&mut header, name, &b"abc"[..]).unwrap();
    }
    let packed = zstd::bulk::compress(&tar.into_inner().unwrap(), 1).unwrap();
    project.write("rootfs.tar.zst", &packed);
    project.configure("directory = \"rootfs\"", "tar = \"rootfs.tar.zst\"");
    output(&mut project.build("out"));
    let text = output(unsquashfs.arg("-lln").arg(project.path("out/root.squashfs")));
    assert!(text.contains("-rw-r----- 1000/1001"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("-rw-r----- 0/1 ")), "{text}");
    project.configure("directory = \"rootfs\"", "tar = \"nothere\"");
    let (error, _) = refusal(&mut project.build("out"));
    let why = format!("cannot read {}: No such file", project.path("nothere").display());
    assert!(error.contains(&why) && error.matches("cannot read").count() == 1, "{error}");
    project.configure("directory = \"rootfs\"", "tar = \"rootfs.tar.zst\"");
    // something that is no tar file
    project.write("rootfs.tar.zst", &zstd::bulk::compress(&[7; 5000], 1).unwrap());
    let (error, _) = refusal(&mut project.build("out"));
    let why = format!("cannot read {}", project.path("rootfs.tar.zst").display());
    assert!(error.contains(&why), "{error}");
}
