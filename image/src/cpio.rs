// SPDX-License-Identifier: MIT OR Apache-2.0
//! The archive that the kernel unpacks as its first root: cpio in the "newc" form
//! (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Two archives of the same content are equal byte for byte: entries are sorted, every time and owner is 0,
//! inode numbers are counted. Device nodes need no root rights, they are only numbers here.

pub mod read;

use std::collections::BTreeMap;
use std::fmt::Write;

/// First bytes of each entry's header.
pub const MAGIC: &[u8; 6] = b"070701";
/// Name of the entry that ends an archive.
pub const TRAILER: &str = "TRAILER!!!";
/// Bytes of a header: the magic and 13 numbers of 8 hexadecimal digits.
pub const HEADER: usize = 110;

const S_IFMT: u32 = 0o170_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

#[derive(Debug, Default)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

/// An archive in memory. Paths are relative, without a leading slash; parents are made as needed.
#[derive(Debug, Default)]
pub struct Archive {
    // A path sorts after its parent directory's, which is the order that the kernel needs.
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Adds a directory (mode 0755) and those above it.
    pub fn directory(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for parent in ends.filter_map(|end| path.get(..end)).filter(|parent| !parent.is_empty()) {
            let directory = Entry { mode: S_IFDIR | 0o755, ..Entry::default() };
            self.entries.entry(parent.to_owned()).or_insert(directory);
        }
    }

    /// Adds a regular file with these permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, data: Vec<u8>) {
        self.add(path, Entry { mode: S_IFREG | permissions, data, ..Entry::default() });
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.add(path, Entry { mode: S_IFLNK | 0o777, data: target.into(), device: (0, 0) });
    }

    /// Adds a character device node.
    pub fn character_device(&mut self, path: &str, permissions: u32, device: (u32, u32)) {
        self.add(path, Entry { mode: S_IFCHR | permissions, device, data: Vec::new() });
    }

    /// Whether there is an entry with this path.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path)
    }

    fn add(&mut self, path: &str, entry: Entry) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The bytes of the archive, trailer included.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (inode, (path, entry)) in (1..).zip(&self.entries) {
            append(&mut out, inode, path, entry);
        }
        append(&mut out, 0, TRAILER, &Entry::default());
        out
    }
}

/// Appends header, name and data, the latter two padded to 4 bytes as the format wants.
fn append(out: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let links = if entry.mode & S_IFMT == S_IFDIR { 2 } else { 1 };
    let (major, minor) = entry.device;
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let fields = [
        inode,
        entry.mode,
        0, // uid
        0, // gid
        links,
        0, // mtime
        length(entry.data.len()),
        0, // major and minor of the file system
        0,
        major,
        minor,
        length(path.len() + 1),
        0, // checksum, of the "070702" form only
    ];
    let mut header = String::from_utf8_lossy(MAGIC).into_owned();
    for field in fields {
        let _ = write!(header, "{field:08X}"); // writing to a String cannot fail
    }
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(&entry.data);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_as_the_format_says() {
        let mut archive = Archive::default();
        archive.file("init", 0o755, b"abcde".to_vec());
        let bytes = archive.to_bytes();
        let header = "07070100000001000081ED00000000000000000000000100000000\
                      000000050000000000000000000000000000000000000005\
                      00000000";
        assert_eq!(std::str::from_utf8(&bytes[..HEADER]).unwrap(), header);
        // 110 + "init\0" = 115, padded to 116; 5 bytes of data padded to 8
        assert_eq!(&bytes[HEADER..124], b"init\0\0abcde\0\0\0");
        assert!(bytes[124..].starts_with(MAGIC));
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[124 + HEADER..124 + HEADER + 11], b"TRAILER!!!\0");
    }

    #[test]
    fn parents_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("lib/modules/6.12/early", 0o644, Vec::new());
        archive.character_device("dev/null", 0o666, (1, 3));
        let paths: Vec<_> = archive.entries.keys().map(String::as_str).collect();
        let expected =
            ["dev", "dev/null", "lib", "lib/modules", "lib/modules/6.12", "lib/modules/6.12/early"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn order_of_adding_does_not_matter() {
        let (mut one, mut two) = (Archive::default(), Archive::default());
        one.directory("proc");
        one.file("init", 0o755, vec![1]);
        two.file("init", 0o755, vec![1]);
        two.directory("proc");
        assert_eq!(one.to_bytes(), two.to_bytes());
    }
}
