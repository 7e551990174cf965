// SPDX-License-Identifier: MIT OR Apache-2.0

use super::read::Reader;
use super::*;

fn volume(kind: Kind, mib: u64, files: &[(&str, usize)]) -> Volume {
    let content = |length: usize| (0..length).map(|i| (i * 31 % 251) as u8).collect();
    let files = files.iter().map(|(path, n)| ((*path).to_owned(), Content::Bytes(content(*n))));
    Volume {
        label: "BOOT".to_owned(),
        id: 0x1234_abcd,
        kind,
        bytes: mib << 20,
        hidden: 2048,
        files: files.collect(),
    }
}

fn written(volume: &Volume, at: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(at + volume.bytes).unwrap();
    volume.plan().unwrap().write(&file, at).unwrap();
    file
}

const FILES: &[(&str, usize)] = &[
    ("cmdline.txt", 200),
    ("overlays/vc4-kms-v3d-pi5.dtbo", 5_000),
    ("overlays/deep/Deeper/file.with.dots", 1),
    ("overlays/README", 2048),
    ("empty", 0),
    ("bcm2712-rpi-5-b.dtb", 70_000),
];

#[test]
fn what_was_written_is_read() {
    for (kind, mib) in [(Kind::Fat16, 32), (Kind::Fat32, 128), (Kind::Fat32, 34)] {
        let volume = volume(kind, mib, FILES);
        let file = written(&volume, 4096);
        let reader = Reader::open(&file, 4096).unwrap();
        assert_eq!((reader.kind, reader.label.as_deref()), (kind, Some("BOOT")));
        let mut found = reader.files().unwrap();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let mut expected: Vec<_> = FILES.to_vec();
        expected.sort_unstable();
        let paths: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.bytes as usize)).collect();
        assert_eq!(paths, expected);
        for file in &found {
            let content = volume.files.iter().find(|(path, _)| *path == file.path).map(|(_, c)| c);
            let Some(Content::Bytes(bytes)) = content else { panic!("{}", file.path) };
            assert_eq!(reader.read(file, u64::MAX - 1).unwrap(), *bytes, "{}", file.path);
        }
    }
}

#[test]
fn offset_of_a_file() {
    let volume = volume(Kind::Fat32, 128, FILES);
    let plan = volume.plan().unwrap();
    let offset = plan.offset_of("cmdline.txt").unwrap();
    let mut head = [0; 4];
    written(&volume, 0).read_exact_at(&mut head, offset).unwrap();
    assert_eq!(head, [0, 31, 62, 93]);
    assert_eq!(plan.offset_of("empty"), None);
    assert_eq!(plan.offset_of("none"), None);
}

#[track_caller]
fn refused(volume: &Volume, why: &str) {
    let error = format!("{:#}", volume.plan().unwrap_err());
    assert!(error.contains(why), "{error}");
}

#[test]
fn refusals() {
    refused(&volume(Kind::Fat32, 34, &[("big", 40 << 20)]), "BOOT: ");
    refused(&volume(Kind::Fat32, 34, &[("a", 1), ("A", 1)]), "A is there twice");
    refused(&volume(Kind::Fat32, 34, &[("a", 1), ("a/b", 1)]), "a is a file");
    refused(&volume(Kind::Fat32, 34, &[("a:b", 1)]), "cannot be a file name");
    refused(&Volume { label: "boot".to_owned(), ..volume(Kind::Fat16, 32, &[]) }, "label \"boot\"");
    let names: Vec<String> = (0..512).map(|number| format!("file{number}")).collect();
    let many: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    refused(&volume(Kind::Fat16, 32, &many), "too many files in the root directory");
    assert!(volume(Kind::Fat32, 34, &many).plan().is_ok());
}

#[test]
fn hostile_volumes_do_not_hang_or_panic() {
    let volume = volume(Kind::Fat16, 4, &[("dir/a", 10), ("b", 3000)]);
    let file = written(&volume, 0);
    let mut whole = vec![0; 64 << 10];
    file.read_exact_at(&mut whole, 0).unwrap();
    for position in (0..64).chain(4096..4120).chain((16 << 10)..(24 << 10)) {
        for value in [0, 1, 0x7f, 0xff] {
            file.write_all_at(&[value], position).unwrap();
            if let Ok(reader) = Reader::open(&file, 0) {
                for found in reader.files().unwrap_or_default() {
                    let _ = reader.read(&found, 1 << 20);
                }
            }
            file.write_all_at(&[whole[position as usize]], position).unwrap();
        }
    }
}
