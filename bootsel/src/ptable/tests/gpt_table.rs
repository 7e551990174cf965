// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{DISK, ESP, SECTORS, four, gpt_entry, guid, read};
use crate::ptable::{Error, Guid, crc32, gpt, mbr};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use std::{string::String, vec, vec::Vec};

/// The header and the one entry of `sgdisk -U DISK -n 1:2048:+4M -t 1:ef00 -u 1:.. -c 1:BOOTSEL` on
/// 64 MiB, gdisk 1.0.9.
const SGDISK: [u8; 92] = [
    0x45, 0x46, 0x49, 0x20, 0x50, 0x41, 0x52, 0x54, 0x00, 0x00, 0x01, 0x00, 0x5c, 0x00, 0x00, 0x00,
    0x67, 0x90, 0x74, 0xaf, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x22, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xde, 0xff, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde,
    0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x80, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x0b, 0x49, 0x7d, 0xe1,
];

#[test]
fn gpt_as_sgdisk_writes_it() {
    let entry = gpt::Entry {
        type_guid: guid(ESP),
        guid: guid("00112233-4455-6677-8899-aabbccddeeff"),
        ..gpt_entry(1, 2048, 10_239, "BOOTSEL")
    };
    let (primary, backup) =
        gpt::build(512, SECTORS, guid(DISK), std::slice::from_ref(&entry)).unwrap();
    assert_eq!((primary.len(), backup.len()), (34 * 512, 33 * 512));
    assert_eq!(&primary[512..][..92], SGDISK);
    assert!(mbr::is_protective(&primary));
    assert_eq!(mbr::disk_signature(&primary), None);
    let (header, entries) = read(&primary, 512, 1);
    assert_eq!((header.first_usable, header.last_usable), (34, 131_038));
    assert_eq!((header.entries_offset(), header.entries_bytes()), (1024, 16_384));
    assert_eq!(entries, [entry]);
}

#[test]
fn gpt_round_trip_of_both_tables() {
    for (sector_size, reserved) in [(512, 33), (1024, 17), (2048, 9), (4096, 5)] {
        let mut entries = four();
        entries[3].last = SECTORS - 1 - reserved;
        let (primary, backup) = gpt::build(sector_size, SECTORS, guid(DISK), &entries).unwrap();
        let size = usize::try_from(sector_size).unwrap();
        let reserved = usize::try_from(reserved).unwrap();
        assert_eq!((primary.len(), backup.len()), ((reserved + 1) * size, reserved * size));
        let (one, read_one) = read(&primary, size, 1);
        let (two, read_two) = read(&backup, size, SECTORS - 1);
        assert_eq!((read_one.as_slice(), read_two.as_slice()), (&entries[..], &entries[..]));
        assert_eq!((one.alternate, two.alternate), (two.lba, one.lba));
        assert_eq!(two.entries_lba, one.last_usable + 1);
        assert_eq!((one.disk_guid, one.entries_crc), (two.disk_guid, two.entries_crc));
    }
}

#[test]
fn gpt_numbers_have_gaps_and_any_order() {
    let entries = [gpt_entry(128, 50, 50, ""), gpt_entry(3, 40, 49, "ä😀")];
    let (primary, _) = gpt::build(512, 200, guid(DISK), &entries).unwrap();
    assert_eq!(read(&primary, 512, 1).1, [entries[1].clone(), entries[0].clone()]);
}

#[test]
fn gpt_smallest_disk() {
    // Two tables of 34 and 33 sectors, and one sector for a partition.
    assert!(gpt::build(512, 68, guid(DISK), &[gpt_entry(1, 34, 34, "")]).is_ok());
    for sectors in [0, 1, 2, 33, 66, 67] {
        let small = Err(Error::DiskTooSmall(sectors));
        assert_eq!(gpt::build(512, sectors, guid(DISK), &[]), small);
    }
    // Past 2 TiB the protective entry ends at its last number.
    let (primary, _) = gpt::build(512, u64::MAX, guid(DISK), &[]).unwrap();
    assert_eq!(mbr::parse(&primary).unwrap()[0].sectors, u32::MAX);
    for size in [0, 511, 513, 8192, u32::MAX] {
        assert!(matches!(gpt::build(size, 9999, guid(DISK), &[]), Err(Error::SectorSize(_))));
    }
}

#[test]
fn gpt_writer_refuses() {
    #[track_caller]
    fn check(entries: &[gpt::Entry], expected: Error) {
        assert_eq!(gpt::build(512, SECTORS, guid(DISK), entries), Err(expected));
    }
    let one = gpt_entry(1, 100, 199, "one");
    check(&[one.clone(), gpt_entry(2, 199, 300, "")], Error::Overlap(1, 2));
    check(&[one.clone(), gpt_entry(2, 50, 100, "")], Error::Overlap(1, 2));
    check(&[one.clone(), gpt_entry(2, 50, 300, "")], Error::Overlap(1, 2));
    check(&[one.clone(), gpt_entry(2, 150, 150, "")], Error::Overlap(1, 2));
    check(&[gpt_entry(0, 100, 199, "")], Error::Number(0));
    check(&[gpt_entry(129, 100, 199, "")], Error::Number(129));
    check(&[gpt_entry(1, 33, 199, "")], Error::Range(1));
    check(&[gpt_entry(1, 100, 131_039, "")], Error::Range(1));
    check(&[gpt_entry(1, 100, u64::MAX, "")], Error::Range(1));
    check(&[gpt_entry(1, 100, 99, "")], Error::Range(1));
    check(&[gpt::Entry { type_guid: Guid::NIL, ..one.clone() }], Error::Range(1));
    check(&[gpt::Entry { guid: Guid::NIL, ..one.clone() }], Error::PartitionGuid(1));
    let same_guid = gpt::Entry { guid: one.guid, ..gpt_entry(2, 200, 299, "") };
    check(&[one.clone(), same_guid], Error::PartitionGuid(2));
    let same_number = gpt::Entry { number: 1, ..gpt_entry(2, 200, 299, "") };
    check(&[one, same_number], Error::Number(1));
    check(&[gpt_entry(1, 100, 199, &"x".repeat(37))], Error::Name(1));
    check(&[gpt_entry(1, 100, 199, &"😀".repeat(19))], Error::Name(1));
    check(&[gpt_entry(1, 100, 199, "a\0b")], Error::Name(1));
    let longest = [gpt_entry(1, 100, 199, &"😀".repeat(18))];
    let (primary, _) = gpt::build(512, SECTORS, guid(DISK), &longest).unwrap();
    assert_eq!(read(&primary, 512, 1).1, longest);
}

/// The sgdisk header with one field changed and the checksum made right again.
fn header_with(offset: usize, field: &[u8]) -> [u8; 512] {
    let mut sector = [0; 512];
    sector[..92].copy_from_slice(&SGDISK);
    sector[offset..offset + field.len()].copy_from_slice(field);
    sector[16..20].fill(0);
    let crc = crc32(&sector[..92]);
    sector[16..20].copy_from_slice(&crc.to_le_bytes());
    sector
}

#[test]
fn gpt_header_bounds() {
    #[track_caller]
    fn check(offset: usize, field: &[u8], expected: Result<(), Error>) {
        assert_eq!(gpt::Header::parse(&header_with(offset, field), 1).map(|_| ()), expected);
    }
    check(16, &[], Ok(()));
    check(0, b"efi part", Err(Error::NoHeader));
    for size in [0, 91, 513, u32::MAX] {
        check(12, &size.to_le_bytes(), Err(Error::HeaderSize));
    }
    check(24, &2_u64.to_le_bytes(), Err(Error::Misplaced(2)));
    check(40, &131_039_u64.to_le_bytes(), Err(Error::Usable(131_039, 131_038)));
    for lba in [0, 1, u64::MAX, u64::MAX - 31, u64::MAX / 512] {
        check(72, &lba.to_le_bytes(), Err(Error::EntriesPlace(lba)));
    }
    for number in [0, 1025, u32::MAX] {
        check(80, &number.to_le_bytes(), Err(Error::Entries(number, 128)));
    }
    for size in [0, 64, 127, 129, 384, 8192, u32::MAX, 1 << 31] {
        check(84, &size.to_le_bytes(), Err(Error::Entries(128, size)));
    }
    for (number, size) in [(1_u32, 128_u32), (1024, 4096), (4, 256), (56, 128)] {
        check(80, &[number.to_le_bytes(), size.to_le_bytes()].concat(), Ok(()));
    }
    // The backup's entries must not cover its header.
    let mut sector = header_with(24, &1000_u64.to_le_bytes());
    assert!(gpt::Header::parse(&sector, 1000).is_ok());
    for (entries_lba, fits) in
        [(1_u64, false), (2, true), (968, true), (969, false), (1000, false), (1001, true)]
    {
        sector[72..80].copy_from_slice(&entries_lba.to_le_bytes());
        sector[16..20].fill(0);
        let crc = crc32(&sector[..92]);
        sector[16..20].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(gpt::Header::parse(&sector, 1000).is_ok(), fits, "{entries_lba}");
    }
    for length in [0, 91, 511, 513, 4095, 8192] {
        let sector = vec![0; length];
        assert_eq!(gpt::Header::parse(&sector, 1), Err(Error::SectorSize(length)));
    }
}

#[test]
fn gpt_entries_larger_than_128_bytes() {
    let (primary, _) = gpt::build(512, SECTORS, guid(DISK), &four()).unwrap();
    let mut bytes = Vec::new();
    for entry in primary[1024..][..4 * 128].chunks(128) {
        bytes.extend(entry);
        bytes.extend([0xff; 384]);
    }
    let (mut header, _) = read(&primary, 512, 1);
    (header.entries, header.entry_size, header.entries_crc) = (4, 512, crc32(&bytes));
    assert_eq!(gpt::parse_entries(&header, &bytes).unwrap(), four());
    assert_eq!(gpt::parse_entries(&header, &bytes[1..]), Err(Error::EntriesShort));
    bytes.push(0);
    assert_eq!(gpt::parse_entries(&header, &bytes).unwrap(), four());
    bytes[2047] = 0;
    assert_eq!(gpt::parse_entries(&header, &bytes), Err(Error::EntriesCrc));
    // Fields by hand that `Header::parse` would not have let through.
    (header.entries, header.entry_size, header.entries_crc) = (0, 0, 0);
    assert_eq!(gpt::parse_entries(&header, &bytes), Ok(vec![]));
    (header.entries, header.entry_size) = (u32::MAX, u32::MAX);
    assert_eq!(gpt::parse_entries(&header, &bytes), Err(Error::EntriesShort));
}

#[test]
fn gpt_name_that_is_no_utf16() {
    let (mut primary, _) = gpt::build(512, SECTORS, guid(DISK), &four()).unwrap();
    primary[1024 + 56..][..4].copy_from_slice(&[0x00, 0xd8, b'x', 0]);
    let crc = crc32(&primary[1024..]);
    let header = gpt::Header { entries_crc: crc, ..read(&sound(), 512, 1).0 };
    let entries = gpt::parse_entries(&header, &primary[1024..]).unwrap();
    assert_eq!(entries[0].name, "\u{fffd}xOTSEL");
}

fn sound() -> Vec<u8> {
    gpt::build(512, SECTORS, guid(DISK), &four()).unwrap().0
}

#[test]
fn every_single_bit_of_a_gpt_counts() {
    let sound = sound();
    let (header, _) = read(&sound, 512, 1);
    for bit in 0..92 * 8 {
        let mut sector = sound[512..1024].to_vec();
        sector[bit / 8] ^= 1 << (bit % 8);
        assert!(gpt::Header::parse(&sector, 1).is_err(), "bit {bit}");
    }
    for bit in (0..16_384 * 8).step_by(331) {
        let mut entries = sound[1024..].to_vec();
        entries[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(gpt::parse_entries(&header, &entries), Err(Error::EntriesCrc), "bit {bit}");
    }
}

/// Partitions one after the other, with gaps, on a disk that they fit on.
fn disk() -> impl Strategy<Value = (u32, u64, Vec<gpt::Entry>)> {
    let part = (0..500_u64, 1..5000_u64, any::<u64>(), "\\PC{0,18}");
    let sizes = proptest::sample::select(vec![512_u32, 1024, 2048, 4096]);
    let parts = proptest::collection::vec(part, 0..=40);
    (sizes, parts, 0..1000_u64).prop_map(|(sector_size, parts, rest)| {
        let mut place = 34;
        let mut entries = Vec::new();
        for ((gap, sectors, attributes, name), number) in parts.into_iter().zip(1..) {
            let first = place + gap;
            place = first + sectors;
            let name: String = name.chars().take(18).collect();
            let entry = gpt_entry(number, first, place - 1, &name);
            entries.push(gpt::Entry { attributes, ..entry });
        }
        (sector_size, place + rest + 34, entries)
    })
}

proptest! {
    #[test]
    fn gpt_arbitrary_entries(
        number in 0..140_u32, first in 20..300_u64, last in 20..300_u64, other_last in 50..300_u64,
        name in "\\PC{0,40}",
    ) {
        let entries = [gpt_entry(number, first, last, &name), gpt_entry(7, 60, other_last, "")];
        if let Ok((primary, _)) = gpt::build(512, 300, guid(DISK), &entries) {
            prop_assert_eq!(read(&primary, 512, 1).1.len(), 2);
            prop_assert!(first <= last && (last < 60 || first > other_last));
        }
    }

    /// The checksum made right, so that the bounds are what is tested.
    #[test]
    fn gpt_arbitrary_header(
        size in 80..120_u32,
        lbas in proptest::array::uniform4(proptest::prelude::prop_oneof![0..50_u64, any::<u64>()]),
        table in (0..60_u64, 0..1100_u32, proptest::sample::select(vec![0_u32, 64, 128, 384, 4096])),
    ) {
        let (entries_lba, entries, entry_size) = table;
        let mut header = b"EFI PART\0\0\x01\0".to_vec();
        header.extend([size.to_le_bytes(), [0; 4], [0; 4]].as_flattened());
        header.extend(lbas.map(u64::to_le_bytes).as_flattened());
        header.extend([0; 16]);
        header.extend(entries_lba.to_le_bytes());
        header.extend([entries.to_le_bytes(), entry_size.to_le_bytes(), [0; 4]].as_flattened());
        header.resize(512, 0);
        let crc = crc32(&header[..size as usize]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        if let Ok(header) = gpt::Header::parse(&header, lbas[0]) {
            prop_assert!(size >= 92 && entries_lba > 1 && lbas[2] <= lbas[3]);
            prop_assert!((1..=1024).contains(&entries) && [128, 4096].contains(&entry_size));
            prop_assert_eq!(header.entries_offset(), entries_lba * 512);
            prop_assert_eq!(header.entries_bytes(), entries * entry_size);
        }
    }

    #[test]
    fn gpt_arbitrary_bytes(mut bytes: Vec<u8>, lba: u64) {
        prop_assert!(gpt::Header::parse(&bytes, lba).is_err());
        bytes.splice(..0, *b"EFI PART");
        bytes.resize(512, 0);
        prop_assert!(gpt::Header::parse(&bytes, lba).is_err());
    }
}

proptest! {
    // These sum whole tables.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn gpt_round_trip((sector_size, sectors, entries) in disk()) {
        let (primary, backup) = gpt::build(sector_size, sectors, guid(DISK), &entries).unwrap();
        let size = usize::try_from(sector_size).unwrap();
        prop_assert_eq!(&read(&primary, size, 1).1, &entries);
        prop_assert_eq!(&read(&backup, size, sectors - 1).1, &entries);
    }

    #[test]
    fn gpt_arbitrary_bytes_of_entries(garbage in proptest::collection::vec(any::<u8>(), 4096)) {
        let header = gpt::Header {
            entries: 32,
            entries_crc: crc32(&garbage),
            ..read(&sound(), 512, 1).0
        };
        prop_assert_eq!(gpt::parse_entries(&header, &garbage).unwrap().len(), 32);
    }
}
