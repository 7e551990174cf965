// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the root file system of a revision shows of itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Result;
use backhand::{FilesystemReader, InnerNode};

use crate::root::bootsel::KEYS;
use crate::root::{self, Kind, MOUNT_POINTS};

/// Longer texts than any configuration.
const TEXT: u64 = 1 << 20;
/// Where a system looks for programs.
const PATH: [&str; 6] =
    ["/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/", "/usr/local/sbin/", "/usr/local/bin/"];
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// A root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Whether its init is systemd.
    pub systemd: bool,
    /// Where its `bootsel` is.
    pub bootsel: Option<String>,
    /// `system.conf` of systemd and what is laid over it, by their paths.
    pub settings: BTreeMap<String, String>,
    /// Public keys, by their names.
    pub keys: BTreeMap<String, String>,
    /// What is at each path.
    paths: BTreeMap<String, Kind>,
}

impl Root {
    /// Reads a `root.squashfs`.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(path: &Path) -> Result<Self> {
        let image = FilesystemReader::from_reader(BufReader::new(File::open(path)?))?;
        let mut root = Self::default();
        for node in image.files() {
            let kind = match &node.inner {
                InnerNode::Dir(_) => Kind::Directory,
                InnerNode::Symlink(link) => Kind::Link(link.link.clone()),
                _ => Kind::Other,
            };
            let path = node.fullpath.to_string_lossy();
            root.paths.insert(path.trim_start_matches('/').to_owned(), kind);
            let InnerNode::File(file) = &node.inner else { continue };
            let text = || -> Result<String> {
                let mut bytes = Vec::new();
                image.file(file).reader().take(TEXT).read_to_end(&mut bytes)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            };
            root.systemd |= SYSTEMD.contains(&path.as_ref());
            if PATH.iter().any(|directory| path.strip_prefix(directory) == Some("bootsel")) {
                root.bootsel = Some(path.clone().into_owned());
            } else if let Some(name) = key(&path) {
                root.keys.insert(name.to_owned(), text()?);
            } else if path.contains("/systemd/system.conf") {
                root.settings.insert(path.clone().into_owned(), text()?);
            }
        }
        Ok(root)
    }

    /// The directories that init mounts into and that are not there.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        let look = |path: &str| Ok(self.paths.get(path).cloned());
        MOUNT_POINTS.iter().filter_map(|path| root::lacks(&look, path)).collect()
    }

    /// Whether a path leads to a file, links followed.
    #[must_use]
    pub fn has_file(&self, path: &str) -> bool {
        root::has_file(&|path| Ok(self.paths.get(path).cloned()), path)
    }
}

/// The name of a public key.
fn key(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/')?.strip_prefix(KEYS)?.strip_prefix('/')?;
    (name.ends_with(".pub") && !name.contains('/')).then_some(name)
}
