// SPDX-License-Identifier: MIT OR Apache-2.0
//! depmod's binary index: modules.dep.bin, modules.alias.bin and the like.
//!
//! A radix tree on disk, from key to values with priorities; the format is described in kmod's libkmod-index.c. Only
//! the nodes on the way are read, by pread: a mapping would raise SIGBUS where the medium fails, and end PID 1.
//! The bytes may be anything: every lookup ends, by [`FUEL`], and holds little memory, by [`TEXT`] and [`VALUES`].

use alloc::vec::Vec;

use rustix::io::Errno;

use crate::glob::{Empty, Fuel, matches};

const MAGIC: u32 = 0xB007_F457;
/// The minor number may differ: it stands for changes that a reader need not know of.
const VERSION_MAJOR: u32 = 2;

/// A node's reference holds its offset and, in the top bits, which of its parts are there.
const OFFSET: u32 = 0x0FFF_FFFF;
const PREFIX: u32 = 0x8000_0000;
const VALUES_FOLLOW: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;

/// Keys are ASCII: no child is for a byte above.
const LAST_CHILD: u8 = 127;
/// Steps of one lookup: bytes parsed, bytes matched. An `of:` modalias, the dearest, takes 0.7 million in the index
/// of Debian 6.12 for arm64 (30,000 aliases).
const FUEL: usize = 16 << 20;
/// Longest key, in bytes. Debian's longest alias has 55.
pub(crate) const TEXT: usize = 1024;
/// Longest value, in bytes. Debian's longest line of modules.dep has 990.
const VALUE: usize = 32 << 10;
/// Most values of one lookup. Debian's most common alias has 3.
const VALUES: usize = 256;
/// Steps that one pread costs: it takes as long as parsing so many bytes, at least.
const READ: usize = 256;
/// Bytes per pread: nodes that lie together in the tree lie together in the file.
const WINDOW: usize = 4096;

const SHORT: &str = "it ends too early";

/// Reads the file at an offset into the buffer and says how many bytes there were, as pread(2).
pub(crate) type ReadAt<'a> = dyn Fn(u64, &mut [u8]) -> Result<usize, Errno> + 'a;

/// Why a lookup failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file cannot be read.
    Read(Errno),
    /// The bytes are not an index.
    Corrupt(&'static str),
}

impl From<Empty> for Fault {
    fn from(_: Empty) -> Fault {
        Fault::Corrupt("it loops, or is larger than any real index")
    }
}

/// An index, good for one lookup: it can be read no further than [`FUEL`] reaches.
pub(crate) struct Index<'a> {
    read_at: &'a ReadAt<'a>,
    /// The bytes of the file from `start`.
    window: Vec<u8>,
    start: u64,
    /// Where in the file the next byte is read.
    at: u64,
    root: u32,
    fuel: Fuel,
}

/// A node, without its values.
struct Node {
    prefix: Vec<u8>,
    /// The byte that `children[0]` is for.
    first: u8,
    children: Vec<u32>,
    /// Where its values are.
    values: Option<u64>,
}

impl Node {
    /// The children with the bytes that they are for.
    fn children(&self) -> impl Iterator<Item = (u8, u32)> {
        (self.first..=LAST_CHILD).zip(self.children.iter().copied())
    }

    /// The child for `byte`; 0, which is no node, if there is none.
    fn child(&self, byte: u8) -> u32 {
        let nth = byte.checked_sub(self.first).map(usize::from);
        nth.and_then(|nth| self.children.get(nth)).copied().unwrap_or(0)
    }
}

fn is_wildcard(byte: &u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[')
}

impl<'a> Index<'a> {
    pub(crate) fn open(read_at: &'a ReadAt<'a>) -> Result<Index<'a>, Fault> {
        let fuel = Fuel(FUEL);
        let mut index = Index { read_at, window: Vec::new(), start: 0, at: 0, root: 0, fuel };
        if index.number()? != MAGIC {
            return Err(Fault::Corrupt("it is not an index that depmod wrote"));
        }
        if index.number()? >> 16 != VERSION_MAJOR {
            return Err(Fault::Corrupt("it is an index of another version"));
        }
        index.root = index.number()?;
        Ok(index)
    }

    /// The value of `key` with the lowest priority number, the best one.
    pub(crate) fn find(mut self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let mut rest = key.as_bytes();
        let mut reference = self.root;
        // Every turn but the last takes a byte off the key.
        while let Some(node) = self.node(reference)? {
            let Some(behind) = rest.strip_prefix(node.prefix.as_slice()) else { break };
            let Some((byte, tail)) = behind.split_first() else {
                return Ok(self.values(&node)?.into_iter().next().map(|(_, value)| value));
            };
            reference = node.child(*byte);
            rest = tail;
        }
        Ok(None)
    }

    /// The values of all keys that match `text` as patterns, each once, the lowest priority number first.
    pub(crate) fn find_matching(mut self, text: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let mut rest = text.as_bytes();
        let mut reference = self.root;
        let mut found = Vec::new();
        while let Some(mut node) = self.node(reference)? {
            let literal = node.prefix.iter().position(is_wildcard).unwrap_or(node.prefix.len());
            let pattern = node.prefix.split_off(literal);
            let Some(behind) = rest.strip_prefix(node.prefix.as_slice()) else { break };
            rest = behind;
            if !pattern.is_empty() {
                node.prefix = pattern;
                self.patterns(node, Vec::new(), rest, &mut found)?;
                break;
            }
            for wildcard in *b"*?[" {
                if let Some(child) = self.node(node.child(wildcard))? {
                    self.patterns(child, Vec::from([wildcard]), rest, &mut found)?;
                }
            }
            let Some((byte, tail)) = rest.split_first() else {
                found.append(&mut self.values(&node)?);
                break;
            };
            reference = node.child(*byte);
            rest = tail;
        }
        Ok(in_order(found))
    }

    /// Adds to `found` the values of `node` and all below it whose keys match `text`. What of a key is above `node` is
    /// in `pattern`. No recursion: how deep it goes is written on the disk.
    fn patterns(
        &mut self,
        node: Node,
        mut pattern: Vec<u8>,
        text: &[u8],
        found: &mut Vec<(u32, Vec<u8>)>,
    ) -> Result<(), Fault> {
        let mut next = Some(node);
        let mut branches: Vec<(usize, u8, u32)> = Vec::new();
        loop {
            if let Some(node) = next {
                pattern.extend_from_slice(&node.prefix);
                if pattern.len() > TEXT {
                    return Err(Fault::Corrupt("a key is too long"));
                }
                if node.values.is_some() && matches(&pattern, text, &mut self.fuel)? {
                    found.append(&mut self.values(&node)?);
                }
                if found.len() > VALUES {
                    return Err(Fault::Corrupt("too many values"));
                }
                let below = node.children().filter(|(_, reference)| reference & OFFSET != 0);
                branches.extend(below.map(|(byte, reference)| (pattern.len(), byte, reference)));
            }
            let Some((length, byte, reference)) = branches.pop() else { return Ok(()) };
            pattern.truncate(length);
            pattern.push(byte);
            let hopeless = !self.may_match(&mut pattern, text)?;
            next = if hopeless { None } else { self.node(reference)? };
        }
    }

    /// Whether `text` can match anything that begins with `pattern`. It saves reading most of the tree: 1 MB for a
    /// modalias of the device tree.
    fn may_match(&mut self, pattern: &mut Vec<u8>, text: &[u8]) -> Result<bool, Fault> {
        // A set or an escape may be cut in its middle.
        if pattern.iter().any(|byte| matches!(byte, b'[' | b'\\')) {
            return Ok(true);
        }
        pattern.push(b'*');
        let may = matches(pattern, text, &mut self.fuel);
        pattern.pop();
        Ok(may?)
    }

    /// Reads a node; offset 0 is none.
    fn node(&mut self, reference: u32) -> Result<Option<Node>, Fault> {
        let has = |part: u32| reference & part != 0;
        if !has(OFFSET) {
            return Ok(None);
        }
        self.at = u64::from(reference & OFFSET);
        self.fuel.burn(1)?;
        let prefix = if has(PREFIX) { self.text(TEXT)? } else { Vec::new() };
        let mut first = 0;
        let mut children = Vec::new();
        if has(CHILDREN) {
            first = self.byte()?;
            let last = self.byte()?;
            if first > last || last > LAST_CHILD {
                return Err(Fault::Corrupt("a node's children are out of range"));
            }
            for _ in first..=last {
                children.push(self.number()?);
            }
        }
        let values = has(VALUES_FOLLOW).then_some(self.at);
        Ok(Some(Node { prefix, first, children, values }))
    }

    /// The values of a node with their priorities, the lowest first.
    fn values(&mut self, node: &Node) -> Result<Vec<(u32, Vec<u8>)>, Fault> {
        let mut values = Vec::new();
        let Some(at) = node.values else { return Ok(values) };
        self.at = at;
        for _ in 0..self.number()? {
            if values.len() == VALUES {
                return Err(Fault::Corrupt("too many values"));
            }
            values.push((self.number()?, self.text(VALUE)?));
        }
        values.sort_by_key(|(priority, _)| *priority);
        Ok(values)
    }

    /// The bytes up to the next NUL.
    fn text(&mut self, limit: usize) -> Result<Vec<u8>, Fault> {
        let mut text = Vec::new();
        loop {
            let part = self.unread()?;
            let end = part.iter().position(|byte| *byte == 0);
            let length = end.unwrap_or(part.len());
            text.extend_from_slice(part.get(..length).unwrap_or_default());
            self.skip(length)?;
            if text.len() > limit {
                return Err(Fault::Corrupt("a text is too long"));
            }
            if end.is_some() {
                return self.skip(1).map(|()| text);
            }
        }
    }

    fn number(&mut self) -> Result<u32, Fault> {
        if let Some(number) = self.unread()?.first_chunk() {
            let number = u32::from_be_bytes(*number);
            return self.skip(4).map(|()| number);
        }
        // It lies across the end of the window.
        Ok(u32::from_be_bytes([self.byte()?, self.byte()?, self.byte()?, self.byte()?]))
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.unread()?.first().copied();
        self.skip(1)?;
        byte.ok_or(Fault::Corrupt(SHORT))
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Fault> {
        self.fuel.burn(bytes)?;
        self.at = self.at.saturating_add(bytes as u64);
        Ok(())
    }

    /// The bytes of the window from here on, at least one, from the file if need be.
    fn unread(&mut self) -> Result<&[u8], Fault> {
        if self.in_window().is_empty() {
            self.fuel.burn(READ)?;
            self.start = self.at - self.at % WINDOW as u64;
            self.window.resize(WINDOW, 0);
            let read = (self.read_at)(self.start, &mut self.window).map_err(Fault::Read)?;
            self.window.truncate(read);
        }
        match self.in_window() {
            [] => Err(Fault::Corrupt(SHORT)),
            bytes => Ok(bytes),
        }
    }

    fn in_window(&self) -> &[u8] {
        let nth = self.at.checked_sub(self.start).and_then(|nth| usize::try_from(nth).ok());
        nth.and_then(|nth| self.window.get(nth..)).unwrap_or_default()
    }
}

/// The values by their priorities, without repetitions.
fn in_order(mut found: Vec<(u32, Vec<u8>)>) -> Vec<Vec<u8>> {
    found.sort_by_key(|(priority, _)| *priority);
    let mut values: Vec<Vec<u8>> = Vec::new();
    for (_, value) in found {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
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
        corrupt(b"", "it ends too early");
        corrupt(b"\xB0\x07\xF4", "it ends too early");
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
        assert_eq!(found, Err(Fault::Corrupt("too many values")));

        let mut long = header(0xC000_000C);
        long.extend([b'x'; 5000]);
        corrupt(&long, "a text is too long");

        let mut reversed = header(0x2000_000C);
        reversed.extend([9, 8, 0, 0]);
        corrupt(&reversed, "a node's children are out of range");
        let mut high = header(0x2000_000C);
        high.extend([0; 2]);
        high[13] = 128;
        corrupt(&high, "a node's children are out of range");

        corrupt(&header(0xFFFF_FFFF), "it ends too early");
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
            let hit = |e: &&(String, u32, String)| {
                matches(e.0.as_bytes(), key.as_bytes(), &mut Fuel(FUEL)).unwrap()
            };
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
            prop_assert!(reads < 1000, "{} reads", reads);
        }
    }
}
