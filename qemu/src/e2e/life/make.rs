// SPDX-License-Identifier: MIT OR Apache-2.0
//! The revisions of a device's life: kernels, modules and roots that differ, an image with the first revision and
//! signed bundles of the others. All are small: a guest writes, reads and hashes every byte of a slot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::board::CONSOLE;
use crate::e2e::eeprom;
use crate::fetch::{Store, Wanted};
use crate::image::{Config, Image, Output};
use crate::rootfs::{self, Programs};
use crate::{progress, tool};

/// What a device is built with, and what it is sent.
#[derive(Debug)]
pub(crate) struct Life {
    /// With revision 1 in both slots; Linux 6.12 with pages of 4 KiB, which a Pi 3 and a Pi 5 boot.
    pub(crate) factory: Image,
    /// Revision 2: Linux 6.1.
    pub(crate) second: PathBuf,
    /// Another revision 2, for a Pi 5: Linux 6.12 with pages of 16 KiB, under its own file name.
    second_16k: Option<PathBuf>,
    /// Revision 3: the kernel of revision 1.
    pub(crate) third: PathBuf,
}

impl Life {
    /// The bundle of revision 2 that a Pi 5 boots.
    pub(crate) fn second_for_pi5(&self) -> Result<&Path> {
        self.second_16k.as_deref().context("no revision with pages of 16 KiB was built")
    }
}

/// Of the revisions 1 to 3.
struct Roots([PathBuf; 3]);

impl Roots {
    fn of(&self, revision: u32) -> &Path {
        let [first, second, third] = &self.0;
        match revision {
            1 => first,
            2 => second,
            _ => third,
        }
    }
}

/// The builder's parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) init: &'a [PathBuf],
    pub(crate) pivot_image: &'a Path,
}

/// What of a kernel's modules is taken: enough for every board here, and a tenth of all.
pub(crate) const MODULES: &[&str] = &[
    "arch",
    "crypto",
    "drivers/block",
    "drivers/mmc",
    "drivers/nvmem",
    "drivers/virtio",
    "drivers/watchdog",
    "fs/ext4",
    "fs/jbd2",
    "fs/mbcache.ko*",
    "fs/overlayfs",
    "fs/squashfs",
    "lib",
];

/// The same for computers with UEFI.
const UEFI_MODULES: &[&str] = &[
    "arch",
    "crypto",
    "drivers/ata",
    "drivers/block",
    "drivers/nvme",
    "drivers/scsi",
    "drivers/usb/common",
    "drivers/usb/core",
    "drivers/usb/host",
    "drivers/usb/storage",
    "drivers/virtio",
    "drivers/watchdog",
    "fs/ext4",
    "fs/jbd2",
    "fs/mbcache.ko*",
    "fs/overlayfs",
    "fs/squashfs",
    "lib",
];

/// Room for what EEPROMs need; 34 MiB are the least that a FAT32 may have.
const SIZES: [&str; 2] = ["8M", "34M"];
/// GRUB is 3 MiB; a kernel is not packed.
const UEFI_SIZES: [&str; 2] = ["8M", "96M"];
/// Room for three revisions and two bundles; with the rest it fills a card of 256 MiB.
const DATA: &str = "176M";

impl Maker<'_> {
    pub(crate) fn make(&self) -> Result<Life> {
        let firmware = Store::open()?.get(Wanted::RaspiFirmware)?;
        let key = self.key()?;
        let eeprom = self.out("eeprom")?;
        for release in eeprom::releases() {
            release.write(&eeprom, "default")?;
        }
        let kernel = |wanted| {
            let machines: &[&str] = &["raspi", "virt"];
            Ok::<_, anyhow::Error>([(self.slim(&Store::open()?.get(wanted)?)?, machines)])
        };
        let (first, older) = (kernel(Wanted::Kernel)?, kernel(Wanted::KernelOlder)?);
        let pages_16k = kernel(Wanted::Kernel16k)?;
        let roots = self.roots(&key)?;
        let config = |revision, kernels| Config {
            revision,
            eeprom: Some(&eeprom),
            rpi: Some(&firmware),
            cmdline: CONSOLE,
            data_size: Some(DATA),
            sizes: Some(SIZES),
            ..Config::new("life", "mbr", self.init, kernels, roots.of(revision))
        };
        let second_16k = self.bundle("second-16k", &config(2, &pages_16k), &key)?;
        let life =
            self.build("life", [config(1, &first), config(2, &older), config(3, &first)], &key)?;
        Ok(Life { second_16k: Some(second_16k), ..life })
    }

    /// An image of the first configuration and bundles of the others.
    fn build(
        &self,
        name: &str,
        [first, second, third]: [Config<'_>; 3],
        key: &Path,
    ) -> Result<Life> {
        let out = self.out(&format!("{name}-factory"))?;
        Ok(Life {
            factory: first.build(self.pivot_image, &out, Output::Quiet)?,
            second: self.bundle(&format!("{name}-second"), &second, key)?,
            second_16k: None,
            third: self.bundle(&format!("{name}-third"), &third, key)?,
        })
    }

    fn out(&self, name: &str) -> Result<PathBuf> {
        let out = self.directory.join("life").join(name);
        fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        Ok(out)
    }

    /// A computer with UEFI: the same revisions on a disk with a GPT. Its kernels are for all storage.
    pub(crate) fn make_for_uefi(&self) -> Result<Life> {
        let kernel = |wanted| {
            let machines: &[&str] = &["uefi"];
            Ok::<_, anyhow::Error>([(self.slim_for_uefi(&Store::open()?.get(wanted)?)?, machines)])
        };
        let (first, older) = (kernel(Wanted::Kernel)?, kernel(Wanted::KernelOlder)?);
        let [grub, shim] = loaders()?;
        let key = self.key()?;
        let roots = self.roots(&key)?;
        let config = |revision, kernels| Config {
            revision,
            uefi: Some([&grub, &shim]),
            cmdline: "console=ttyAMA0 panic=-1",
            data_size: Some(DATA),
            sizes: Some(UEFI_SIZES),
            ..Config::new("uefi", "gpt", self.init, kernels, roots.of(revision))
        };
        self.build("uefi", [config(1, &first), config(2, &older), config(3, &first)], &key)
    }

    /// Takes out of a package what these machines need; the kernel is packed with gzip, as the Raspberry Pi's makers
    /// ship theirs. Done once for a package and a list of modules.
    pub(crate) fn slim(&self, package: &Path) -> Result<PathBuf> {
        // A module in Debian's 64-bit kernels alone: ramoops.
        self.slim_to(package, &[MODULES, &["fs/pstore"]].concat())
    }

    /// The same for computers with UEFI.
    pub(crate) fn slim_for_uefi(&self, package: &Path) -> Result<PathBuf> {
        self.slim_to(package, UEFI_MODULES)
    }

    fn slim_to(&self, package: &Path, modules: &[&str]) -> Result<PathBuf> {
        let name = package.file_stem().context("a package without a name")?.to_string_lossy();
        let list = Sha256::digest(modules.concat());
        let list: String = list.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let to = self.out("kernels")?.join(format!("{name}-{list}"));
        if to.exists() {
            return Ok(to);
        }
        let temporary = tempfile::tempdir_in(self.out("kernels")?)?;
        progress::step("a slim kernel", || {
            unpack(package, modules, temporary.path())?;
            let boot = temporary.path().join("boot");
            for entry in fs::read_dir(&boot)? {
                let path = entry?.path();
                if path.to_string_lossy().contains("/vmlinuz-") {
                    tool::run(tool::command("gzip").arg(&path))?;
                    fs::rename(path.with_added_extension("gz"), &path)?;
                }
            }
            Ok(())
        })?;
        fs::rename(temporary.keep(), &to)?;
        Ok(to)
    }

    /// The secret key; the public one lies beside it.
    pub(crate) fn key(&self) -> Result<PathBuf> {
        let out = self.out("keys")?;
        let key = out.join("pivot.key");
        if !key.exists() {
            let mut make = tool::command(&self.pivot_image.to_string_lossy());
            tool::run(make.args(["--quiet", "keys", "--out"]).arg(&out))?;
        }
        Ok(key)
    }

    fn roots(&self, key: &Path) -> Result<Roots> {
        let root = |revision| {
            let tree = rootfs::device_tree(
                Programs::Arm64,
                &identity(revision),
                &key.with_extension("pub"),
            )?;
            rootfs::pack(&tree, &self.out(&format!("root{revision}"))?)
        };
        Ok(Roots([root(1)?, root(2)?, root(3)?]))
    }

    pub(crate) fn bundle(&self, name: &str, config: &Config<'_>, key: &Path) -> Result<PathBuf> {
        let out = self.out(name)?;
        config.build_revision(self.pivot_image, &out)?;
        let bundle = self.out("bundles")?.join(format!("{name}.bundle"));
        let mut make = tool::command(&self.pivot_image.to_string_lossy());
        make.args(["--quiet", "bundle"]).arg(&out).arg("--key").arg(key);
        tool::run(make.arg("--out").arg(&bundle))?;
        Ok(bundle)
    }
}

/// GRUB and what starts it under Secure Boot.
pub(crate) fn loaders() -> Result<[PathBuf; 2]> {
    let mut store = Store::open()?;
    Ok([store.get(Wanted::Grub)?, store.get(Wanted::Shim)?])
}

/// What the root of a revision says that it is.
pub(crate) fn identity(revision: u32) -> String {
    format!("the root of revision {revision}")
}

/// A kernel with these modules and the Raspberry Pis' device trees, into a directory.
pub(crate) fn unpack(package: &Path, modules: &[&str], to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut read = tool::command("dpkg-deb");
    let mut read = read.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let mut tar = tool::command("tar");
    tar.args(["-x", "--wildcards", "-C"]).arg(to);
    tar.args(["./boot/config-*", "./boot/vmlinuz-*", "./lib/modules/*/modules.*"]);
    tar.arg("./usr/lib/linux-image-*/*bcm2[78]*");
    tar.args(modules.iter().map(|path| format!("./lib/modules/*/kernel/{path}")));
    tar.stdin(read.stdout.take().context("no pipe")?);
    tool::run(&mut tar)?;
    ensure!(read.wait()?.success(), "dpkg-deb cannot read {}", package.display());
    Ok(())
}
