// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes an image.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ::image::ext4::Filesystem;
use ::image::fat::{Content, Kind, Volume};
use bootsel::manifest::Manifest;
use bootsel::ptable::{gpt, mbr};
use sha2::{Digest, Sha256};

use super::{Files, Image, MIB, PLACES, revision};
use crate::common::program;

impl Image {
    pub(crate) fn write(&self, path: &Path) {
        let file =
            File::options().create(true).truncate(true).read(true).write(true).open(path).unwrap();
        let bytes = (PLACES[3].0 + PLACES[3].1 + 1) * MIB;
        file.set_len(bytes).unwrap();
        self.write_table(&file, bytes);
        match &self.foreign_bootsel {
            None => {
                let kind = if self.fat32_bootsel { Kind::Fat32 } else { Kind::Fat16 };
                volume(&file, 0, kind, &self.bootsel);
            }
            Some(options) => self.write_foreign(&file, options),
        }
        for (index, slot) in self.slots.iter().enumerate() {
            let mut files = slot.clone();
            let letter = format!("pivot.slot={}", self.letters[index]);
            let cmdline = self.cmdline.replace("pivot.slot=_", &letter);
            files.insert(0, ("cmdline.txt".to_owned(), cmdline.into_bytes()));
            let kind = if self.fat16_slots { Kind::Fat16 } else { Kind::Fat32 };
            volume(&file, index + 1, kind, &files);
        }
        let boot = self.hashed.then(|| boot(&file));
        self.write_data(&file, boot);
        for (at, bytes) in &self.patches {
            file.write_all_at(bytes, *at).unwrap();
        }
    }

    fn write_table(&self, file: &File, bytes: u64) {
        let sector = |mib: u64| u32::try_from(mib * MIB / 512).unwrap();
        if self.gpt {
            let guid = |n: usize| format!("{n:08}-1111-4111-8111-111111111111").parse().unwrap();
            let entry = |index: usize| gpt::Entry {
                number: u32::try_from(index + 1).unwrap(),
                type_guid: if index == 0 { self.first_type.parse().unwrap() } else { guid(99) },
                guid: guid(index + 1),
                first: u64::from(sector(PLACES[index].0)),
                last: u64::from(sector(PLACES[index].0 + PLACES[index].1)) - 1,
                attributes: 0,
                name: String::new(),
            };
            let entries: Vec<_> = (0..4).map(entry).collect();
            let (first, second) = gpt::build(512, bytes / 512, guid(50), &entries).unwrap();
            file.write_all_at(&first, 0).unwrap();
            file.write_all_at(&second, bytes - second.len() as u64).unwrap();
        } else {
            let mut entries = [mbr::Entry::default(); 4];
            for (index, entry) in entries.iter_mut().enumerate() {
                let (start, sectors) = (sector(PLACES[index].0), sector(PLACES[index].1));
                *entry = mbr::Entry { boot: false, kind: self.types[index], start, sectors };
            }
            file.write_all_at(&mbr::write(0x1122_3344, &entries).unwrap(), 0).unwrap();
        }
    }

    /// Partition 1 by mkfs.fat and mcopy.
    fn write_foreign(&self, file: &File, options: &[&str]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fat");
        let volume = File::create(&path).unwrap();
        volume.set_len(self.bootsel_sectors * 512).unwrap();
        let run = |command: &mut Command| {
            assert!(command.output().unwrap().status.success(), "{command:?}");
        };
        run(program("mkfs.fat", "dosfstools").unwrap().args(options).arg(&path));
        for (name, bytes) in &self.bootsel {
            let source = directory.path().join(name);
            fs::write(&source, bytes).unwrap();
            let mut mcopy = program("mcopy", "mtools").unwrap();
            run(mcopy.arg("-i").arg(&path).arg(source).arg("::"));
        }
        file.write_all_at(&fs::read(path).unwrap(), PLACES[0].0 * MIB).unwrap();
    }

    fn write_data(&self, file: &File, boot: Option<(u64, bootsel::manifest::File)>) {
        let plain = self.claims.len() > 1 && self.revision == revision();
        let plain = plain && self.keys.is_empty() && boot.is_none();
        let as_new = plain && self.missing.is_none() && self.longer.is_none();
        static KNOWN: OnceLock<PathBuf> = OnceLock::new();
        let directory = tempfile::tempdir().unwrap();
        let known = if as_new {
            KNOWN.get_or_init(|| {
                let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lint-data");
                self.make_data(&path, None);
                path
            })
        } else {
            self.make_data(&directory.path().join("data"), boot);
            &directory.path().join("data")
        };
        let zeros = [0; 1 << 16];
        for (index, piece) in (0..).zip(fs::read(known).unwrap().chunks(zeros.len())) {
            if piece != &zeros[..piece.len()] {
                file.write_all_at(piece, PLACES[3].0 * MIB + (index << 16)).unwrap();
            }
        }
    }

    fn make_data(&self, out: &Path, boot: Option<(u64, bootsel::manifest::File)>) {
        let staging = tempfile::tempdir().unwrap();
        let directory = staging.path().join("pivot/revisions/r1");
        fs::create_dir_all(&directory).unwrap();
        let mut manifest = Manifest::new(&"r1".parse().unwrap(), 1);
        if !self.claims.is_empty() {
            manifest.keys.push(("boards".to_owned(), self.claims.clone()));
        }
        let keys = self.keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        manifest.keys.extend(keys);
        if let Some((letter, file)) = boot {
            manifest.keys.push(("slot_letter".to_owned(), letter.to_string()));
            manifest.files.push(file);
        }
        for (name, bytes) in &self.revision {
            let length = bytes.len() as u64;
            let file =
                bootsel::manifest::File { sha256: [7; 32], bytes: length, name: name.clone() };
            manifest.files.push(file);
            let more: &[u8] = if self.longer == Some(name.as_str()) { b"x" } else { b"" };
            if self.missing != Some(name.as_str()) {
                fs::write(directory.join(name), [bytes.as_slice(), more].concat()).unwrap();
            }
        }
        fs::write(directory.join("manifest"), manifest.to_string()).unwrap();
        let uuid = "11111111-1111-4111-8111-111111111111";
        let filesystem = Filesystem {
            label: "DATA",
            uuid,
            hash_seed: uuid,
            staging: staging.path(),
            zeros: &[],
        };
        filesystem.make(out, PLACES[3].1 * MIB).unwrap();
    }
}

/// Slot a as a manifest lists it, and where its letter is.
fn boot(file: &File) -> (u64, bootsel::manifest::File) {
    let mut bytes = vec![0; usize::try_from(PLACES[1].1 * MIB).unwrap()];
    file.read_exact_at(&mut bytes, PLACES[1].0 * MIB).unwrap();
    let parameter = b"pivot.slot=";
    let at = bytes.windows(parameter.len()).position(|window| window == parameter).unwrap();
    let letter = at + parameter.len();
    bytes[letter] = b'_';
    let sha256 = Sha256::digest(&bytes).into();
    let bytes = bytes.len() as u64;
    (letter as u64, bootsel::manifest::File { sha256, bytes, name: "boot.img".to_owned() })
}

fn volume(file: &File, index: usize, kind: Kind, files: &Files) {
    let content = |(name, bytes): &(String, Vec<u8>)| (name.clone(), Content::Bytes(bytes.clone()));
    let volume = Volume {
        label: "PIVOT_BOOT".to_owned(),
        id: 1,
        kind,
        bytes: PLACES[index].1 * MIB,
        hidden: 0,
        files: files.iter().map(content).collect(),
    };
    volume.plan().unwrap().write(file, PLACES[index].0 * MIB).unwrap();
}
