// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ring 1: formatting, lints, unit tests, manual pages, and what the device programs look like.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::tidy;
use super::{Note, Step};
use crate::cargo::{self, DEVICE, INIT, WITNESS, cargo, workspace};
use crate::elf::Elf;
use crate::tool;

/// Of the stripped program.
const INIT_LIMIT: u64 = 80_000;
/// Of the archive that all kernels of an image share, compressed, without early modules.
const INITRAMFS_LIMIT: u64 = 64_000;

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step { name: "fmt", run: || run(cargo().args(["fmt", "--all", "--check"])) },
        Step { name: "tidy", run: tidy::files },
        Step { name: "lines", run: tidy::lines },
        Step { name: "clippy", run: clippy },
        Step { name: "clippy-device", run: clippy_device },
        Step { name: "doc", run: doc },
        Step { name: "man", run: man },
        Step { name: "unit", run: unit },
        Step { name: "elf", run: elf },
        Step { name: "elf-rustflags", run: elf_rustflags },
        Step { name: "size", run: size },
    ]
}

fn run(command: &mut Command) -> Result<Note> {
    tool::run(command).map(|_| Note::new())
}

fn clippy() -> Result<Note> {
    let mut clippy = cargo();
    clippy.args(["clippy", "--quiet", "--locked", "--workspace", "--all-targets"]);
    clippy.args(["--features", "tests/oracle"]);
    run(clippy.args(["--", "-D", "warnings"]))
}

/// The C entry of init is compiled for musl alone.
fn clippy_device() -> Result<Note> {
    let mut clippy = cargo();
    clippy.args(["clippy", "--quiet", "--locked", "--package", "pivot", "--target", DEVICE]);
    run(clippy.args(["--", "-D", "warnings"]))
}

fn doc() -> Result<Note> {
    let mut doc = cargo();
    doc.args([
        "doc",
        "--quiet",
        "--locked",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn man() -> Result<Note> {
    let pages: Vec<_> =
        fs::read_dir(workspace().join("man"))?.flatten().map(|entry| entry.path()).collect();
    ensure!(!pages.is_empty(), "there are no manual pages");
    run(tool::command("mandoc").args(["-Tlint", "-Wwarning"]).args(&pages))?;
    Ok(format!("{} pages", pages.len()))
}

fn unit() -> Result<Note> {
    let mut test = cargo();
    test.args(["test", "--quiet", "--locked", "--workspace", "--exclude", "tests"]);
    let said = tool::run(&mut test)?;
    let passed =
        said.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    let passed: u32 = passed.filter_map(|count| count.parse::<u32>().ok()).sum();
    ensure!(passed > 0, "no test was run:\n{said}");
    Ok(format!("{passed} tests"))
}

/// What is booted in ring 3 is what is looked at here.
fn elf() -> Result<Note> {
    for program in [INIT, WITNESS] {
        check_elf(&program.shipped()?)?;
    }
    Ok(Note::new())
}

/// A variable of the environment replaces cargo's configured flags; the alignment must not be among them.
fn elf_rustflags() -> Result<Note> {
    let target = cargo::target()?.join("rustflags");
    for program in [INIT, WITNESS] {
        let built = program.build(|cargo| {
            cargo.arg("--quiet").env("RUSTFLAGS", "-Dwarnings").env("CARGO_TARGET_DIR", &target);
        })?;
        check_elf(&built)?;
    }
    Ok(Note::new())
}

fn check_elf(program: &Path) -> Result<()> {
    Elf::read(program)?.check().with_context(|| program.display().to_string())
}

fn size() -> Result<Note> {
    let init = INIT.shipped()?;
    let directory = tempfile::tempdir()?;
    let archive = directory.path().join("initramfs");
    let mut make = tool::command(&cargo::IMAGE.shipped()?.to_string_lossy());
    make.args(["--quiet", "initramfs", "--init"]).arg(&init).arg("--out").arg(&archive);
    tool::run(make.current_dir(workspace()))?;
    let length = |path: &Path| Ok::<_, std::io::Error>(fs::metadata(path)?.len());
    let (init, archive) = (length(&init)?, length(&archive)?);
    let note = format!("init {init} bytes, initramfs {archive} bytes");
    ensure!(init <= INIT_LIMIT, "{note}: init has more than {INIT_LIMIT}");
    ensure!(archive <= INITRAMFS_LIMIT, "{note}: the initramfs has more than {INITRAMFS_LIMIT}");
    Ok(note)
}
