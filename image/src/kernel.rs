// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel as a distribution or the Raspberry Pi's makers ship it, made ready: its image, its configuration,
//! its device trees, and its modules unpacked, with the lists that init loads by.

pub mod image;
mod modules;
mod source;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::cache::Cache;
use crate::compress::Compression;
use crate::deb;
use crate::early;
use crate::kconfig::Kconfig;
use crate::load::{Line, Resolver};
use crate::machines::Machine;
use crate::progress::Progress;
use crate::scratch;
use crate::tree::{hash_file, hex};
use image::Kind;

/// Debian's names for the architectures that pivot runs on.
const ARCHITECTURES: [&str; 3] = ["arm64", "armhf", "armel"];

/// Where a kernel comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A Debian package.
    Package(PathBuf),
    /// A directory with `boot/` and `lib/modules/<release>/`, or a checkout of raspberrypi/firmware; and the
    /// name of the kernel's file in `boot/`, where there are several.
    Directory(PathBuf, Option<&'static str>),
}

impl Source {
    /// By what is at this path.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        if path.is_dir() { Self::Directory(path.into(), None) } else { Self::Package(path.into()) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        let (Self::Package(path) | Self::Directory(path, _)) = self;
        path
    }
}

/// What can be known of a kernel within a moment.
#[derive(Debug)]
pub struct Look {
    /// What `uname -r` says.
    pub release: String,
    /// What its image is; none where it is nothing that is known here.
    pub kind: Option<Kind>,
    /// Its configuration.
    pub config: Kconfig,
}

impl Look {
    /// Looks at a kernel without unpacking its modules.
    ///
    /// # Errors
    /// Names what is missing from the package or directory; where the package is for another architecture.
    pub fn at(source: &Source) -> Result<Self> {
        match source {
            Source::Package(package) => Self::in_package(package),
            Source::Directory(directory, file) => {
                let parts = source::find(directory, *file)?;
                let mut head = Vec::new();
                File::open(&parts.image)
                    .and_then(|file| file.take(image::HEAD as u64).read_to_end(&mut head))
                    .with_context(|| format!("cannot read {}", parts.image.display()))?;
                let config = Kconfig::parse(&parts.config()?);
                Ok(Self { kind: Kind::of(&head), config, release: parts.release })
            }
        }
    }

    fn in_package(package: &Path) -> Result<Self> {
        check_architecture(package)?;
        let (mut release, mut kind, mut config) = (None, None, None);
        deb::look(package, |path, data| {
            if let Some(found) = release_of(path, "vmlinuz") {
                let mut head = Vec::new();
                data.take(image::HEAD as u64).read_to_end(&mut head)?;
                (release, kind) = (Some(found), Kind::of(&head));
            } else if release_of(path, "config").is_some() {
                let mut text = Vec::new();
                data.read_to_end(&mut text)?;
                config = Some(Kconfig::parse(&String::from_utf8_lossy(&text)));
            }
            Ok(release.is_none() || config.is_none())
        })?;
        let missing = |what: &str| format!("{}: no boot/{what}-RELEASE in it", package.display());
        Ok(Self {
            release: release.with_context(|| missing("vmlinuz"))?,
            kind,
            config: config.with_context(|| missing("config"))?,
        })
    }
}

/// The release in `boot/<kind>-<release>` or `usr/lib/modules/<release>/<kind>`.
fn release_of(path: &Path, kind: &str) -> Option<String> {
    let name = file_name(path);
    let directory = path.parent()?;
    if directory == Path::new("boot") {
        return Some(name.strip_prefix(kind)?.strip_prefix('-')?.to_owned());
    }
    let modules = directory.parent()?;
    let in_modules = modules == Path::new("usr/lib/modules") || modules == Path::new("lib/modules");
    (in_modules && name == kind).then(|| file_name(directory))
}

fn check_architecture(package: &Path) -> Result<()> {
    let architecture = deb::architecture(package)?;
    ensure!(
        ARCHITECTURES.contains(&architecture.as_str()),
        "{} is for {architecture}: expected a kernel for {}",
        package.display(),
        ARCHITECTURES.join(", ")
    );
    Ok(())
}

/// A kernel ready to be built from.
#[derive(Debug)]
pub struct Kernel {
    /// What `uname -r` says.
    pub release: String,
    /// The image to boot.
    pub vmlinuz: PathBuf,
    /// Its configuration.
    pub config: Kconfig,
    /// Holds a directory `<release>` with the modules, ready.
    pub modules: PathBuf,
    /// Holds the device trees of Raspberry Pis.
    pub dtbs: PathBuf,
    /// Holds overlays for them.
    pub overlays: PathBuf,
    // deletes the prepared tree where no cache keeps it
    _temporary: Option<TempDir>,
}

impl Kernel {
    /// Finds the kernel and prepares its modules.
    ///
    /// # Errors
    /// Names what is missing from the package or directory.
    pub fn open(source: &Source, cache: &Cache, progress: Progress) -> Result<Self> {
        match source {
            Source::Directory(directory, file) => {
                let temporary = scratch::directory()?;
                prepare(directory, *file, temporary.path(), progress)?;
                Self::ready(source.path(), temporary.path().to_owned(), Some(temporary))
            }
            Source::Package(package) => Self::from_package(package, cache, progress),
        }
    }

    fn from_package(package: &Path, cache: &Cache, progress: Progress) -> Result<Self> {
        check_architecture(package)?;
        let key = format!("kernel-3-{}", hex(&hash_file(package)?.0));
        let cached = cache.path(&key);
        if let Some(directory) = cached.as_ref().filter(|directory| directory.is_dir()) {
            return Self::ready(package, directory.clone(), None);
        }
        let temporary = match cached.as_ref().and_then(|path| path.parent()) {
            Some(parent) => {
                fs::create_dir_all(parent)
                    .with_context(|| format!("cannot make cache directory {}", parent.display()))?;
                scratch::directory_in(parent)
            }
            None => scratch::directory(),
        }?;
        let (raw, ready) = (temporary.path().join("raw"), temporary.path().join("ready"));
        let step = progress.step(&format!("unpacking {}", file_name(package)), 0);
        deb::unpack(package, &raw, belongs_to_a_kernel)?;
        step.done("done");
        ensure!(raw.is_dir(), "{}: neither boot nor modules in it", package.display());
        prepare(&raw, None, &ready, progress)
            .with_context(|| format!("in {}", package.display()))?;
        match cached {
            // Whoever is first wins; the other's tree is the same.
            Some(cached) if fs::rename(&ready, &cached).is_ok() || cached.is_dir() => {
                Self::ready(package, cached, None)
            }
            _ => Self::ready(package, ready, Some(temporary)),
        }
    }

    /// The early modules for these machines, and these, in the order to load; see [`early::resolve`].
    ///
    /// # Errors
    /// Names the module that is missing, and who needs it.
    pub fn early(&self, machines: &[Machine], names: &[String]) -> Result<Vec<Line>> {
        let resolver = Resolver::open(&self.modules, &self.release)?;
        early::resolve(&resolver, &self.release, machines, names)
    }

    /// As [`reads_archive`].
    ///
    /// # Errors
    /// As there.
    pub fn reads_archive(&self, compression: Compression) -> Result<()> {
        reads_archive(&self.release, &self.config, compression)
    }

    /// From a directory that [`prepare`] filled.
    fn ready(origin: &Path, place: PathBuf, temporary: Option<TempDir>) -> Result<Self> {
        let release = source::only_release(&place.join("lib/modules"), origin)?;
        Ok(Self {
            config: Kconfig::read(&place.join("config"))?,
            vmlinuz: place.join("vmlinuz"),
            modules: place.join("lib/modules"),
            dtbs: place.join("dtbs"),
            overlays: place.join("overlays"),
            release,
            _temporary: temporary,
        })
    }
}

/// Whether a kernel unpacks an initramfs of this compression.
///
/// # Errors
/// Where it cannot, or cannot where several archives follow each other.
pub fn reads_archive(release: &str, config: &Kconfig, compression: Compression) -> Result<()> {
    if let Some(option) = compression.kernel_option() {
        ensure!(
            config.built_in(option),
            "initramfs: kernel {release} cannot read {compression} (it is without {option})"
        );
    }
    // kernel commit 2c484419efc0: an LZ4 archive ended only with the whole initramfs before, and the
    // early modules after it were never seen
    ensure!(
        compression != Compression::Lz4 || version(release) >= (5, 13),
        "initramfs: kernel {release} does not read anything after an LZ4 archive; use zstd or none"
    );
    Ok(())
}

/// The two numbers that a release begins with.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Debian since 7.0 and others with a merged /usr keep all of it under `usr/lib/modules/<release>`.
fn belongs_to_a_kernel(path: &Path) -> bool {
    path.starts_with("boot")
        || path.starts_with("lib/modules")
        || path.starts_with("usr/lib/modules")
        || path.parent().is_some_and(is_tree)
}

/// Debian keeps device trees in `usr/lib/linux-image-<release>/`, with `broadcom/` in it for arm64; the packages
/// of the Raspberry Pi's makers have `overlays/`, too.
fn is_tree(directory: &Path) -> bool {
    let names = directory.strip_prefix("usr/lib").unwrap_or(Path::new(""));
    names.to_str().is_some_and(|names| names.starts_with("linux-image-"))
}

/// Fills `to` with `vmlinuz`, `config`, `dtbs/`, `overlays/` and `lib/modules/<release>/`.
fn prepare(from: &Path, file: Option<&str>, to: &Path, progress: Progress) -> Result<()> {
    let parts = source::find(from, file)?;
    let config = parts.config()?;
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    fs::copy(&parts.image, to.join("vmlinuz"))
        .with_context(|| format!("cannot copy {}", parts.image.display()))?;
    fs::write(to.join("config"), config)
        .with_context(|| format!("cannot write {}", to.join("config").display()))?;
    parts.copy_trees(to)?;
    modules::prepare(&parts.modules, to, &parts.release, progress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("6.12.95+deb12-arm64"), (6, 12));
        assert_eq!(version("5.4-rc1"), (5, 4));
        assert_eq!(version("next"), (0, 0));
    }

    #[track_caller]
    fn of(path: &str, expected: Option<&str>) {
        assert_eq!(release_of(Path::new(path), "vmlinuz").as_deref(), expected);
    }

    #[test]
    fn releases_in_paths() {
        of("boot/vmlinuz-6.12.95+deb12-rpi", Some("6.12.95+deb12-rpi"));
        of("usr/lib/modules/7.2.13+deb14-arm64/vmlinuz", Some("7.2.13+deb14-arm64"));
        of("boot/config-6.12", None);
        of("boot/sub/vmlinuz-6.12", None);
        of("usr/lib/modules/6.12/kernel/vmlinuz", None);
    }

    #[test]
    fn members_of_a_package() {
        for (path, expected) in [
            ("boot/vmlinuz-6.12", true),
            ("usr/lib/linux-image-6.12/bcm2835-rpi-zero.dtb", true),
            ("usr/lib/linux-image-6.12/overlays/a.dtbo", true),
            ("usr/share/doc/linux-image-6.12/copyright", false),
        ] {
            assert_eq!(belongs_to_a_kernel(Path::new(path)), expected, "{path}");
        }
    }

    #[track_caller]
    fn refused(files: &[&str], why: &str) {
        let directory = TempDir::new().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let source = Source::at(directory.path());
        let error = Kernel::open(&source, &Cache::none(), Progress::Silent).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        refused(&[], "no lib/modules in it");
        refused(&["lib/modules/x"], "no lib/modules/<release> in it");
        refused(&["lib/modules/1/a", "lib/modules/2/a"], "more than one kernel release: 1, 2");
        refused(&["lib/modules/6.12/a"], "boot/vmlinuz-6.12");
        refused(&["lib/modules/6.12 x/a"], "no kernel release");
    }
}
