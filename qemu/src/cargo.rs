// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds programs of the workspace with cargo and says where they are.
//!
//! Device programs are built for AArch64 and for ARMv6, the oldest Raspberry Pi. Where rustup has installed the target, it
//! is an ordinary build; where rustup does not offer it, Rust's library is compiled too, from its sources.

pub(crate) mod flags;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::fetch::{self, Store, Wanted};
use crate::tool;

/// The target of what 64-bit kernels run.
pub(crate) const DEVICE: &str = "aarch64-unknown-linux-musl";
/// The target of what 32-bit kernels run: ARMv6, for Raspberry Pi 1 and Zero. Soft float: init has no floating point, both
/// variants of it differ by 4 bytes, and Debian's C library for that processor is of this kind.
pub(crate) const ARMV6: &str = "arm-unknown-linux-musleabi";

/// The workspace: this package lies directly below it.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo in the workspace; the one that runs us, if one does.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).stdin(Stdio::null());
    // `cargo run` sets them for its program; to the cargo below they would be a changed environment, a reason to
    // build everything anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// A program of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
    pub(crate) target: Target,
}

/// What a program runs on, and what it is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// This machine.
    Host,
    /// A device, without Rust's std.
    Device(&'static str),
    /// A device, with it.
    DeviceStd(&'static str),
}

pub(crate) const fn program(package: &'static str, name: &'static str, target: Target) -> Program {
    Program { package, name, target }
}

pub(crate) const INIT: Program = program("pivot", "init", Target::Device(DEVICE));
pub(crate) const INIT_ARMV6: Program = program("pivot", "init", Target::Device(ARMV6));
pub(crate) const BOOTSEL: Program = program("bootsel-tool", "bootsel", Target::DeviceStd(DEVICE));
pub(crate) const BOOTSEL_ARMV6: Program =
    program("bootsel-tool", "bootsel", Target::DeviceStd(ARMV6));
pub(crate) const WITNESS: Program = program("witness", "witness", Target::DeviceStd(DEVICE));
/// For disks that no device runs on.
pub(crate) const BOOTSEL_HOST: Program = program("bootsel-tool", "bootsel", Target::Host);
/// The one that every kernel runs, 64-bit ones too.
pub(crate) const WITNESS_ARMV6: Program = program("witness", "witness", Target::DeviceStd(ARMV6));
pub(crate) const IMAGE: Program = program("image", "pivot-image", Target::Host);

/// A line of `--message-format=json`; the others are skipped.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

impl Program {
    /// Builds it; cargo shows its own progress. `adapt` may change the command.
    pub(crate) fn build(self, adapt: impl FnOnce(&mut Command)) -> Result<PathBuf> {
        let mut cargo = cargo();
        cargo.args(["rustc", "--locked", "--package", self.package, "--bin", self.name]);
        cargo.arg("--message-format=json-render-diagnostics");
        match self.target {
            Target::Host => cargo.args(["--profile", "host"]),
            Target::Device(_) | Target::DeviceStd(_) => cargo.arg("--release"),
        };
        // They would be in place of those below, and the program would be another.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        adapt(&mut cargo);
        let library = self.target.compile_for(&mut cargo)?;
        cargo.arg("--");
        if let Target::Device(target) = self.target {
            cargo.args(flags::of_program(target));
        }
        if library == Library::FromSource {
            cargo.args(self.target.link()?);
        }
        let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!("cargo could not build {} ({})", self.name, output.status);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
        let mut made = messages.filter_map(|message| message.executable);
        made.next_back().with_context(|| format!("cargo names no program for {}", self.name))
    }

    /// Builds it as it ships, once in a run.
    pub(crate) fn shipped(self) -> Result<PathBuf> {
        static BUILT: Mutex<BTreeMap<Program, PathBuf>> = Mutex::new(BTreeMap::new());
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = built.get(&self) {
            return Ok(path.clone());
        }
        let path = self.build(|_| {})?;
        built.insert(self, path.clone());
        Ok(path)
    }
}

/// Where Rust's library for a target comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// rustup installed it.
    Installed,
    /// The sources that rust-toolchain.toml asks for.
    FromSource,
}

/// An archive without members, which stands for a library of which nothing is needed.
const EMPTY: &str = "!<arch>\n";

impl Target {
    /// Adds to a cargo command what makes it compile for this target.
    pub(crate) fn compile_for(self, cargo: &mut Command) -> Result<Library> {
        let (Self::Device(target) | Self::DeviceStd(target)) = self else {
            return Ok(Library::Installed);
        };
        cargo.args(["--target", target]);
        let mut query = tool::command("rustc");
        query.current_dir(workspace()).args(["--print", "target-libdir", "--target", target]);
        let is_installed = tool::run(&mut query).is_ok_and(|path| Path::new(path.trim()).is_dir());
        let library = if is_installed { Library::Installed } else { Library::FromSource };
        if library == Library::FromSource {
            // Unstable in cargo, and the pinned compiler is a stable one: the variable is how it is told that we know.
            cargo.env("RUSTC_BOOTSTRAP", "1");
            // Build scripts of macros ask for it, too: in one directory each build would compile them anew.
            let apart = self::target()?.join("from-source");
            let apart = serde_json::to_string(&apart)?;
            cargo.args(["--config", &format!("build.build-dir={apart}")]);
            cargo.args(match self {
                // Its own memcpy: there may be no C library.
                Self::Device(_) => [
                    "-Zbuild-std=core,alloc",
                    "-Zbuild-std-features=compiler-builtins-mem,optimize_for_size",
                ],
                _ => ["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="],
            });
        }
        flags::of_crates(self, library, cargo)?;
        Ok(library)
    }

    /// What the linker needs in place of the files that come with an installed target.
    fn link(self) -> Result<Vec<OsString>> {
        let directory = target()?.join(match self {
            Self::DeviceStd(_) => "musl-armel",
            _ => "no-libc",
        });
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let mut arguments = vec!["-Clink-self-contained=no".into(), "-L".into()];
        arguments.push(directory.clone().into_os_string());
        if matches!(self, Self::Device(_)) {
            fs::write(directory.join("libc.a"), EMPTY)?;
            return Ok(arguments);
        }
        // Debian's C library for armel is ARMv5 code; the one for armhf is ARMv7 code and dies on a Raspberry Pi 1.
        let package = Store::open()?.get(Wanted::MuslArmel)?;
        for file in ["crt1.o", "libc.a"] {
            let inside = format!("usr/lib/arm-linux-musleabi/{file}");
            fetch::unpack(&package, &inside, &directory.join(file))?;
        }
        fs::write(directory.join("libunwind.a"), EMPTY)?;
        let mut start = OsString::from("-Clink-arg=");
        start.push(directory.join("crt1.o"));
        arguments.push(start);
        // std calls them for a backtrace, which nobody asks for: a panic says where it was without one.
        for function in ["_Unwind_Backtrace", "_Unwind_VRS_Get"] {
            arguments.push(format!("-Clink-arg=--defsym={function}=0").into());
        }
        Ok(arguments)
    }
}

/// `cargo device`: init and the device's tool for every machine, where `pivot-image` looks for them.
pub(crate) fn build_device() -> Result<ExitCode> {
    for program in [INIT, INIT_ARMV6, BOOTSEL, BOOTSEL_ARMV6] {
        println!("{}", program.shipped()?.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The directory of what is built.
pub(crate) fn target() -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let mut query = cargo();
    query.args(["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let text = crate::tool::run(&mut query)?;
    let metadata: Metadata = serde_json::from_str(&text).context("cargo metadata")?;
    Ok(metadata.target_directory)
}
