// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the board boots: Debian's 32-bit kernel, our ARMv6 programs, mmc-utils; revision 1 with its bootloader as two
//! images, and a bundle of revision 2 with another one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cargo;
use crate::e2e::life::{MODULES, Maker, identity, unpack};
use crate::fetch::{self, Store, Wanted};
use crate::image::{Config, Image, Output};
use crate::rootfs::{self, Programs};

/// As in the builder's table.
const SOC: &str = "qemu-ast2600";
/// Of a boot partition of QEMU's.
const BOOT_SIZE: &str = "1M";
const CMDLINE: &str = "console=ttyS4,115200n8 panic=-1";
/// 34 MiB are the least that a FAT32 may have.
const SIZES: [&str; 2] = ["8M", "34M"];
const DATA: &str = "112M";
/// The SD host of the SoC, and what the others need.
const EARLY: &[&str] = &["sdhci-of-aspeed"];

/// Of the root: runs `bootsel` with its words, and shows when it begins and ends.
pub(super) const SCRIPT: &str = "/etc/rc.emmc";
pub(super) const BEGIN: &str = "emmc: begin ";
pub(super) const END: &str = "emmc: end ";
const TEXT: &str = "#!/bin/sh
says() {
    read -r uptime rest < /proc/uptime
    echo \"emmc: $1 $uptime\" > /dev/console
}
says begin
/usr/sbin/bootsel \"$@\" > /dev/console 2>&1
code=$?
says end
exit $code
";

/// All of it.
#[derive(Debug)]
pub(crate) struct Made {
    /// The disk without a bootloader.
    pub(super) os: Image,
    /// The bootloader of revision 1, and of revision 2.
    pub(super) bootloaders: [Vec<u8>; 2],
    pub(super) second: PathBuf,
    pub(super) dtb: PathBuf,
}

/// A bootloader that nothing runs: every byte of it has a place.
fn payload(revision: u32) -> Vec<u8> {
    let line = |number: u32| format!("bootloader {revision}, line {number:08}\n");
    (0..12_000).flat_map(|number| line(number).into_bytes()).collect()
}

impl Made {
    pub(crate) fn make(maker: &Maker<'_>, out: &Path) -> Result<Self> {
        let package = Store::open()?.get(Wanted::KernelArmmp)?;
        let kernel = out.join("kernel");
        unpack(&package, MODULES, &kernel)?;
        let release = release(&kernel)?;
        let dtb = out.join("ast2600.dtb");
        let inside = format!("usr/lib/linux-image-{release}/aspeed-ast2600-evb.dtb");
        fetch::unpack(&package, &inside, &dtb)?;
        let kernels: [(PathBuf, &'static [&'static str]); 1] = [(kernel, &["raspi"])];
        let firmware = Store::open()?.get(Wanted::RaspiFirmware)?;
        let init = [cargo::INIT.shipped()?, cargo::INIT_ARMV6.shipped()?];
        let key = maker.key()?;
        let (roots, sections) = (roots(&key, out)?, sections(out)?);
        let config = |revision: u32, root, more| Config {
            revision,
            rpi: Some(&firmware),
            cmdline: CMDLINE,
            early: EARLY,
            data_size: Some(DATA),
            sizes: Some(SIZES),
            more,
            ..Config::new("emmc", "mbr", &init, &kernels, root)
        };
        let ([one, two], [first, second]) = (&roots, &sections);
        let made = out.join("first");
        let os = config(1, one, first).build_apart(maker.pivot_image, &made, Output::Quiet)?;
        let second = maker.bundle("emmc-second", &config(2, two, second), &key)?;
        let boot = fs::read(made.join("emmc-boot.img"))?;
        Ok(Self { os, bootloaders: [boot, payload(2)], second, dtb })
    }
}

fn roots(key: &Path, out: &Path) -> Result<[PathBuf; 2]> {
    Ok([root(1, key, out)?, root(2, key, out)?])
}

/// `[bootloader]` of both revisions.
fn sections(out: &Path) -> Result<[String; 2]> {
    let section = |revision: u32| -> Result<String> {
        let file = out.join(format!("bootloader{revision}.bin"));
        fs::write(&file, payload(revision))?;
        let file = file.display().to_string();
        Ok(format!(
            "[bootloader]\nsoc = {SOC:?}\nfile = {file:?}\nboot_image = true\nboot_size = {BOOT_SIZE:?}\n"
        ))
    };
    Ok([section(1)?, section(2)?])
}

/// Which kernel this is.
fn release(kernel: &Path) -> Result<String> {
    let mut entries = fs::read_dir(kernel.join("lib/modules"))?;
    let entry = entries.next().context("no modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// The device's root, with Debian's mmc-utils as another pair of eyes, and how it is told to update itself.
fn root(revision: u32, key: &Path, out: &Path) -> Result<PathBuf> {
    let key = key.with_extension("pub");
    let tree = rootfs::device_tree(Programs::EveryPi, &identity(revision), &key)?;
    let place = |path: &str| tree.path().join(path);
    let (mmc, libc) = {
        let mut store = Store::open()?;
        (store.get(Wanted::MmcUtils)?, store.get(Wanted::LibcArmhf)?)
    };
    fs::write(place(SCRIPT.trim_start_matches('/')), TEXT)?;
    fs::create_dir_all(place("usr/bin"))?;
    fetch::unpack(&mmc, "usr/bin/mmc", &place("usr/bin/mmc"))?;
    for library in ["libc.so.6", "ld-linux-armhf.so.3"] {
        let inside = format!("lib/arm-linux-gnueabihf/{library}");
        fetch::unpack(&libc, &inside, &place(&format!("usr/lib/{library}")))?;
    }
    let out = out.join(format!("root{revision}"));
    fs::create_dir_all(&out)?;
    rootfs::pack(&tree, &out)
}
