// SPDX-License-Identifier: MIT OR Apache-2.0
//! By hand, field by field; what mkfs and blkid have to say is in tests/mounts.rs.

use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

use super::*;

const UUID: [u8; 16] = [
    0x9b, 0x1d, 0xeb, 0x4d, 0x3b, 0x7d, 0x4b, 0xad, 0x9b, 0xdd, 0x2b, 0x0d, 0x7b, 0x3d, 0xcb, 0x6d,
];

fn device(fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 68 << 10];
    for (at, field) in fields {
        bytes[*at..at + field.len()].copy_from_slice(field);
    }
    bytes
}

#[track_caller]
fn check(fields: &[(usize, &[u8])], kind: Kind, uuid: Option<&str>, label: Option<&str>) {
    let found = identify(&device(fields)).expect("no superblock found");
    let expected = (kind, uuid.unwrap_or_default(), label.unwrap_or_default(), false);
    assert_eq!((found.kind, &*found.uuid, &*found.label, found.errors), expected);
}

#[test]
fn uuid_and_label_of_each_kind() {
    let uuid = Some("9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d");
    let ext4: &[(usize, &[u8])] =
        &[(1080, &[0x53, 0xef]), (1128, &UUID), (1144, b"0123456789abcdef")];
    check(ext4, Kind::Ext4, uuid, Some("0123456789abcdef"));
    check(&[(0, b"XFSB"), (32, &UUID), (108, b"data")], Kind::Xfs, uuid, Some("data"));
    let erofs: &[(usize, &[u8])] = &[(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1072, &UUID)];
    check(erofs, Kind::Erofs, uuid, None);
    let btrfs: &[(usize, &[u8])] = &[(0x10040, b"_BHRfS_M"), (0x10020, &UUID), (0x1012b, b"b")];
    check(btrfs, Kind::Btrfs, uuid, Some("b"));
    check(&[(0, b"hsqs"), (28, &[4, 0])], Kind::Squashfs, None, None);
    check(&[(0, b"XFSB")], Kind::Xfs, None, None);
}

// s_blocks_count_lo, s_log_block_size, s_blocks_count_hi.
#[test]
fn length_of_an_ext4() {
    let fields: &[(usize, &[u8])] =
        &[(1080, &[0x53, 0xef]), (1028, &[1, 2]), (1048, &[2]), (1024 + 0x150, &[3])];
    let found = identify(&device(fields)).expect("no superblock found");
    assert_eq!((found.blocks, found.block_size), (3 << 32 | 0x201, 4096));
    let found = identify(&device(&[(0, b"XFSB")])).expect("no superblock found");
    assert_eq!((found.blocks, found.block_size), (0, 0));
}

// FAT16: 4 reserved sectors, two tables of 16 sectors, a root directory behind them at sector 36.
const FAT16: [(usize, &[u8]); 6] = [
    (11, &[0x00, 0x02, 4, 4, 0, 2, 0x00, 0x02]),
    (21, &[0xf8, 16, 0]),
    (39, &[0x34, 0x12, 0xcd, 0xab]),
    (43, b"STALE      "),
    (510, &[0x55, 0xaa]),
    (36 * 512, b"LONGNAME...\x0f"),
];

#[test]
fn vfat_label_is_that_of_the_root_directory() {
    check(&FAT16, Kind::Vfat, Some("ABCD-1234"), None);
    let mut fields = FAT16.to_vec();
    fields.push((36 * 512 + 32, b"\xe5ELETED    \x08"));
    fields.push((36 * 512 + 64, b"A DIRECTORY\x10"));
    fields.push((36 * 512 + 96, b"NONSENSE   \x18"));
    fields.push((36 * 512 + 128, b"BOOT SEL   \x28"));
    check(&fields, Kind::Vfat, Some("ABCD-1234"), Some("BOOT SEL"));
}

#[test]
fn ext4_error_flag_and_journal_device() {
    let mut fields: Vec<(usize, &[u8])> = vec![(1080, &[0x53, 0xef, 0x03, 0x00])];
    assert!(identify(&device(&fields)).unwrap().errors);
    fields.push((1082, &[0x01, 0x00]));
    assert!(!identify(&device(&fields)).unwrap().errors);
    fields.push((1120, &[0x08]));
    assert_eq!(identify(&device(&fields)), None);
}

#[test]
fn nothing_is_found_in_nothing() {
    for length in [0, 1, 511, 512, 1024, 4096, 68 << 10] {
        assert_eq!(identify(&vec![0; length]), None);
    }
    // A boot sector with a partition table is no vfat.
    assert_eq!(identify(&device(&[(0, b"\xeb\x63\x90"), (510, &[0x55, 0xaa])])), None);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2048), kind in 0..7usize) {
        let mut bytes = bytes;
        let vfat: &[(usize, &[u8])] = &[(11, &[0, 2, 1]), (14, &[1, 0, 2]), (21, &[0xf8]), (510, &[0x55, 0xaa])];
        let magic: &[(usize, &[u8])] = match kind {
            0 => &[(0, b"hsqs")],
            1 => &[(0, b"XFSB")],
            2 => &[(1080, &[0x53, 0xef])],
            3 => &[(1024, &[0xe2, 0xe1, 0xf5, 0xe0])],
            4 => &[(22, &[0, 0])],
            _ => &[],
        };
        for (at, field) in vfat.iter().chain(magic) {
            if let Some(place) = bytes.get_mut(*at..at + field.len()) {
                place.copy_from_slice(field);
            }
        }
        let _ = identify(&bytes);
    }
}
