// SPDX-License-Identifier: MIT OR Apache-2.0

mod settings;

use super::{Boot, boot};
use crate::fixture::{Files, Memory};
use crate::{BOARDS, Start, Stop, Table, board};

const AUTOBOOT: &str = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n";
const CONFIG: &str = "\
initramfs initrd,early.img followkernel
[pi0]
kernel=kernel.img
[pi2]
kernel=kernel7.img
initramfs initrd,early7.img followkernel
[pi02]
kernel=kernel8.img
initramfs initrd,early8.img followkernel
[cm0]
kernel=kernel8.img
initramfs initrd,early8.img followkernel
[pi3]
arm_64bit=1
initramfs initrd,early8.img followkernel
[pi4]
initramfs initrd,early8.img followkernel
[pi5]
initramfs initrd,early16k.img followkernel
[all]
enable_uart=1
kernel_watchdog_timeout=60
";
const TREES: [&str; 21] = [
    "bcm2708-rpi-b.dtb",
    "bcm2708-rpi-b-rev1.dtb",
    "bcm2708-rpi-b-plus.dtb",
    "bcm2708-rpi-cm.dtb",
    "bcm2708-rpi-zero.dtb",
    "bcm2708-rpi-zero-w.dtb",
    "bcm2709-rpi-2-b.dtb",
    "bcm2710-rpi-2-b.dtb",
    "bcm2710-rpi-3-b.dtb",
    "bcm2710-rpi-3-b-plus.dtb",
    "bcm2710-rpi-cm3.dtb",
    "bcm2710-rpi-zero-2-w.dtb",
    "bcm2710-rpi-cm0.dtb",
    "bcm2711-rpi-4-b.dtb",
    "bcm2711-rpi-400.dtb",
    "bcm2711-rpi-cm4.dtb",
    "bcm2711-rpi-cm4s.dtb",
    "bcm2712-rpi-5-b.dtb",
    "bcm2712-rpi-cm5-cm5io.dtb",
    "bcm2712-rpi-cm5l-cm5io.dtb",
    "bcm2712-rpi-500.dtb",
];
const OTHERS: [&str; 14] = [
    "kernel.img",
    "kernel7.img",
    "kernel7l.img",
    "kernel8.img",
    "kernel_2712.img",
    "initrd",
    "early.img",
    "early7.img",
    "early8.img",
    "early16k.img",
    "start.elf",
    "fixup.dat",
    "start4.elf",
    "fixup4.dat",
];

fn bootsel() -> Files {
    Files::default().with("autoboot.txt", AUTOBOOT).with("config.txt", "").with("bootcode.bin", "")
}

fn slot(letter: &str) -> Files {
    let files = Files::default()
        .with("config.txt", CONFIG)
        .with("cmdline.txt", &format!("pivot.slot={letter} panic=5\n"));
    TREES.iter().chain(&OTHERS).fold(files, |files, name| files.with(name, ""))
}

fn disk(bootsel: Files, a: Files, b: Files) -> Memory {
    Memory { table: Table::Mbr, volumes: vec![Some(bootsel), Some(a), Some(b), None] }
}

const NORMAL: Start = Start { tryboot: false, arm_64bit: None };
const TRIAL: Start = Start { tryboot: true, arm_64bit: None };

#[track_caller]
fn boots(name: &str, disk: &Memory, start: Start) -> Boot {
    boot(board(name).unwrap(), disk, &start).unwrap()
}

#[track_caller]
fn stops(name: &str, disk: &Memory, start: Start, expected: &str) -> Stop {
    let stop = boot(board(name).unwrap(), disk, &start).unwrap_err();
    assert_eq!(stop.to_string(), expected);
    stop
}

/// Board, kernel, its early archive, device tree without "bcm27" and ".dtb".
const EXPECTED: &str = "\
pi1a kernel early 08-rpi-b
pi1b-rev1 kernel early 08-rpi-b-rev1
pi1b kernel early 08-rpi-b
pi1a+ kernel early 08-rpi-b-plus
pi1b+ kernel early 08-rpi-b-plus
cm1 kernel early 08-rpi-cm
pi0 kernel early 08-rpi-zero
pi0w kernel early 08-rpi-zero-w
pi2b kernel7 early7 09-rpi-2-b
pi2b-1.2 kernel7 early7 10-rpi-2-b
pi3b kernel8 early8 10-rpi-3-b
pi3b+ kernel8 early8 10-rpi-3-b-plus
pi3a+ kernel8 early8 10-rpi-3-b-plus
cm3 kernel8 early8 10-rpi-cm3
cm3+ kernel8 early8 10-rpi-cm3
pi02w kernel8 early8 10-rpi-zero-2-w
cm0 kernel8 early8 10-rpi-cm0
pi4b kernel8 early8 11-rpi-4-b
pi400 kernel8 early8 11-rpi-400
cm4 kernel8 early8 11-rpi-cm4
cm4s kernel8 early8 11-rpi-cm4s
pi5 kernel_2712 early16k 12-rpi-5-b
pi5-d0 kernel_2712 early16k 12-rpi-5-b
cm5 kernel_2712 early16k 12-rpi-cm5-cm5io
cm5l kernel_2712 early16k 12-rpi-cm5l-cm5io
pi500 kernel_2712 early16k 12-rpi-500
pi500+ kernel_2712 early16k 12-rpi-500";

#[test]
fn every_board_on_one_disk() {
    let disk = disk(bootsel(), slot("a"), slot("b"));
    let mut rows = EXPECTED.lines();
    for board in BOARDS {
        let row: Vec<&str> = rows.next().unwrap().split(' ').collect();
        for (start, partition, letter) in [(NORMAL, 2, "a"), (TRIAL, 3, "b")] {
            let found = boot(board, &disk, &start).unwrap();
            let kernel = found.kernel.trim_end_matches(".img");
            let early = found.initramfs[1].trim_end_matches(".img");
            let dtb = found.dtb.unwrap();
            let tree = dtb.strip_prefix("bcm27").unwrap().strip_suffix(".dtb").unwrap();
            assert_eq!([board.name, kernel, early, tree], *row);
            assert_eq!((found.partition, found.tryboot), (partition, start.tryboot));
            assert_eq!(found.initramfs[0], "initrd");
            assert_eq!(found.cmdline, format!("pivot.slot={letter} panic=5"));
            assert_eq!(found.arm_64bit, matches!(kernel, "kernel8" | "kernel_2712"));
            assert_eq!((found.missing, found.settings.enable_uart), (vec![], true));
        }
    }
    assert_eq!(rows.next(), None);
}

#[test]
fn firmware_files() {
    let whole = disk(bootsel(), slot("a"), slot("b"));
    let of = |name| boots(name, &whole, NORMAL).firmware;
    assert_eq!(of("pi1b"), ["bootcode.bin", "start.elf", "fixup.dat"]);
    assert_eq!(of("pi4b"), ["start4.elf", "fixup4.dat"]);
    assert_eq!(of("pi5"), Vec::<String>::new());
    let cut = slot("a")
        .with("config.txt", "gpu_mem=16\n")
        .with("start_cd.elf", "")
        .with("fixup_cd.dat", "");
    let small = disk(bootsel(), cut, slot("b"));
    assert_eq!(
        boots("pi1b", &small, NORMAL).firmware,
        ["bootcode.bin", "start_cd.elf", "fixup_cd.dat"]
    );
    let missing = boots("pi4b", &small, NORMAL).missing;
    let names: Vec<_> = missing.iter().map(|stop| stop.file.as_str()).collect();
    assert_eq!(names, ["start4cd.elf", "fixup4cd.dat"]);
}

fn bare(letter: &str) -> Files {
    let names = ["start.elf", "fixup.dat", "start4.elf", "fixup4.dat"];
    names.iter().fold(slot(letter), |files, name| files.without(name))
}

#[test]
fn disk_for_emulation() {
    let disk = disk(bootsel().without("bootcode.bin"), bare("a"), bare("b"));
    let missing = |name, start| {
        let found = boots(name, &disk, start);
        let text: Vec<_> = found.missing.iter().map(ToString::to_string).collect();
        (found.partition, found.kernel, text.join("; "))
    };
    let files = "partition 1: bootcode.bin is missing; partition 3: start.elf is missing; \
                 partition 3: fixup.dat is missing";
    assert_eq!(missing("pi3b", TRIAL), (3, "kernel8.img".to_owned(), files.to_owned()));
    let files = "partition 2: start4.elf is missing; partition 2: fixup4.dat is missing";
    assert_eq!(missing("pi4b", NORMAL), (2, "kernel8.img".to_owned(), files.to_owned()));
    assert_eq!(missing("pi5", NORMAL), (2, "kernel_2712.img".to_owned(), String::new()));
}

#[test]
fn partitions() {
    let at = |text: &str, name, start| {
        let disk = disk(bootsel().with("autoboot.txt", text), slot("a"), slot("b"));
        boots(name, &disk, start).partition
    };
    assert_eq!(at("boot_partition=3", "pi4b", NORMAL), 3);
    assert_eq!(at("boot_partition=0", "pi4b", NORMAL), 2);
    assert_eq!(at("", "pi1b", NORMAL), 2);
    assert_eq!(at("", "pi5", NORMAL), 2);
    let none = disk(bootsel().without("autoboot.txt"), slot("a"), slot("b"));
    assert_eq!(boots("pi3b", &none, NORMAL).partition, 2);
    let only_b = disk(bootsel(), bare("a"), slot("b"));
    stops("pi3b", &only_b, NORMAL, "partition 2: start.elf is missing");
    let found = boots("pi4b", &only_b, NORMAL);
    assert_eq!(found.partition, 3);
    let note = "partition 2 cannot be booted (start4.elf is missing): partition 3 instead, with an EEPROM of \
                2025-08-13 or newer";
    assert_eq!(found.notes[0], note);
    let far = disk(bootsel().with("autoboot.txt", "boot_partition=4"), slot("a"), slot("b"));
    stops("pi0", &far, NORMAL, "partition 4: no FAT file system");
    let first = disk(slot("x").with("autoboot.txt", "boot_partition=4"), slot("a"), slot("b"));
    let found = boots("pi5", &first, NORMAL);
    assert_eq!(found.partition, 1);
    assert!(found.notes[0].ends_with("partition 1 instead, with an EEPROM of 2022-10-18 or newer"));
}

#[test]
fn partition_stops() {
    let empty = Memory {
        table: Table::Mbr,
        volumes: vec![None; 4].into_iter().map(|_: Option<()>| None).collect(),
    };
    stops("pi4b", &empty, NORMAL, "no partition has a FAT file system");
    let alone = disk(bootsel().without("config.txt"), slot("a"), slot("b"));
    stops(
        "pi3b",
        &alone,
        NORMAL,
        "partition 1: config.txt is missing: autoboot.txt is not read without it",
    );
    assert_eq!(boots("pi4b", &alone, NORMAL).partition, 2);
    let long = disk(bootsel().with("autoboot.txt", &"#".repeat(513)), slot("a"), slot("b"));
    stops("pi4b", &long, NORMAL, "partition 1: autoboot.txt has 513 bytes, the firmware reads 512");
    let nothing = disk(bootsel(), Files::default(), Files::default());
    stops("pi5", &nothing, NORMAL, "partition 2: config.txt is missing");
    let unnamed = disk(bootsel().without("autoboot.txt"), Files::default(), Files::default());
    stops(
        "pi5",
        &unnamed,
        NORMAL,
        "partition 1: bcm2712-rpi-5-b.dtb is missing, and no other partition can be booted",
    );
}

#[test]
fn tryboot_by_file() {
    // "load the normal config.txt [...] instead of tryboot.txt": without tryboot_a_b it is tryboot.txt
    let a = slot("a").with("tryboot.txt", "kernel=kernel7l.img\n");
    let disk = disk(bootsel().with("autoboot.txt", "boot_partition=2"), a, slot("b"));
    let found = boots("pi4b", &disk, TRIAL);
    assert_eq!((found.partition, found.kernel.as_str()), (2, "kernel7l.img"));
    assert_eq!(boots("pi4b", &disk, NORMAL).kernel, "kernel8.img");
}
