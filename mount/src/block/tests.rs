// SPDX-License-Identifier: MIT OR Apache-2.0
//! A made-up sysfs and /dev: plain files, and links where sysfs has links.

use std::format;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::string::{String, ToString};
use std::vec::Vec;

use bootsel::ptable::{Guid, gpt, mbr};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

pub(crate) struct Tree {
    root: TempDir,
    sys: String,
    dev: String,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        let root = tempfile::tempdir().unwrap();
        let path = |name| root.path().join(name).to_str().unwrap().to_string();
        let (sys, dev) = (path("sys"), path("dev"));
        fs::create_dir_all(format!("{sys}/class/block")).unwrap();
        fs::create_dir(&dev).unwrap();
        Tree { root, sys, dev }
    }

    pub(crate) fn roots(&self) -> Roots<'_> {
        Roots { sys: &self.sys, dev: &self.dev }
    }

    fn add(&self, path: &str, number: u32, uevent: &str, content: &[u8]) {
        let name = path.rsplit('/').next().unwrap();
        let node = name.replace('!', "/");
        let directory = format!("{}/devices/{path}", self.sys);
        fs::create_dir_all(format!("{directory}/queue")).unwrap();
        let text = format!("MAJOR=254\nMINOR={number}\nDEVNAME={node}\n{uevent}");
        fs::write(format!("{directory}/uevent"), text).unwrap();
        fs::write(format!("{directory}/size"), format!("{}\n", content.len() / 512)).unwrap();
        fs::write(format!("{directory}/queue/logical_block_size"), "512\n").unwrap();
        symlink(format!("../../devices/{path}"), format!("{}/class/block/{name}", self.sys))
            .unwrap();
        let node = format!("{}/{node}", self.dev);
        fs::create_dir_all(Path::new(&node).parent().unwrap()).unwrap();
        fs::write(node, content).unwrap();
    }

    pub(crate) fn disk(&self, name: &str, number: u32, content: &[u8]) {
        self.add(name, number, "DEVTYPE=disk\n", content);
    }

    pub(crate) fn partition(
        &self,
        disk: &str,
        name: &str,
        number: u32,
        extra: &str,
        content: &[u8],
    ) {
        let uevent = format!("DEVTYPE=partition\nPARTN={number}\n{extra}");
        self.add(&format!("{disk}/{name}"), number, &uevent, content);
    }

    #[track_caller]
    fn check(&self, name: &str, expected: Option<&str>) {
        let found = find(&self.roots(), &DeviceName::parse(name).unwrap()).unwrap();
        assert_eq!(found.map(|found| found.name), expected, "{name}");
        let node = expected.map(|name| format!("{}/{}", self.dev, name.replace('!', "/")));
        assert_eq!(found.map(|found| found.node.to_string()), node, "{name}");
    }

    #[track_caller]
    fn check_ambiguous(&self, name: &str, first: &str, second: &str) {
        let text = find(&self.roots(), &DeviceName::parse(name).unwrap()).unwrap_err().to_string();
        let (first, second) = (format!("{}/{first}", self.dev), format!("{}/{second}", self.dev));
        assert_eq!(text, format!("cannot choose between {first} and {second}: both are {name}"));
    }
}

#[test]
fn a_partition_and_its_disk() {
    let tree = Tree::new();
    tree.disk("mmcblk0", 0, &[]);
    tree.partition("mmcblk0", "mmcblk0p4", 4, "", &[]);
    let start = format!("{}/devices/mmcblk0/mmcblk0p4/start", tree.sys);
    fs::write(start, "591872\n").unwrap();
    let find =
        |name: &str| find(&tree.roots(), &DeviceName::parse(name).unwrap()).unwrap().unwrap();
    let disk = text!("{}/mmcblk0", tree.dev);
    let expected = Partition { number: 4, disk, start: 289 << 20 };
    assert_eq!(partition(&tree.roots(), &find("/dev/mmcblk0p4")), Some(expected));
    assert_eq!(partition(&tree.roots(), &find("/dev/mmcblk0")), None);
}

fn mbr_disk(signature: u32) -> Vec<u8> {
    let first = mbr::Entry { boot: false, kind: 0x0c, start: 8, sectors: 8 };
    let second = mbr::Entry { boot: false, kind: 0x83, start: 16, sectors: 8 };
    let none = mbr::Entry::default();
    let mut disk = mbr::write(signature, &[first, second, none, none]).unwrap().to_vec();
    disk.resize(64 * 512, 0);
    disk
}

const SECTORS: usize = 256;
const FIRST: &str = "11111111-aaaa-4bbb-8ccc-0123456789ab";
const THIRD: &str = "33333333-aaaa-4bbb-8ccc-0123456789ab";

// Partitions 1 and 3, the second slot empty.
fn gpt_disk() -> Vec<u8> {
    let entry = |number, guid: &str, name: &str| gpt::Entry {
        number,
        type_guid: "0fc63daf-8483-4772-8e79-3d69d8477de4".parse().unwrap(),
        guid: guid.parse().unwrap(),
        first: 32 + u64::from(number) * 8,
        last: 39 + u64::from(number) * 8,
        attributes: 0,
        name: name.to_string(),
    };
    let entries = [entry(1, FIRST, "BOOT_A"), entry(3, THIRD, "dätä")];
    let disk: Guid = "dddddddd-aaaa-4bbb-8ccc-0123456789ab".parse().unwrap();
    let (mut bytes, end) = gpt::build(512, SECTORS as u64, disk, &entries).unwrap();
    bytes.resize(SECTORS * 512 - end.len(), 0);
    bytes.extend(end);
    bytes
}

fn gpt_tree(disk: &[u8], extra: [&str; 2]) -> Tree {
    let tree = Tree::new();
    tree.disk("vda", 0, disk);
    tree.partition("vda", "vda1", 1, extra[0], &[]);
    tree.partition("vda", "vda3", 3, extra[1], &[]);
    tree
}

#[test]
fn by_node_and_by_number() {
    let tree = Tree::new();
    tree.disk("vda", 0, &[]);
    tree.partition("vda", "vda1", 1, "", &[]);
    tree.disk("cciss!c0d0", 16, &[]);
    tree.check("/dev/vda1", Some("vda1"));
    tree.check("/dev/cciss/c0d0", Some("cciss!c0d0"));
    tree.check("/dev/vda2", None);
    tree.check("/dev/../vda1", None);
    tree.check("254:1", Some("vda1"));
    tree.check("fe10", Some("cciss!c0d0"));
    tree.check("254:2", None);
    assert_eq!(list(&tree.roots()), " cciss!c0d0 vda vda1");
}

#[test]
fn nothing_is_there() {
    let tree = Tree::new();
    tree.check("LABEL=x", None);
    assert!(list(&tree.roots()).is_empty());
    let roots = Roots { sys: "/nonexistent", dev: "/nonexistent" };
    assert_eq!(find(&roots, &DeviceName::parse("/dev/vda").unwrap()).unwrap(), None);
}

#[test]
fn by_mbr_signature() {
    let tree = Tree::new();
    tree.disk("mmcblk0", 0, &mbr_disk(0x8a3f_1c02));
    tree.partition("mmcblk0", "mmcblk0p1", 1, "", &[]);
    tree.partition("mmcblk0", "mmcblk0p2", 2, "", &[]);
    tree.partition("mmcblk0", "mmcblk0p11", 11, "", &[]);
    tree.check("PARTUUID=8A3F1C02-02", Some("mmcblk0p2"));
    tree.check("PARTUUID=8a3f1c02-0b", Some("mmcblk0p11"));
    tree.check("PARTUUID=8a3f1c02-01/PARTNROFF=1", Some("mmcblk0p2"));
    tree.check("PARTUUID=8a3f1c02-02/PARTNROFF=-1", Some("mmcblk0p1"));
    tree.check("PARTUUID=8a3f1c02-02/PARTNROFF=-2", None);
    tree.check("PARTUUID=8a3f1c02-02/PARTNROFF=1", None);
    tree.check("PARTUUID=8a3f1c02-03", None);
    tree.check("PARTUUID=8a3f1c03-02", None);
}

#[test]
fn by_gpt_entry() {
    let tree = gpt_tree(&gpt_disk(), ["PARTNAME=BOOT_A\n", "PARTNAME=d\u{fffd}t\n"]);
    tree.check(&format!("PARTUUID={FIRST}"), Some("vda1"));
    tree.check(&format!("PARTUUID={}", THIRD.to_uppercase()), Some("vda3"));
    tree.check(&format!("PARTUUID={FIRST}/PARTNROFF=2"), Some("vda3"));
    tree.check(&format!("PARTUUID={FIRST}/PARTNROFF=1"), None);
    tree.check("PARTLABEL=BOOT_A", Some("vda1"));
    tree.check("PARTLABEL=boot_a", None);
    tree.check("PARTLABEL=dätä", Some("vda3"));
    tree.check("PARTUUID=00000000-01", None);
}

#[test]
fn by_the_backup_where_the_first_table_is_bad() {
    let mut disk = gpt_disk();
    disk[512 + 60] ^= 1;
    gpt_tree(&disk, ["", ""]).check(&format!("PARTUUID={THIRD}"), Some("vda3"));
    // The header is right, its entries are not.
    let mut disk = gpt_disk();
    disk[1024 + 200] ^= 1;
    gpt_tree(&disk, ["", ""]).check("PARTLABEL=BOOT_A", Some("vda1"));
    disk[(SECTORS - 1) * 512] ^= 1;
    gpt_tree(&disk, ["", ""]).check("PARTLABEL=BOOT_A", None);
}

/// As a drive without a medium: whoever opens this one waits for ever.
#[test]
fn a_disk_without_partitions_is_not_opened() {
    let tree = gpt_tree(&gpt_disk(), ["", ""]);
    tree.disk("sr0", 11, &[]);
    let node = format!("{}/sr0", tree.dev);
    fs::remove_file(&node).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&node).status().unwrap().success());
    tree.check(&format!("PARTUUID={THIRD}"), Some("vda3"));
    tree.check(&format!("PARTUUID={}", THIRD.replace('3', "4")), None);
}

#[test]
fn the_kernel_is_believed_before_the_table() {
    let tree = gpt_tree(&[], [&format!("PARTUUID={FIRST}\nPARTNAME=x\n"), "PARTNAME=y\n"]);
    tree.check(&format!("PARTUUID={FIRST}"), Some("vda1"));
    tree.check("PARTLABEL=y", Some("vda3"));
}

// As kernels write it that take the name's low bytes for characters.
#[test]
fn a_name_in_latin_1_hides_nothing() {
    let tree = gpt_tree(&gpt_disk(), ["", ""]);
    let uevent = b"MAJOR=254\nMINOR=3\nDEVNAME=vda3\nPARTN=3\nPARTNAME=d\xe4t\xe4\n";
    fs::write(format!("{}/devices/vda/vda3/uevent", tree.sys), uevent).unwrap();
    tree.check("/dev/vda3", Some("vda3"));
    tree.check("PARTLABEL=d\u{e4}t\u{e4}", Some("vda3"));
}

#[test]
fn two_are_refused_by_name() {
    let tree = Tree::new();
    for (disk, partition) in [("mmcblk0", "mmcblk0p1"), ("sda", "sda1")] {
        tree.disk(disk, 0, &mbr_disk(0x8a3f_1c02));
        tree.partition(disk, partition, 1, "PARTNAME=DATA\n", &ext4(b"data"));
    }
    tree.check_ambiguous("PARTUUID=8a3f1c02-01", "mmcblk0p1", "sda1");
    tree.check_ambiguous("PARTLABEL=DATA", "mmcblk0p1", "sda1");
    tree.check_ambiguous("LABEL=data", "mmcblk0p1", "sda1");
}

fn ext4(label: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from([0; 4096]);
    bytes[1080..1082].copy_from_slice(&[0x53, 0xef]);
    bytes[1128..1144].copy_from_slice(&[0xab; 16]);
    bytes[1144..1144 + label.len()].copy_from_slice(label);
    bytes
}

#[test]
fn by_filesystem() {
    let tree = Tree::new();
    tree.disk("loop0", 0, &ext4(b"root"));
    tree.disk("mtdblock0", 1, &ext4(b"root"));
    tree.disk("ram0", 2, &ext4(b"root"));
    tree.disk("sda", 3, b"");
    tree.disk("loopy", 4, &ext4(b"other"));
    tree.disk("vda", 5, &ext4(b"root"));
    tree.check("LABEL=root", Some("vda"));
    tree.check("LABEL=other", Some("loopy"));
    tree.check("LABEL=ROOT", None);
    tree.check("UUID=abababab-abab-abab-abab-ababababab00", None);
    tree.check_ambiguous("UUID=ABABABAB-abab-abab-abab-abababababab", "loopy", "vda");
}

// What a device that goes while it is looked at looks like, at each moment.
#[test]
fn a_device_that_goes_does_not_hide_the_others() {
    let tree = Tree::new();
    for name in ["sda", "sdb", "sdc", "sdd", "sde"] {
        tree.disk(name, 0, &ext4(b"gone"));
    }
    tree.disk("vda", 0, &ext4(b"root"));
    fs::remove_file(format!("{}/sda", tree.dev)).unwrap();
    fs::remove_file(format!("{}/devices/sdb/uevent", tree.sys)).unwrap();
    fs::remove_file(format!("{}/devices/sdc/size", tree.sys)).unwrap();
    fs::remove_dir_all(format!("{}/devices/sdd", tree.sys)).unwrap();
    fs::write(format!("{}/devices/sde/uevent", tree.sys), "MAJOR=x\nDEVNAME").unwrap();
    fs::write(format!("{}/class/block/file", tree.sys), "").unwrap();
    tree.check("LABEL=root", Some("vda"));
    tree.check("/dev/sda", None);
    tree.check("/dev/sdd", None);
    tree.check("LABEL=gone", None);
    assert!(tree.root.path().exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_table_is_survived(at in 0..1536usize, byte: u8, cut in 0..20_000usize) {
        let mut disk = gpt_disk();
        disk[at] = byte;
        disk.truncate(cut.max(512));
        let tree = gpt_tree(&disk, ["", ""]);
        let _ = find(&tree.roots(), &DeviceName::parse("PARTLABEL=BOOT_A").unwrap());
    }
}
