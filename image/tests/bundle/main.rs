// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys and bundles, judged by the programs minisign, tar, sha256sum and zstd, and what happens to bundles that
//! somebody changed. What it cannot show is that a device installs them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test stops where something is wrong"
)]

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod keys;

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use image::lint::{Finding, lint};

use common::{Project, RELEASE, assert_equal, output, pivot_image, program, refusal};

/// The first slot on the disk image, and the data partition, in MiB.
const SLOT: (u64, u64) = (33, 128);
const DATA: u64 = 289;

fn keys(directory: &Path, more: &[&str]) {
    output(pivot_image().arg("keys").arg("-o").arg(directory).args(more));
}

fn bundle(project: &Project, out: &str, key: &str, to: &str) -> Command {
    let mut command = pivot_image();
    command.arg("bundle").arg(project.path(out)).arg("--key").arg(project.path(key));
    command.arg("-o").arg(project.path(to));
    command
}

fn inspect(bundle: &Path, keys: &Path) -> Command {
    let mut command = pivot_image();
    command.arg("inspect").arg(bundle).arg("--keys").arg(keys);
    command
}

/// A project with a revision in `out`, keys, and a bundle; none where a program is missing.
fn made() -> Option<Project> {
    let needed = [("depmod", "kmod"), ("mksquashfs", "squashfs-tools")];
    if !needed.iter().all(|(name, package)| program(name, package).is_some()) {
        return None;
    }
    let project = Project::new();
    let mut revision = pivot_image();
    revision.arg("revision").arg(project.path("demo.toml")).arg("-o").arg(project.path("out"));
    output(&mut revision);
    keys(&project.path("keys"), &[]);
    output(&mut bundle(&project, "out", "keys/pivot.key", "a.bundle"));
    Some(project)
}

/// By the host's tar.
fn unpack(bundle: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    output(Command::new("tar").arg("-xf").arg(bundle).arg("-C").arg(to));
}

#[test]
fn tar_and_sha256sum_agree() {
    let Some(project) = made() else { return };
    let listed = output(Command::new("tar").arg("-tvf").arg(project.path("a.bundle")));
    let lines: Vec<_> = listed.lines().collect();
    let modules = format!("modules_{RELEASE}.squashfs");
    let names = [
        "manifest",
        "manifest.minisig",
        "boot.img.zst",
        "firmware.squashfs",
        &modules,
        "root.squashfs",
    ];
    assert_eq!(lines.len(), names.len(), "{listed}");
    for (line, name) in lines.iter().zip(names) {
        assert!(
            line.starts_with("-rw-r--r-- 0/0 ") && line.ends_with(&format!(" {name}")),
            "{line}"
        );
    }
    let unpacked = project.path("unpacked");
    unpack(&project.path("a.bundle"), &unpacked);
    let Some(mut zstd) = program("zstd", "zstd") else { return };
    output(zstd.args(["-d", "-q"]).arg(unpacked.join("boot.img.zst")));
    let manifest = fs::read_to_string(unpacked.join("manifest")).unwrap();
    let (_, files) = manifest.split_once("\n\n").unwrap();
    let mut list = String::new();
    for line in files.lines() {
        let [hash, bytes, name] = line.split("  ").collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(fs::metadata(unpacked.join(name)).unwrap().len().to_string(), bytes, "{name}");
        list += &format!("{hash}  {name}\n");
    }
    fs::write(unpacked.join("list"), list).unwrap();
    let checked = output(Command::new("sha256sum").args(["-c", "list"]).current_dir(&unpacked));
    assert_eq!(checked.lines().count(), 4, "{checked}");
    assert!(checked.contains("boot.img: OK"), "{checked}");
}

#[test]
fn factory_image_and_bundle_are_one_revision() {
    let Some(project) = made() else { return };
    let (Some(_), Some(mut debugfs)) =
        (program("mke2fs", "e2fsprogs"), program("debugfs", "e2fsprogs"))
    else {
        return;
    };
    project.configure("version = 1", "version = 1\nkey = \"keys/pivot.key\"");
    output(&mut project.build("signed"));
    let out = project.path("signed.bundle");
    output(pivot_image().arg("bundle").arg(project.path("signed")).arg("-o").arg(&out));
    assert_equal(&project.path("a.bundle"), &out);
    unpack(&out, &project.path("unpacked"));
    // the same on the data partition
    let image = project.path("signed/demo.img");
    let mib = fs::metadata(&image).unwrap().len() >> 20;
    common::partition(&image, DATA, mib - DATA, &project.path("data"));
    let read = "cat /pivot/revisions/r1/manifest.minisig";
    let found = output(debugfs.args(["-R", read]).arg(project.path("data")));
    let signature = fs::read_to_string(project.path("unpacked/manifest.minisig")).unwrap();
    assert_eq!(found, signature);
    // the volume is that of both slots, but for the letter
    let mut packed = fs::File::open(project.path("unpacked/boot.img.zst")).unwrap();
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(&mut packed).unwrap().read_to_end(&mut plain).unwrap();
    let manifest = fs::read_to_string(project.path("unpacked/manifest")).unwrap();
    let letter = manifest.lines().find_map(|line| line.strip_prefix("slot_letter=")).unwrap();
    let letter: usize = letter.parse().unwrap();
    for (start, name) in [(SLOT.0, b'a'), (SLOT.0 + SLOT.1, b'b')] {
        common::partition(&project.path("signed/demo.img"), start, SLOT.1, &project.path("slot"));
        let mut slot = fs::read(project.path("slot")).unwrap();
        assert_eq!((slot[letter], plain[letter]), (name, b'_'));
        slot[letter] = b'_';
        assert!(slot == plain, "slot {}", char::from(name));
    }
    // inspect and lint know that the volume is no file of the directory
    let text = output(pivot_image().arg("inspect").arg(project.path("signed/revision")));
    assert!(!text.contains("PROBLEM") && text.contains("boot.img"), "{text}");
    let text = output(pivot_image().arg("inspect").arg(project.path("signed/demo.img")));
    assert!(!text.contains("PROBLEM") && text.contains("boot.img"), "{text}");
    let slot = |findings: &[Finding]| findings.iter().any(|found| found.rule == "slot-content");
    assert!(!slot(&lint(&image).unwrap().findings));
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(b"x", ((SLOT.0 + SLOT.1) << 20) - 512).unwrap();
    assert!(slot(&lint(&image).unwrap().findings));
}

#[test]
fn equal_input_gives_equal_bundles() {
    let (Some(one), Some(two)) = (made(), made()) else { return };
    fs::copy(one.path("keys/pivot.key"), two.path("one.key")).unwrap();
    output(&mut bundle(&two, "out", "one.key", "b.bundle"));
    assert_equal(&one.path("a.bundle"), &two.path("b.bundle"));
}

#[test]
fn nothing_unsigned_or_broken_is_made() {
    let Some(project) = made() else { return };
    let path = |name: &str| project.path(name);
    let (error, _) = refusal(pivot_image().arg("bundle").arg(path("out")).arg("-o").arg(path("b")));
    assert!(error.contains("revision/manifest is not signed: give a key"), "{error}");
    let (error, _) = refusal(&mut bundle(&project, "out", "keys/pivot.pub", "b"));
    assert!(error.contains("keys/pivot.pub"), "{error}");
    let (error, _) = refusal(&mut bundle(&project, "nowhere", "keys/pivot.key", "b"));
    assert!(error.contains("nowhere/revision/manifest"), "{error}");
    // a file that changed after the build
    let root = path("out/revision/root.squashfs");
    let good = fs::read(&root).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(&root, &bad).unwrap();
    let (error, _) = refusal(&mut bundle(&project, "out", "keys/pivot.key", "b"));
    assert!(error.contains("root.squashfs has another sha256"), "{error}");
    fs::write(&root, &good[1..]).unwrap();
    let (error, _) = refusal(&mut bundle(&project, "out", "keys/pivot.key", "b"));
    assert!(error.contains("root.squashfs has "), "{error}");
    fs::write(&root, &good).unwrap();
    fs::write(path("out/boot.img.zst"), zstd::bulk::compress(b"other", 1).unwrap()).unwrap();
    let (error, _) = refusal(&mut bundle(&project, "out", "keys/pivot.key", "b"));
    assert!(error.contains("boot.img has another sha256"), "{error}");
    assert!(!path("b").exists());
    let left: Vec<_> =
        fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn without_keys_it_says_so() {
    let Some(project) = made() else { return };
    let text = output(pivot_image().arg("inspect").arg(project.path("a.bundle")));
    assert!(
        text.contains("signature: not verified") && text.contains("revision r1, version 1"),
        "{text}"
    );
    let json = output(inspect(&project.path("a.bundle"), &project.path("keys")).arg("--json"));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["kind"], &json["key"]), (&"bundle".into(), &"pivot.pub".into()));
    assert_eq!(json["manifest"]["files"].as_array().unwrap().len(), 4);
    let (error, _) = refusal(&mut inspect(&project.path("a.bundle"), &project.path("out")));
    assert!(error.contains("no public key (*.pub)"), "{error}");
}
