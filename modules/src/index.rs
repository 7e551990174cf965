// SPDX-License-Identifier: MIT OR Apache-2.0
//! depmod's binary index: modules.dep.bin, modules.alias.bin and the like.
//!
//! A radix tree on disk, from a key to values with priorities; kmod's libkmod-index.c describes it. Only the nodes on
//! the way are read, by pread: a mapping would raise SIGBUS where the medium fails, and end the program. The bytes may be
//! anything: every lookup ends, by [`FUEL`], and holds little memory.

use alloc::vec;
use alloc::vec::Vec;

use rustix::io::Errno;

use crate::glob::matches;

const MAGIC: u32 = 0xB007_F457;
/// The minor number may differ: it stands for changes that a reader need not know of.
const VERSION_MAJOR: u32 = 2;

/// A node's reference is its offset and, in the top bits, which of its parts are there.
const OFFSET: u32 = 0x0FFF_FFFF;
const PREFIX: u32 = 0x8000_0000;
const VALUES: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;
/// Keys are ASCII: no child is for a byte above.
const LAST_CHILD: u8 = 127;

/// Longest key in bytes. Debian's longest alias has 55.
pub(crate) const TEXT: usize = 1024;
/// Bytes read of a node, and again where that is too few. A line of modules.dep has at most 990 in Debian 6.12.
const NODE: [usize; 2] = [1 << 10, 64 << 10];
/// Work of one lookup, in bytes read or 64 steps of matching. The dearest of all 30,000 aliases of Debian 6.12 for
/// arm64 takes 32,000.
const FUEL: usize = 4 << 20;

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

/// A value with its priority: the lowest number is the best.
type Value = (u32, Vec<u8>);

/// An index, good for one lookup.
pub(crate) struct Index<'a> {
    read_at: &'a ReadAt<'a>,
    root: u32,
    fuel: usize,
}

struct Node {
    prefix: Vec<u8>,
    /// The byte that the first child is for.
    first: u8,
    children: Vec<u32>,
    values: Vec<Value>,
}

impl<'a> Index<'a> {
    pub(crate) fn open(read_at: &'a ReadAt<'a>) -> Result<Index<'a>, Fault> {
        let mut index = Index { read_at, root: 0, fuel: FUEL };
        let bytes = index.read(0, 12)?;
        let mut header = bytes.as_slice();
        if number(&mut header) != Some(MAGIC) {
            return Err(Fault::Corrupt("it is not an index that depmod wrote"));
        }
        if number(&mut header).map(|version| version >> 16) != Some(VERSION_MAJOR) {
            return Err(Fault::Corrupt("it is an index of another version"));
        }
        index.root = number(&mut header).ok_or(Fault::Corrupt("it ends too early"))?;
        Ok(index)
    }

    /// The best value of `key`.
    pub(crate) fn find(mut self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let mut rest = key.as_bytes();
        let mut reference = self.root;
        // Every turn but the last takes a byte off the key.
        while let Some(node) = self.node(reference)? {
            let Some(behind) = rest.strip_prefix(node.prefix.as_slice()) else { break };
            let Some((byte, tail)) = behind.split_first() else {
                return Ok(in_order(node.values).into_iter().next());
            };
            reference = node.child(*byte);
            rest = tail;
        }
        Ok(None)
    }

    /// The values of all keys that match `text` as patterns, each once, the best first.
    pub(crate) fn find_matching(mut self, text: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let mut rest = text.as_bytes();
        let mut reference = self.root;
        let mut found = Vec::new();
        while let Some(mut node) = self.node(reference)? {
            let wildcard = node.prefix.iter().position(|byte| b"*?[".contains(byte));
            let pattern = node.prefix.split_off(wildcard.unwrap_or(node.prefix.len()));
            let Some(behind) = rest.strip_prefix(node.prefix.as_slice()) else { break };
            rest = behind;
            if !pattern.is_empty() {
                node.prefix = pattern;
                self.patterns(node, Vec::new(), rest, &mut found)?;
                break;
            }
            for wildcard in *b"*?[" {
                if let Some(child) = self.node(node.child(wildcard))? {
                    self.patterns(child, vec![wildcard], rest, &mut found)?;
                }
            }
            let Some((byte, tail)) = rest.split_first() else {
                found.append(&mut node.values);
                break;
            };
            reference = node.child(*byte);
            rest = tail;
        }
        Ok(in_order(found))
    }

    /// Adds to `found` the values of `node` and all below it whose keys match `text`; `pattern` is what of a key is
    /// above `node`. No recursion: how deep it goes is written on the disk.
    fn patterns(
        &mut self,
        node: Node,
        mut pattern: Vec<u8>,
        text: &[u8],
        found: &mut Vec<Value>,
    ) -> Result<(), Fault> {
        let mut next = Some(node);
        let mut branches = Vec::new();
        loop {
            if let Some(mut node) = next {
                pattern.append(&mut node.prefix);
                if pattern.len() > TEXT {
                    return Err(Fault::Corrupt("a key is too long"));
                }
                if !node.values.is_empty() && self.matches(&pattern, text)? {
                    found.append(&mut node.values);
                }
                let children = (node.first..=LAST_CHILD).zip(node.children);
                branches.extend(children.map(|(byte, child)| (pattern.len(), byte, child)));
            }
            let Some((length, byte, child)) = branches.pop() else { return Ok(()) };
            pattern.truncate(length);
            pattern.push(byte);
            // What cannot match whatever follows is not read: for an `of:` modalias that is nearly all of the tree. A
            // set may be cut in its middle here.
            let beginning = [pattern.as_slice(), b"*"].concat();
            let may = pattern.contains(&b'[') || self.matches(&beginning, text)?;
            next = if may { self.node(child)? } else { None };
        }
    }

    fn matches(&mut self, pattern: &[u8], text: &[u8]) -> Result<bool, Fault> {
        self.burn(pattern.len().saturating_mul(text.len()) / 64)?;
        Ok(matches(pattern, text))
    }

    /// Reads a node; offset 0 is none.
    fn node(&mut self, reference: u32) -> Result<Option<Node>, Fault> {
        if reference & OFFSET == 0 {
            return Ok(None);
        }
        for size in NODE {
            let bytes = self.read(reference & OFFSET, size)?;
            if let Some(node) = Node::parse(reference, &bytes) {
                return Ok(Some(node));
            }
        }
        Err(Fault::Corrupt("a node is cut off or damaged"))
    }

    /// The bytes of the file from an offset on, fewer where it ends.
    fn read(&mut self, offset: u32, size: usize) -> Result<Vec<u8>, Fault> {
        self.burn(size)?;
        let mut bytes = vec![0; size];
        let read = (self.read_at)(offset.into(), &mut bytes).map_err(Fault::Read)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn burn(&mut self, fuel: usize) -> Result<(), Fault> {
        let left = self.fuel.checked_sub(fuel);
        self.fuel = left.ok_or(Fault::Corrupt("it loops, or is larger than any real one"))?;
        Ok(())
    }
}

impl Node {
    fn parse(reference: u32, mut bytes: &[u8]) -> Option<Node> {
        let has = |part: u32| reference & part != 0;
        let bytes = &mut bytes;
        let prefix = if has(PREFIX) { text(bytes)? } else { Vec::new() };
        let (mut first, mut children, mut values) = (0, Vec::new(), Vec::new());
        if has(CHILDREN) {
            let ([low, high], rest) = bytes.split_first_chunk()?;
            (first, *bytes) = (*low, rest);
            if low > high || *high > LAST_CHILD {
                return None;
            }
            for _ in *low..=*high {
                children.push(number(bytes)?);
            }
        }
        if has(VALUES) {
            for _ in 0..number(bytes)? {
                values.push((number(bytes)?, text(bytes)?));
            }
        }
        Some(Node { prefix, first, children, values })
    }

    /// The child for `byte`; 0, which is no node, if there is none.
    fn child(&self, byte: u8) -> u32 {
        let nth = byte.checked_sub(self.first).map(usize::from);
        nth.and_then(|nth| self.children.get(nth)).copied().unwrap_or(0)
    }
}

/// Takes a number off the bytes.
fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

/// Takes a text off the bytes, and the NUL at its end.
fn text(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (text, rest) = bytes.split_at_checked(end)?;
    *bytes = rest.get(1..)?;
    Some(text.to_vec())
}

/// The values by their priorities, without repetitions.
fn in_order(mut found: Vec<Value>) -> Vec<Vec<u8>> {
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
mod tests;
