// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's sources: a directory, or Debian's package `linux-source-6.12`, which is a tar file in a package.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::cache::Cache;
use crate::progress::Progress;
use crate::tree::{Node, Tree, hash_file, hex};
use crate::{compress, deb, scratch, tool};

/// The package that is taken where none is named: of the same version as the kernels that the images of the documentation are made
/// of.
const PACKAGE: &str = "linux-source-6.12";
/// Changes where what is taken out of a package for its configuration changes.
const KCONFIG: &str = "kconfig-1";

/// Where the sources are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Unpacked.
    Directory(PathBuf),
    /// Debian's package.
    Package(PathBuf),
}

/// A directory of sources, and what keeps it.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) path: PathBuf,
    // deletes what no cache keeps
    _temporary: Option<TempDir>,
}

impl Source {
    pub(super) fn at(path: &Path) -> Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                let linux = path.join("arch/arm64/Kconfig").is_file();
                ensure!(
                    linux,
                    "{}: no arch/arm64/Kconfig in it: not Linux's sources",
                    path.display()
                );
                Ok(Self::Directory(fs::canonicalize(path)?))
            }
            Ok(_) => Ok(Self::Package(path.into())),
            Err(why) => Err(why).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Debian's package: the newest that was downloaded before, or one that apt is asked for.
    pub(super) fn from_debian(progress: Progress) -> Result<Self> {
        let store = user_cache().context("neither HOME nor XDG_CACHE_HOME is set")?.join("debs");
        if let Some(path) = newest(&store) {
            return Ok(Self::Package(path));
        }
        fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
        let directory = scratch::directory_in(&store)?;
        let step = progress.step(&format!("download {PACKAGE}"), 0);
        let mut get = tool::command(&tool::find("apt-get", "apt")?);
        tool::run(get.current_dir(directory.path()).args(["download", PACKAGE])).with_context(
            || format!("no sources: give a directory or Debian's package {PACKAGE} with --source"),
        )?;
        let path = newest(directory.path()).context("apt-get has downloaded nothing")?;
        let to = store.join(path.file_name().unwrap_or_default());
        fs::rename(&path, &to).with_context(|| format!("cannot write {}", to.display()))?;
        step.done("done");
        Ok(Self::Package(to))
    }

    /// The same for equal sources, wherever they are.
    pub(super) fn hash(&self) -> Result<String> {
        match self {
            Self::Package(path) => Ok(hex(&hash_file(path)?.0)),
            Self::Directory(path) => {
                let mut tree = Tree::default();
                tree.add(path)?;
                let mut hash = Sha256::new();
                for (path, node) in tree.iter().filter(|(path, _)| !path.starts_with(".git")) {
                    hash.update(path.as_os_str().as_bytes());
                    match node {
                        Node::Directory => hash.update([0]),
                        Node::Link(to) => hash.update(to.as_os_str().as_bytes()),
                        Node::File(file, ..) => hash.update(hash_file(file)?.0),
                    }
                }
                Ok(hex(&hash.finalize()))
            }
        }
    }

    /// As much of it as `make olddefconfig` reads; kept, because a package takes its time.
    pub(super) fn for_kconfig(&self, cache: &Cache, progress: Progress) -> Result<Unpacked> {
        let Self::Package(package) = self else { return self.whole(cache, progress) };
        let kept = cache.path(&format!("{KCONFIG}-{}", hex(&hash_file(package)?.0)));
        if let Some(path) = kept.as_ref().filter(|path| path.is_dir()) {
            return Ok(Unpacked { path: path.clone(), _temporary: None });
        }
        let made = unpack(package, cache, "Kconfig files of", is_for_kconfig, progress)?;
        match kept {
            Some(path) if fs::rename(&made.path, &path).is_ok() || path.is_dir() => {
                Ok(Unpacked { path, _temporary: None })
            }
            _ => Ok(made),
        }
    }

    /// All of it.
    pub(super) fn whole(&self, cache: &Cache, progress: Progress) -> Result<Unpacked> {
        match self {
            Self::Directory(path) => Ok(Unpacked { path: path.clone(), _temporary: None }),
            Self::Package(package) => unpack(package, cache, "unpacking", |_| true, progress),
        }
    }

    /// When the sources were made, in seconds since 1970: what the kernel says of the time of its build. 0 where that is
    /// not known, which is the same for everybody.
    pub(super) fn date(&self, unpacked: &Path) -> Result<u64> {
        if let Some(date) = std::env::var_os("SOURCE_DATE_EPOCH") {
            let date = date.to_str().and_then(|date| date.parse().ok());
            return date.context("SOURCE_DATE_EPOCH is no number");
        }
        match self {
            Self::Directory(_) => Ok(0),
            Self::Package(_) => {
                let time = fs::metadata(unpacked.join("Makefile"))?.modified()?;
                Ok(time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()))
            }
        }
    }
}

/// Where downloads of `cargo boot` and `cargo verify` are, too.
fn user_cache() -> Option<PathBuf> {
    let some = Cache::new(None).path("")?;
    some.parent().map(Path::to_owned)
}

fn newest(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = entries.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&format!("{PACKAGE}_")) && name.ends_with(".deb")
    });
    ours.max_by_key(|path| fs::metadata(path).and_then(|found| found.modified()).ok())
}

/// What Linux's `make` reads before it compiles anything.
fn is_for_kconfig(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let top = path.components().count() == 1;
    name.starts_with("Kconfig")
        || (top && (name == "Makefile" || name == "Kbuild"))
        || path.starts_with("scripts")
        || path.starts_with("arch/arm64/configs")
        || path == Path::new("arch/arm64/Makefile")
}

/// The sources lie as `usr/src/linux-source-6.12.tar.xz` in the package, and all in one directory in that.
fn unpack(
    package: &Path,
    cache: &Cache,
    what: &str,
    wanted: fn(&Path) -> bool,
    progress: Progress,
) -> Result<Unpacked> {
    let temporary = temporary(cache)?;
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let step = progress.step(&format!("{what} {name}"), 0);
    let mut found = false;
    deb::look(package, |path, data| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let sources = path.starts_with("usr/src") && file.contains(".tar.");
        if sources {
            found = true;
            untar(&file, data, temporary.path(), wanted)?;
        }
        Ok(!sources)
    })?;
    ensure!(found, "{}: no usr/src/*.tar.* in it: not Linux's sources", package.display());
    step.done("done");
    Ok(Unpacked { path: temporary.path().join("linux"), _temporary: Some(temporary) })
}

/// A directory of ours, in the cache where there is one: sources and objects are more than a /tmp in memory may hold.
pub(super) fn temporary(cache: &Cache) -> Result<TempDir> {
    let Some(path) = cache.path("") else { return scratch::directory() };
    fs::create_dir_all(&path)
        .with_context(|| format!("cannot make cache directory {}", path.display()))?;
    scratch::directory_in(&path)
}

/// Puts what is wanted below `<to>/linux`.
fn untar(name: &str, packed: &mut dyn Read, to: &Path, wanted: fn(&Path) -> bool) -> Result<()> {
    let mut archive = tar::Archive::new(compress::reader(name, packed)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let mut parts = path.components();
        parts.next();
        let inner = parts.as_path();
        if !inner.components().all(|part| matches!(part, Component::Normal(_))) {
            bail!("member {} leads outside", path.display());
        }
        let kind = entry.header().entry_type();
        let content = kind.is_file() || kind.is_symlink();
        if !content || inner.as_os_str().is_empty() || !wanted(inner) {
            continue;
        }
        let place = to.join("linux").join(inner);
        fs::create_dir_all(place.parent().unwrap_or(to))?;
        if kind.is_symlink() {
            let target = entry.link_name()?.context("a link without a target")?.into_owned();
            std::os::unix::fs::symlink(target, &place)?;
            continue;
        }
        let mut file = File::create(&place)?;
        std::io::copy(&mut entry, &mut file)?;
        let mode = entry.header().mode()? & 0o777;
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.set_modified(UNIX_EPOCH + Duration::from_secs(entry.header().mtime()?))?;
    }
    Ok(())
}
