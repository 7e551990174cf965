// SPDX-License-Identifier: MIT OR Apache-2.0

//! What sgdisk, sfdisk and fdisk say about our tables, and we about theirs, on a sparse file.

use super::{DISK, ESP, LINUX, SECTORS, fat32, four, gpt_entry, guid, read};
use crate::ptable::{gpt, mbr};
use std::{
    env,
    fs::{self, File},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    process::{self, Command, Stdio},
    string::{String, ToString},
    vec,
    vec::Vec,
};

/// A disk of 64 MiB that is deleted in the end.
pub(super) struct Disk {
    path: PathBuf,
    file: File,
}

impl Disk {
    pub(super) fn new(name: &str, bytes: u64) -> Self {
        let path = env::temp_dir().join(std::format!("bootsel-{}-{name}.img", process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.unwrap();
        file.set_len(bytes).unwrap();
        Self { path, file }
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.file.seek(SeekFrom::Start(offset)).unwrap();
        self.file.write_all(bytes).unwrap();
    }

    fn read(&mut self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(offset)).unwrap();
        self.file.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// What the tool prints; `None`, loudly, where it is not installed. It must succeed.
    #[track_caller]
    pub(super) fn run(&self, tool: &str, arguments: &[&str], input: &str) -> Option<String> {
        let path = std::format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
        let mut command = Command::new(tool);
        command.args(arguments).arg(&self.path).env("PATH", path).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(why) if why.kind() == ErrorKind::NotFound => {
                // Not eprintln: the test harness keeps that to itself when the test passes.
                let line = std::format!("\nNOT TESTED: {tool} is not installed\n");
                std::io::stderr().write_all(line.as_bytes()).unwrap();
                return None;
            }
            Err(why) => panic!("{tool}: {why}"),
        };
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).to_string();
        assert!(output.status.success(), "{tool}: {text}");
        Some(text)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn our_gpt(name: &str, sector_size: u32) -> Disk {
    let size = u64::from(sector_size);
    let (primary, backup) = gpt::build(sector_size, SECTORS, guid(DISK), &four()).unwrap();
    let mut disk = Disk::new(name, SECTORS * size);
    disk.write(0, &primary);
    disk.write(SECTORS * size - u64::try_from(backup.len()).unwrap(), &backup);
    disk
}

#[test]
fn sgdisk_verifies_our_gpt() {
    let disk = our_gpt("sgdisk", 512);
    if let Some(text) = disk.run("sgdisk", &["-v"], "") {
        assert!(text.contains("No problems found"), "{text}");
        assert!(!text.contains("Warning") && !text.contains("Caution"), "{text}");
    }
    if let Some(text) = disk.run("sgdisk", &["-i", "2"], "") {
        assert!(text.contains("Partition name: 'BOOT_A'"), "{text}");
        assert!(text.contains("Attribute flags: 8000000000000004"), "{text}");
        assert!(text.to_lowercase().contains(&four()[1].guid.to_string()), "{text}");
    }
}

#[test]
fn sfdisk_verifies_our_gpt() {
    let disk = our_gpt("sfdisk", 512);
    if let Some(text) = disk.run("sfdisk", &["--verify"], "") {
        assert!(text.contains("No errors detected"), "{text}");
    }
    let Some(text) = disk.run("sfdisk", &["--dump"], "") else { return };
    let text = text.to_lowercase();
    assert!(text.contains(&std::format!("label-id: {DISK}")), "{text}");
    assert!(text.contains("first-lba: 34\nlast-lba: 131038\n"), "{text}");
    for entry in four() {
        let sectors = entry.last - entry.first + 1;
        let name = entry.name.to_lowercase();
        let line = std::format!(
            "start={:>12}, size={sectors:>12}, type={}, uuid={}, name=\"{name}\"",
            entry.first,
            entry.type_guid,
            entry.guid
        );
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

/// Sectors of 4096 bytes: fdisk alone can be told on a file.
#[test]
fn fdisk_reads_our_gpt_of_large_sectors() {
    let disk = our_gpt("fdisk", 4096);
    let Some(text) = disk.run("fdisk", &["-b", "4096", "-x"], "") else { return };
    assert!(text.contains("First usable LBA: 6\nLast usable LBA: 131066\n"), "{text}");
    assert!(text.contains("Disklabel type: gpt") && !text.contains("corrupt"), "{text}");
    assert_eq!(["BOOTSEL", "BOOT_A", "BOOT_B", "DATA"].map(|n| text.contains(n)), [true; 4]);
}

/// Each copy alone is enough: the other one is overwritten with noise.
#[test]
fn sfdisk_reads_each_copy_alone() {
    for offset in [512, SECTORS * 512 - 512] {
        let mut disk = our_gpt(&std::format!("copy-{offset}"), 512);
        disk.write(offset, &[0x5a; 512]);
        if let Some(text) = disk.run("sfdisk", &["--dump"], "") {
            assert!(text.contains("corrupt"), "{text}");
            assert!(text.contains("name=\"DATA\""), "{text}");
        }
    }
}

#[test]
fn sgdisk_writes_what_we_write() {
    let mut disk = Disk::new("sgdisk-writes", SECTORS * 512);
    let entries = [
        gpt::Entry { type_guid: guid(ESP), ..gpt_entry(1, 2048, 4095, "BOOTSEL") },
        gpt::Entry { type_guid: guid(LINUX), ..gpt_entry(3, 4096, 131_038, "Grüße") },
    ];
    let (one, three) = (entries[0].guid.to_string(), entries[1].guid.to_string());
    let arguments = std::format!(
        "-a 1 -U {DISK} -n 1:2048:4095 -t 1:ef00 -u 1:{one} -c 1:BOOTSEL \
         -n 3:4096:131038 -t 3:8300 -u 3:{three}"
    );
    let mut arguments: Vec<&str> = arguments.split(' ').filter(|word| !word.is_empty()).collect();
    arguments.extend(["-c", "3:Grüße"]);
    if disk.run("sgdisk", &arguments, "").is_none() {
        return;
    }
    let (primary, backup) = gpt::build(512, SECTORS, guid(DISK), &entries).unwrap();
    let theirs = (disk.read(0, 34 * 512), disk.read((SECTORS - 33) * 512, 33 * 512));
    assert_eq!(read(&theirs.0, 512, 1).1, entries);
    assert_eq!(read(&theirs.1, 512, SECTORS - 1).1, entries);
    assert!(theirs == (primary, backup), "sgdisk's bytes are not ours");
}

#[test]
fn sfdisk_and_our_mbr() {
    let boot = mbr::Entry { boot: true, ..fat32(2048, 8192) };
    let data = mbr::Entry { kind: 0x83, ..fat32(30_720, 100_352) };
    let entries = [boot, fat32(10_240, 10_240), fat32(20_480, 10_240), data];
    let sector = mbr::write(0x1a2b_3c4d, &entries).unwrap();
    let mut disk = Disk::new("mbr", SECTORS * 512);
    disk.write(0, &sector);
    if let Some(text) = disk.run("sfdisk", &["--verify"], "") {
        assert!(text.contains("No errors detected"), "{text}");
    }
    let mut theirs = Disk::new("mbr-theirs", SECTORS * 512);
    let script = "label: dos\nlabel-id: 0x1a2b3c4d\n2048,8192,c,*\n10240,10240,c\n20480,10240,c\n\
                  30720,100352,83\n";
    if theirs.run("sfdisk", &[], script).is_some() {
        assert!(theirs.read(0, 512) == sector, "sfdisk's bytes are not ours");
    }
}

/// A disk past the 1023 cylinders and past what the protective entry can count.
#[test]
fn sgdisk_verifies_a_large_disk() {
    let sectors = (1_u64 << 32) + 12_345;
    let entries = [gpt_entry(1, 2048, sectors - 34, "DATA")];
    let (primary, backup) = gpt::build(512, sectors, guid(DISK), &entries).unwrap();
    let mut disk = Disk::new("large", sectors * 512);
    disk.write(0, &primary);
    disk.write((sectors - 33) * 512, &backup);
    for (tool, argument, good) in
        [("sgdisk", "-v", "No problems found"), ("sfdisk", "--verify", "No errors detected")]
    {
        if let Some(text) = disk.run(tool, &[argument], "") {
            assert!(text.contains(good), "{text}");
        }
    }
}
