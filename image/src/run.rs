// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does what the command line says.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::build::{Build, Report};
use crate::cache::Cache;
use crate::cli::{self, Cli, Command};
use crate::compress::{self, Compression};
use crate::config::Config;
use crate::early;
use crate::flash::{self, Map};
use crate::initramfs::{self, Programs};
use crate::kernel::{Kernel, Source};
use crate::kernel_build;
use crate::kernelcfg;
use crate::keys::{self, Key};
use crate::progress::{Progress, size};
use crate::scratch;
use crate::squashfs::{self, Options};
use crate::tree::Tree;

/// Where results are kept, and how loud to be.
#[derive(Debug)]
struct Host {
    cache: Cache,
    progress: Progress,
}

/// Runs the program.
///
/// # Errors
/// Whatever went wrong, with what it was about.
pub fn run(cli: Cli) -> Result<()> {
    let cache = if cli.no_cache { Cache::none() } else { Cache::new(cli.cache) };
    cache.clear_up();
    let host = Host { cache, progress: Progress::new(cli.quiet) };
    match cli.command {
        Command::Build(arguments) => build(&arguments, true, &host),
        Command::Revision(arguments) => build(&arguments, false, &host),
        Command::Initramfs(arguments) => initramfs(&arguments, &host),
        Command::Modules(arguments) => modules(&arguments, &host),
        Command::Kernel(arguments) => kernel(&arguments, &host),
        Command::Firmware(arguments) => firmware(&arguments, &host),
        Command::Keys(arguments) => keys(&arguments, host.progress),
        Command::Bundle(arguments) => bundle(&arguments, host.progress),
        Command::Inspect(arguments) => inspect(&arguments),
        Command::Boards(arguments) => boards(&arguments),
        Command::Lint(arguments) => lint(&arguments),
        Command::Flash(arguments) => flash(arguments, host.progress),
    }
}

fn build(arguments: &cli::Build, disk: bool, host: &Host) -> Result<()> {
    let config = Config::read(&arguments.config)?;
    let in_config = || arguments.config.display().to_string();
    let build =
        Build::plan(&config, &arguments.out, &host.cache, host.progress).with_context(in_config)?;
    let report = build.make(disk).with_context(in_config)?;
    match (arguments.json, host.progress) {
        (true, _) => json(&report),
        (false, Progress::Silent) => Ok(()),
        (false, _) => print(&summary(&report)),
    }
}

fn summary(report: &Report) -> String {
    let line =
        |made: &crate::build::Made| format!("{}  {}\n", size(made.bytes), made.path.display());
    report.files.iter().map(line).collect()
}

fn inspect(arguments: &cli::Inspect) -> Result<()> {
    let keys = arguments.keys.as_deref().map(signed::Keys::read).transpose()?;
    let report = crate::inspect::inspect(&arguments.file, keys.as_ref())?;
    if arguments.json {
        json(&report)?
    } else {
        print(&report.to_string())?
    }
    match &report {
        crate::inspect::Report::Bundle(bundle) => {
            bundle.sound().with_context(|| arguments.file.display().to_string())
        }
        _ => Ok(()),
    }
}

fn keys(arguments: &cli::Keys, progress: Progress) -> Result<()> {
    let password = arguments.password_file.as_deref();
    let made = keys::make(&arguments.out, &arguments.name, password)?;
    if password.is_none() {
        let advice = "is not encrypted: whoever reads it can sign";
        progress.note(&format!("note: {} {advice}", made.secret.display()));
    }
    match (arguments.json, progress) {
        (true, _) => json(&made),
        (false, Progress::Silent) => Ok(()),
        (false, _) => print(&format!("{}\n{}\n", made.secret.display(), made.public.display())),
    }
}

fn bundle(arguments: &cli::Bundle, progress: Progress) -> Result<()> {
    let read =
        |key: &std::path::PathBuf| Key::read(key, arguments.password_file.as_deref(), progress);
    let key = arguments.key.as_ref().map(read).transpose()?;
    crate::bundle::write(&arguments.directory, key.as_ref(), &arguments.out, progress)
}

fn flash(arguments: cli::Flash, progress: Progress) -> Result<()> {
    let bmap = match arguments.bmap {
        Some(path) => Map::At(path),
        None if arguments.no_bmap => Map::None,
        None => Map::Beside,
    };
    let (force, verify) = (arguments.force, !arguments.no_verify);
    let (image, device) = (arguments.image, arguments.device);
    let report = flash::flash(&flash::Options { image, device, force, verify, bmap }, progress)?;
    if arguments.json { json(&report) } else { Ok(()) }
}

fn boards(arguments: &cli::Look) -> Result<()> {
    let report = crate::boards::boards(&arguments.image)?;
    if arguments.json { json(&report) } else { print(&report.to_string()) }
}

fn lint(arguments: &cli::Look) -> Result<()> {
    let report = crate::lint::lint(&arguments.image)?;
    if arguments.json {
        json(&report)?
    } else {
        print(&report.to_string())?
    }
    let errors = report.count(crate::lint::Severity::Error);
    anyhow::ensure!(errors == 0, "{}: errors: {errors}", arguments.image.display());
    Ok(())
}

fn initramfs(arguments: &cli::Initramfs, host: &Host) -> Result<()> {
    let init = match arguments.init.is_empty() {
        true => initramfs::built(arguments.arch)?,
        false => arguments.init.clone(),
    };
    for program in &init {
        host.progress.note(&format!("init: {}", program.display()));
    }
    let (arch, e2fsck, shell) = (arguments.arch, arguments.e2fsck.clone(), arguments.shell.clone());
    let archive = initramfs::archive(&Programs { init, arch, e2fsck, shell })?;
    let mut bytes = compress::archive(arguments.compression, &archive.to_bytes())?;
    for path in &arguments.kernel {
        let kernel = Kernel::open(&Source::at(path), &host.cache, host.progress)?;
        kernel.reads_archive(arguments.compression)?;
        let archive = early_archive(&kernel, &arguments.early)?;
        bytes.extend(compress::archive(arguments.compression, &archive)?);
    }
    write(&arguments.out, &bytes, host.progress)
}

fn early_archive(kernel: &Kernel, arguments: &cli::Early) -> Result<Vec<u8>> {
    let order = kernel.early(&arguments.machine, &arguments.modules)?;
    let directory = kernel.modules.join(&kernel.release);
    Ok(early::archive(&directory, &kernel.release, &order)?.to_bytes())
}

fn modules(arguments: &cli::Modules, host: &Host) -> Result<()> {
    let kernel = Kernel::open(&Source::at(&arguments.kernel), &host.cache, host.progress)?;
    let name =
        bootsel::manifest::modules_image(&kernel.release).context("no name for the modules")?;
    let options = options(&arguments.squashfs, &name, std::slice::from_ref(&kernel))?;
    let early = early_archive(&kernel, &arguments.early)?;
    fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make directory {}", arguments.out.display()))?;
    let zstd = Compression::Zstd;
    let compression = if kernel.reads_archive(zstd).is_ok() { zstd } else { Compression::None };
    let early = compress::archive(compression, &early)?;
    write(&arguments.out.join(format!("early_{}", kernel.release)), &early, host.progress)?;
    let mut tree = Tree::default();
    tree.add(&kernel.modules)?;
    squashfs::write(&tree, options, &arguments.out.join(name), &host.cache, host.progress)?;
    Ok(())
}

fn kernel(arguments: &cli::Kernel, host: &Host) -> Result<()> {
    if let Some(cli::KernelCommand::Check(check)) = &arguments.check {
        return check_kernel(check);
    }
    if arguments.config_only {
        return print(&kernel_build::configuration(arguments, &host.cache, host.progress)?);
    }
    let built = kernel_build::build(arguments, &host.cache, host.progress)?;
    if arguments.json { json(&built) } else { print(&format!("{}\n", built.directory.display())) }
}

fn check_kernel(arguments: &cli::KernelCheck) -> Result<()> {
    let report = kernelcfg::check(&arguments.kernel)?;
    if arguments.json {
        json(&report)?
    } else {
        print(&report.to_string())?
    }
    let missing = report.missing(&arguments.machine);
    let kernel = arguments.kernel.display();
    anyhow::ensure!(missing.is_empty(), "{kernel}: cannot boot without {}", missing.join(", "));
    Ok(())
}

fn firmware(arguments: &cli::Firmware, host: &Host) -> Result<()> {
    let open = |path| Kernel::open(&Source::at(path), &host.cache, host.progress);
    let kernels: Vec<_> = arguments.kernel.iter().map(|path| open(path)).collect::<Result<_>>()?;
    let options = options(&arguments.squashfs, "firmware.squashfs", &kernels)?;
    let mut tree = Tree::default();
    arguments.directories.iter().try_for_each(|directory| tree.add(directory))?;
    squashfs::write(&tree, options, &arguments.out, &host.cache, host.progress)?;
    Ok(())
}

fn options(arguments: &cli::Squashfs, image: &str, kernels: &[Kernel]) -> Result<Options> {
    squashfs::check_level(arguments.zstd_level).context("--zstd-level")?;
    let read: Vec<_> =
        kernels.iter().map(|kernel| (kernel.release.as_str(), &kernel.config)).collect();
    let codec = squashfs::choose(image, arguments.compression, &read)?;
    let level = arguments.zstd_level.unwrap_or(squashfs::ZSTD_LEVEL);
    Ok(Options { codec, level, writer: arguments.writer })
}

fn write(path: &Path, bytes: &[u8], progress: Progress) -> Result<()> {
    scratch::write(path, bytes)?;
    progress.note(&format!("{}: {}", path.display(), size(bytes.len() as u64)));
    Ok(())
}

fn json(value: &impl Serialize) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints; a reader that went away (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}
