// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is laid into a root file system while it is packed: where each file goes, decided before anything is written.
//! The root is neither unpacked nor changed.

pub mod bootsel;
mod source;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

pub use source::{Source, Tar};

/// As many links as the kernel follows. (path_resolution(7))
const LINKS: usize = 40;

/// Where init mounts something in a root: without one of them a trial ends. Firmware is mounted where the revision has
/// some. (`init/switch_root.rs`)
pub const MOUNT_POINTS: [&str; 6] = ["dev", "lib/firmware", "lib/modules", "proc", "run", "sys"];

/// Tells what is at a path without links in it.
pub(crate) type Look<'a> = &'a dyn Fn(&str) -> Result<Option<Kind>>;

/// What is at a path of a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A symbolic link and where it leads.
    Link(PathBuf),
    /// A file, or anything else that is no directory.
    Other,
}

/// What is laid there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum New {
    /// An empty directory.
    Directory,
    /// Its content, and whether it can be executed.
    File(Vec<u8>, bool),
    /// A symbolic link.
    Link(String),
}

impl New {
    /// Its permissions.
    #[must_use]
    pub fn mode(&self) -> u32 {
        match self {
            Self::Link(_) => 0o777,
            Self::Directory | Self::File(_, true) => 0o755,
            Self::File(_, false) => 0o644,
        }
    }
}

/// What is laid into a root: every owner is root, every time 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Paths without a leading slash and without links in them; a directory comes before what is in it.
    pub nodes: Vec<(String, New)>,
    /// Those of the root's own entries that are in the way.
    pub replaced: Vec<String>,
}

impl Added {
    /// Finds the place of each of these. A directory that is there stays as it is.
    ///
    /// # Errors
    /// Where the way there is not made of directories and of links to directories, or a directory is in a file's place.
    pub fn plan(root: &Source, wanted: Vec<(String, New)>) -> Result<Self> {
        let (mut directories, mut files) = (BTreeSet::new(), Vec::new());
        let mut replaced = Vec::new();
        for (path, node) in wanted {
            let place = || -> Result<()> {
                if node == New::Directory {
                    directories.extend(walk(&|at| root.kind(at), &path)?.missing);
                    return Ok(());
                }
                let (above, name) = path.rsplit_once('/').context("no path")?;
                let way = walk(&|at| root.kind(at), above)?;
                let at = below(&way.at, name);
                match root.kind(&at)? {
                    Some(Kind::Directory) => bail!("/{at} is a directory"),
                    Some(_) => replaced.push(at.clone()),
                    None => {}
                }
                directories.extend(way.missing);
                files.push((at, node));
                Ok(())
            };
            place().with_context(|| format!("cannot put /{path} in place"))?;
        }
        let directories = directories.into_iter().map(|path| (path, New::Directory));
        let nodes: Vec<_> = directories.chain(files).collect();
        // mksquashfs reads them from a list with blanks between the words
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+@-/".contains(&byte);
        let odd = nodes.iter().find(|(path, _)| !path.bytes().all(plain));
        odd.map_or(Ok(()), |(path, _)| bail!("cannot put /{path} in place: odd name"))?;
        Ok(Self { nodes, replaced })
    }
}

/// The directories that a root has to have, for [`Added::plan`], and why some cannot be made: a link of the root leads to
/// what is there at run time alone, say.
#[must_use]
pub fn mount_points(root: &Source) -> (Vec<(String, New)>, Vec<String>) {
    let (mut wanted, mut impossible) = (Vec::new(), Vec::new());
    for path in MOUNT_POINTS {
        match walk(&|at| root.kind(at), path) {
            Ok(_) => wanted.push((path.to_owned(), New::Directory)),
            Err(why) => impossible.push(format!("no directory /{path}: {why:#}")),
        }
    }
    (wanted, impossible)
}

/// Where a path of a root leads.
#[derive(Debug, Default, PartialEq, Eq)]
struct Way {
    /// The path without links in it.
    at: String,
    /// Directories that are not there, itself among them.
    missing: Vec<String>,
    /// Whether it is no directory.
    is_file: bool,
}

/// The way to a directory, see [`follow`].
fn walk(look: Look<'_>, path: &str) -> Result<Way> {
    let way = follow(look, path)?;
    ensure!(!way.is_file, "/{} is no directory", way.at);
    Ok(way)
}

/// What keeps init from mounting something at a place, if anything does.
pub(crate) fn lacks(look: Look<'_>, path: &str) -> Option<String> {
    match walk(look, path) {
        Ok(way) => (!way.missing.is_empty()).then(|| format!("no directory /{path}")),
        Err(why) => Some(format!("no directory /{path}: {why:#}")),
    }
}

/// Whether a path leads to a file.
pub(crate) fn has_file(look: Look<'_>, path: &str) -> bool {
    follow(look, path.trim_matches('/')).is_ok_and(|way| way.is_file)
}

/// The way as the device will go it: links are followed, and never lead out of the root.
fn follow(look: Look<'_>, path: &str) -> Result<Way> {
    let mut way = Way::default();
    let mut rest: VecDeque<_> = path.split('/').map(|name| (name.to_owned(), false)).collect();
    let mut links = 0;
    while let Some((name, linked)) = rest.pop_front() {
        if name.is_empty() || name == "." {
            continue;
        }
        if name == ".." {
            way.at.truncate(way.at.rfind('/').unwrap_or(0));
            continue;
        }
        let at = below(&way.at, &name);
        match look(&at)? {
            Some(Kind::Directory) => way.at = at,
            Some(Kind::Link(target)) => {
                links += 1;
                ensure!(links <= LINKS, "/{at}: too many links");
                if target.is_absolute() {
                    way.at.clear();
                }
                let names = names(&target).with_context(|| format!("/{at}"))?;
                names.into_iter().rev().for_each(|name| rest.push_front((name, true)));
            }
            Some(Kind::Other) => {
                ensure!(rest.is_empty(), "/{at} is no directory");
                way.at = at;
                way.is_file = true;
            }
            None if linked => bail!("a link leads to /{at}, which is not there"),
            None => {
                way.missing.push(at.clone());
                way.at = at;
            }
        }
    }
    Ok(way)
}

/// A path in a directory; that of the root is empty.
fn below(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The names in the target of a link.
fn names(target: &Path) -> Result<Vec<String>> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => {
            let name = name.to_str().map(str::to_owned);
            Some(name.context("leads to a name that is not UTF-8"))
        }
        Component::ParentDir => Some(Ok("..".to_owned())),
        _ => None,
    };
    target.components().filter_map(name).collect()
}

/// Whether there is a file, or a link, at this path.
fn has(root: &Source, path: &str) -> bool {
    let Some((above, name)) = path.rsplit_once('/') else { return false };
    let found = walk(&|at| root.kind(at), above).and_then(|way| root.kind(&below(&way.at, name)));
    matches!(found, Ok(Some(Kind::Other | Kind::Link(_))))
}

#[cfg(test)]
mod tests;
