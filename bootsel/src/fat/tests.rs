// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{BLOCK, Error, Extent, Volume};
use proptest::prelude::*;
use std::{cell::Cell, collections::BTreeMap, string::String, vec, vec::Vec};

/// A disk of zeros but for what was put there.
#[derive(Clone, Debug, Default)]
struct Disk(BTreeMap<u64, [u8; BLOCK]>);

impl Disk {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        for (at, byte) in (at..).zip(bytes) {
            let block = self.0.entry(at / 512).or_insert([0; BLOCK]);
            block[usize::try_from(at % 512).unwrap()] = *byte;
        }
    }

    fn reader(&self) -> impl FnMut(u64, &mut [u8; BLOCK]) -> Result<(), String> + '_ {
        |at, block| {
            assert_eq!(at % 512, 0, "an unaligned read");
            *block = self.0.get(&(at / 512)).copied().unwrap_or([0; BLOCK]);
            Ok(())
        }
    }
}

/// What a volume is made of; all places follow from it.
#[derive(Clone, Copy, Debug)]
struct Shape {
    bits: u32,
    sector: u64,
    per_cluster: u64,
    clusters: u64,
}

const START: u64 = 1 << 20;
const FAT12: Shape = Shape { bits: 12, sector: 512, per_cluster: 1, clusters: 100 };
const FAT16: Shape = Shape { bits: 16, sector: 512, per_cluster: 4, clusters: 5000 };
const FAT32: Shape = Shape { bits: 32, sector: 512, per_cluster: 2, clusters: 70_000 };
const LARGE: Shape = Shape { bits: 16, sector: 4096, per_cluster: 1, clusters: 5000 };
const SHAPES: [Shape; 4] = [FAT12, FAT16, FAT32, LARGE];

impl Shape {
    fn table_sectors(self) -> u64 {
        ((self.clusters + 2) * u64::from(self.bits)).div_ceil(8).div_ceil(self.sector)
    }

    fn root_entries(self) -> u64 {
        if self.bits == 32 { 0 } else { self.sector / 32 }
    }

    fn root(self) -> u64 {
        START + (1 + 2 * self.table_sectors()) * self.sector
    }

    fn cluster(self, number: u64) -> u64 {
        let data = self.root() + self.root_entries() * 32;
        data + (number - 2) * self.sector * self.per_cluster
    }

    fn bytes(self) -> u64 {
        self.cluster(self.clusters + 2) - START
    }

    fn directory(self) -> u64 {
        if self.bits == 32 { self.cluster(2) } else { self.root() }
    }

    /// A volume without files; the root of FAT32 is cluster 2.
    fn disk(self) -> Disk {
        let mut disk = Disk::default();
        let half = |n: u64| u16::try_from(n).unwrap().to_le_bytes();
        let word = |n: u64| u32::try_from(n).unwrap().to_le_bytes();
        disk.put(START + 11, &half(self.sector));
        disk.put(START + 13, &[u8::try_from(self.per_cluster).unwrap()]);
        disk.put(START + 14, &half(1));
        disk.put(START + 16, &[2]);
        disk.put(START + 17, &half(self.root_entries()));
        disk.put(START + 32, &word(self.bytes() / self.sector));
        if self.bits == 32 {
            disk.put(START + 36, &word(self.table_sectors()));
            disk.put(START + 44, &word(2));
            self.chain(&mut disk, &[2]);
        } else {
            disk.put(START + 22, &half(self.table_sectors()));
        }
        disk.put(START + 510, &[0x55, 0xaa]);
        disk
    }

    fn link(self, disk: &mut Disk, from: u64, to: u64) {
        let table = START + self.sector;
        match self.bits {
            12 => {
                let at = table + from * 3 / 2;
                let (block, place) = (at / 512, usize::try_from(at % 512).unwrap());
                let old = disk.0.get(&block).map_or(0, |b| {
                    u64::from(b[place]) | u64::from(b.get(place + 1).copied().unwrap_or(0)) << 8
                });
                let new =
                    if from.is_multiple_of(2) { old & 0xf000 | to } else { old & 0xf | to << 4 };
                disk.put(at, &new.to_le_bytes()[..2]);
            }
            16 => disk.put(table + from * 2, &to.to_le_bytes()[..2]),
            _ => disk.put(table + from * 4, &to.to_le_bytes()[..4]),
        }
    }

    fn end(self) -> u64 {
        [0xfff, 0xffff, 0xffff_ffff][usize::try_from(self.bits).unwrap() / 16]
    }

    fn chain(self, disk: &mut Disk, clusters: &[u64]) {
        for pair in clusters.windows(2) {
            self.link(disk, pair[0], pair[1]);
        }
        self.link(disk, *clusters.last().unwrap(), self.end());
    }

    fn open(self, disk: &Disk) -> Volume {
        let volume = Volume::open(START, self.bytes(), &mut disk.reader()).unwrap();
        assert_eq!((volume.bits(), volume.sector), (self.bits, self.sector));
        volume
    }

    /// Length and pieces of a file.
    fn find(self, disk: &Disk, name: &str) -> Result<Option<Vec<Extent>>, Error<String>> {
        let volume = self.open(disk);
        let Some(file) = volume.find(name, &mut disk.reader())? else { return Ok(None) };
        volume.extents(&file, &mut disk.reader()).map(Some)
    }
}

fn entry(name: &[u8; 11], attributes: u8, first: u64, bytes: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = attributes;
    entry[20..22].copy_from_slice(&first.to_le_bytes()[2..4]);
    entry[26..28].copy_from_slice(&first.to_le_bytes()[..2]);
    entry[28..].copy_from_slice(&bytes.to_le_bytes());
    entry
}

const AUTOBOOT: &[u8; 11] = b"AUTOBOOTTXT";

#[test]
fn one_sector() {
    for shape in SHAPES {
        let mut disk = shape.disk();
        disk.put(shape.directory(), &entry(b"BOOTSEL    ", 0x08, 0, 0));
        disk.put(shape.directory() + 32, &entry(b"CONFIG  TXT", 0x20, 0, 0));
        disk.put(shape.directory() + 64, &entry(AUTOBOOT, 0x20, 7, 512));
        shape.chain(&mut disk, &[7]);
        let volume = shape.open(&disk);
        let file = volume.find("autoboot.txt", &mut disk.reader()).unwrap().unwrap();
        assert_eq!(volume.one_sector(&file, 512, &mut disk.reader()), Ok(shape.cluster(7)));
        assert!(volume.one_sector(&file, 511, &mut disk.reader()).is_err());
        let empty = volume.find("config.txt", &mut disk.reader()).unwrap().unwrap();
        assert_eq!(volume.extents(&empty, &mut disk.reader()), Ok(vec![]));
        for name in ["AUTOBOOT.TXT", "Config.txt"] {
            assert!(volume.find(name, &mut disk.reader()).unwrap().is_some());
        }
        for name in ["bootsel", "autoboot", "autoboot.tx", "autoboot.txt2", "", "utoboot.txt"] {
            assert_eq!(volume.find(name, &mut disk.reader()), Ok(None), "{name}");
        }
    }
}

#[test]
fn pieces() {
    for shape in SHAPES {
        let cluster = shape.sector * shape.per_cluster;
        let mut disk = shape.disk();
        let bytes = u32::try_from(cluster * 3 + 1).unwrap();
        disk.put(shape.directory(), &entry(AUTOBOOT, 0x20, 10, bytes));
        shape.chain(&mut disk, &[10, 11, 20, 9]);
        let expected = [(10, cluster * 2), (20, cluster), (9, 1)]
            .map(|(number, bytes)| Extent { at: shape.cluster(number), bytes });
        assert_eq!(shape.find(&disk, "autoboot.txt"), Ok(Some(expected.to_vec())));
    }
}

#[track_caller]
fn refused(shape: Shape, clusters: &[(u64, u64)], bytes: u32, why: &str) {
    let mut disk = shape.disk();
    disk.put(shape.directory(), &entry(AUTOBOOT, 0x20, clusters[0].0, bytes));
    for (from, to) in clusters {
        if (2..shape.clusters + 2).contains(from) {
            shape.link(&mut disk, *from, *to);
        }
    }
    let error = shape.find(&disk, "autoboot.txt").unwrap_err();
    assert!(std::format!("{error}").contains(why), "{error}");
}

#[test]
fn damaged_chains() {
    for shape in SHAPES {
        let cluster = u32::try_from(shape.sector * shape.per_cluster).unwrap();
        refused(shape, &[(5, 5)], 512, "does not end where the file does");
        refused(shape, &[(5, 6), (6, 5)], cluster * 50, "does not end where the file does");
        refused(shape, &[(5, shape.end())], cluster + 1, "ends before the file does");
        refused(shape, &[(5, 0)], cluster + 1, "leads to a cluster");
        refused(shape, &[(5, shape.clusters + 2)], cluster + 1, "leads to a cluster");
        refused(shape, &[(5, shape.end() - 8)], 512, "leads to a bad cluster");
        refused(shape, &[(0, 0)], 512, "leads to a cluster");
    }
}

/// An entry with a part of a long name.
fn part(number: u8, sum: u8, text: &str) -> [u8; 32] {
    let mut units: Vec<u16> = text.encode_utf16().collect();
    if units.len() < 13 {
        units.push(0);
    }
    units.resize(13, 0xffff);
    let mut entry = [0; 32];
    let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
    for (at, unit) in places.zip(units) {
        entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
    }
    (entry[0], entry[11], entry[13]) = (number, 0x0f, sum);
    entry
}

#[track_caller]
fn long_name(entries: &[[u8; 32]], name: &str, expected: bool) {
    let mut disk = FAT32.disk();
    disk.put(FAT32.directory(), &entries.concat());
    assert_eq!(FAT32.find(&disk, name).unwrap().is_some(), expected, "{name}");
}

#[test]
fn long_names() {
    let short = entry(b"BCM271~1DTB", 0x20, 0, 0);
    // Microsoft's checksum, by hand: each byte is added to the sum rotated right
    let sum = short[..11].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let parts = [part(0x42, sum, "4-b.dtb"), part(1, sum, "bcm2711-rpi-x")];
    let name = "bcm2711-rpi-x4-b.dtb";
    long_name(&[parts[0], parts[1], short], name, true);
    long_name(&[parts[0], parts[1], short], "BCM2711-RPI-X4-B.DTB", true);
    long_name(&[parts[0], parts[1], short], "bcm271~1.dtb", true);
    long_name(&[parts[0], parts[1], short], "bcm2711-rpi-x4-b.dt", false);
    long_name(&[parts[1], parts[0], short], name, false);
    long_name(&[parts[1], short], name, false);
    long_name(&[parts[0], short], name, false);
    let wrong = [part(0x42, sum ^ 1, "4-b.dtb"), part(1, sum ^ 1, "bcm2711-rpi-x")];
    long_name(&[wrong[0], wrong[1], short], name, false);
    let deleted = entry(b"\xe5CM271~1DTB", 0x20, 0, 0);
    long_name(&[parts[0], parts[1], deleted, short], name, false);
    // thirteen characters fill their entry
    let exact = [part(0x41, sum, "thirteen.char"), short];
    long_name(&exact, "thirteen.char", true);
    // what is no file
    long_name(&[entry(b"OVERLAYS   ", 0x10, 3, 0)], "overlays", false);
    long_name(&[[0; 32], entry(AUTOBOOT, 0x20, 3, 0)], "autoboot.txt", false);
}

#[test]
fn root_directory_of_fat32() {
    let mut disk = FAT32.disk();
    FAT32.chain(&mut disk, &[2, 9]);
    disk.put(FAT32.cluster(2), &entry(b"FILLER     ", 0x20, 0, 0).repeat(32));
    disk.put(FAT32.cluster(9), &entry(AUTOBOOT, 0x20, 7, 512));
    FAT32.chain(&mut disk, &[7]);
    assert!(FAT32.find(&disk, "autoboot.txt").unwrap().is_some());
    // a circle
    disk.put(FAT32.cluster(9), &entry(b"FILLER     ", 0x20, 0, 0).repeat(32));
    FAT32.link(&mut disk, 9, 2);
    let error = FAT32.find(&disk, "autoboot.txt").unwrap_err();
    assert_eq!(error, Error::Volume("the root directory does not end"));
    // full to its last entry
    FAT32.chain(&mut disk, &[2, 9]);
    assert_eq!(FAT32.find(&disk, "autoboot.txt"), Ok(None));
}

#[test]
fn no_volumes() {
    for (at, bytes) in [(510, 0), (13, 0), (13, 3), (11, 1), (12, 32), (14, 0), (16, 0), (22, 1)] {
        let mut disk = FAT16.disk();
        disk.put(START + at, &[bytes]);
        assert!(Volume::open(START, FAT16.bytes(), &mut disk.reader()).is_err(), "{at}");
    }
    let disk = FAT16.disk();
    assert!(Volume::open(START, FAT16.bytes() - 1, &mut disk.reader()).is_err());
    let failed = Volume::open(0, 1 << 40, &mut |_, _: &mut [u8; BLOCK]| Err("broken"));
    assert_eq!(failed, Err(Error::Read("broken")));
}

proptest! {
    /// Whatever stands in the boot sector, the table and the directory: an end is found, after few reads.
    #[test]
    fn any_bytes(
        shape in prop::sample::select(&SHAPES[..]),
        changes in prop::collection::vec((0_usize..4, 0_u64..600, any::<u8>()), 0..40),
    ) {
        let mut disk = shape.disk();
        disk.put(shape.directory(), &entry(b"FILLER     ", 0x20, 3, 77));
        disk.put(shape.directory() + 32, &entry(AUTOBOOT, 0x20, 10, 5000));
        shape.chain(&mut disk, &[10, 11, 20, 9, 12, 14, 15, 16, 17, 18]);
        for (place, at, byte) in changes {
            let start = [START, START + shape.sector, shape.directory(), START][place];
            disk.put(start + at % if place == 3 { 64 } else { 600 }, &[byte]);
        }
        let reads = Cell::new(0);
        let mut inner = disk.reader();
        let mut read = |at: u64, block: &mut [u8; BLOCK]| {
            reads.set(reads.get() + 1);
            inner(at, block)
        };
        let Ok(volume) = Volume::open(START, shape.bytes(), &mut read) else { return Ok(()) };
        if let Ok(Some(file)) = volume.find("autoboot.txt", &mut read)
            && let Ok(extents) = volume.extents(&file, &mut read)
        {
            let mut sum = 0;
            for extent in extents {
                prop_assert!(extent.at > START && extent.at + extent.bytes <= START + shape.bytes());
                sum += extent.bytes;
            }
            prop_assert_eq!(sum, u64::from(file.bytes));
        }
        prop_assert!(reads.get() < 200_000, "{} reads", reads.get());
    }
}
