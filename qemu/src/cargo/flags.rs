// SPDX-License-Identifier: MIT OR Apache-2.0
//! How init is made small by its compiler: flags beyond those of the profile `release`. Without them it is the same program,
//! a tenth larger on AArch64 and by half on ARMv6; so a plain `cargo build` works, too.
//!
//! They are for the last step, where LTO makes machine code of all crates, Rust's library included; `-C llvm-args` is a stable
//! flag. The numbers are what each saved when it was added.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{ARMV6, DEVICE, Library, Target, workspace};
use crate::tool;

/// For both. A call is compared with as many instructions as it is long: LLVM's default compares time. 0.5 KB.
const BOTH: &[&str] = &["-Cllvm-args=-inline-instr-cost=3"];

const AARCH64: &[&str] = &[
    // An address by one instruction instead of two: 2 KB. All that has one lies within a MiB, or the linker says so.
    "-Ccode-model=tiny",
    // Functions save and restore registers by calls of shared helpers: 3 KB.
    "-Cllvm-args=-homogeneous-prolog-epilog",
    // Equal sequences become functions, in those parts of Rust's library, too, that were compiled for speed: 0.3 KB.
    "-Cllvm-args=-enable-machine-outliner=always",
    // More sequences are equal where instructions stay in order, and fewer registers are saved: 1.2 KB.
    "-Cllvm-args=-enable-misched=false",
    "-Cllvm-args=-enable-post-misched=false",
    "-Cllvm-args=-disable-machine-licm",
    // Of what the outliner left, too: 0.1 KB.
    "-Cllvm-args=-machine-outliner-reruns=1",
];

/// Always linked to one address: no table of addresses, 1.5 KB.
const ARM: &[&str] = &["-Crelocation-model=static"];

/// What the compiler of the program itself is told.
pub(super) fn of_program(target: &str) -> impl Iterator<Item = &'static str> {
    let own = match target {
        DEVICE => AARCH64,
        ARMV6 => ARM,
        _ => &[],
    };
    BOTH.iter().chain(own).copied()
}

/// Thumb code: 28 KB less than ARM code. An ARM1176 knows the first Thumb set, whose instructions have 16 bits. It has no
/// atomic operations, which would be calls of the kernel's helper page; init has one thread and needs none.
const THUMB: &str = "-Ctarget-feature=+thumb-mode";

/// What the compiler of every crate is told.
pub(super) fn of_crates(target: Target, library: Library, cargo: &mut Command) -> Result<()> {
    let flag =
        |(path, name): (PathBuf, String)| format!("--remap-path-prefix={}={name}", path.display());
    let mut flags: Vec<String> = own_paths()?.into_iter().map(flag).collect();
    // A list of JSON is one of TOML.
    let mut set = |key: &str, flags: &[String]| -> Result<()> {
        let flags = serde_json::to_string(flags)?;
        cargo.args(["--config", &format!("{key}.rustflags={flags}")]);
        Ok(())
    };
    match (target, library) {
        (Target::Device(ARMV6), Library::FromSource) => {
            set("profile.release", &[THUMB.into()])?;
            set("profile.release.build-override", &[])?;
            // It has assembly of its own, which the target's assembler takes as ARM code alone.
            set("profile.release.package.compiler_builtins", &[])?;
        }
        (Target::Device(ARMV6), Library::Installed) => flags.push(THUMB.into()),
        _ => {}
    }
    if let Target::Device(name) | Target::DeviceStd(name) = target {
        set(&format!("target.{name}"), &flags)?;
    }
    if library == Library::FromSource {
        cargo.arg("-Zprofile-rustflags");
    }
    Ok(())
}

/// Where this machine has the sources of Rust's library and of other crates, and what a program shall call that place. A panic
/// says in which file it was: by a path of the machine that builds, two machines would make two programs.
pub(crate) fn own_paths() -> Result<Vec<(PathBuf, String)>> {
    let rustc =
        |query: &[&str]| tool::run(tool::command("rustc").current_dir(workspace()).args(query));
    let library = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("lib/rustlib/src/rust");
    let version = rustc(&["--version", "--verbose"])?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    let mut paths = vec![(library, format!("/rustc/{}", commit.unwrap_or_default()))];
    let cargo_home = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty());
    let cargo_home = cargo_home.map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let cargo_home = std::path::absolute(cargo_home.context("no CARGO_HOME and no HOME")?)?;
    let sources = cargo_home.join("registry/src");
    // One for each registry. There is none before the first crate was fetched.
    for registry in fs::read_dir(sources).into_iter().flatten() {
        paths.push((registry?.path(), String::new()));
    }
    paths.sort();
    Ok(paths)
}
