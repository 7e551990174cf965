// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems of devices, the API filesystems, overlays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use mount::filesystem::{self, Mounted, Options, tmpfs, unmount};
use mount::{api, image, overlay};
use tests::{Loop, in_namespace, mounts_on, run};

const READ_WRITE: Options<'static> =
    Options { kinds: None, read_only: false, data: None, warn: |line| eprintln!("{line}") };

fn ext4(read_only: bool) -> Mounted<'static> {
    Mounted { kind: "ext4", read_only }
}

fn has(target: &str, option: &str) -> bool {
    mounts_on(target).iter().any(|mount| mount.options.split(',').any(|has| has == option))
}

#[test]
fn ext4_read_write_and_read_only() {
    in_namespace(|scratch| {
        let device = Loop::attach(&scratch.ext4("image", &[]), &[]);
        let target = scratch.path("target");
        let mounted = filesystem::mount(&device.node, &target, &READ_WRITE).unwrap();
        assert_eq!(mounted, ext4(false));
        fs::write(format!("{target}/file"), "kept").unwrap();
        unmount(&target, false).unwrap();
        let options = Options { kinds: Some("ext4"), read_only: true, ..READ_WRITE };
        assert_eq!(filesystem::mount(&device.node, &target, &options).unwrap(), ext4(true));
        assert!(has(&target, "ro"));
        assert_eq!(fs::read(format!("{target}/file")).unwrap(), b"kept");
        unmount(&target, false).unwrap();
    });
}

#[test]
fn options_of_mount_8() {
    in_namespace(|scratch| {
        let device = Loop::attach(&scratch.ext4("image", &[]), &[]);
        let target = scratch.path("target");
        let options = Options { data: Some("noatime,commit=77,nodev"), ..READ_WRITE };
        filesystem::mount(&device.node, &target, &options).unwrap();
        for option in ["rw", "noatime", "nodev", "commit=77"] {
            assert!(has(&target, option), "{option}: {:?}", mounts_on(&target));
        }
        unmount(&target, false).unwrap();
        let options = Options { data: Some("ro,defaults"), ..READ_WRITE };
        assert_eq!(filesystem::mount(&device.node, &target, &options).unwrap(), ext4(true));
    });
}

#[test]
fn a_device_that_cannot_be_written_is_mounted_read_only() {
    in_namespace(|scratch| {
        let device = Loop::attach(&scratch.ext4("image", &[]), &["--read-only"]);
        let target = scratch.path("target");
        let mounted = filesystem::mount(&device.node, &target, &READ_WRITE).unwrap();
        assert_eq!(mounted, ext4(true));
        assert!(has(&target, "ro"));
    });
}

// What a card that wears out after a cut of power is left with.
#[test]
fn a_journal_that_cannot_be_replayed_is_left_alone() {
    in_namespace(|scratch| {
        let image = scratch.ext4("image", &[]);
        let device = Loop::attach(&image, &[]);
        let target = scratch.path("target");
        filesystem::mount(&device.node, &target, &READ_WRITE).unwrap();
        fs::write(format!("{target}/file"), "kept").unwrap();
        run("sync", &["-f", &target]);
        let cut = scratch.path("cut");
        fs::copy(&image, &cut).unwrap();
        let features = run("dumpe2fs", &["-h", &cut]);
        assert!(features.contains("needs_recovery"), "{features}");
        let before = fs::read(&cut).unwrap();
        let device = Loop::attach(&cut, &["--read-only"]);
        let second = scratch.path("second");
        let options = Options { data: Some("errors=continue"), ..READ_WRITE };
        assert_eq!(filesystem::mount(&device.node, &second, &options).unwrap(), ext4(true));
        assert_eq!(fs::read(format!("{second}/file")).unwrap(), b"kept");
        assert!(before == fs::read(&cut).unwrap(), "the image was written to");
    });
}

#[track_caller]
fn check_refused(node: &str, target: &str, options: &Options<'_>, expected: &str) {
    let error = filesystem::mount(node, target, options).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot mount {node} on {target} {expected}"));
}

#[test]
fn types_that_are_tried() {
    in_namespace(|scratch| {
        let device = Loop::attach(&scratch.ext4("image", &[]), &[]);
        let (node, target) = (device.node.as_str(), scratch.path("target"));
        let kinds = |kinds| Options { kinds: Some(kinds), ..READ_WRITE };
        let mounted =
            filesystem::mount(node, &target, &kinds("squashfs,nonsense,ext4,xfs")).unwrap();
        assert_eq!(mounted, ext4(false));
        unmount(&target, false).unwrap();
        check_refused(node, &target, &kinds("squashfs"), "(squashfs): Invalid argument");
        check_refused(node, &target, &kinds("nonsense"), "(nonsense): No such device");
        check_refused(node, &target, &kinds(","), "(no known filesystem): No such device");
        let wrong = Options { data: Some("nonsense"), ..READ_WRITE };
        check_refused(node, &target, &wrong, "(ext4): Invalid argument");
        check_refused(
            "/dev/nonsense",
            &target,
            &kinds("ext4"),
            "(ext4): No such file or directory",
        );
    });
}

// An ext2 from before UUIDs and labels is told by its magic; without any, all that the kernel has is tried.
#[test]
fn without_a_known_superblock_the_kernel_is_asked() {
    in_namespace(|scratch| {
        let device = Loop::attach(&scratch.zeros("image", 1 << 20), &[]);
        let target = scratch.path("target");
        let text = filesystem::mount(&device.node, &target, &READ_WRITE).unwrap_err().to_string();
        let start = format!("cannot mount {} on {target} (", device.node);
        assert!(text.starts_with(&start) && text.ends_with("): Invalid argument"), "{text}");
        assert!(text.contains("ext4") && !text.contains("proc,"), "{text}");
        run("mke2fs", &["-q", "-F", "-t", "ext2", &device.node]);
        let mounted = filesystem::mount(&device.node, &target, &READ_WRITE).unwrap();
        assert_eq!(mounted, ext4(false));
    });
}

#[test]
fn api_filesystems() {
    in_namespace(|scratch| {
        let root = scratch.path("root");
        api::filesystems(&root).unwrap();
        for (path, kind) in
            [("dev", "devtmpfs"), ("proc", "proc"), ("sys", "sysfs"), ("run", "tmpfs")]
        {
            let target = format!("{root}/{path}");
            let mounts = mounts_on(&target);
            assert_eq!(mounts.len(), 1, "{mounts:?}");
            assert_eq!(mounts[0].kind, kind);
            assert!(has(&target, "nosuid"), "{mounts:?}");
            assert_eq!(
                fs::metadata(&target).unwrap().permissions().mode() & 0o777,
                if kind == "devtmpfs" || kind == "tmpfs" { 0o755 } else { 0o555 }
            );
        }
        assert!(fs::metadata(format!("{root}/dev/null")).is_ok());
        // As the kernel can have done it with /dev.
        unmount(&format!("{root}/run"), false).unwrap();
        api::filesystems(&root).unwrap();
        assert_eq!(mounts_on(&format!("{root}/dev")).len(), 1);
    });
}

#[test]
fn overlay_on_a_tmpfs_and_again() {
    in_namespace(|scratch| {
        let (lower, target) = (scratch.path("lower"), scratch.path("sysroot"));
        image::squashfs(&scratch.squashfs("a.squashfs", &["-root-mode", "0700"]), &lower).unwrap();
        tmpfs(&scratch.path("volatile"), "mode=755").unwrap();
        let (upper, work) = (scratch.path("volatile/upper"), scratch.path("volatile/work"));
        for content in ["first", "second"] {
            overlay::mount(&lower, &upper, &work, &target).unwrap();
            assert_eq!(mounts_on(&target)[0].kind, "overlay");
            let hello = format!("{target}/hello");
            let before = if content == "first" { "world" } else { "first" };
            assert_eq!(fs::read_to_string(&hello).unwrap(), before);
            fs::write(&hello, content).unwrap();
            assert_eq!(fs::read_to_string(format!("{upper}/hello")).unwrap(), content);
            assert_eq!(fs::read_to_string(format!("{lower}/hello")).unwrap(), "world");
            assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o700);
            unmount(&target, false).unwrap();
        }
    });
}

#[test]
fn overlay_that_persists_on_ext4() {
    in_namespace(|scratch| {
        let (lower, target, data) =
            (scratch.path("lower"), scratch.path("sysroot"), scratch.path("data"));
        let device = Loop::attach(&scratch.ext4("image", &[]), &[]);
        image::squashfs(&scratch.squashfs("a.squashfs", &[]), &lower).unwrap();
        let (upper, work) = (format!("{data}/overlay/1/upper"), format!("{data}/overlay/1/work"));
        for boot in 0..3 {
            filesystem::mount(&device.node, &data, &READ_WRITE).unwrap();
            overlay::mount(&lower, &upper, &work, &target).unwrap();
            assert_eq!(fs::exists(format!("{target}/hello")).unwrap(), boot == 0);
            assert_eq!(fs::exists(format!("{target}/new/file")).unwrap(), boot > 0);
            if boot == 0 {
                fs::remove_file(format!("{target}/hello")).unwrap();
                fs::create_dir(format!("{target}/new")).unwrap();
                fs::write(format!("{target}/new/file"), "").unwrap();
            }
            unmount(&target, false).unwrap();
            unmount(&data, false).unwrap();
        }
        let status = Command::new("e2fsck").args(["-fn", &device.node]).output().unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
    });
}

#[test]
fn overlay_on_a_read_only_filesystem_is_refused() {
    in_namespace(|scratch| {
        let (lower, data) = (scratch.path("lower"), scratch.path("data"));
        let device = Loop::attach(&scratch.ext4("image", &[]), &[]);
        image::squashfs(&scratch.squashfs("a.squashfs", &[]), &lower).unwrap();
        let options = Options { read_only: true, ..READ_WRITE };
        filesystem::mount(&device.node, &data, &options).unwrap();
        let (upper, work) = (format!("{data}/upper"), format!("{data}/work"));
        let error = overlay::mount(&lower, &upper, &work, &scratch.path("sysroot")).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot create {upper}: Read-only file system"));
    });
}
