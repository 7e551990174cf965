// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree of files that is to become a squashfs image: gathered from one directory or laid over one another
//! from several, sorted, owned by root.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Deeper nesting than any tree of modules or firmware has: a loop of bind mounts ends here.
const DEPTH: usize = 64;

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file: where its content is, how long that is, whether it can be executed.
    File(PathBuf, u64, bool),
    /// A symbolic link and what it points to.
    Link(PathBuf),
}

/// Paths relative to the root of the image; a directory comes before what is in it.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

impl Tree {
    /// Lays all that is in `directory` over what is there already. Links are kept as links.
    ///
    /// # Errors
    /// Where something cannot be read, is neither file nor directory nor link, or where a file would
    /// replace a directory.
    pub fn add(&mut self, directory: &Path) -> Result<()> {
        let mut waiting = vec![PathBuf::new()];
        while let Some(relative) = waiting.pop() {
            // joined with nothing it would end in a slash
            let top = relative.as_os_str().is_empty();
            let path = if top { directory.to_owned() } else { directory.join(&relative) };
            if relative.components().count() > DEPTH {
                bail!("{}: more than {DEPTH} directories deep", path.display());
            }
            let entries = fs::read_dir(&path)
                .with_context(|| format!("cannot read directory {}", path.display()))?;
            for entry in entries {
                let relative = relative.join(entry?.file_name());
                let node = node(&directory.join(&relative))?;
                if node == Node::Directory {
                    waiting.push(relative.clone());
                }
                self.insert(relative, node, directory)?;
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: PathBuf, node: Node, from: &Path) -> Result<()> {
        let directory = |node: &Node| *node == Node::Directory;
        if self.nodes.get(&path).is_some_and(|there| directory(there) != directory(&node)) {
            let (path, from) = (path.display(), from.display());
            bail!("{path} is a directory in one of the trees and a file in another ({from})");
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// The entries, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_path(), node))
    }

    /// Bytes in all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let length = |node: &Node| if let Node::File(_, length, _) = node { *length } else { 0 };
        self.nodes.values().map(length).sum()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// A hash over everything that the image is made of.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn hash(&self) -> Result<[u8; 32]> {
        let mut hash = Sha256::new();
        for (path, node) in &self.nodes {
            field(&mut hash, path.as_os_str().as_bytes());
            match node {
                Node::Directory => hash.update(b"d"),
                Node::Link(target) => {
                    hash.update(b"l");
                    field(&mut hash, target.as_os_str().as_bytes());
                }
                Node::File(source, _, executable) => {
                    hash.update(if *executable { b"x" } else { b"f" });
                    hash.update(hash_file(source)?.0);
                }
            }
        }
        Ok(hash.finalize().into())
    }
}

/// A field of variable length: the length first, so that no two lists of fields hash alike.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn node(path: &Path) -> Result<Node> {
    let facts =
        fs::symlink_metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    let kind = facts.file_type();
    if kind.is_dir() {
        Ok(Node::Directory)
    } else if kind.is_symlink() {
        Ok(Node::Link(fs::read_link(path)?))
    } else if kind.is_file() {
        let executable = facts.permissions().mode() & 0o100 != 0;
        Ok(Node::File(path.to_owned(), facts.len(), executable))
    } else {
        bail!("{} is neither a file nor a directory nor a link", path.display())
    }
}

/// SHA-256 and length of a file.
///
/// # Errors
/// Where it cannot be read.
pub fn hash_file(path: &Path) -> Result<([u8; 32], u64)> {
    let context = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).with_context(context)? {
            0 => return Ok((hash.finalize().into(), length)),
            count => {
                hash.update(&buffer[..count]);
                length += count as u64;
            }
        }
    }
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn later_directories_win() {
        let one = directory(&[("brcm/a.bin", "1"), ("b.bin", "1")]);
        let two = directory(&[("brcm/a.bin", "22")]);
        let mut tree = Tree::default();
        tree.add(one.path()).unwrap();
        tree.add(two.path()).unwrap();
        let paths: Vec<_> = tree.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["b.bin", "brcm", "brcm/a.bin"]);
        assert_eq!(tree.bytes(), 3);
    }

    #[test]
    fn file_over_directory_is_refused() {
        let one = directory(&[("x/a", "1")]);
        let two = directory(&[("x", "1")]);
        let mut tree = Tree::default();
        tree.add(one.path()).unwrap();
        assert!(tree.add(two.path()).unwrap_err().to_string().starts_with("x is a directory"));
    }

    #[test]
    fn hash_sees_content_names_and_links() {
        let hash = |files: &[(&str, &str)], link: &str| {
            let directory = directory(files);
            std::os::unix::fs::symlink(link, directory.path().join("link")).unwrap();
            let mut tree = Tree::default();
            tree.add(directory.path()).unwrap();
            tree.hash().unwrap()
        };
        let first = hash(&[("a", "1"), ("b", "2")], "a");
        assert_eq!(first, hash(&[("b", "2"), ("a", "1")], "a"));
        assert_ne!(first, hash(&[("a", "1"), ("b", "3")], "a"));
        assert_ne!(first, hash(&[("a", "1"), ("c", "2")], "a"));
        assert_ne!(first, hash(&[("a", "1"), ("b", "2")], "b"));
    }

    #[test]
    fn known_hash() {
        let directory = directory(&[("a", "abc")]);
        let (hash, length) = hash_file(&directory.path().join("a")).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((hex(&hash).as_str(), length), (abc, 3));
    }

    #[test]
    fn missing_directory_is_named() {
        let error = Tree::default().add(Path::new("/no/such")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read directory /no/such");
    }
}
