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
use crate::{progress, rootfs, tool};

/// What a device is built with, and what it is sent.
#[derive(Debug)]
pub(crate) struct Life {
    /// With revision 1 in both slots; Linux 6.12 with pages of 4 KiB, which a Pi 3 and a Pi 5 boot.
    pub(crate) factory: Image,
    /// Revision 2 for a Pi 3: Linux 6.1.
    pub(crate) second_pi3: PathBuf,
    /// Revision 2 for a Pi 5: Linux 6.12 with pages of 16 KiB, under its own file name.
    pub(crate) second_pi5: PathBuf,
    /// Revision 3: the kernel of revision 1.
    pub(crate) third: PathBuf,
}

/// The builder's parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) init: &'a [PathBuf],
    pub(crate) pivot_image: &'a Path,
}

/// What of a kernel's modules is taken: enough for every board here, and a tenth of all.
const MODULES: &[&str] = &[
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
    "fs/pstore",
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
        let [first, older, pages_16k] = self.kernels()?;
        let firmware = Store::open()?.get(Wanted::RaspiFirmware)?;
        let key = self.key()?;
        let eeprom = self.out("eeprom")?;
        for release in eeprom::releases() {
            release.write(&eeprom, "default")?;
        }
        let root = |revision| self.root(revision, &key.with_extension("pub"));
        let machines: &[&str] = &["raspi", "virt"];
        let config = |revision, kernels, root| Config {
            name: "life",
            revision,
            table: "mbr",
            eeprom: Some(&eeprom),
            uefi: None,
            rpi: Some(&firmware),
            cmdline: CONSOLE,
            overlay: "volatile",
            init: self.init,
            e2fsck: None,
            shell: None,
            kernels,
            early: &[],
            firmware: None,
            root,
            bootsel: None,
            data_size: Some(DATA),
            sizes: Some(SIZES),
        };
        let [first, older, pages_16k] = [first, older, pages_16k].map(|path| [(path, machines)]);
        let (root1, root2, root3) = (root(1)?, root(2)?, root(3)?);
        let out = self.out("factory")?;
        let factory = config(1, &first, &root1).build(self.pivot_image, &out, Output::Quiet)?;
        let bundle = |name: &str, config: &Config<'_>| self.bundle(name, config, &key);
        Ok(Life {
            factory,
            second_pi3: bundle("second-pi3", &config(2, &older, &root2))?,
            second_pi5: bundle("second-pi5", &config(2, &pages_16k, &root2))?,
            third: bundle("third", &config(3, &first, &root3))?,
        })
    }

    fn out(&self, name: &str) -> Result<PathBuf> {
        let out = self.directory.join("life").join(name);
        fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        Ok(out)
    }

    fn kernels(&self) -> Result<[PathBuf; 3]> {
        let mut store = Store::open()?;
        let mut get = |wanted| self.slim(&store.get(wanted)?);
        Ok([get(Wanted::Kernel)?, get(Wanted::KernelOlder)?, get(Wanted::Kernel16k)?])
    }

    /// A computer with UEFI: the same revisions on a disk with a GPT. Its kernels are for all storage.
    pub(crate) fn make_for_uefi(&self) -> Result<Life> {
        let slim = |wanted| self.slim_for_uefi(&Store::open()?.get(wanted)?);
        let (first, older) = (slim(Wanted::Kernel)?, slim(Wanted::KernelOlder)?);
        let [grub, shim] = loaders()?;
        let key = self.key()?;
        let root = |revision| self.root(revision, &key.with_extension("pub"));
        let config = |revision, kernels, root| Config {
            name: "uefi",
            revision,
            table: "gpt",
            rpi: None,
            eeprom: None,
            uefi: Some([&grub, &shim]),
            cmdline: "console=ttyAMA0 panic=-1",
            overlay: "volatile",
            init: self.init,
            e2fsck: None,
            shell: None,
            kernels,
            early: &[],
            firmware: None,
            root,
            bootsel: None,
            data_size: Some(DATA),
            sizes: Some(UEFI_SIZES),
        };
        let machines: &[&str] = &["uefi"];
        let [first, older] = [first, older].map(|path| [(path, machines)]);
        let out = self.out("uefi-factory")?;
        let (root1, root2, root3) = (root(1)?, root(2)?, root(3)?);
        let factory = config(1, &first, &root1).build(self.pivot_image, &out, Output::Quiet)?;
        let bundle = |name: &str, config: &Config<'_>| self.bundle(name, config, &key);
        let second = bundle("uefi-second", &config(2, &older, &root2))?;
        let third = bundle("uefi-third", &config(3, &first, &root3))?;
        Ok(Life { factory, second_pi3: second.clone(), second_pi5: second, third })
    }

    /// Takes out of a package what these machines need; the kernel is packed with gzip, as the Raspberry Pi's makers
    /// ship theirs. Done once for a package and a list of modules.
    pub(crate) fn slim(&self, package: &Path) -> Result<PathBuf> {
        self.slim_to(package, MODULES)
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

    fn root(&self, revision: u32, key: &Path) -> Result<PathBuf> {
        let tree = rootfs::device_tree(&identity(revision), key)?;
        rootfs::pack(&tree, &self.out(&format!("root{revision}"))?)
    }

    fn bundle(&self, name: &str, config: &Config<'_>, key: &Path) -> Result<PathBuf> {
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

fn unpack(package: &Path, modules: &[&str], to: &Path) -> Result<()> {
    let mut read = tool::command("dpkg-deb");
    let mut read = read.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let mut tar = tool::command("tar");
    tar.args(["-x", "--wildcards", "-C"]).arg(to);
    tar.args(["./boot/config-*", "./boot/vmlinuz-*", "./lib/modules/*/modules.*"]);
    tar.arg("./usr/lib/linux-image-*/broadcom/bcm2[78]*");
    tar.args(modules.iter().map(|path| format!("./lib/modules/*/kernel/{path}")));
    tar.stdin(read.stdout.take().context("no pipe")?);
    tool::run(&mut tar)?;
    ensure!(read.wait()?.success(), "dpkg-deb cannot read {}", package.display());
    Ok(())
}
