// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian with systemd, made by mmdebstrap without touching this machine's own packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use ::image::root::{Added, Source, mount_points};
use ::image::squashfs::{self, Codec, Options, Writer};
use ::image::{config, mksquashfs};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::apt::Mirrors;
use crate::{fetch, progress, tool};

/// Which Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// 12
    Bookworm,
    /// 13
    Trixie,
}

impl Release {
    /// Its codename.
    pub(crate) fn codename(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// Beside the essential packages.
const INCLUDE: &str = "systemd,systemd-sysv,udev,kmod";

/// What a demonstration needs: root without a password. The directories that init mounts into are the builder's to make.
const HOOK: &str = "chroot \"$1\" passwd --delete root && echo pivot > \"$1/etc/hostname\" && \
                    rm -f \"$1/etc/machine-id\" && touch \"$1/etc/machine-id\" && : > \"$1/etc/fstab\"";

/// Nobody reads it there.
const EXCLUDE: [&str; 3] = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/// One at a time: the first to be done would take the emulator away from the other.
static ONE: Mutex<()> = Mutex::new(());

/// The image as the builder packs it, made once for each recipe.
pub(super) fn squashfs(release: Release) -> Result<PathBuf> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    once(release, "squashfs", |to| {
        let tar = Some(archive(release)?);
        let section = config::Root { squashfs: None, directory: None, tar, compression: None };
        let mut source = Source::of(&section).context("no archive")?;
        source.look()?;
        let added = Added::plan(&source, mount_points(&source).0)?;
        let writer = Writer::Mksquashfs;
        let options = Options { codec: Codec::Zstd, level: squashfs::ZSTD_LEVEL, writer };
        mksquashfs::root(&source, &added, options, to).map(|_| ())
    })
}

/// The same as an archive, for who lays more into it.
pub(super) fn tar(release: Release) -> Result<PathBuf> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    archive(release)
}

fn archive(release: Release) -> Result<PathBuf> {
    once(release, "tar.gz", |to| {
        progress::step(&format!("Debian {} by mmdebstrap", release.codename()), || {
            let _runs = Binfmt::register()?;
            mmdebstrap(release, INCLUDE, HOOK, to)
        })
    })
}

/// A Debian 12 with these packages for the time that `hook` takes, a shell's command with the directory as `$1`.
pub(crate) fn customized(packages: &str, hook: &str) -> Result<()> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _runs = Binfmt::register()?;
    mmdebstrap(Release::Bookworm, packages, hook, Path::new("/dev/null"))
}

/// A file in the cache, made if it is not there.
fn once(release: Release, kind: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let directory = fetch::cache()?.join("rootfs");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let name = format!("{}-{}.{kind}", release.codename(), recipe(release));
    let file = directory.join(&name);
    if !file.exists() {
        let temporary = tempfile::tempdir_in(&directory)?;
        let made = temporary.path().join(&name);
        make(&made)?;
        fs::rename(&made, &file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(file)
}

/// Another recipe is another file; its packages stay as they are.
fn recipe(release: Release) -> String {
    let text = [release.codename(), INCLUDE, HOOK, &EXCLUDE.join(" ")].join("\n");
    Sha256::digest(text).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn mmdebstrap(release: Release, include: &str, hook: &str, tar: &Path) -> Result<()> {
    let suite = release.codename();
    let mirror = Mirrors::of_this_machine()?.main;
    let mut command = tool::command("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--architectures=arm64", "--skip=check/qemu"]);
    command.arg(format!("--include={include}")).arg(format!("--customize-hook={hook}"));
    for option in inherited()? {
        command.arg(format!("--aptopt={option}"));
    }
    for path in EXCLUDE {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    command.arg(suite).arg(tar);
    command.arg(format!("deb [signed-by={keyring}] {mirror} {suite} main"));
    tool::run(&mut command).map(|_| ())
}

/// How this machine's apt gets at its mirror: proxies, and what it thinks of the age of lists.
fn inherited() -> Result<Vec<String>> {
    let all = tool::run(tool::command("apt-config").arg("dump"))?;
    let ours = |line: &&str| {
        let key = line.split([' ', ':']).find(|word| !word.is_empty() && *word != "Acquire");
        let wanted = ["http", "https", "Check-Valid-Until", "Check-Date", "Retries"];
        line.starts_with("Acquire::")
            && key.is_some_and(|key| wanted.contains(&key))
            && !line.contains("\"\"")
    };
    Ok(all.lines().filter(ours).map(str::to_owned).collect())
}

/// Lets the kernel run arm64 programs by qemu-aarch64 until it is dropped.
#[derive(Debug)]
struct Binfmt {
    ours: bool,
}

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
const NAME: &str = "pivot-aarch64";

impl Binfmt {
    /// Nothing to do on an arm64 machine, or where the distribution has registered an emulator.
    fn register() -> Result<Self> {
        if std::env::consts::ARCH == "aarch64" || registered() {
            return Ok(Self { ours: false });
        }
        let emulator = tool::find("qemu-aarch64").context("qemu-aarch64 is not there")?;
        // From scripts/qemu-binfmt-conf.sh of QEMU: an ELF header of machine 183, executable or shared. F opens the
        // emulator now, so that it is found in a chroot, too.
        let rule = format!(
            ":{NAME}:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\
             \\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:\
             {}:F",
            emulator.display()
        );
        let script = format!(
            "test -e {BINFMT}/register || mount -t binfmt_misc binfmt_misc {BINFMT}\n\
             test -e {BINFMT}/{NAME} && echo -1 > {BINFMT}/{NAME}\nprintf %s \"$1\" > {BINFMT}/register"
        );
        progress::note("binfmt_misc runs arm64 programs by qemu-aarch64 meanwhile (root rights)");
        tool::run(tool::as_root("sh").args(["-c", &script, "sh", &rule]).stdin(Stdio::inherit()))?;
        let registered = Self { ours: true };
        ensure!(registered.works(), "{BINFMT}/{NAME} is not enabled");
        Ok(registered)
    }

    fn works(&self) -> bool {
        fs::read_to_string(format!("{BINFMT}/{NAME}")).is_ok_and(|text| text.starts_with("enabled"))
    }
}

impl Drop for Binfmt {
    fn drop(&mut self) {
        if self.ours {
            let script = format!("echo -1 > {BINFMT}/{NAME}");
            if let Err(why) = tool::run(tool::as_root("sh").args(["-c", &script])) {
                progress::note(&format!("{NAME} is still registered in {BINFMT}: {why}"));
            }
        }
    }
}

/// Whether some emulator for arm64 is registered with the F flag.
fn registered() -> bool {
    let rules = fs::read_dir(BINFMT).into_iter().flatten().flatten();
    let mut texts = rules.filter_map(|rule| fs::read_to_string(rule.path()).ok());
    texts.any(|text| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags: "));
        text.starts_with("enabled")
            && text.contains("magic 7f454c46020101")
            && text.contains("0200b700")
            && flags.is_some_and(|flags| flags.contains('F'))
    })
}
