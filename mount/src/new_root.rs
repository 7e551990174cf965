// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts inside the new root, whose links are not ours to trust.
//!
//! /lib may be an absolute link to /usr/lib, and is then meant inside the new root; a link out of it leads nowhere.
//! So every destination is resolved by openat2(2) with `RESOLVE_IN_ROOT` (Linux 5.6) and mounted on by its descriptor
//! with move_mount(2) (Linux 5.2), which needs no /proc.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, mkdirat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount};
use uapi::open::{open_in_root, open_tree};

use crate::{Error, file};

/// The new root, mounted but not yet `/`.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: &'static str,
}

impl Root {
    /// Opens the root mounted on `path`.
    pub fn open(path: &str) -> Result<Root, Error> {
        let directory = file::open_with(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Root { directory, path: text!("{}", path) })
    }

    /// Moves the mount `source` onto the directory `inside` of the new root.
    pub fn move_into(&self, source: &str, inside: &str) -> Result<(), Error> {
        self.attach(CWD, source, MoveMountFlags::empty(), inside)
            .map_err(|errno| Error::mount(source, self.name(inside), "move", errno))
    }

    /// Shows the directory `source` also as the directory `inside` of the new root.
    pub fn bind_into(&self, source: &str, inside: &str) -> Result<(), Error> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(source, clone)
            .and_then(|tree| {
                self.attach(tree.as_fd(), "", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH, inside)
            })
            .map_err(|errno| Error::mount(source, self.name(inside), "bind", errno))
    }

    /// Whether there is `inside`, links followed as the new root will follow them.
    pub fn exists(&self, inside: &str) -> bool {
        self.resolve(inside, OFlags::PATH).is_ok()
    }

    /// A file of the new root that can be executed: a program that needs nothing of its root.
    pub fn program(&self, inside: &str) -> Result<OwnedFd, Error> {
        self.resolve(inside, OFlags::PATH)
            .map_err(|errno| Error::call("open", self.name(inside), errno))
    }

    /// Creates the directory `inside`, mode 755, whose parent is there. It may be there itself.
    pub fn create_dir(&self, inside: &str) -> Result<(), Error> {
        let (parent, name) = inside.trim_end_matches('/').rsplit_once('/').unwrap_or((".", inside));
        self.directory(if parent.is_empty() { "." } else { parent })
            .and_then(|parent| mkdirat(parent, name, Mode::from_raw_mode(0o755)))
            .or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(errno) })
            .map_err(|errno| Error::call("create", self.name(inside), errno))
    }

    fn attach(
        &self,
        from: BorrowedFd<'_>,
        source: &str,
        flags: MoveMountFlags,
        inside: &str,
    ) -> Result<(), Errno> {
        let target = self.directory(inside)?;
        let flags = flags | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(from, file::c_string(source)?, target, c"", flags)
    }

    fn directory(&self, inside: &str) -> Result<OwnedFd, Errno> {
        self.resolve(inside, OFlags::PATH | OFlags::DIRECTORY)
    }

    fn resolve(&self, inside: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        open_in_root(self.directory.as_fd(), inside, flags | OFlags::CLOEXEC)
    }

    fn name(&self, inside: &str) -> &'static str {
        let slash = if inside.starts_with('/') { "" } else { "/" };
        text!("{}{}{}", self.path, slash, inside)
    }
}
