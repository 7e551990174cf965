// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ring 1: formatting, lints, unit tests, manual pages, and what the device programs look like.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Note, Step, fuzz, kernel, tidy};
use crate::bench;
use crate::cargo::{
    self, BOOTSEL, BOOTSEL_ARMV6, INIT, INIT_ARMV6, Library, Program, WITNESS, WITNESS_ARMV6,
    cargo, workspace,
};
use crate::elf::{self, Elf, Machine};
use crate::tool;

/// Of the stripped programs. The one for ARMv6 is Thumb code.
const INIT_LIMIT: u64 = 64_000;
const INIT_ARMV6_LIMIT: u64 = 60_000;
/// The same with std.
const BOOTSEL_LIMIT: u64 = 1_200_000;
const BOOTSEL_ARMV6_LIMIT: u64 = 940_000;
/// Of the archive that the kernels of an image share, compressed, without early modules: for 64-bit kernels, for all.
const INITRAMFS_LIMIT: u64 = 40_000;
const INITRAMFS_BOTH_LIMIT: u64 = 78_000;

pub(super) fn steps(all: bool) -> Vec<Step> {
    let fuzz: fn() -> Result<Note> =
        if all { || fuzz::run(fuzz::LONG) } else { || fuzz::run(fuzz::SHORT) };
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
        Step { name: "elf-thumb", run: elf_thumb },
        Step { name: "size", run: size },
        Step { name: "figures", run: bench::figures::told },
        Step { name: "kernel-fragments", run: kernel::fragments },
        Step { name: "kernel-check", run: kernel::check },
        Step { name: "fuzz", run: fuzz },
    ]
}

fn run(command: &mut Command) -> Result<Note> {
    tool::run(command).map(|_| Note::new())
}

fn clippy() -> Result<Note> {
    let mut clippy = cargo();
    clippy.args(["clippy", "--quiet", "--locked", "--workspace", "--all-targets"]);
    clippy.args(["--features", "tests/oracle", "--profile", "host"]);
    run(clippy.args(["--", "-D", "warnings"]))
}

/// The entry of init and its system calls are compiled for the devices' machines alone.
fn clippy_device() -> Result<Note> {
    let mut notes = Vec::new();
    for program in [INIT, INIT_ARMV6, bench::FLOOR] {
        let mut clippy = cargo();
        clippy.args(["clippy", "--quiet", "--locked", "--package", program.package]);
        // As it ships: without std there is no other way to panic than to abort.
        clippy.arg("--release");
        if program.target.compile_for(&mut clippy)? == Library::FromSource {
            notes.push("rustup has no ARMv6 target here: with core and alloc from source");
        }
        tool::run(clippy.args(["--", "-D", "warnings"]))?;
    }
    Ok(notes.concat())
}

fn doc() -> Result<Note> {
    let mut doc = cargo();
    doc.args([
        "doc",
        "--profile",
        "host",
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
    test.args(["test", "--profile", "host", "--quiet", "--locked"]);
    test.args(["--workspace", "--exclude", "tests"]);
    let said = tool::run(&mut test)?;
    let passed =
        said.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    let passed: u32 = passed.filter_map(|count| count.parse::<u32>().ok()).sum();
    ensure!(passed > 0, "no test was run:\n{said}");
    Ok(format!("{passed} tests"))
}

const DEVICE_PROGRAMS: [(Program, Machine); 6] = [
    (INIT, Machine::Aarch64),
    (INIT_ARMV6, Machine::Arm),
    (BOOTSEL, Machine::Aarch64),
    (BOOTSEL_ARMV6, Machine::Arm),
    (WITNESS, Machine::Aarch64),
    (WITNESS_ARMV6, Machine::Arm),
];

/// What is booted in ring 3 is what is looked at here.
fn elf() -> Result<Note> {
    let own_paths = cargo::flags::own_paths()?;
    for (program, machine) in DEVICE_PROGRAMS {
        let program = program.shipped()?;
        check_elf(&program, machine)?;
        names_no_path_of_this_machine(&program, &own_paths)?;
    }
    Ok(Note::new())
}

fn names_no_path_of_this_machine(program: &Path, own_paths: &[(PathBuf, String)]) -> Result<()> {
    let bytes = fs::read(program)?;
    for (place, _) in own_paths {
        let place = place.as_os_str().as_encoded_bytes();
        let found = bytes.windows(place.len()).any(|window| window == place);
        ensure!(!found, "{} has {} in it", program.display(), place.escape_ascii());
    }
    Ok(())
}

/// A variable of the environment replaces cargo's configured flags; the alignment must not be among them.
fn elf_rustflags() -> Result<Note> {
    let target = cargo::target()?.join("rustflags");
    // One program: build.rs is the same for all, and the others take minutes.
    let built = INIT.build(|cargo| {
        cargo.arg("--quiet").env("RUSTFLAGS", "-Dwarnings").env("CARGO_TARGET_DIR", &target);
    })?;
    check_elf(&built, Machine::Aarch64)?;
    Ok(Note::new())
}

/// Of init compiled as it ships, but with its symbols: only they tell ARM from Thumb code.
fn elf_thumb() -> Result<Note> {
    let target = cargo::target()?.join("symbols");
    let built = INIT_ARMV6.build(|cargo| {
        cargo.arg("--quiet").env("CARGO_TARGET_DIR", &target);
        cargo.env("CARGO_PROFILE_RELEASE_STRIP", "none");
    })?;
    let code = elf::thumb::check(&built)?;
    Ok(format!("{} bytes of Thumb code, {} of ARM code", code.thumb, code.arm))
}

fn check_elf(program: &Path, machine: Machine) -> Result<()> {
    let shown = || program.display().to_string();
    Elf::read(program)?.check(machine).with_context(shown)?;
    if machine == Machine::Arm {
        elf::check_armv6(program).with_context(shown)?;
    }
    Ok(())
}

fn size() -> Result<Note> {
    let sizes = sizes()?;
    let note = sizes.map(|(what, bytes, _)| format!("{what} {bytes} bytes")).join(", ");
    for (what, bytes, limit) in sizes {
        ensure!(bytes <= limit, "{note}: {what} has more than {limit}");
    }
    Ok(note)
}

/// What ships, its bytes and its limit.
pub(crate) fn sizes() -> Result<[(&'static str, u64, u64); 6]> {
    let (init, armv6) = (INIT.shipped()?, INIT_ARMV6.shipped()?);
    let initramfs = initramfs_size(&[&init])?;
    let both = initramfs_size(&[&init, &armv6])?;
    Ok([
        ("init", length(&init)?, INIT_LIMIT),
        ("init for ARMv6", length(&armv6)?, INIT_ARMV6_LIMIT),
        ("bootsel", length(&BOOTSEL.shipped()?)?, BOOTSEL_LIMIT),
        ("bootsel for ARMv6", length(&BOOTSEL_ARMV6.shipped()?)?, BOOTSEL_ARMV6_LIMIT),
        ("initramfs", initramfs, INITRAMFS_LIMIT),
        ("initramfs with both", both, INITRAMFS_BOTH_LIMIT),
    ])
}

/// Of the archive that `pivot-image` makes with these programs.
fn initramfs_size(programs: &[&Path]) -> Result<u64> {
    let directory = tempfile::tempdir()?;
    let archive = directory.path().join("initramfs");
    let mut make = tool::command(&cargo::IMAGE.shipped()?.to_string_lossy());
    make.args(["--quiet", "initramfs", "--out"]).arg(&archive);
    for program in programs {
        make.arg("--init").arg(program);
    }
    tool::run(make.current_dir(workspace()))?;
    length(&archive)
}

fn length(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len())
}
