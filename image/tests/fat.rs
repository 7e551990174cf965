// SPDX-License-Identifier: MIT OR Apache-2.0
//! FAT volumes with directories and long names, judged by fsck.fat and read by mtools.
#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod common;

use std::fs::{self, File};
use std::path::Path;

use common::{assert_equal, output, program};
use image::fat::read::Reader;
use image::fat::{Content, Kind, Volume};

/// A tree as on a Raspberry Pi's boot partition, with names that collide when shortened.
fn files(source: &Path) -> Vec<(String, Content)> {
    let mut names: Vec<String> =
        ["config.txt", "bcm2712-rpi-5-b.dtb", "kernel_2712.img", "EFI/BOOT/BOOTAA64.EFI"]
            .map(str::to_owned)
            .into();
    names.extend((0..400).map(|number| format!("overlays/i2c-sensor-overlay-{number}.dtbo")));
    names.extend(
        ["overlays/README", "deep/er/and/deeper/x.y.z", "Mixed Case Name.text"].map(str::to_owned),
    );
    let one = |(index, name): (usize, String)| {
        let path = source.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("{name}\n").repeat(index * 13 % 400)).unwrap();
        let length = fs::metadata(&path).unwrap().len();
        (name, Content::File(path, length))
    };
    names.into_iter().enumerate().map(one).collect()
}

#[track_caller]
fn check(kind: Kind, mib: u64) {
    let (Some(mut fsck), Some(mut mcopy)) =
        (program("fsck.fat", "dosfstools"), program("mcopy", "mtools"))
    else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (source, image) = (directory.path().join("source"), directory.path().join("image"));
    let files = files(&source);
    let volume = Volume {
        label: "BOOTSEL".to_owned(),
        id: 0x1234_5678,
        kind,
        bytes: mib << 20,
        hidden: 2048,
        files,
    };
    let file = File::create(&image).unwrap();
    file.set_len(volume.bytes).unwrap();
    volume.plan().unwrap().write(&file, 0).unwrap();
    let text = output(fsck.args(["-n", "-v"]).arg(&image));
    assert!(text.contains("2048 hidden sectors"), "{text}");
    let copy = directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    output(mcopy.args(["-s", "-n", "-i"]).arg(&image).arg("::*").arg(&copy));
    for (name, _) in &volume.files {
        assert_equal(&source.join(name), &copy.join(name));
    }
}

#[test]
fn fat16_of_32_mib() {
    check(Kind::Fat16, 32);
}

#[test]
fn fat32_of_128_mib() {
    check(Kind::Fat32, 128);
}

#[test]
fn fat32_with_the_smallest_clusters() {
    check(Kind::Fat32, 34);
}

#[test]
fn fat32_of_half_a_gib() {
    check(Kind::Fat32, 512);
}

/// A volume that mkfs.fat made, files in it that mtools wrote.
#[test]
fn volumes_of_others_are_read() {
    for (bits, kind, kib) in
        [(12, Kind::Fat12, 1440), (16, Kind::Fat16, 32 << 10), (32, Kind::Fat32, 128 << 10)]
    {
        let (Some(mut mkfs), Some(mut mcopy)) =
            (program("mkfs.fat", "dosfstools"), program("mcopy", "mtools"))
        else {
            return;
        };
        let directory = tempfile::tempdir().unwrap();
        let (image, source) = (directory.path().join("image"), directory.path().join("source"));
        mkfs.args(["-C", "-n", "FLOPPY", "-F", &bits.to_string()]);
        output(mkfs.arg(&image).arg(kib.to_string()));
        let files = ["Long File Name.config", "SHORT.TXT", "empty", "sub/dir/file"];
        for (index, name) in files.iter().enumerate() {
            let path = source.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{name}\n").repeat(index % 3 * 2_000)).unwrap();
        }
        let all =
            ["Long File Name.config", "SHORT.TXT", "empty", "sub"].map(|name| source.join(name));
        output(mcopy.args(["-s", "-i"]).arg(&image).args(all).arg("::"));
        let file = File::open(&image).unwrap();
        let reader = Reader::open(&file, 0).unwrap();
        assert_eq!((reader.kind, reader.kind.bits()), (kind, bits));
        assert_eq!(reader.label.as_deref(), Some("FLOPPY"));
        let mut found = reader.files().unwrap();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), files);
        for file in &found {
            assert_eq!(
                reader.read(file, 1 << 20).unwrap(),
                fs::read(source.join(&file.path)).unwrap()
            );
        }
    }
}
