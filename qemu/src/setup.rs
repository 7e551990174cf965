// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the machine must have: looked at, said with the reason, and installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::{Apt, Mirrors, PARTLY};
use crate::cargo::{self, DEVICE};
use crate::{progress, tool};

/// How it is known that a package is there.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// A program.
    Program(&'static str),
    /// QEMU: a program of at least this version. 9.1 gave `virt` the second serial port that the witness uses.
    Qemu(&'static str, (u32, u32)),
    /// A file whose name begins so, in a directory of libraries.
    Library(&'static str),
}

/// A Debian package, and what for.
#[derive(Clone, Copy, Debug)]
struct Package {
    name: &'static str,
    proof: Proof,
    why: &'static str,
}

const fn package(name: &'static str, proof: Proof, why: &'static str) -> Package {
    Package { name, proof, why }
}

use Proof::{Library, Program, Qemu};

/// For every boot.
const BOOT: &[Package] = &[
    package("qemu-system-arm", Qemu("qemu-system-aarch64", (9, 1)), "the machine that is booted"),
    package("dpkg", Program("dpkg-deb"), "unpacks Debian's kernel and busybox"),
    package("kmod", Program("depmod"), "the modules' dependencies, which kernel packages lack"),
    package("e2fsprogs", Program("mke2fs"), "the data partition"),
    package("mtools", Program("mcopy"), "reads kernel and initramfs out of the boot partition"),
    package("fdisk", Program("sfdisk"), "reads and writes partition tables"),
    package("device-tree-compiler", Program("fdtput"), "says in a device tree what firmware says"),
    package("squashfs-tools", Program("mksquashfs"), "packs root file systems"),
];

/// For `--rootfs debian`.
const DEBIAN: &[Package] = &[
    package("mmdebstrap", Program("mmdebstrap"), "makes a Debian root file system"),
    package("arch-test", Program("arch-test"), "tells mmdebstrap that arm64 programs run here"),
    package("qemu-user", Qemu("qemu-aarch64", (0, 0)), "runs the arm64 packages' own scripts"),
];

/// For an ordinary user who makes a Debian root file system.
const UNSHARE: &[Package] =
    &[package("uidmap", Program("newuidmap"), "lets mmdebstrap work without root rights")];

/// For the tests.
const VERIFY: &[Package] = &[
    package("gdisk", Program("sgdisk"), "judges the partition tables that we write"),
    package("dosfstools", Program("fsck.fat"), "judges the FAT that we write, makes a FAT root"),
    package("libc6-dev", Library("crt1.o"), "C headers for the two libraries below"),
    package("libkmod-dev", Library("libkmod.so"), "libkmod judges our module dependencies"),
    package("libclang-dev", Library("libclang.so"), "the bindings to libkmod are made with it"),
    package("binutils", Program("readelf"), "counts the lines of ours in init"),
    package("mandoc", Program("mandoc"), "checks the manual pages"),
    package("g++", Program("g++"), "libFuzzer is C++"),
    package("flex", Program("flex"), "Linux's Kconfig judges the fragments of kernel/"),
    package("bison", Program("bison"), "likewise"),
    package("bc", Program("bc"), "likewise"),
    package("make", Program("make"), "likewise"),
    package("perl", Program("perl"), "likewise"),
    package(
        "gcc-aarch64-linux-gnu",
        Program("aarch64-linux-gnu-gcc"),
        "its options depend on the compiler",
    ),
];

/// What is about to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `cargo boot`; with a Debian or without.
    Boot { debian: bool },
    /// `cargo verify`.
    Verify,
}

/// Makes sure that everything is there, and installs what is not.
pub(crate) fn ensure_ready(purpose: Purpose, install: bool) -> Result<()> {
    let missing: Vec<_> = packages(purpose).filter(|package| !package.is_there()).collect();
    if !missing.is_empty() {
        let list: Vec<_> = missing.iter().map(|p| format!("  {:<16} {}", p.name, p.why)).collect();
        let list = list.join("\n");
        progress::note(&format!("These packages are needed and not installed:\n{list}"));
        ensure!(install, "nothing was installed (--no-install)");
        install_packages(&missing)?;
    }
    rust(purpose)
}

fn packages(purpose: Purpose) -> impl Iterator<Item = Package> {
    let debian = matches!(purpose, Purpose::Verify | Purpose::Boot { debian: true });
    let verify = purpose == Purpose::Verify;
    let unshare = debian && !nix::unistd::geteuid().is_root();
    let sets = [(BOOT, true), (DEBIAN, debian), (UNSHARE, unshare), (VERIFY, verify)];
    sets.into_iter().filter(|(_, wanted)| *wanted).flat_map(|(set, _)| set.iter().copied())
}

impl Package {
    fn is_there(&self) -> bool {
        match self.proof {
            Program(name) => tool::find(name).is_some(),
            Qemu(name, least) => version(name).is_some_and(|version| version >= least),
            Library(name) => libraries().any(|directory| holds(&directory, name)),
        }
    }
}

/// `QEMU emulator version 10.0.2 (Debian ...)`, `qemu-aarch64 version 10.0.2`
fn version(program: &str) -> Option<(u32, u32)> {
    tool::find(program)?;
    let said = tool::run(tool::command(program).arg("--version")).ok()?;
    parse_version(&said)
}

fn parse_version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split("version ").nth(1)?.split(['.', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Where Debian has libraries for linking, LLVM's own directories included.
fn libraries() -> impl Iterator<Item = PathBuf> {
    let multiarch = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|e| e.path());
    let llvm = |path: &PathBuf| path.to_string_lossy().contains("/llvm-");
    multiarch.map(move |path| if llvm(&path) { path.join("lib") } else { path })
}

fn holds(directory: &Path, name: &str) -> bool {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy() == name)
}

fn install_packages(missing: &[Package]) -> Result<()> {
    let codename = debian().context(
        "installing them is known for Debian 12 and newer only: please install the like and start again",
    )?;
    let root = nix::unistd::geteuid().is_root() || tool::find("sudo").is_some();
    ensure!(root, "installing them needs root rights, and there is no sudo");
    // apt writes its lists there as root, so it is not the user's own directory.
    let directory = tempfile::tempdir()?;
    let apt = Apt::for_host(directory.path(), &Mirrors::of_this_machine()?, &codename)?;
    let names = missing.iter().map(|package| package.name);
    let run = |words: &[&str]| {
        let mut command = tool::as_root("env");
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-c"]);
        command.arg(apt.configuration()).args(words);
        progress::note(&format!("$ {}", tool::shown(&command)));
        tool::show(&mut command)
    };
    if let Err(why) = run(&["-o", "Acquire::Retries=3", "update"]) {
        progress::note(&format!("{PARTLY}: {why:#}"));
    }
    let install = ["install", "--yes", "--no-install-recommends"].into_iter().chain(names);
    run(&install.collect::<Vec<_>>())?;
    // What is in it is root's now.
    tool::run(tool::as_root("rm").arg("-rf").arg(directory.path()))?;
    match missing.iter().find(|package| !package.is_there()) {
        Some(still) => bail!("{} is installed and still not usable", still.name),
        None => Ok(()),
    }
}

/// The codename, where this is Debian 12 or newer, or something that says that it is like it.
fn debian() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    codename(&text)
}

fn codename(os_release: &str) -> Option<String> {
    let field = |name: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let family = [field("ID"), field("ID_LIKE")].into_iter().flatten();
    let debian = family.flat_map(|ids| ids.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let codename = field("VERSION_CODENAME")?;
    let new = ["bookworm", "trixie", "forky", "sid"].contains(&codename.as_str());
    (debian.into_iter().any(|id| id == "debian") && new).then_some(codename)
}

/// What rust-toolchain.toml asks for. rustup installs it with the toolchain, but adds nothing to one that is there.
fn rust(purpose: Purpose) -> Result<()> {
    let mut query = Command::new("rustc");
    query.current_dir(cargo::workspace()).args(["--print", "target-libdir", "--target", DEVICE]);
    let target = tool::run(&mut query).is_ok_and(|path| Path::new(path.trim()).is_dir());
    let has = |tool: &str| {
        let mut query = Command::new("cargo");
        query.current_dir(cargo::workspace()).args([tool, "--version"]);
        tool::run(&mut query).is_ok()
    };
    if target && (purpose != Purpose::Verify || (has("clippy") && has("fmt"))) {
        return Ok(());
    }
    progress::note("The Rust toolchain lacks a target or component of rust-toolchain.toml.");
    let mut rustup = Command::new("rustup");
    rustup.current_dir(cargo::workspace()).args(["toolchain", "install"]);
    // Cargo's own choice for its children; rustup is to read the file.
    rustup.env_remove("RUSTUP_TOOLCHAIN");
    progress::note(&format!("$ {}", tool::shown(&rustup)));
    tool::show(&mut rustup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(os_release: &str, expected: Option<&str>) {
        assert_eq!(codename(os_release).as_deref(), expected);
    }

    #[test]
    fn debian_and_its_like_are_known_by_os_release() {
        check("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n", Some("bookworm"));
        check("ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=trixie\n", Some("trixie"));
        check("ID=debian\nVERSION_CODENAME=bullseye\n", None);
        check("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", None);
        check("ID=fedora\nVERSION_CODENAME=\"\"\n", None);
        check("", None);
    }

    #[test]
    fn versions_of_qemu() {
        assert_eq!(parse_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2)"), Some((10, 0)));
        assert_eq!(parse_version("qemu-aarch64 version 7.2.22"), Some((7, 2)));
        assert_eq!(parse_version(""), None);
    }
}
