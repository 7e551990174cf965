// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk with any partition table whose checksums are right: a partition that grows begins where it did, no other one
//! changes, and between the writes there is always a table that can be read.
//!
//! Input: sector 0, the first GPT's header and 8 of its entries, the second one's header and 8 of its entries.
#![no_main]

use bootsel::ptable::grow::Refusal::{NotLast, Overlap};
use bootsel::ptable::grow::{Disk, Room, plan};
use bootsel::ptable::{crc32, gpt, mbr};

const BLOCK: usize = 512;
const BYTES: u64 = 64 << 20;
const LAST: u64 = BYTES / BLOCK as u64 - 1;
/// Of a GPT as every tool makes it.
const TABLE: usize = 128 * 128;
const GIVEN: usize = 8 * 128;

/// What is not zero on the disk; what was written last comes first.
type Pieces = Vec<(u64, Vec<u8>)>;
/// Number, first byte, and the byte behind the last.
type Partition = (u32, u64, u64);

fn read(pieces: &Pieces, at: u64, length: usize) -> Option<Vec<u8>> {
    at.checked_add(length as u64).filter(|end| *end <= BYTES)?;
    let mut bytes = vec![0; length];
    for (start, piece) in pieces.iter().rev() {
        let from = at.max(*start);
        let end = (at + length as u64).min(start + piece.len() as u64);
        if from < end {
            let (to, length) = ((from - at) as usize, (end - from) as usize);
            bytes[to..to + length].copy_from_slice(&piece[(from - start) as usize..][..length]);
        }
    }
    Some(bytes)
}

fn fill(pieces: &Pieces, at: u64, buffer: &mut [u8]) -> Option<()> {
    read(pieces, at, buffer.len()).map(|bytes| buffer.copy_from_slice(&bytes))
}

/// The header, its checksum and that of its entries put right where it is one for them.
fn header(given: &[u8], entries: &[u8]) -> Vec<u8> {
    let mut header = given.to_vec();
    let word = |at: usize| u32::from_le_bytes(given[at..at + 4].try_into().unwrap()) as usize;
    if let Some(entries) = word(80).checked_mul(word(84)).and_then(|length| entries.get(..length)) {
        header[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
    }
    header[16..20].fill(0);
    if let Some(crc) = header.get(..word(12)).map(crc32) {
        header[16..20].copy_from_slice(&crc.to_le_bytes());
    }
    header
}

fn partitions(pieces: &Pieces) -> Option<Vec<Partition>> {
    let block = BLOCK as u64;
    let first = read(pieces, 0, BLOCK)?;
    if mbr::is_protective(&first) {
        let table = |lba: u64| {
            let header = gpt::Header::parse(&read(pieces, lba * block, BLOCK)?, lba).ok()?;
            let bytes = read(pieces, header.entries_offset(), header.entries_bytes() as usize)?;
            gpt::parse_entries(&header, &bytes).ok()
        };
        let end = |last: u64| last.saturating_add(1).saturating_mul(block);
        let entries = table(1).or_else(|| table(LAST))?;
        let bytes = |one: &gpt::Entry| (one.number, one.first.saturating_mul(block), end(one.last));
        return Some(entries.iter().map(bytes).collect());
    }
    let entries = (1..).zip(mbr::parse(&first)?).filter(|(_, entry)| entry.sectors > 0);
    let end = |one: &mbr::Entry| (u64::from(one.start) + u64::from(one.sectors)) * block;
    Some(entries.map(|(n, one)| (n, u64::from(one.start) * block, end(&one))).collect())
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    bytes.resize(3 * BLOCK + 2 * GIVEN, 0);
    let (first, rest) = bytes.split_at(BLOCK);
    let mut pieces = vec![(0, first.to_vec())];
    let ends = [(BLOCK as u64, 2), (LAST * BLOCK as u64, LAST - (TABLE / BLOCK) as u64)];
    for ((place, entries_lba), given) in ends.into_iter().zip(rest.chunks(BLOCK + GIVEN)) {
        let mut entries = given[BLOCK..].to_vec();
        entries.resize(TABLE, 0);
        pieces.push((place, header(&given[..BLOCK], &entries)));
        pieces.push((entries_lba * BLOCK as u64, entries));
    }
    let Some(before) = partitions(&pieces) else { return };
    // The kernel makes no partition of what is longer than the disk.
    for (number, start, end) in before.iter().copied().filter(|one| one.2 <= BYTES) {
        let mut grown = pieces.clone();
        let disk =
            Disk { block: BLOCK as u32, bytes: BYTES, read: &|at, to| fill(&pieces, at, to) };
        let mut room = Room::EMPTY;
        let Ok(Some(first)) = plan(&disk, number, start, &mut room) else { continue };
        let new = start + first.length;
        assert!(end <= new && new <= BYTES, "{start}..{end} becomes ..{new}");
        let after = |other: &Partition| other.0 != number && other.1 < other.2 && start < other.2;
        assert!(end == new || !before.iter().any(after), "{number} grows over {before:?}");
        for (at, bytes) in first.writes.iter().filter(|one| !one.1.is_empty()) {
            grown.insert(0, (*at, bytes.to_vec()));
            let now = partitions(&grown).expect("there is always a table");
            for (old, now) in before.iter().zip(&now) {
                assert!(old == now || *now == (number, start, new), "{old:?} becomes {now:?}");
            }
            assert_eq!(before.len(), now.len());
        }
        let now = partitions(&grown).expect("there is a table at the end");
        assert!(now.contains(&(number, start, new)), "{now:?}");
        let disk = Disk { read: &|at, to| fill(&grown, at, to), ..disk };
        let mut room = Room::EMPTY;
        match plan(&disk, number, start, &mut room) {
            Ok(None) => {}
            // Mended by one boot, grown by the next.
            Ok(Some(next)) => assert!(end == new && next.length > first.length, "not done"),
            Err(why) => assert!(end == new && [NotLast, Overlap].contains(&why), "{why}"),
        }
    }
});
