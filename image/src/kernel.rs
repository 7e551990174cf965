// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel as a distribution packages it: its image, its configuration, and its modules made ready: plain
//! .ko files (signatures stay, they are at the end of the plain file) with the index files of depmod, which
//! packages do not carry, and the lists that init loads by.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::cache::Cache;
use crate::compress::{self, Compression};
use crate::deb;
use crate::early;
use crate::kconfig::Kconfig;
use crate::load::{Line, Resolver};
use crate::machines::Machine;
use crate::progress::Progress;
use crate::tool;
use crate::tree::{hash_file, hex};

/// Where a kernel comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A Debian package.
    Package(PathBuf),
    /// A directory with `boot/` and `lib/modules/<release>/`.
    Directory(PathBuf),
}

impl Source {
    /// By what is at this path.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        if path.is_dir() { Self::Directory(path.into()) } else { Self::Package(path.into()) }
    }

    fn path(&self) -> &Path {
        let (Self::Package(path) | Self::Directory(path)) = self;
        path
    }
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
            Source::Directory(directory) => {
                let temporary = TempDir::new().context("cannot make a temporary directory")?;
                prepare(directory, temporary.path(), progress)?;
                Self::ready(source.path(), temporary.path().to_owned(), Some(temporary))
            }
            Source::Package(package) => Self::from_package(package, cache, progress),
        }
    }

    fn from_package(package: &Path, cache: &Cache, progress: Progress) -> Result<Self> {
        let key = format!("kernel-2-{}", hex(&hash_file(package)?.0));
        let cached = cache.path(&key);
        if let Some(directory) = cached.as_ref().filter(|directory| directory.is_dir()) {
            return Self::ready(package, directory.clone(), None);
        }
        let temporary = match cached.as_ref().and_then(|path| path.parent()) {
            Some(parent) => {
                fs::create_dir_all(parent)
                    .with_context(|| format!("cannot make cache directory {}", parent.display()))?;
                TempDir::new_in(parent)
            }
            None => TempDir::new(),
        }
        .context("cannot make a temporary directory")?;
        let (raw, ready) = (temporary.path().join("raw"), temporary.path().join("ready"));
        let step = progress.step(&format!("unpacking {}", file_name(package)), 0);
        deb::unpack(package, &raw, belongs_to_a_kernel)?;
        step.done("done");
        ensure!(raw.is_dir(), "{}: neither boot nor modules in it", package.display());
        prepare(&raw, &ready, progress).with_context(|| format!("in {}", package.display()))?;
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

    /// Whether this kernel unpacks an initramfs of this compression.
    ///
    /// # Errors
    /// Where it cannot, or cannot where several archives follow each other.
    pub fn reads_archive(&self, compression: Compression) -> Result<()> {
        let release = &self.release;
        if let Some(option) = compression.kernel_option() {
            ensure!(
                self.config.built_in(option),
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

    /// From a directory that [`prepare`] filled.
    fn ready(origin: &Path, modules: PathBuf, temporary: Option<TempDir>) -> Result<Self> {
        let release = release(&modules.join("lib/modules"), origin)?;
        Ok(Self {
            config: Kconfig::read(&modules.join("config"))?,
            vmlinuz: modules.join("vmlinuz"),
            modules: modules.join("lib/modules"),
            release,
            _temporary: temporary,
        })
    }
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
}

/// The only release in a directory of releases.
fn release(modules: &Path, origin: &Path) -> Result<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(modules).into_iter().flatten() {
        let entry = entry?;
        if entry.path().is_dir() {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found.sort();
    match found.as_slice() {
        [one] => {
            ensure!(
                bootsel::manifest::modules_image(one).is_some(),
                "{one:?} is no kernel release"
            );
            Ok(one.clone())
        }
        [] => bail!("{}: no lib/modules/<release> in it", origin.display()),
        _ => bail!("{}: more than one kernel release: {}", origin.display(), found.join(", ")),
    }
}

/// Fills `to` with `vmlinuz`, `config` and `lib/modules/<release>/`.
fn prepare(from: &Path, to: &Path, progress: Progress) -> Result<()> {
    let modules = ["lib/modules", "usr/lib/modules"].map(|place| from.join(place));
    let modules = modules.iter().find(|place| place.is_dir());
    let modules = modules.with_context(|| format!("{}: no lib/modules in it", from.display()))?;
    let release = release(modules, from)?;
    let source = modules.join(&release);
    let target = to.join("lib/modules").join(&release);
    let boot = |kind: &str, own: &str| {
        let places = [from.join(format!("boot/{kind}-{release}")), source.join(own)];
        let found = places.iter().find(|place| place.is_file()).cloned();
        found
            .with_context(|| format!("neither {} nor {}", places[0].display(), places[1].display()))
    };
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let (vmlinuz, config) = (boot("vmlinuz", "vmlinuz")?, boot("config", "config")?);
    fs::copy(&vmlinuz, to.join("vmlinuz"))
        .with_context(|| format!("cannot copy {}", vmlinuz.display()))?;
    fs::copy(&config, to.join("config"))
        .with_context(|| format!("cannot copy {}", config.display()))?;
    let files = module_files(&source)?;
    let step =
        progress.step(&format!("modules of {release}"), files.iter().map(|file| file.1).sum());
    copy_modules(&source, &target, &files, &step)?;
    depmod(to, &release)?;
    Resolver::open(&to.join("lib/modules"), &release)?.write_lists(&target)?;
    step.done(&format!("{} files unpacked", files.len()));
    Ok(())
}

/// Modules and what depmod reads, relative to the release's directory, with their lengths.
fn module_files(source: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut tree = crate::tree::Tree::default();
    // `build` and `source` are links to the headers: on the device they lead nowhere
    tree.add(source)?;
    let input = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];
    let wanted = |path: &Path| {
        let name = file_name(path);
        plain_name(&name).is_some() || input.iter().any(|input| path == Path::new(input))
    };
    let files =
        tree.iter().filter(|(path, _)| wanted(path)).filter_map(|(path, node)| match node {
            crate::tree::Node::File(_, length, _) => Some((path.to_owned(), *length)),
            _ => None,
        });
    Ok(files.collect())
}

/// `x.ko` for `x.ko`, `x.ko.xz`, `x.ko.zst`, `x.ko.gz`.
fn plain_name(name: &str) -> Option<&str> {
    let plain = [".xz", ".zst", ".gz"].iter().find_map(|ending| name.strip_suffix(ending));
    Some(plain.unwrap_or(name)).filter(|plain| plain.ends_with(".ko"))
}

/// On every processor: unpacking xz is most of the work.
fn copy_modules(
    source: &Path,
    target: &Path,
    files: &[(PathBuf, u64)],
    step: &crate::progress::Step,
) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let one = |path: &Path| -> Result<()> {
        let name = file_name(path);
        let to = target.join(path).with_file_name(plain_name(&name).unwrap_or(&name));
        fs::create_dir_all(to.parent().unwrap_or(target))?;
        let packed = fs::read(source.join(path))
            .with_context(|| format!("cannot read {}", source.join(path).display()))?;
        let plain =
            if plain_name(&name).is_some() { compress::unpack(&name, &packed)? } else { packed };
        fs::write(&to, plain).with_context(|| format!("cannot write {}", to.display()))
    };
    std::thread::scope(|scope| {
        let worker = |number: usize| {
            files.iter().skip(number).step_by(threads).try_for_each(|(path, length)| {
                step.advance(*length);
                one(path)
            })
        };
        let workers: Vec<_> = (0..threads).map(|n| scope.spawn(move || worker(n))).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread that unpacks modules died"),
        })
    })
}

/// Writes modules.dep and the other index files of `<base>/lib/modules/<release>`.
///
/// # Errors
/// Where depmod is missing or fails.
pub fn depmod(base: &Path, release: &str) -> Result<()> {
    // its default directories may hold settings of this host
    let settings = TempDir::new().context("cannot make a temporary directory")?;
    let base = fs::canonicalize(base)?;
    let mut command = tool::command(&tool::find("depmod", "kmod")?);
    command.arg("-C").arg(settings.path()).arg("-b").arg(&base).arg(release);
    tool::run(&mut command).context("the modules' dependencies are not known")?;
    // Without modules.builtin.modinfo (kernels before 5.2) it leaves an index of no bytes, which is none.
    for entry in fs::read_dir(base.join("lib/modules").join(release))? {
        let path = entry?.path();
        let empty = fs::metadata(&path)?.len() == 0;
        if empty && path.extension().is_some_and(|extension| extension == "bin") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_modules() {
        assert_eq!(plain_name("loop.ko.xz"), Some("loop.ko"));
        assert_eq!(plain_name("loop.ko"), Some("loop.ko"));
        assert_eq!(plain_name("modules.dep"), None);
        assert_eq!(plain_name("ko.xz"), None);
    }

    #[test]
    fn versions() {
        assert_eq!(version("6.12.95+deb12-arm64"), (6, 12));
        assert_eq!(version("5.4-rc1"), (5, 4));
        assert_eq!(version("next"), (0, 0));
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
        refused(&["lib/modules/6.12/a", "boot/vmlinuz-6.12"], "boot/config-6.12");
        refused(&["lib/modules/6.12 x/a"], "no kernel release");
    }
}
