// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a build adds to a root, and what it says of things that nobody told it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{CONFIG, Project, RELEASE, built, output, pivot_image, program, refusal, said};

/// Directories as unsquashfs lists them: mode, owner, time, path.
fn directories(root: &Path) -> Vec<String> {
    let mut unsquashfs = program("unsquashfs", "squashfs-tools").unwrap();
    let text = output(unsquashfs.env("TZ", "UTC").arg("-lln").arg(root));
    let line = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let path = words.get(5)?.strip_prefix("squashfs-root/")?;
        words[0].starts_with('d').then(|| [words[0], words[1], words[3], path].join(" "))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn mount_points_are_laid_into_a_root() {
    let project = Project::new();
    if !built(&project) {
        return;
    }
    let root = project.path("out/root.squashfs");
    let made = ["dev", "lib", "lib/firmware", "lib/modules", "proc", "run", "sys"];
    let mut expected = made.map(|path| format!("drwxr-xr-x 0/0 1970-01-01 {path}")).to_vec();
    let facts = |found: Vec<String>| -> Vec<String> {
        found.into_iter().filter(|line| !line.ends_with(" sbin")).collect()
    };
    assert_eq!(facts(directories(&root)), expected);
    output(
        std::process::Command::new("tar")
            .arg("-C")
            .arg(project.path("rootfs"))
            .arg("-cf")
            .arg(project.path("rootfs.tar"))
            .arg("."),
    );
    project.configure("directory = \"rootfs\"", "tar = \"rootfs.tar\"");
    output(&mut project.build("out"));
    assert_eq!(facts(directories(&root)), expected);
    // what is there stays as it is
    fs::create_dir(project.path("rootfs/run")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(project.path("rootfs/run"), mode).unwrap();
    project.configure("directory", "directory");
    output(&mut project.build("out"));
    expected.retain(|line| !line.ends_with(" run"));
    let found = directories(&root);
    assert!(found.iter().any(|line| line.starts_with("drwx------ ") && line.ends_with(" run")));
    expected.iter().for_each(|line| assert!(found.contains(line), "{line}"));
}

#[test]
fn squashfs_without_mount_points() {
    let project = Project::new();
    if !built(&project) {
        return;
    }
    project.configure("directory = \"rootfs\"", "squashfs = \"root.squashfs\"");
    fs::copy(project.path("out/root.squashfs"), project.path("root.squashfs")).unwrap();
    let warning = "warning: root.squashfs: no directory /dev, no directory /lib/firmware";
    let text = said(&project);
    assert!(!text.contains("warning: root.squashfs"), "{text}");
    let mut pack = program("mksquashfs", "squashfs-tools").unwrap();
    pack.arg(project.path("rootfs")).arg(project.path("root.squashfs"));
    output(pack.args(["-noappend", "-no-progress"]));
    let text = said(&project);
    assert!(text.contains(warning) && text.contains("every trial ends without"), "{text}");
}

#[test]
fn root_that_is_no_directory() {
    let project = Project::new();
    if program("depmod", "kmod").is_none() {
        return;
    }
    for (name, why) in [("init", "Not a directory"), ("nowhere", "No such file")] {
        project.configure("directory = \"rootfs\"", &format!("directory = \"{name}\""));
        let (text, code) = refusal(&mut project.build("out"));
        let expected = format!("{name}: {why}");
        assert!(code == 1 && text.contains("root.directory: cannot read directory"), "{text}");
        assert!(text.contains(&expected), "{text}");
        assert!(!project.path("out").exists(), "refused before any work");
    }
}

#[test]
fn nothing_that_boots_it() {
    let project = Project::new();
    if !built(&project) {
        return;
    }
    let note = "note: no [rpi], [uefi] or [bootloader]: only a machine that is given kernel and";
    let warning = format!("warning: kernel {RELEASE} has no driver of a disk built in");
    let text = said(&project);
    assert!(text.contains(note) && !text.contains(&warning), "{text}");
    project.configure("machines = [\"virt\"]", "");
    let text = said(&project);
    assert!(text.contains(&warning), "{text}");
    output(pivot_image().arg("keys").arg("-o").arg(project.path("keys")));
    let signed = CONFIG.replace("version = 1", "version = 1\nkey = \"keys/pivot.key\"");
    let section = "[bootsel]\nprogram = \"init\"\nunits = false\n";
    project.write("demo.toml", format!("{signed}{section}").as_bytes());
    let text = said(&project);
    assert!(text.contains("warning: bootsel has nothing to choose slots by"), "{text}");
    // a driver that is built in is there
    project.configure("machines = [\"virt\"]", "");
    let builtin = "kernel/drivers/nvme/host/nvme.ko\n".as_bytes();
    project.write(&format!("linux/lib/modules/{RELEASE}/modules.builtin"), builtin);
    let text = said(&project);
    assert!(!text.contains(&warning), "{text}");
}
