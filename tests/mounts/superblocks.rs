// SPDX-License-Identifier: MIT OR Apache-2.0
//! What we read of a superblock, and what blkid reads.

use std::process::Command;

use mount::superblock::{Kind, read};
use tests::{Scratch, in_namespace, run};

fn blkid(image: &str, tag: &str) -> Option<String> {
    let output =
        Command::new("blkid").args(["-p", "-o", "value", "-s", tag, image]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

#[track_caller]
fn check(image: &str, kind: Kind, label: Option<&str>) {
    let found = read(image).unwrap().expect("no superblock found");
    assert_eq!(found.kind, kind);
    assert_eq!(*found.uuid, blkid(image, "UUID").unwrap_or_default());
    assert_eq!(*found.label, blkid(image, "LABEL").unwrap_or_default());
    assert_eq!(&*found.label, label.unwrap_or_default());
    assert_eq!(found.uuid.is_empty(), kind == Kind::Squashfs);
    assert!(!found.errors);
    if kind != Kind::Ext4 {
        assert_eq!(blkid(image, "TYPE").as_deref(), Some(kind.name()));
    }
}

fn made(scratch: &Scratch, tool: &str, options: &[&str], size: u64) -> String {
    let image = scratch.zeros("image", size);
    run(tool, &[options, &[&image]].concat());
    image
}

#[test]
fn ext() {
    in_namespace(|scratch| {
        for kind in ["ext2", "ext3", "ext4"] {
            let options = ["-q", "-F", "-t", kind, "-L", "sixteen bytes it"];
            check(
                &made(scratch, "mke2fs", &options, 16 << 20),
                Kind::Ext4,
                Some("sixteen bytes it"),
            );
        }
        let large = ["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "64bit,metadata_csum"];
        let image = made(scratch, "mke2fs", &large, 64 << 20);
        check(&image, Kind::Ext4, None);
        let found = read(&image).unwrap().unwrap();
        assert_eq!((found.blocks, found.block_size), ((64 << 20) / 4096, 4096));
        // What the kernel sets when it finds something wrong.
        run("debugfs", &["-w", "-R", "set_super_value state 3", &image]);
        assert!(read(&image).unwrap().unwrap().errors);
        let journal = made(scratch, "mke2fs", &["-q", "-F", "-O", "journal_dev"], 16 << 20);
        assert_eq!(read(&journal).unwrap(), None);
    });
}

#[test]
fn vfat() {
    in_namespace(|scratch| {
        let sizes = [("12", 2_u64), ("16", 32), ("32", 64)];
        for (bits, mib) in sizes {
            let named = ["-F", bits, "-n", "BOOT_A", "-i", "0a0b0c0d"];
            check(&made(scratch, "mkfs.vfat", &named, mib << 20), Kind::Vfat, Some("BOOT_A"));
            check(&made(scratch, "mkfs.vfat", &["-F", bits], mib << 20), Kind::Vfat, None);
        }
        // Sectors of 4096 bytes, clusters of 1 KiB as in the boot slots.
        let large = ["-F", "16", "-S", "4096", "-n", "x y"];
        check(&made(scratch, "mkfs.vfat", &large, 64 << 20), Kind::Vfat, Some("x y"));
        let slot = ["-F", "32", "-s", "2", "-n", "BOOT_B"];
        let image = made(scratch, "mkfs.vfat", &slot, 128 << 20);
        check(&image, Kind::Vfat, Some("BOOT_B"));
        run("fatlabel", &[&image, "NEW NAME"]);
        check(&image, Kind::Vfat, Some("NEW NAME"));
        run("fatlabel", &["-r", &image]);
        check(&image, Kind::Vfat, None);
    });
}

#[test]
fn squashfs() {
    in_namespace(|scratch| {
        for codec in ["gzip", "xz", "zstd", "lz4", "lzo"] {
            let image = scratch.squashfs(&format!("{codec}.squashfs"), &["-comp", codec]);
            check(&image, Kind::Squashfs, None);
        }
    });
}

// Not on every machine; where they are missing the layouts rest on the tables in the unit tests.
#[test]
fn others_whose_tools_are_here() {
    in_namespace(|scratch| {
        let source = scratch.directory("source");
        let image = scratch.zeros("image", 400 << 20);

        // erofs-utils of Debian 12 cannot set a label.
        let tools: [(&str, Kind, &[&str], Option<&str>); 3] = [
            (
                "mkfs.xfs",
                Kind::Xfs,
                &["-q", "-f", "-L", "twelve bytes", &image],
                Some("twelve bytes"),
            ),
            ("mkfs.btrfs", Kind::Btrfs, &["-q", "-f", "-L", "a btrfs", &image], Some("a btrfs")),
            ("mkfs.erofs", Kind::Erofs, &[&image, &source], None),
        ];
        for (tool, kind, arguments, label) in tools {
            let _ = std::fs::remove_file(&image);
            scratch.zeros("image", 400 << 20);
            match Command::new(tool).args(arguments).output() {
                Err(error) => eprintln!("SKIPPED: {tool}: {error}"),
                Ok(output) => {
                    assert!(
                        output.status.success(),
                        "{tool}: {}",
                        String::from_utf8_lossy(&output.stderr)
                    );
                    check(&image, kind, label);
                }
            }
        }
    });
}

#[test]
fn partition_tables_and_swap_are_no_filesystems() {
    in_namespace(|scratch| {
        let image = scratch.zeros("image", 16 << 20);
        for tool in [&["sgdisk", "-o"][..], &["mkswap", "-q"]] {
            run(tool[0], &[&tool[1..], &[&image]].concat());
            assert_eq!(read(&image).unwrap(), None, "{tool:?}");
        }
        let error = read("/nonexistent").unwrap_err();
        assert_eq!(error.to_string(), "cannot open /nonexistent: No such file or directory");
    });
}
