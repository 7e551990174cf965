// SPDX-License-Identifier: MIT OR Apache-2.0
//! Partition tables, file systems, and what chooses the slot.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::common::program;
use super::image::Image;
use super::{check, check_clean, lint};

#[test]
fn partition_tables() {
    check(|i| i.gpt = true, &["gpt", "cmdline-gpt"], "partition table", "ignore autoboot.txt");
    check(|i| i.types[1] = 0xef, &["partition-type"], "partition 2", "has type ef, expected 0c");
    check(|i| i.types[3] = 0x0c, &["partition-type"], "partition 4", "expected 83");
    check(|i| i.wipe(4), &["partitions"], "partition 4", "no ext4");
    check(|i| i.wipe(3), &["partitions", "board-stops"], "partition 3", "no FAT");
}

#[test]
fn file_systems() {
    check(|i| i.fat16_slots = true, &["slot-fat"], "partition 2", "is FAT16");
    check(|i| i.fat32_bootsel = true, &["bootsel-fat"], "partition 1", "is FAT32");
    check(
        |i| i.both("filler", &vec![0; 31 << 20]),
        &["slot-full"],
        "partition 3",
        "% full, and a slot never grows",
    );
    check_damaged();
}

/// A directory whose only cluster follows itself.
#[track_caller]
fn check_damaged() {
    let mut image = Image::new();
    image.both("overlays/x.dtbo", b"x");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.img");
    image.write(&path);
    let bytes = fs::read(&path).unwrap();
    let entry = bytes.windows(11).position(|name| name == b"OVERLAYS   ").unwrap();
    let cluster = u16::from_le_bytes([bytes[entry + 26], bytes[entry + 27]]);
    image.patch(2, 32 * 512 + u64::from(cluster) * 4, &u32::from(cluster).to_le_bytes());
    let findings = lint(&image);
    assert_eq!(findings[0].rule, "fat-damaged", "{findings:#?}");
    assert_eq!(findings[0].what, "directory without end");
}

#[test]
fn small_fats() {
    if program("mkfs.fat", "dosfstools").is_none() || program("mcopy", "mtools").is_none() {
        return;
    }
    check(
        |i| i.foreign_bootsel = Some(["-F", "12", "-s", "32"].to_vec()),
        &["fat12"],
        "partition 1",
        "is FAT12",
    );
    check(
        |i| {
            i.foreign_bootsel = Some(["-F", "16", "-s", "1", "-r", "16", "-R", "1"].to_vec());
            i.bootsel_sectors = 4180;
        },
        &["bootsel-fat"],
        "partition 1",
        "sectors in clusters, expected 4160",
    );
}

#[test]
fn slots() {
    check(
        |i| i.slots[1].push(("more".to_owned(), vec![1])),
        &["slots-differ"],
        "partitions 2 and 3",
        "differ in more than the letter",
    );
    check(
        |i| i.letters = ["a", "a"],
        &["slots-differ", "slot-letter"],
        "partitions 2 and 3",
        "are equal",
    );
    check(
        |i| i.letters = ["b", "a"],
        &["slot-letter"],
        "partition 2, cmdline.txt",
        "pivot.slot=b, expected a",
    );
}

#[test]
fn content_of_slots() {
    check_clean(|i| i.hashed = true);
    let what = "is not the boot.img of revision r1";
    let at = (40 << 20) - 512;
    let later = |i: &mut Image, number| {
        i.hashed = true;
        // nobody looks at the end of the volume
        i.patch(number, at, b"x");
    };
    check(|i| later(i, 2), &["slot-content", "slots-differ"], "partition 2", what);
    check(|i| later(i, 3), &["slot-content", "slots-differ"], "partition 3", what);
    let both = |i: &mut Image| {
        later(i, 2);
        later(i, 3);
    };
    check(both, &["slot-content"], "partition 2", what);
}

#[test]
fn autoboot() {
    let at = "partition 1, autoboot.txt";
    let text = |default: u8, trial: u8| {
        let mut text = format!(
            "[all]\ntryboot_a_b=1\nboot_partition={default}\n[tryboot]\nboot_partition={trial}\n"
        );
        text += &"#".repeat(511 - text.len());
        text + "\n"
    };
    let set = |text: String| move |i: &mut Image| i.bootsel_file("autoboot.txt", text.as_bytes());
    check(set(text(2, 3).replace('#', "")), &["autoboot-size"], at, "expected 512");
    check(
        set(text(2, 3) + "#"),
        &["autoboot-size", "board-stops"],
        at,
        "has 513 bytes, the firmware reads 512",
    );
    check(set(text(2, 2)), &["autoboot-target"], at, "both lead to partition 2");
    let no_a_b = text(2, 3).replace("tryboot_a_b=1", "tryboot_a_b=0");
    check(set(no_a_b), &["autoboot-target", "board-stops"], at, "no tryboot_a_b=1");
    let bad = text(2, 3).replace("=3", "=x");
    check(set(bad), &["autoboot-target", "board-stops"], at, "line 5: expected a number");
    check(
        set(text(2, 4)),
        &["autoboot-target", "board-stops"],
        at,
        "[tryboot] leads to partition 4",
    );
    check(
        |i| i.bootsel.retain(|(name, _)| name != "autoboot.txt"),
        &["autoboot-missing", "board-stops"],
        at,
        "is missing",
    );
    check(
        |i| i.bootsel.retain(|(name, _)| name != "config.txt"),
        &["bootsel-config", "board-stops"],
        "partition 1, config.txt",
        "an empty one will do",
    );
}

/// Whatever the first sectors say, there is an answer.
#[test]
fn damaged_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.img");
    for gpt in [false, true] {
        let mut image = Image::new();
        image.gpt = gpt;
        image.write(&path);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut state = 7_u64;
        for round in 0..16 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // partition table, boot sectors of the first two volumes, their tables, the root directory of the first
            let places = [
                440,
                512,
                1024,
                1 << 20,
                41 << 20,
                (1 << 20) + 4096,
                (41 << 20) + 16384,
                (1 << 20) + 86016,
            ];
            let at = places[round % places.len()] + (state >> 32) % 64;
            let mut old = [0];
            file.read_exact_at(&mut old, at).unwrap();
            file.write_all_at(&[state.to_be_bytes()[7]], at).unwrap();
            let _ = ::image::lint::lint(&path);
            file.write_all_at(&old, at).unwrap();
        }
    }
}
