// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Error, Guid, crc32, gpt, mbr};
use proptest::{
    collection,
    prelude::{any, prop_assert, prop_assert_eq, proptest},
    sample::Index,
};
use std::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

mod gpt_table;
mod grow;
mod sparse;
mod tools;

const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const DISK: &str = "12345678-9abc-def0-1122-334455667788";
/// 64 MiB in sectors of 512 bytes.
const SECTORS: u64 = 131_072;

fn guid(text: &str) -> Guid {
    text.parse().unwrap()
}

fn gpt_entry(number: u32, first: u64, last: u64, name: &str) -> gpt::Entry {
    let mut bytes = guid("00112233-4455-6677-8899-aabbccddee00").to_bytes();
    bytes[15] = u8::try_from(number & 0xff).unwrap();
    gpt::Entry {
        number,
        type_guid: guid(LINUX),
        guid: Guid::from_bytes(bytes),
        first,
        last,
        attributes: 0,
        name: name.into(),
    }
}

/// The four partitions of a device.
fn four() -> [gpt::Entry; 4] {
    [
        gpt::Entry { type_guid: guid(ESP), ..gpt_entry(1, 2048, 10_239, "BOOTSEL") },
        gpt::Entry { attributes: 1 << 63 | 4, ..gpt_entry(2, 10_240, 20_479, "BOOT_A") },
        gpt_entry(3, 20_480, 30_719, "BOOT_B"),
        gpt_entry(4, 30_720, 129_023, "DATA"),
    ]
}

fn read(table: &[u8], sector_size: usize, lba: u64) -> (gpt::Header, Vec<gpt::Entry>) {
    let place = if lba == 1 { sector_size } else { table.len() - sector_size };
    let header = gpt::Header::parse(&table[place..place + sector_size], lba).unwrap();
    let entries = if lba == 1 { &table[2 * sector_size..] } else { table };
    (header, gpt::parse_entries(&header, entries).unwrap())
}

#[test]
fn crc() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(b""), 0);
}

/// A bit at a time.
fn crc_of_the_definition(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

proptest! {
    #[test]
    fn crc_of_what_is_mostly_zeros(
        length in 0..20_000_usize,
        set in collection::vec((0..20_000_usize, 1..=255_u8), 0..4),
        cut: Index,
    ) {
        let mut bytes = vec![0; length];
        for (place, byte) in set.into_iter().filter(|(place, _)| *place < length) {
            bytes[place] = byte;
        }
        prop_assert_eq!(crc32(&bytes), crc_of_the_definition(&bytes));
        let (first, second) = bytes.split_at(cut.index(length + 1));
        prop_assert_eq!(super::crc32_on(crc32(first), second), crc32(&bytes));
    }
}

#[test]
fn guids() {
    let text = "28732ac1-1ff8-d211-ba4b-00a0c93ec93b";
    assert_eq!(guid(text).to_string(), text);
    assert_eq!(guid(&text.to_uppercase()), guid(text));
    // The EFI system partition's, as sgdisk wrote it.
    let disk = [
        0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9,
        0x3b,
    ];
    assert_eq!(guid(ESP).to_bytes(), disk);
    assert_eq!(Guid::default(), Guid::NIL);
    for wrong in [
        "",
        "28732ac1-1ff8-d211-ba4b-00a0c93ec93",
        "28732ac1-1ff8-d211-ba4b-00a0c93ec93b0",
        "28732ac1-1ff8-d211-ba4b-00a0c93ec93g",
        "28732ac11ff8d211ba4b00a0c93ec93b",
        "28732ac1-1ff8-d211-ba4b000a0c93ec93b",
        "+8732ac1-1ff8-d211-ba4b-00a0c93ec93b",
        "28732ac1-1ff8-d211-ba4b-00a0c93ec9ä",
        "{28732ac1-1ff8-d211-ba4b-00a0c93ec93b}",
        "2-8732ac1-1ff8-d211-ba4b-00a0c93ec93b",
    ] {
        assert!(wrong.parse::<Guid>().is_err(), "{wrong}");
    }
}

fn fat32(start: u32, sectors: u32) -> mbr::Entry {
    mbr::Entry { boot: false, kind: 0x0c, start, sectors }
}

const UNUSED: mbr::Entry = mbr::Entry { boot: false, kind: 0, start: 0, sectors: 0 };

/// `printf 'label: dos\nlabel-id: 0x1a2b3c4d\n2048,8192,c,*\n10240,4096,c\n,,83\n' | sfdisk` on
/// 64 MiB, util-linux 2.38.1: from byte 440 on.
const SFDISK: [u8; 72] = [
    0x4d, 0x3c, 0x2b, 0x1a, 0x00, 0x00, 0x80, 0x20, 0x21, 0x00, 0x0c, 0xa2, 0x22, 0x00, 0x00, 0x08,
    0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0xa2, 0x23, 0x00, 0x0c, 0xe3, 0x23, 0x00, 0x00, 0x28,
    0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0xe3, 0x24, 0x00, 0x83, 0x28, 0x20, 0x08, 0x00, 0x38,
    0x00, 0x00, 0x00, 0xc8, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x55, 0xaa,
];

#[test]
fn mbr_as_sfdisk_writes_it() {
    let mut sector = [0; 512];
    sector[440..].copy_from_slice(&SFDISK);
    let boot = mbr::Entry { boot: true, ..fat32(2048, 8192) };
    let data = mbr::Entry { kind: 0x83, ..fat32(14_336, 116_736) };
    let entries = [boot, fat32(10_240, 4096), data, UNUSED];
    assert_eq!(mbr::parse(&sector), Some(entries));
    assert_eq!(mbr::disk_signature(&sector), Some(0x1a2b_3c4d));
    assert!(!mbr::is_protective(&sector));
    assert_eq!(mbr::write(0x1a2b_3c4d, &entries), Ok(sector));
}

#[test]
fn mbr_is_not_the_boot_sector_of_a_file_system() {
    assert_eq!(mbr::parse(&[]), None);
    assert_eq!(mbr::parse(&[0; 4096]), None);
    let mut sector = [0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(mbr::parse(&sector), Some([UNUSED; 4]));
    assert_eq!(mbr::parse(&sector[..511]), None);
    for place in [446, 462, 478, 494] {
        let mut fat = sector;
        fat[place] = 0x6f;
        assert_eq!((mbr::parse(&fat), mbr::disk_signature(&fat)), (None, None));
    }
}

#[test]
fn mbr_protects_a_gpt_from_sector_1_on() {
    #[track_caller]
    fn check(entry: mbr::Entry, protective: bool, signature: Option<u32>) {
        let sector = mbr::write(7, &[fat32(2048, 1), UNUSED, entry, UNUSED]).unwrap();
        assert_eq!(mbr::is_protective(&sector), protective);
        assert_eq!(mbr::disk_signature(&sector), signature);
    }
    check(mbr::Entry { kind: mbr::PROTECTIVE, ..fat32(1, 2047) }, true, None);
    check(mbr::Entry { kind: mbr::PROTECTIVE, ..fat32(2, 2046) }, false, None);
    check(fat32(1, 2047), false, Some(7));
}

#[test]
fn mbr_writer_refuses() {
    #[track_caller]
    fn check(entries: [mbr::Entry; 4], expected: Error) {
        assert_eq!(mbr::write(0, &entries), Err(expected));
    }
    check([fat32(1, 9), fat32(9, 1), UNUSED, UNUSED], Error::Overlap(1, 2));
    check([fat32(9, 1), UNUSED, UNUSED, fat32(1, 9)], Error::Overlap(1, 4));
    check([fat32(1, 99), UNUSED, fat32(5, 5), UNUSED], Error::Overlap(1, 3));
    check([fat32(5, 5), fat32(1, 99), UNUSED, UNUSED], Error::Overlap(1, 2));
    check([fat32(0, 1), UNUSED, UNUSED, UNUSED], Error::Range(1));
    check([UNUSED, fat32(1, 0), UNUSED, UNUSED], Error::Range(2));
    check([UNUSED, UNUSED, mbr::Entry { kind: 0, ..fat32(1, 1) }, UNUSED], Error::Range(3));
    check([fat32(2, u32::MAX), UNUSED, UNUSED, UNUSED], Error::Range(1));
    assert!(mbr::write(0, &[fat32(1, u32::MAX), UNUSED, UNUSED, UNUSED]).is_ok());
    assert!(mbr::write(0, &[fat32(9, 1), fat32(1, 8), fat32(10, 1), UNUSED]).is_ok());
}

proptest! {
    #[test]
    fn guid_round_trip(bytes: [u8; 16]) {
        let text = Guid::from_bytes(bytes).to_string();
        prop_assert_eq!(text.parse(), Ok(Guid::from_bytes(bytes)));
    }

    #[test]
    fn guid_arbitrary_text(text: String) {
        prop_assert!(text.parse::<Guid>().is_err());
    }

    #[test]
    fn mbr_round_trip(signature: u32, parts: [(bool, u8, u32, u32); 4]) {
        let entries = parts.map(|(boot, kind, start, sectors)| mbr::Entry { boot, kind, start, sectors });
        if let Ok(sector) = mbr::write(signature, &entries) {
            prop_assert_eq!(mbr::parse(&sector), Some(entries));
        }
        let mut place = 1_u32;
        let packed = parts.map(|(boot, kind, gap, sectors)| {
            let start = place + gap % (1 << 28);
            let sectors = 1 + sectors % (1 << 28);
            place = start + sectors;
            mbr::Entry { boot, kind: kind.max(1), start, sectors }
        });
        let sector = mbr::write(signature, &packed).unwrap();
        prop_assert_eq!(mbr::parse(&sector), Some(packed));
    }

    #[test]
    fn mbr_arbitrary_bytes(bytes: Vec<u8>, mut sector in proptest::array::uniform32(any::<[u8; 16]>())) {
        sector[31][14..].copy_from_slice(&[0x55, 0xaa]);
        for bytes in [bytes.as_slice(), sector.as_flattened()] {
            mbr::parse(bytes);
            mbr::disk_signature(bytes);
            mbr::is_protective(bytes);
        }
    }

    /// There is no checksum: a wrong byte is refused or read as another table.
    #[test]
    fn mbr_one_wrong_byte(entry in 0..4_usize, field in proptest::sample::select(
        vec![0_usize, 4, 8, 9, 10, 11, 12, 13, 14, 15]), flip in 1..=255_u8) {
        let parts = [fat32(2048, 10), fat32(4096, 10), fat32(8192, 10), fat32(9000, 5)];
        let mut sector = mbr::write(7, &parts).unwrap();
        sector[446 + 16 * entry + field] ^= flip;
        prop_assert!(mbr::parse(&sector) != Some(parts));
    }
}
