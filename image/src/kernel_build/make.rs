// SPDX-License-Identifier: MIT OR Apache-2.0
//! Linux's own `make`, with all that must not show in what it builds: when, where, by whom.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::kconfig::Kconfig;
use crate::progress::Progress;
use crate::tool;

/// What Linux's sources are compiled with, and the Debian package of each.
const TOOLS: [(&str, &str); 7] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("depmod", "kmod"),
];
/// For another machine than this one.
const CROSS: &str = "aarch64-linux-gnu-";
/// How often somebody who reads lines hears how far it is.
const OFTEN: Duration = Duration::from_mins(1);

/// Runs `make` in one place.
#[derive(Debug)]
pub(super) struct Make {
    pub(super) source: PathBuf,
    /// Objects, `.config`.
    pub(super) objects: PathBuf,
    /// Empty on an Arm64 host.
    cross: &'static str,
    /// As `uname -v` shows it.
    date: String,
    pub(super) jobs: usize,
}

impl Make {
    /// # Errors
    /// Names all programs that are missing, and their packages.
    pub(super) fn new(source: &Path, objects: &Path, date: u64, jobs: usize) -> Result<Self> {
        let cross = if std::env::consts::ARCH == "aarch64" { "" } else { CROSS };
        check_tools(cross)?;
        let mut show = tool::command(&tool::find("date", "coreutils")?);
        show.args(["-u", "-d", &format!("@{date}"), "+%a %b %e %H:%M:%S UTC %Y"]);
        let date = String::from_utf8_lossy(&tool::run(&mut show)?.stdout).trim().to_owned();
        Ok(Self { source: source.into(), objects: objects.into(), cross, date, jobs })
    }

    fn command(&self) -> Result<Command> {
        // Paths of this host would be in every warning that the kernel may print.
        let [source, objects] = [&self.source, &self.objects].map(|path| path.display());
        let flags = format!("-ffile-prefix-map={source}=. -ffile-prefix-map={objects}=.");
        let mut make = tool::command(&tool::find("make", "make")?);
        make.current_dir(&self.source).arg(format!("O={objects}"));
        make.args(["ARCH=arm64", "LOCALVERSION="]).arg(format!("CROSS_COMPILE={}", self.cross));
        make.arg(format!("KCFLAGS={flags}")).arg(format!("KAFLAGS={flags}"));
        make.env("KBUILD_BUILD_TIMESTAMP", &self.date).env("KBUILD_BUILD_VERSION", "1");
        make.env("KBUILD_BUILD_USER", "pivot").env("KBUILD_BUILD_HOST", "pivot");
        make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("KCONFIG_CONFIG");
        Ok(make)
    }

    /// `make allnoconfig` or `alldefconfig`: what `settings` says, and for the rest no or the default.
    pub(super) fn configure(&self, target: &str, settings: &Path) -> Result<String> {
        let mut make = self.command()?;
        tool::run(make.env("KCONFIG_ALLCONFIG", settings).args(["-s", target]))
            .context("Linux's Kconfig")?;
        let config = self.objects.join(".config");
        fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))
    }

    /// Compiles; says how far it is.
    pub(super) fn compile(&self, targets: &[&str], progress: Progress) -> Result<()> {
        let log = self.objects.join("build.log");
        let mut make = self.command()?;
        make.arg(format!("-j{}", self.jobs)).args(targets).stdout(Stdio::piped());
        make.stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
        let began = Instant::now();
        let step = progress.step(&format!("compiling Linux by {} jobs", self.jobs), 0);
        let mut running = make.spawn().context("cannot run make")?;
        let output = running.stdout.take().context("no pipe")?;
        let (mut files, mut told) = (0_u32, Instant::now());
        for line in BufReader::new(output).lines() {
            let line = line.context("what make says")?;
            let Some((_, file)) = line.trim().split_once("  ") else { continue };
            files += 1;
            step.say(&format!("compiling Linux: {files} files, {}", file.trim()));
            if progress == Progress::Lines && told.elapsed() >= OFTEN {
                told = Instant::now();
                let minutes = began.elapsed().as_secs() / 60;
                progress.note(&format!("compiling Linux: {files} files after {minutes} min"));
            }
        }
        let status = running.wait().context("make")?;
        if !status.success() {
            bail!(
                "make failed ({status}):\n{}",
                errors(&fs::read_to_string(&log).unwrap_or_default())
            );
        }
        step.done(&format!("{files} files"));
        Ok(())
    }

    /// Runs it without a word.
    pub(super) fn run(&self, words: &[String]) -> Result<()> {
        let mut make = self.command()?;
        tool::run(make.arg("-s").args(words)).map(drop)
    }

    /// What `uname -r` will say.
    pub(super) fn release(&self) -> Result<String> {
        let file = self.objects.join("include/config/kernel.release");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Compiler, assembler and linker, by their first lines.
    pub(super) fn toolchain(&self) -> Result<String> {
        let mut all = String::new();
        for program in ["gcc", "as", "ld"] {
            let name = format!("{}{program}", self.cross);
            let mut ask = tool::command(&tool::find(&name, "gcc-aarch64-linux-gnu")?);
            let said = tool::run(ask.arg("--version"))?.stdout;
            let said = String::from_utf8_lossy(&said);
            all.push_str(said.lines().next().unwrap_or_default());
            all.push('\n');
        }
        Ok(all)
    }
}

/// The lines that say why, and what came last.
fn errors(log: &str) -> String {
    let why = log.lines().filter(|line| line.contains("rror")).take(8);
    let lines: Vec<&str> = why.collect();
    if lines.is_empty() {
        log.lines().rev().take(8).collect::<Vec<_>>().join("\n")
    } else {
        lines.join("\n")
    }
}

fn check_tools(cross: &str) -> Result<()> {
    let compiler = [(format!("{CROSS}gcc"), "gcc-aarch64-linux-gnu")];
    let plain = TOOLS.iter().map(|(name, package)| ((*name).to_owned(), *package));
    let all = plain.chain(compiler.into_iter().filter(|_| !cross.is_empty()));
    let missing: Vec<_> =
        all.filter(|(name, package)| tool::find(name, package).is_err()).collect();
    let names: Vec<&str> = missing.iter().map(|(name, _)| name.as_str()).collect();
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    ensure!(
        missing.is_empty(),
        "compiling Linux: not found: {} (apt install {})",
        names.join(", "),
        packages.join(" ")
    );
    Ok(())
}

/// What some configurations need beside [`TOOLS`].
pub(super) fn check_config(config: &Kconfig) -> Result<()> {
    let keys = ["CONFIG_SYSTEM_TRUSTED_KEYRING", "CONFIG_MODULE_SIG"];
    if let Some(option) = keys.iter().find(|option| config.built_in(option)) {
        let header = "openssl/opensslv.h";
        ensure!(is_header(header), "{option} needs {header} (apt install libssl-dev)");
    }
    if config.built_in("CONFIG_DEBUG_INFO_BTF") {
        tool::find("pahole", "dwarves").context("CONFIG_DEBUG_INFO_BTF")?;
    }
    Ok(())
}

fn is_header(name: &str) -> bool {
    let include = Path::new("/usr/include");
    let multiarch = fs::read_dir(include).into_iter().flatten().flatten().map(|entry| entry.path());
    multiarch.chain([include.to_owned()]).any(|directory| directory.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_errors() {
        let log = "warning: x\na.c:1: error: no\nmake: *** [a.o] Error 1\nwaiting\n";
        assert_eq!(errors(log), "a.c:1: error: no\nmake: *** [a.o] Error 1");
        assert_eq!(errors("one\ntwo"), "two\none");
    }
}
