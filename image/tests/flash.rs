// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pivot-image flash` on loop devices. What needs root or a loop device says that it was skipped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{output, pivot_image, program, refusal};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// A disk of 8 MiB with an ext4 from 4 MiB on, and what a builder would say of it.
struct Image(tempfile::TempDir);

impl Image {
    fn new() -> Option<Self> {
        let (mut sfdisk, mut mke2fs) =
            (program("sfdisk", "fdisk")?, program("mke2fs", "e2fsprogs")?);
        let image = Self(tempfile::tempdir().unwrap());
        let disk = image.path("demo.img");
        File::create(&disk).unwrap().set_len(8 * MIB as u64).unwrap();
        let table = image.path("table");
        fs::write(&table, "label: dos\nstart=2048,size=6144,type=c\nstart=8192,type=83\n").unwrap();
        output(sfdisk.arg("-q").arg(&disk).stdin(File::open(table).unwrap()));
        let noise: Vec<u8> = (0..=250).cycle().take(MIB).collect();
        File::options().write(true).open(&disk).unwrap().write_all_at(&noise, MIB as u64).unwrap();
        mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal"]);
        output(mke2fs.args(["-E", "offset=4194304,nodiscard"]).arg(&disk).arg("4M"));
        Some(image)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The map of the first two MiB and of the last four.
    fn map(&self) {
        let disk = File::open(self.path("demo.img")).unwrap();
        let (mib, length) = (MIB as u64, 8 * MIB as u64);
        let map =
            image::bmap::Bmap::of(&disk, length, &[0..2 * mib, 4 * mib..length], |_| ()).unwrap();
        fs::write(self.path("demo.img.bmap"), map.to_xml()).unwrap();
    }

    /// A card of so many MiB, full of old bytes.
    fn card(&self, mib: usize) -> PathBuf {
        let card = self.path("card");
        fs::write(&card, vec![0xa5; mib * MIB]).unwrap();
        card
    }

    fn flash(&self, arguments: &[&str], device: &Path) -> Command {
        let mut command = pivot_image();
        command.arg("flash").args(arguments).arg(self.path("demo.img")).arg(device);
        command
    }
}

/// A loop device, which goes when this does.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path, arguments: &[&str]) -> Option<Self> {
        let mut losetup = program("losetup", "mount")?;
        losetup.args(["--find", "--show"]).args(arguments).arg(file);
        let found = losetup.output().unwrap();
        let device = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        if !found.status.success() {
            eprintln!("SKIPPED: no loop device (run as root)");
            return None;
        }
        Some(Self(device.into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).output();
    }
}

/// What was refused left the card as it was.
#[track_caller]
fn refused(command: &mut Command, expected: &str, card: &Path) {
    let (error, code) = refusal(command);
    assert!(error.contains(expected) && code == 1, "{error}");
    assert!(
        fs::read(card).unwrap().iter().all(|byte| *byte == 0xa5),
        "{expected}: card was written"
    );
}

#[test]
fn with_and_without_a_map() {
    let Some(image) = Image::new() else { return };
    let bytes = fs::read(image.path("demo.img")).unwrap();
    for mapped in [false, true] {
        let card = image.card(9);
        let Some(device) = Loop::new(&card, &[]) else { return };
        if mapped {
            image.map();
        }
        let report: Value =
            serde_json::from_str(&output(&mut image.flash(&["--force", "--json"], &device.0)))
                .unwrap();
        let written = if mapped { 6 * MIB } else { 8 * MIB };
        assert_eq!(report["written"].as_u64().unwrap(), written as u64);
        assert_eq!((&report["bytes"], &report["verified"]), (&(8 * MIB).into(), &true.into()));
        assert_eq!(report["bmap"].is_string(), mapped);
        drop(device);
        let card = fs::read(card).unwrap();
        assert!(card[..2 * MIB] == bytes[..2 * MIB] && card[4 * MIB..8 * MIB] == bytes[4 * MIB..]);
        let (left_out, after) = (&card[2 * MIB..4 * MIB], &card[8 * MIB..]);
        assert!(left_out.iter().all(|byte| *byte == if mapped { 0xa5 } else { 0 }), "{mapped}");
        assert!(after.iter().all(|byte| *byte == 0xa5));
    }
    let card = image.path("card");
    let place = format!("{}?offset=4194304", card.display());
    output(program("e2fsck", "e2fsprogs").unwrap().arg("-fn").arg(place));
}

#[test]
fn packed_images() {
    let Some(image) = Image::new() else { return };
    image.map();
    let plain = fs::read(image.path("demo.img")).unwrap();
    for (ending, package, tool) in
        [("zst", "zstd", "zstd"), ("xz", "xz-utils", "xz"), ("gz", "gzip", "gzip")]
    {
        let Some(mut tool) = program(tool, package) else { continue };
        let packed = image.path(&format!("demo.img.{ending}"));
        // from standard input: the length is not in the file
        tool.arg("-c").stdin(File::open(image.path("demo.img")).unwrap());
        tool.stdout(File::create(&packed).unwrap());
        assert!(tool.status().unwrap().success());
        let flash = |arguments: &[&str], packed: &Path| {
            let mut command = pivot_image();
            command.args(["flash", "--force"]).args(arguments).arg(packed).arg(image.path("card"));
            command
        };
        let card = image.card(8);
        output(&mut flash(&["--no-bmap"], &packed));
        assert!(fs::read(&card).unwrap() == plain, "{ending}");
        let card = image.card(8);
        let report = output(&mut flash(&["--json", "--no-verify"], &packed));
        assert!(
            report.contains("demo.img.bmap\"") && report.contains("\"verified\": false"),
            "{report}"
        );
        assert!(fs::read(card).unwrap()[4 * MIB..] == plain[4 * MIB..], "{ending}");
        // cut short: refused before the first write
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() - 3]).unwrap();
        for arguments in [&["--no-bmap"][..], &[]] {
            let card = image.card(8);
            refused(&mut flash(arguments, &packed), "the compressed image is damaged", &card);
        }
    }
}

#[test]
fn damaged_images_are_refused() {
    let Some(image) = Image::new() else { return };
    image.map();
    let card = image.card(8);
    let disk = File::options().write(true).open(image.path("demo.img")).unwrap();
    disk.write_all_at(b"x", 5 * MIB as u64).unwrap();
    let error = "bytes 4194304 to 8388608: damaged, or another image";
    refused(&mut image.flash(&["--force"], &card), error, &card);
    disk.set_len(9 * MIB as u64).unwrap();
    disk.write_all_at(&[0], 5 * MIB as u64).unwrap();
    image.card(9);
    refused(&mut image.flash(&["--force"], &card), "the map of another image", &card);
    let map = fs::read_to_string(image.path("demo.img.bmap")).unwrap();
    fs::write(image.path("demo.img.bmap"), map.replace("<ImageSize>8", "<ImageSize>9")).unwrap();
    refused(&mut image.flash(&["--force"], &card), "(--no-bmap does without)", &card);
    disk.write_all_at(&[0; 2], 510).unwrap();
    refused(&mut image.flash(&["--force"], &card), "there is no partition table", &card);
    disk.set_len(100).unwrap();
    refused(&mut image.flash(&["--force"], &card), "no disk image", &card);
    refused(pivot_image().args(["flash", "-", "/dev/null"]), "no block device", &card);
    refused(pivot_image().args(["flash", "--force", "-"]).arg(&card), "give a file", &card);
    let zip = image.path("demo.zip");
    fs::write(&zip, "PK\x03\x04....").unwrap();
    refused(
        pivot_image().args(["flash", "--force"]).arg(&zip).arg(&card),
        "unpack it first",
        &card,
    );
}

#[test]
fn targets_that_are_refused() {
    let Some(image) = Image::new() else { return };
    let card = image.card(8);
    refused(&mut image.flash(&[], &card), "is a regular file: --force writes into it", &card);
    refused(&mut image.flash(&["--force"], Path::new("/dev/null")), "is no block device", &card);
    let missing = image.path("no-such");
    refused(&mut image.flash(&["--force"], &missing), "cannot flash", &card);
    assert!(!missing.exists());
    let Some(device) = Loop::new(&card, &[]) else { return };
    refused(&mut image.flash(&[], &device.0), "is not removable", &card);
    let in_use = format!("is in use by {}: losetup -d", device.0.display());
    refused(&mut image.flash(&["--force"], &card), &in_use, &card);
    drop(device);
    let Some(device) = Loop::new(&card, &["--read-only"]) else { return };
    refused(&mut image.flash(&["--force"], &device.0), "is write-protected", &card);
    drop(device);
    let card = image.card(7);
    let Some(device) = Loop::new(&card, &[]) else { return };
    let small = "is too small: it has 7340032 bytes, the image 8388608";
    refused(&mut image.flash(&["--force"], &device.0), small, &card);
}

/// Its beginning would be zeroed before it is read.
#[test]
fn image_onto_itself() {
    let Some(image) = Image::new() else { return };
    let (disk, hard, soft) = (image.path("demo.img"), image.path("hard"), image.path("soft"));
    fs::hard_link(&disk, &hard).unwrap();
    std::os::unix::fs::symlink("demo.img", &soft).unwrap();
    let before = fs::read(&disk).unwrap();
    for target in [&disk, &hard, &soft] {
        let (error, code) = refusal(&mut image.flash(&["--force"], target));
        assert!(error.contains("are the same file") && code == 1, "{error}");
        assert!(fs::read(&disk).unwrap() == before, "{}", target.display());
    }
}

/// Mounted, directly and through a second loop device; and held by another program.
#[test]
fn devices_in_use() {
    let Some(image) = Image::new() else { return };
    let point = image.path("mount point");
    fs::create_dir(&point).unwrap();
    let card = image.path("mounted");
    let mut filesystem = vec![0; 4 * MIB];
    File::open(image.path("demo.img"))
        .unwrap()
        .read_exact_at(&mut filesystem, 4 * MIB as u64)
        .unwrap();
    filesystem.resize(16 * MIB, 0);
    fs::write(&card, filesystem).unwrap();
    let Some(device) = Loop::new(&card, &[]) else { return };
    let mut mount = program("mount", "mount").unwrap();
    if !mount.args(["-o", "ro"]).arg(&device.0).arg(&point).status().unwrap().success() {
        eprintln!("SKIPPED: ext4 cannot be mounted");
        return;
    }
    let (error, _) = refusal(&mut image.flash(&["--force"], &device.0));
    output(program("umount", "mount").unwrap().arg(&point));
    let (name, point) = (device.0.display(), point.display());
    assert!(error.contains(&format!("{name} is mounted on {point}: umount {name}")), "{error}");
    let Some(second) = Loop::new(&device.0, &["--offset", "1048576"]) else { return };
    let (error, _) = refusal(&mut image.flash(&["--force"], &device.0));
    assert!(error.contains(&format!("is in use by {}", second.0.display())), "{error}");
    drop(second);
    // an exclusive open is what a mount in another namespace has, too
    let mut options = File::options();
    let holder = std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), 0o200);
    let holder = holder.open(&device.0).unwrap();
    let (error, _) = refusal(&mut image.flash(&["--force"], &device.0));
    assert!(error.contains("is in use, and not by a mount that is seen from here"), "{error}");
    drop(holder);
    output(&mut image.flash(&["--force"], &device.0));
}

/// A device that fails in the middle: the card has no partition table then, also none of what it held before.
#[test]
fn interrupted() {
    let Some(image) = Image::new() else { return };
    let point = image.path("full");
    fs::create_dir(&point).unwrap();
    let mut mount = program("mount", "mount").unwrap();
    mount.args(["-t", "tmpfs", "-o", "size=5M", "none"]).arg(&point);
    if !mount.status().unwrap().success() {
        eprintln!("SKIPPED: tmpfs cannot be mounted (run as root)");
        return;
    }
    let card = point.join("card");
    let file = File::create(&card).unwrap();
    file.write_all_at(&[0xa5; 512], 0).unwrap();
    file.set_len(8 * MIB as u64).unwrap();
    drop(file);
    let found = image.flash(&["--force"], &card).output().unwrap();
    let bytes = fs::read(&card).unwrap();
    output(program("umount", "mount").unwrap().arg(&point));
    let error = String::from_utf8_lossy(&found.stderr);
    assert!(error.contains("cannot write byte ") && !found.status.success(), "{error}");
    assert!(bytes[..MIB].iter().all(|byte| *byte == 0));
    assert!(bytes[MIB..2 * MIB].iter().any(|byte| *byte != 0));
}
