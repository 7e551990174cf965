// SPDX-License-Identifier: MIT OR Apache-2.0
//! `initramfs`: the cpio archive that all kernels of an image share.
//!
//! A kernel runs /init. One that cannot (a 32-bit kernel and an AArch64 program: ENOEXEC) goes on to
//! /sbin/init, as long as the command line has no `init=`: so one archive serves both.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cpio::Archive;
use crate::elf::{Facts, Machine};

/// Which machine's program is /init.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// The AArch64 one; an ARM one is /sbin/init.
    #[default]
    Aarch64,
    /// The ARM one, and it is alone: for devices whose kernels are all 32-bit.
    Armv6,
}

impl Arch {
    /// As it is written in a configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::Armv6 => "armv6",
        }
    }

    /// Where the release build of the workspace puts a program for it.
    fn built(self, program: &str) -> String {
        let target = match self {
            Self::Aarch64 => "aarch64-unknown-linux-musl",
            Self::Armv6 => "arm-unknown-linux-musleabi",
        };
        format!("{target}/release/{program}")
    }
}

/// The programs of an initramfs.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// PID 1, for one machine or two.
    pub init: Vec<PathBuf>,
    /// Which of them is /init.
    pub arch: Arch,
    /// To be /sbin/e2fsck.
    pub e2fsck: Option<PathBuf>,
    /// To be /bin/sh.
    pub shell: Option<PathBuf>,
}

impl Programs {
    /// Whether 32-bit kernels find theirs at /sbin/init, which an `init=` on the command line would hide.
    #[must_use]
    pub fn two_machines(&self) -> bool {
        self.init.len() > 1
    }
}

/// The release build of the workspace that the current directory is in: the program that is to be /init, and the ARMv6
/// one beside it where there is one.
///
/// # Errors
/// Says how to make them where there is none.
pub fn built(arch: Arch) -> Result<Vec<PathBuf>> {
    built_in(&targets()?, arch)
}

/// Another program of that build.
///
/// # Errors
/// As [`built`].
pub fn built_program(name: &str, arch: Arch) -> Result<PathBuf> {
    let targets = targets()?;
    let inside = arch.built(name);
    let found = targets.iter().map(|target| target.join(&inside)).find(|path| path.is_file());
    found.with_context(|| {
        let place = targets.first().map_or(PathBuf::from(&inside), |target| target.join(&inside));
        format!(
            "no {name} program given, and none built: looked for {}; build it with\n  cargo device\nor name one \
             ({name}.program in the configuration)",
            place.display()
        )
    })
}

fn targets() -> Result<Vec<PathBuf>> {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let here = std::env::current_dir().context("there is no current directory")?;
    let above = here.ancestors().map(|directory| directory.join("target"));
    Ok(given.into_iter().chain(above).collect())
}

fn built_in(targets: &[PathBuf], arch: Arch) -> Result<Vec<PathBuf>> {
    let names: &[_] = match arch {
        Arch::Aarch64 => &[arch.built("init"), Arch::Armv6.built("init")],
        Arch::Armv6 => &[arch.built("init")],
    };
    let program = |target: &PathBuf, name| Some(target.join(name)).filter(|path| path.is_file());
    let found = targets.iter().find(|target| program(target, &names[0]).is_some());
    let found = found.map(|target| names.iter().filter_map(|name| program(target, name)).collect());
    found.with_context(|| {
        let place = targets.first().map_or(PathBuf::from(&names[0]), |target| target.join(&names[0]));
        format!(
            "no init program given, and none built: looked for {}; build AArch64's and ARMv6's with\n  \
             cargo device\nor name one (--init, or initramfs.init in the configuration)",
            place.display()
        )
    })
}

/// The archive, not yet compressed.
///
/// # Errors
/// Names the program that cannot run from an initramfs, and why.
pub fn archive(programs: &Programs) -> Result<Archive> {
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "run", "sys", "sysroot"] {
        archive.directory(directory);
    }
    // The kernel opens it as fds 0 to 2 of PID 1, before devtmpfs is there.
    archive.character_device("dev/console", 0o600, (5, 1));
    archive.character_device("dev/null", 0o666, (1, 3));
    for path in &programs.init {
        let (data, facts) = program(path)?;
        let place = place(programs.arch, &facts).with_context(|| path.display().to_string())?;
        if archive.contains(place) {
            bail!("{}: a second {} init, there is one already", path.display(), facts.machine);
        }
        archive.file(place, 0o755, data);
    }
    if !archive.contains("init") {
        match programs.init.is_empty() {
            true => bail!("no init program given"),
            false => bail!(
                "only an ARM init is given, and a kernel looks for /init first: add an AArch64 one, or put this \
                 one at /init (--arch armv6, or initramfs.arch = \"armv6\" in the configuration)"
            ),
        }
    }
    let tools = [("sbin/e2fsck", &programs.e2fsck), ("bin/sh", &programs.shell)];
    for (place, path) in tools {
        if let Some(path) = path {
            archive.file(place, 0o755, program(path)?.0);
        }
    }
    Ok(archive)
}

/// A program's bytes, when it can run from an initramfs.
fn program(path: &Path) -> Result<(Vec<u8>, Facts)> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let facts = Facts::read(&data).with_context(|| path.display().to_string())?;
    facts.check().with_context(|| path.display().to_string())?;
    Ok((data, facts))
}

fn place(arch: Arch, facts: &Facts) -> Result<&'static str> {
    if facts.machine == Machine::Arm {
        facts.check_armv6()?;
    }
    match (arch, facts.machine) {
        (Arch::Aarch64, Machine::Aarch64) | (Arch::Armv6, Machine::Arm) => Ok("init"),
        (Arch::Aarch64, Machine::Arm) => Ok("sbin/init"),
        (Arch::Armv6, Machine::Aarch64) => {
            bail!("an AArch64 init has no place in an initramfs for armv6 only")
        }
        (_, Machine::Other(_)) => bail!("is for {}: expected AArch64 or ARM", facts.machine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn add(&self, name: &str, data: &[u8]) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, data).unwrap();
            path
        }
    }

    #[test]
    fn machine_decides_the_place() {
        let files = Files::new();
        let arm = files.add("arm", &fixture::arm());
        let aarch64 = files.add("aarch64", &fixture::aarch64(0x10000, None));
        let both = Programs { init: vec![arm.clone(), aarch64], ..Programs::default() };
        let archive = super::archive(&both).unwrap();
        assert!(archive.contains("init") && archive.contains("sbin/init"));
        assert!(archive.contains("dev/console") && archive.contains("sysroot"));
        let alone = Programs { init: vec![arm], arch: Arch::Armv6, ..Programs::default() };
        let archive = super::archive(&alone).unwrap();
        assert!(archive.contains("init") && !archive.contains("sbin/init"));
    }

    #[track_caller]
    fn refused(programs: &Programs, why: &str) {
        let error = format!("{:#}", archive(programs).unwrap_err());
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn refusals_say_what_to_do() {
        let files = Files::new();
        let arm = files.add("arm", &fixture::arm());
        let aarch64 = files.add("aarch64", &fixture::aarch64(0x10000, None));
        let small = files.add("small", &fixture::aarch64(0x1000, None));
        let script = files.add("script", b"#!/bin/sh\n");
        let armv7 = files.add("armv7", &fixture::arm_with(&[6, 10]));
        let with = |init: &[&PathBuf]| Programs {
            init: init.iter().map(|path| (*path).clone()).collect(),
            ..Programs::default()
        };
        refused(&with(&[&arm]), "--arch armv6");
        refused(&with(&[&armv7, &aarch64]), "armv7: is compiled for a newer processor than ARMv6");
        refused(&with(&[]), "no init program given");
        refused(&with(&[&aarch64, &aarch64]), "a second AArch64 init");
        refused(&with(&[&small]), "small: segments are aligned to 0x1000");
        refused(&with(&[&script]), "script: not an ELF file");
        refused(&with(&[&PathBuf::from("/no/such")]), "cannot read /no/such");
        refused(&Programs { arch: Arch::Armv6, ..with(&[&aarch64]) }, "armv6 only");
        refused(&Programs { e2fsck: Some(small), ..with(&[&aarch64]) }, "small: segments");
    }

    #[test]
    fn built_programs_are_found() {
        let files = Files::new();
        let targets = [files.0.path().join("none"), files.0.path().join("target")];
        let [aarch64, armv6] =
            [Arch::Aarch64, Arch::Armv6].map(|arch| targets[1].join(arch.built("init")));
        for path in [&aarch64, &armv6] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        let error = built_in(&targets, Arch::Aarch64).unwrap_err().to_string();
        assert!(error.contains("none/aarch64-") && error.contains("cargo device"), "{error}");
        fs::write(&armv6, "").unwrap();
        assert!(built_in(&targets, Arch::Aarch64).is_err());
        assert_eq!(built_in(&targets, Arch::Armv6).unwrap(), std::slice::from_ref(&armv6));
        fs::write(&aarch64, "").unwrap();
        assert_eq!(built_in(&targets, Arch::Aarch64).unwrap(), [aarch64, armv6.clone()]);
        assert_eq!(built_in(&targets, Arch::Armv6).unwrap(), [armv6]);
    }
}
