// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::fixture::{Entry, header, index};
use core::cell::Cell;
use proptest::prelude::*;
use std::string::String;

/// Looks `key` up in both ways in an index of these bytes; counts the preads.
fn look(bytes: &[u8], key: &str) -> (Result<(), Fault>, usize) {
    let reads = Cell::new(0);
    let read_at = |offset: u64, buffer: &mut [u8]| {
        reads.set(reads.get() + 1);
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    };
    let found = Index::open(&read_at).and_then(|index| index.find(key));
    let matching = Index::open(&read_at).and_then(|index| index.find_matching(key));
    (found.and(matching).map(|_| ()), reads.get())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn read_from(bytes: &[u8]) -> impl Fn(u64, &mut [u8]) -> Result<usize, Errno> {
    |offset, buffer| {
        let rest = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[track_caller]
fn finds(bytes: &[u8], key: &str, expected: Option<&str>) {
    let read_at = read_from(bytes);
    let found = Index::open(&read_at).unwrap().find(key).unwrap();
    assert_eq!(found.map(text).as_deref(), expected, "{key}");
}

#[track_caller]
fn matching(bytes: &[u8], key: &str, expected: &[&str]) {
    let read_at = read_from(bytes);
    let found = Index::open(&read_at).unwrap().find_matching(key).unwrap();
    assert_eq!(found.into_iter().map(text).collect::<Vec<_>>(), expected, "{key}");
}

const DAMAGED: Fault = Fault::Corrupt("a node is cut off or damaged");

#[track_caller]
fn corrupt(bytes: &[u8], why: &'static str) {
    assert_eq!(look(bytes, "ext4").0, Err(Fault::Corrupt(why)));
}

#[test]
fn exact() {
    let bytes = index(&[
        (b"ask", 2, b"second"),
        (b"ask", 1, b"first"),
        (b"ate", 1, b"ate"),
        (b"on", 1, b"on"),
        (b"once", 1, b""),
        (b"o*", 1, b"star"),
    ]);
    finds(&bytes, "ask", Some("first"));
    finds(&bytes, "ate", Some("ate"));
    finds(&bytes, "on", Some("on"));
    finds(&bytes, "once", Some(""));
    for absent in ["", "a", "as", "asks", "o", "onc", "oncer", "onx", "zzz", "é"] {
        finds(&bytes, absent, None);
    }
    finds(&bytes, "o*", Some("star"));
    finds(&index(&[]), "ask", None);
    finds(&index(&[(b"", 0, b"empty")]), "", Some("empty"));
}

#[test]
fn patterns() {
    let bytes = index(&[
        (b"pci:v00001AF4d00001001sv*sd*", 9, b"virtio_pci"),
        (b"pci:v00001AF4d*sv*sd*", 5, b"any_virtio"),
        (b"pci:v*", 7, b"any_virtio"),
        (b"usb:v[0-9]p?", 1, b"usb"),
        (b"crypto-crc32c", 3, b"crc32c_generic"),
        (b"crypto-crc32c", 2, b"crc32c_fast"),
        (b"?rypto-x", 1, b"x"),
    ]);
    let device = "pci:v00001AF4d00001001sv00001AF4sd00000002";
    matching(&bytes, device, &["any_virtio", "virtio_pci"]);
    matching(&bytes, "pci:v1", &["any_virtio"]);
    matching(&bytes, "pci:", &[]);
    matching(&bytes, "usb:v5px", &["usb"]);
    matching(&bytes, "usb:vxpx", &[]);
    matching(&bytes, "crypto-crc32c", &["crc32c_fast", "crc32c_generic"]);
    matching(&bytes, "crypto-x", &["x"]);
    matching(&bytes, "", &[]);
    matching(&index(&[(b"*", 0, b"all")]), "", &["all"]);
}

#[test]
fn not_an_index() {
    corrupt(b"", "it is not an index that depmod wrote");
    corrupt(b"\xB0\x07\xF4", "it is not an index that depmod wrote");
    corrupt(b"\xB0\x07\xF4\x57\0\x02\0\x01\0\0", "it ends too early");
    corrupt(b"kernel/fs/ext4/ext4.ko: kernel", "it is not an index that depmod wrote");
    corrupt(b"\xB0\x07\xF4\x57\0\x01\0\x01\0\0\0\x0C", "it is an index of another version");
}

#[test]
fn cut_anywhere() {
    let bytes = index(&[
        (b"ext4", 0, b"kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko"),
        (b"ext*", 1, b"pattern"),
        (b"loop", 2, b"kernel/drivers/block/loop.ko:"),
    ]);
    for length in 0..bytes.len() {
        // The root is the last node: whatever is cut off is missed.
        assert!(look(&bytes[..length], "ext4").0.is_err(), "{length}");
    }
    look(&bytes, "ext4").0.unwrap();
}

#[test]
fn hostile() {
    // The root is its own child for every byte.
    let mut cycle = header(0x2000_000C);
    cycle.extend([0, 127]);
    cycle.extend(0x2000_000C_u32.to_be_bytes().repeat(128));
    corrupt(&cycle, "a key is too long");

    // The same with two nodes that multiply: the keys are short enough, but there are 2^1000 of them.
    let mut tree = header(0x2000_000C);
    tree.extend([b'*', b'*']);
    tree.extend(0x6000_0012_u32.to_be_bytes());
    tree.extend([b'a', b'b']);
    tree.extend([0x2000_000C_u32; 2].map(u32::to_be_bytes).concat());
    assert!(look(&tree, "ext4").0.is_err());

    let mut counts = header(0x4000_000C);
    counts.extend([0xFF; 4]);
    counts.extend(b"\0\0\0\0v\0".repeat(1000));
    let read_at = read_from(&counts);
    let found = Index::open(&read_at).unwrap().find("");
    assert_eq!(found, Err(DAMAGED));

    let mut long = header(0xC000_000C);
    long.extend([b'x'; 5000]);
    assert_eq!(look(&long, "ext4").0, Err(DAMAGED));

    let mut reversed = header(0x2000_000C);
    reversed.extend([9, 8, 0, 0]);
    assert_eq!(look(&reversed, "ext4").0, Err(DAMAGED));
    let mut high = header(0x2000_000C);
    high.extend([0; 2]);
    high[13] = 128;
    assert_eq!(look(&high, "ext4").0, Err(DAMAGED));

    assert_eq!(look(&header(0xFFFF_FFFF), "ext4").0, Err(DAMAGED));
    // No root is no key.
    finds(&header(0), "ext4", None);
    finds(&header(0xF000_0000), "ext4", None);
}

#[test]
fn the_medium_fails() {
    let read_at = |_: u64, _: &mut [u8]| Err(Errno::IO);
    assert_eq!(Index::open(&read_at).err(), Some(Fault::Read(Errno::IO)));
    // More bytes than there is room for.
    let read_at = |_: u64, buffer: &mut [u8]| Ok(buffer.len() + 1);
    assert!(Index::open(&read_at).is_err());
}

type Owned = Vec<(String, u32, String)>;

fn entries(owned: &Owned) -> Vec<Entry<'_>> {
    owned.iter().map(|(k, p, v)| (k.as_bytes(), *p, v.as_bytes())).collect()
}

fn some_entries() -> impl Strategy<Value = Owned> {
    prop::collection::vec((r"[ab]{0,3}[ab*?\[\]-]{0,5}", any::<u32>(), "[a-z]{1,2}"), 0..40)
}

proptest! {
    #[test]
    fn finds_what_is_there(owned in some_entries(), key in "[ab*]{0,5}") {
        let bytes = index(&entries(&owned));
        let best = owned.iter().filter(|e| e.0 == key).min_by_key(|e| e.1);
        let read_at = read_from(&bytes);
        let found = Index::open(&read_at).unwrap().find(&key).unwrap();
        prop_assert_eq!(found.map(text), best.map(|e| e.2.clone()));
    }

    #[test]
    fn matches_what_is_there(owned in some_entries(), key in "[ab]{0,7}") {
        let bytes = index(&entries(&owned));
        let hit = |e: &&(String, u32, String)| matches(e.0.as_bytes(), key.as_bytes());
        let hits = owned.iter().filter(hit).map(|e| (e.1, e.2.clone().into_bytes())).collect();
        let read_at = read_from(&bytes);
        let mut found = Index::open(&read_at).unwrap().find_matching(&key).unwrap();
        let mut expected = in_order(hits);
        // Of equal priorities either may be first.
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn never_panics_on_noise(bytes: Vec<u8>, key in "[a-z*:]{0,8}") {
        let _ = look(&bytes, &key);
        let _ = look(&[header(0xE000_000C), bytes].concat(), &key);
    }

    #[test]
    fn never_panics_on_damage(
        owned in some_entries(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        key in "[ab]{0,7}",
    ) {
        let mut bytes = index(&entries(&owned));
        for (place, byte) in damage {
            let nth = place.index(bytes.len());
            bytes[nth] = byte;
        }
        let (_, reads) = look(&bytes, &key);
        // Damage can make loops; they end when the fuel of both lookups does.
        prop_assert!(reads <= 2 * (FUEL / NODE[0] + 2), "{} reads", reads);
    }
}
