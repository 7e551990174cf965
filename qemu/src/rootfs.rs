// SPDX-License-Identifier: MIT OR Apache-2.0
//! Root file systems for the machine, as `root.squashfs`.

mod busybox;
mod debian;
mod witness;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{progress, tool};

use debian::Release;
pub(crate) use debian::customized;
pub(crate) use witness::{IDENTITY, Layout, device as device_tree, tree as witness_tree};

/// What is booted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Rootfs {
    /// A static busybox: a shell after three seconds
    Busybox,
    /// Debian 12 with systemd, to its login prompt
    Debian,
    /// Debian 13
    Trixie,
    /// The program that the tests ask: it reports and powers off
    Witness,
}

impl Rootfs {
    /// The word of the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Debian => "debian",
            Self::Trixie => "trixie",
            Self::Witness => "witness",
        }
    }

    /// Whether mmdebstrap makes it.
    pub(crate) fn is_debian(self) -> bool {
        matches!(self, Self::Debian | Self::Trixie)
    }

    /// Makes it, in `out` or in the cache.
    pub(crate) fn squashfs(self, programs: Programs, out: &Path) -> Result<PathBuf> {
        match self {
            Self::Busybox => pack(&busybox::tree(programs)?, out),
            Self::Witness => pack(&witness::tree(programs, witness::Layout::Merged)?, out),
            Self::Debian => debian::squashfs(Release::Bookworm),
            Self::Trixie => debian::squashfs(Release::Trixie),
        }
    }
}

/// Debian 12 as an archive, from the cache.
pub(crate) fn debian_tar() -> Result<PathBuf> {
    debian::tar(Release::Bookworm)
}

/// What its programs are compiled for; a Debian's are always for Arm64.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Programs {
    /// 64-bit kernels.
    Arm64,
    /// Every Raspberry Pi's: 64-bit kernels run these, too.
    EveryPi,
}

/// A directory that is to become a root file system, gone at the end.
#[derive(Debug)]
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    fn new(directories: &[&str]) -> Result<Self> {
        let tree = Self(tempfile::tempdir()?);
        fs::set_permissions(tree.path(), Permissions::from_mode(0o755))?;
        for directory in directories {
            fs::create_dir_all(tree.path().join(directory))?;
        }
        Ok(tree)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, path: &str, content: &str, mode: u32) -> Result<()> {
        let path = self.path().join(path);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(fs::set_permissions(&path, Permissions::from_mode(mode))?)
    }

    fn program(&self, path: &str, from: &Path) -> Result<()> {
        let to = self.path().join(path);
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(fs::set_permissions(&to, Permissions::from_mode(0o755))?)
    }

    fn link(&self, path: &str, target: &str) -> Result<()> {
        let path = self.path().join(path);
        std::os::unix::fs::symlink(target, &path)
            .with_context(|| format!("cannot make {}", path.display()))
    }
}

/// Everything belongs to root, whoever made it.
pub(crate) fn pack(tree: &Tree, out: &Path) -> Result<PathBuf> {
    let squashfs = out.join("rootfs.squashfs");
    progress::step("root file system", || {
        let mut pack = tool::command("mksquashfs");
        pack.arg(tree.path()).arg(&squashfs);
        tool::run(pack.args(["-all-root", "-noappend", "-no-progress", "-comp", "zstd"]))
    })?;
    Ok(squashfs)
}
