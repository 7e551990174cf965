// SPDX-License-Identifier: MIT OR Apache-2.0
//! `kernel`: compiles a Linux of upstream's sources and fragments of configuration, into a directory as the builder takes it for
//! a kernel. Equal sources, fragments and compilers give equal bytes, wherever and whenever it is done; so they are compiled
//! once, and kept.

mod depends;
mod fragment;
mod make;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use fragment::FRAGMENTS;

use crate::cache::Cache;
use crate::cli::{Base, Kernel as Arguments};
use crate::kconfig::Kconfig;
use crate::progress::{Progress, size};
use crate::scratch;
use crate::tree::{Node, Tree, hex};
use fragment::Setting;
use make::Make;
use source::{Source, Unpacked};

/// Changes where this module makes another kernel of the same input.
const RECIPE: &str = "linux-1";
/// Of `uname -r`, which holds 64.
const NAME_MAX: usize = 40;

/// A kernel that was made, or kept from before.
#[derive(Debug, Serialize)]
pub struct Built {
    /// What `uname -r` says.
    pub release: String,
    /// `boot/`, `lib/modules/` and device trees are in it.
    pub directory: PathBuf,
    /// Bytes of the kernel's image.
    pub image: u64,
    /// Whether it was there before.
    pub cached: bool,
}

/// Compiles it, unless that was done before.
///
/// # Errors
/// Names the option that did not take and what it depends on, the programs that are missing, or what the compiler said.
pub fn build(arguments: &Arguments, cache: &Cache, progress: Progress) -> Result<Built> {
    let kept = cache.path("").is_some() || arguments.out.is_some();
    ensure!(kept, "without a cache the kernel would be gone: give --out");
    arguments.out.as_deref().map(is_ours_to_write).transpose()?;
    let source = source_of(arguments, progress)?;
    let plan = Plan::make(arguments, &source, cache, progress)?;
    make::check_config(&Kconfig::parse(&plan.config))?;
    let cached = cache.path(&plan.key(&source)?);
    if let Some(directory) = cached.as_ref().filter(|directory| directory.is_dir()) {
        return plan.deliver(directory, arguments.out.as_deref(), true, progress);
    }
    cache.clear_up();
    let place = source::temporary(cache)?;
    let made = place.path().join("kernel");
    plan.compile(&source, place.path(), &made, cache, progress)?;
    match cached {
        // whoever is first wins; the other's is the same
        Some(cached) if fs::rename(&made, &cached).is_ok() || cached.is_dir() => {
            plan.deliver(&cached, arguments.out.as_deref(), false, progress)
        }
        _ => plan.deliver(&made, arguments.out.as_deref(), false, progress),
    }
}

/// The kernel of these fragments, with no to everything else, where it was compiled before.
///
/// # Errors
/// As [`build`].
pub fn kept(fragments: &str, source: &Path, cache: &Cache) -> Result<Option<Built>> {
    let arguments = Arguments {
        check: None,
        fragments: fragments.split(',').map(str::to_owned).collect(),
        base: Base::default(),
        source: Some(source.into()),
        out: None,
        name: None,
        jobs: None,
        config_only: false,
        json: false,
    };
    let source = source_of(&arguments, Progress::Silent)?;
    let plan = Plan::make(&arguments, &source, cache, Progress::Silent)?;
    let directory = cache.path(&plan.key(&source)?).filter(|directory| directory.is_dir());
    let deliver = |directory: &PathBuf| plan.deliver(directory, None, true, Progress::Silent);
    directory.as_ref().map(deliver).transpose()
}

/// The configuration alone.
///
/// # Errors
/// As [`build`].
pub fn configuration(arguments: &Arguments, cache: &Cache, progress: Progress) -> Result<String> {
    let source = source_of(arguments, progress)?;
    Ok(Plan::make(arguments, &source, cache, progress)?.config)
}

fn source_of(arguments: &Arguments, progress: Progress) -> Result<Source> {
    match &arguments.source {
        Some(path) => Source::at(path),
        None => Source::from_debian(progress),
    }
}

/// A configuration that Linux's own Kconfig has finished.
#[derive(Debug)]
struct Plan {
    config: String,
    /// Compiler, assembler and linker.
    toolchain: String,
    jobs: usize,
}

impl Plan {
    fn make(
        arguments: &Arguments,
        source: &Source,
        cache: &Cache,
        progress: Progress,
    ) -> Result<Self> {
        let settings = settings(arguments, progress)?;
        let jobs = arguments.jobs.map_or_else(processors, usize::from);
        let place = source::temporary(cache)?;
        let unpacked = source.for_kconfig(cache, progress)?;
        let make = Make::new(&unpacked.path, place.path(), 0, jobs)?;
        let (target, mut text) = match arguments.base {
            Base::Allnoconfig => ("allnoconfig", String::new()),
            Base::Defconfig => ("alldefconfig", defconfig(&unpacked)?),
        };
        text.push_str(&fragment::text(&settings));
        let file = place.path().join("settings");
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let step = progress.step("configuration", 0);
        let config = make.configure(target, &file)?;
        complain(&settings, &config, &unpacked.path)?;
        step.done(&format!("{} options of fragments took", settings.len()));
        Ok(Self { config, toolchain: make.toolchain()?, jobs })
    }

    /// The same for whatever gives the same bytes.
    fn key(&self, source: &Source) -> Result<String> {
        let mut hash = Sha256::new();
        for part in [&source.hash()?, &self.config, &self.toolchain] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Ok(format!("{RECIPE}-{}", hex(&hash.finalize())))
    }

    fn compile(
        &self,
        source: &Source,
        place: &Path,
        to: &Path,
        cache: &Cache,
        progress: Progress,
    ) -> Result<()> {
        let unpacked = source.whole(cache, progress)?;
        let objects = place.join("objects");
        fs::create_dir(&objects)?;
        fs::write(objects.join(".config"), &self.config)?;
        let make = Make::new(&unpacked.path, &objects, source.date(&unpacked.path)?, self.jobs)?;
        let config = Kconfig::parse(&self.config);
        let trees = config.built_in("CONFIG_ARCH_BCM2835");
        let modules = config.built_in("CONFIG_MODULES");
        let mut targets = vec!["Image"];
        targets.extend(modules.then_some("modules"));
        targets.extend(trees.then_some("dtbs"));
        make.compile(&targets, progress)?;
        install(&make, to, trees, modules).context("what was compiled")
    }

    fn deliver(
        &self,
        from: &Path,
        out: Option<&Path>,
        cached: bool,
        progress: Progress,
    ) -> Result<Built> {
        let release = fs::read_to_string(from.join("release"))
            .with_context(|| format!("{} is damaged: delete it", from.display()))?;
        let directory = match out {
            Some(out) => {
                copy(from, out)?;
                out.to_owned()
            }
            None => from.to_owned(),
        };
        let image = directory.join("boot").join(format!("vmlinuz-{release}"));
        let image = fs::metadata(&image).with_context(|| image.display().to_string())?.len();
        let from = if cached { ", from the cache" } else { "" };
        progress.note(&format!("Linux {release}: {}{from}", size(image)));
        Ok(Built { release, directory, image, cached })
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn settings(arguments: &Arguments, progress: Progress) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    for word in &arguments.fragments {
        all.extend(fragment::open(word)?);
    }
    let names = arguments.fragments.iter().filter(|word| *word != "base");
    let default = || names.map(|word| fragment::short(word)).collect::<Vec<_>>().join("-");
    let name = arguments.name.clone().unwrap_or_else(default);
    let known = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte));
    ensure!(
        known && name.len() <= NAME_MAX,
        "{name:?} is no end of a release: give another --name"
    );
    let from = "--name".to_owned();
    let value = if name.is_empty() { "\"\"".to_owned() } else { format!("\"-{name}\"") };
    all.push(Setting { name: "CONFIG_LOCALVERSION".into(), value, from, optional: false });
    let (merged, said) = fragment::merge(all);
    said.iter().for_each(|line| progress.note(&format!("note: {line}")));
    Ok(merged)
}

fn defconfig(unpacked: &Unpacked) -> Result<String> {
    let file = unpacked.path.join("arch/arm64/configs/defconfig");
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// An option that did not take is an error, with its reason where it can be told.
fn complain(settings: &[Setting], config: &str, source: &Path) -> Result<()> {
    let parsed = Kconfig::parse(config);
    let mut lines = Vec::new();
    for (setting, found) in fragment::lost(settings, config) {
        let Setting { name, value, from, optional } = setting;
        let why = match depends::unmet(source, name, &parsed) {
            None if *optional => continue,
            None => "this Linux has no such option".to_owned(),
            Some(_) if value == "n" => {
                "another option selects it, or it cannot be switched off".into()
            }
            Some(open) if open.is_empty() => "something that it depends on is missing".into(),
            Some(open) => format!("it depends on {}", open.join(" and on ")),
        };
        lines.push(format!("  {name}={value} of {from} is {found}: {why}"));
    }
    if !lines.is_empty() {
        bail!("options that did not take:\n{}", lines.join("\n"));
    }
    Ok(())
}

/// Lays out what was compiled as a distribution's package has it.
fn install(make: &Make, to: &Path, trees: bool, modules: bool) -> Result<()> {
    let release = make.release()?;
    let boot = to.join("boot");
    let lib = to.join("lib/modules").join(&release);
    for directory in [&boot, &lib] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let place = |from: &str, to: PathBuf| {
        let from = make.objects.join(from);
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))
    };
    place("arch/arm64/boot/Image", boot.join(format!("vmlinuz-{release}")))?;
    place(".config", boot.join(format!("config-{release}")))?;
    let word = |name: &str, path: &Path| format!("{name}={}", path.display());
    if modules {
        let words =
            [word("INSTALL_MOD_PATH", to), "INSTALL_MOD_STRIP=1".into(), "DEPMOD=true".into()];
        make.run(&[&words[..], &["modules_install".into()]].concat())?;
        for link in ["build", "source"] {
            // they lead to where it was compiled
            let _ = fs::remove_file(lib.join(link));
        }
    } else {
        place("modules.builtin", lib.join("modules.builtin"))?;
        place("modules.builtin.modinfo", lib.join("modules.builtin.modinfo"))?;
        fs::write(lib.join("modules.order"), "")?;
    }
    if trees {
        let path = to.join("usr/lib").join(format!("linux-image-{release}"));
        make.run(&[word("INSTALL_DTBS_PATH", &path), "dtbs_install".into()])?;
    }
    Ok(fs::write(to.join("release"), release)?)
}

/// A directory that is not there, or empty, or has an earlier copy in it.
fn is_ours_to_write(to: &Path) -> Result<()> {
    let empty = !to.exists() || fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(
        empty || to.join("release").is_file(),
        "{} is there, and not of this program",
        to.display()
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    is_ours_to_write(to)?;
    let mut tree = Tree::default();
    tree.add(from)?;
    scratch::whole_directory(to, |to| lay_out(&tree, to))
}

fn lay_out(tree: &Tree, to: &Path) -> Result<()> {
    for (path, node) in tree.iter() {
        let place = to.join(path);
        let done = match node {
            Node::Directory => fs::create_dir_all(&place),
            Node::File(source, ..) => fs::copy(source, &place).map(drop),
            Node::Link(target) => std::os::unix::fs::symlink(target, &place),
        };
        done.with_context(|| format!("cannot write {}", place.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
