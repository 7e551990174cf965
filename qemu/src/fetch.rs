// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages for the guests: downloaded once, checked by the hash of apt's signed lists, kept in the user's cache.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::apt::{Apt, GUEST, Mirrors, Package};
use crate::tool;

/// Something that the guests are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Debian's arm64 kernel of the backports.
    Kernel,
    /// The same with pages of 16 KiB, as the Raspberry Pi 5's own has.
    Kernel16k,
    /// A shell and an init in one static program.
    Busybox,
    /// Static, for an initramfs.
    E2fsck,
}

impl Wanted {
    /// The package, or the metapackage that depends on it; and the suite.
    fn package(self) -> (&'static str, Option<String>) {
        let backports = Some(format!("{GUEST}-backports"));
        match self {
            Self::Kernel => ("linux-image-arm64", backports),
            Self::Kernel16k => ("linux-image-arm64-16k", backports),
            Self::Busybox => ("busybox-static", None),
            Self::E2fsck => ("e2fsck-static", None),
        }
    }
}

/// What was downloaded for a name.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    file: String,
    sha256: String,
}

/// `~/.cache/pivot`, or below XDG_CACHE_HOME.
pub(crate) fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = base.or_else(home).context("neither HOME nor XDG_CACHE_HOME is set")?.join("pivot");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}

/// The packages in the cache.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    apt: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// Two commands at a time must not download the same file.
    _lock: Flock<File>,
}

impl Store {
    pub(crate) fn open() -> Result<Self> {
        let cache = cache()?;
        let directory = cache.join("debs");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let lock = File::create(directory.join("lock")).context("cannot lock the cache")?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, why)| why)
            .context("cannot lock the cache")?;
        let entries = fs::read(directory.join("packages.json")).unwrap_or_default();
        let entries = serde_json::from_slice(&entries).unwrap_or_default();
        Ok(Self { directory, apt: cache.join("apt"), entries, _lock: lock })
    }

    /// The path of a package's file, downloaded if it is not there or not what it was.
    pub(crate) fn get(&mut self, wanted: Wanted) -> Result<PathBuf> {
        let (name, suite) = wanted.package();
        if let Some(entry) = self.entries.get(name) {
            let path = self.directory.join(&entry.file);
            if path.exists() && tool::sha256(&path)? == entry.sha256 {
                return Ok(path);
            }
        }
        let apt = Apt::for_guests(&self.apt, &Mirrors::of_this_machine()?)?;
        apt.update()?;
        let package = find(&apt, name, suite.as_deref())?;
        let path = self.directory.join(&package.file);
        if !path.exists() || tool::sha256(&path)? != package.sha256 {
            apt.download(&package, &self.directory)?;
        }
        let entry = Entry { file: package.file, sha256: package.sha256 };
        self.entries.insert(name.to_owned(), entry);
        self.write()?;
        Ok(path)
    }

    fn write(&self) -> Result<()> {
        let temporary = tempfile::NamedTempFile::new_in(&self.directory)?;
        serde_json::to_writer_pretty(&temporary, &self.entries)?;
        temporary.persist(self.directory.join("packages.json"))?;
        Ok(())
    }
}

/// The package itself, where `name` is a metapackage: a kernel has its release in its name.
fn find(apt: &Apt, name: &str, suite: Option<&str>) -> Result<Package> {
    let package = apt.show(name, suite)?;
    let prefix = "linux-image-";
    let real = package.depends.split([',', ' ']).find(|word| word.starts_with(prefix));
    match real {
        Some(real) if name.starts_with(prefix) => apt.show(real, suite),
        _ => Ok(package),
    }
}

/// Unpacks one file of a package.
pub(crate) fn unpack(package: &Path, file: &str, to: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut unpack = tool::command("dpkg-deb");
    tool::run(unpack.arg("-x").arg(package).arg(directory.path()))?;
    let from = directory.path().join(file);
    fs::copy(&from, to)
        .map(|_| ())
        .with_context(|| format!("cannot copy {file} of {} to {}", package.display(), to.display()))
}
