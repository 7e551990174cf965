// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages for the guests: downloaded once, checked by the hash of apt's signed lists, kept in the user's cache.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::apt::{Apt, FIRMWARE, GUEST, Mirrors, Package};
use crate::tool;

/// Something that the guests are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Debian's arm64 kernel of the backports.
    Kernel,
    /// The same with pages of 16 KiB, as the Raspberry Pi 5's own has.
    Kernel16k,
    /// Debian 12's own arm64 kernel: an older one.
    KernelOlder,
    /// For ARMv6: Raspberry Pi 1 and Zero.
    KernelRpi,
    /// For ARMv7.
    KernelArmmp,
    /// For ARMv7 with the large physical address extension.
    KernelLpae,
    /// Raspberry Pi's bootcode.bin, start*.elf and fixup*.dat.
    RaspiFirmware,
    /// A shell and an init in one static program.
    Busybox,
    /// The same for ARMv5, which every kernel runs, 64-bit ones too.
    BusyboxArmel,
    /// Static, for an initramfs.
    E2fsck,
    /// What an ARMv6 program of ours is linked with.
    MuslArmel,
    /// Makes system calls of a program fail, or seem to have worked.
    Strace,
    /// What that needs.
    Libc,
    /// Another program's view of an eMMC's register, for 32-bit kernels.
    MmcUtils,
    /// What that needs.
    LibcArmhf,
    /// An init for the smallest initramfs that Debian has: what pivot is measured beside.
    TinyInitramfs,
    /// UEFI for QEMU's `virt` machine.
    Uefi,
    /// U-Boot for the same machine, which does UEFI, too.
    UBoot,
    /// GRUB for UEFI, signed by Debian.
    Grub,
    /// What starts it where Secure Boot is on, signed by Microsoft.
    Shim,
    /// Linux's sources, of the version of the kernels above.
    LinuxSource,
    /// Runs containers.
    Runc,
}

/// What one image for every Raspberry Pi runs, in the order of the firmware's names: kernel.img, kernel7.img,
/// kernel7l.img, kernel8.img, kernel_2712.img.
pub(crate) const PI_KERNELS: [Wanted; 5] =
    [Wanted::KernelRpi, Wanted::KernelArmmp, Wanted::KernelLpae, Wanted::Kernel, Wanted::Kernel16k];

impl Wanted {
    /// The package, or the metapackage that depends on it; its architecture and suite.
    fn package(self) -> (&'static str, &'static str, String) {
        let (guest, backports) = (GUEST.to_owned(), format!("{GUEST}-backports"));
        match self {
            Self::Kernel => ("linux-image-arm64", "arm64", backports),
            Self::Kernel16k => ("linux-image-arm64-16k", "arm64", backports),
            Self::KernelOlder => ("linux-image-arm64", "arm64", guest),
            Self::KernelRpi => ("linux-image-rpi", "armel", backports),
            Self::KernelArmmp => ("linux-image-armmp", "armhf", backports),
            Self::KernelLpae => ("linux-image-armmp-lpae", "armhf", backports),
            Self::RaspiFirmware => ("raspi-firmware", "all", FIRMWARE.to_owned()),
            Self::Busybox => ("busybox-static", "arm64", guest),
            Self::BusyboxArmel => ("busybox-static", "armel", guest),
            Self::E2fsck => ("e2fsck-static", "arm64", guest),
            Self::MuslArmel => ("musl-dev", "armel", guest),
            Self::Strace => ("strace", "arm64", guest),
            Self::Libc => ("libc6", "arm64", guest),
            Self::MmcUtils => ("mmc-utils", "armhf", guest),
            Self::LibcArmhf => ("libc6", "armhf", guest),
            Self::TinyInitramfs => ("tiny-initramfs-core", "arm64", guest),
            Self::Uefi => ("qemu-efi-aarch64", "all", guest),
            Self::UBoot => ("u-boot-qemu", "all", guest),
            Self::Grub => ("grub-efi-arm64-signed", "arm64", guest),
            Self::Shim => ("shim-signed", "arm64", guest),
            Self::LinuxSource => ("linux-source-6.12", "all", backports),
            Self::Runc => ("runc", "arm64", guest),
        }
    }

    /// `linux-image-rpi:armel`
    fn key(self) -> String {
        let (name, architecture, suite) = self.package();
        match self {
            // one name, two versions
            Self::KernelOlder => format!("{name}:{architecture}/{suite}"),
            _ => format!("{name}:{architecture}"),
        }
    }
}

/// What was downloaded for a name.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    file: String,
    sha256: String,
    version: String,
}

/// `~/.cache/pivot`, or below XDG_CACHE_HOME.
pub(crate) fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = base.or_else(home).context("neither HOME nor XDG_CACHE_HOME is set")?.join("pivot");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}

/// The packages in the cache.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    apt: PathBuf,
    entries: BTreeMap<String, Entry>,
    /// Two commands at a time must not download the same file.
    _lock: Flock<File>,
}

impl Store {
    pub(crate) fn open() -> Result<Self> {
        let cache = cache()?;
        let directory = cache.join("debs");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let lock = File::create(directory.join("lock")).context("cannot lock the cache")?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, why)| why)
            .context("cannot lock the cache")?;
        let entries = fs::read(directory.join("packages.json")).unwrap_or_default();
        let entries = serde_json::from_slice(&entries).unwrap_or_default();
        Ok(Self { directory, apt: cache.join("apt"), entries, _lock: lock })
    }

    /// The path of a package's file, downloaded if it is not there or not what it was.
    pub(crate) fn get(&mut self, wanted: Wanted) -> Result<PathBuf> {
        let file = self.entry(wanted)?.file;
        Ok(self.directory.join(file))
    }

    /// The five kernels, all of one version: where some were downloaded long before others, all are looked up anew.
    pub(crate) fn pi_kernels(&mut self) -> Result<Vec<PathBuf>> {
        let mut kernels = self.pi_entries()?;
        if !kernels.is_sorted_by(|a, b| a.version == b.version) {
            self.entries.clear();
            kernels = self.pi_entries()?;
        }
        Ok(kernels.into_iter().map(|kernel| self.directory.join(kernel.file)).collect())
    }

    fn pi_entries(&mut self) -> Result<Vec<Entry>> {
        PI_KERNELS.into_iter().map(|kernel| self.entry(kernel)).collect()
    }

    fn entry(&mut self, wanted: Wanted) -> Result<Entry> {
        if let Some(entry) = self.entries.get(&wanted.key()) {
            let path = self.directory.join(&entry.file);
            if path.exists() && tool::sha256(&path)? == entry.sha256 {
                return Ok(entry.clone());
            }
        }
        let apt = Apt::for_guests(&self.apt, &Mirrors::of_this_machine()?)?;
        apt.update()?;
        let package = find(&apt, wanted)?;
        let path = self.directory.join(&package.file);
        if !path.exists() || tool::sha256(&path)? != package.sha256 {
            apt.download(&package, &self.directory)?;
        }
        let Package { file, sha256, version, .. } = package;
        let entry = Entry { file, sha256, version };
        self.entries.insert(wanted.key(), entry.clone());
        self.write()?;
        Ok(entry)
    }

    fn write(&self) -> Result<()> {
        let temporary = tempfile::NamedTempFile::new_in(&self.directory)?;
        serde_json::to_writer_pretty(&temporary, &self.entries)?;
        temporary.persist(self.directory.join("packages.json"))?;
        Ok(())
    }
}

/// The package itself, where its name is a metapackage's: a kernel has its release in its name.
fn find(apt: &Apt, wanted: Wanted) -> Result<Package> {
    let (name, architecture, suite) = wanted.package();
    let package = apt.show(name, architecture, &suite)?;
    let prefix = "linux-image-";
    let real = package.depends.split([',', ' ']).find(|word| word.starts_with(prefix));
    match real {
        Some(real) if name.starts_with(prefix) => apt.show(real, architecture, &suite),
        _ => Ok(package),
    }
}

/// Unpacks one file of a package.
pub(crate) fn unpack(package: &Path, file: &str, to: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut unpack = tool::command("dpkg-deb");
    tool::run(unpack.arg("-x").arg(package).arg(directory.path()))?;
    let from = directory.path().join(file);
    fs::copy(&from, to)
        .map(|_| ())
        .with_context(|| format!("cannot copy {file} of {} to {}", package.display(), to.display()))
}
