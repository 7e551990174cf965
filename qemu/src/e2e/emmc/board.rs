// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's machine `ast2600-evb`: of the machines of QEMU 10.0 the ones of this family alone have an eMMC with boot
//! partitions. Its firmware is played as the Raspberry Pi's is elsewhere: slots are chosen by autoboot.txt.
//!
//! The eMMC's file is boot0, boot1 and the user area, one behind the other, and a power of two in all. QEMU keeps their
//! content and forgets the register EXT_CSD at every start: what PARTITION_CONFIG was, is set anew by the first program
//! that the guest runs, mmc-utils.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use ::image::rpidisk::ImageDisk;
use anyhow::{Context, Result, anyhow, ensure};
use rpifw::{Boot, Disk, Start};

use crate::e2e::life::{Beginning, Firmware};
use crate::standin::{self, Cause};
use crate::{image, tool};

/// Of each boot partition, in QEMU. (QEMU 10.0, hw/arm/aspeed.c)
const BOOT_MIB: u64 = 1;
/// Of all of the eMMC.
const MIB: u64 = 256;
/// Where the guest has mmc-utils.
pub(super) const MMC: &str = "/usr/bin/mmc";

/// The board with its eMMC, whose parts lie in files of their own while it does not run.
#[derive(Debug)]
pub(super) struct Board {
    directory: PathBuf,
    dtb: PathBuf,
    /// BOOT_PARTITION_ENABLE, as it was when the board ran last: 1 or 2.
    pub(super) enabled: u8,
}

impl Board {
    /// A new one with this disk in its user area, and these boot partitions.
    pub(super) fn new(os: &Path, boot: [&[u8]; 2], dtb: &Path, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let (directory, dtb) = (directory.to_owned(), dtb.to_owned());
        let board = Self { directory, dtb, enabled: 1 };
        tool::copy_sparse(os, &board.card())?;
        let file = File::options().write(true).open(board.card())?;
        file.set_len((MIB - 2 * BOOT_MIB) << 20)?;
        for (number, content) in boot.into_iter().enumerate() {
            let mut content = content.to_vec();
            content.resize(usize::try_from(BOOT_MIB << 20)?, 0);
            fs::write(board.boot(number), content)?;
        }
        Ok(board)
    }

    /// The same with its own copy of everything.
    pub(super) fn twin(&self, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let twin =
            Self { directory: directory.to_owned(), dtb: self.dtb.clone(), enabled: self.enabled };
        tool::copy_sparse(&self.card(), &twin.card())?;
        for number in 0..2 {
            tool::copy_sparse(&self.boot(number), &twin.boot(number))?;
        }
        Ok(twin)
    }

    fn boot(&self, number: usize) -> PathBuf {
        self.directory.join(format!("boot{number}.img"))
    }

    fn emmc(&self) -> PathBuf {
        self.directory.join("emmc.img")
    }

    /// What a boot partition holds.
    pub(super) fn content(&self, number: usize) -> Result<Vec<u8>> {
        Ok(fs::read(self.boot(number))?)
    }

    fn parts(&self) -> [(PathBuf, u64); 3] {
        [(self.boot(0), 0), (self.boot(1), BOOT_MIB), (self.card(), 2 * BOOT_MIB)]
    }

    fn put_together(&self) -> Result<()> {
        File::create(self.emmc())?.set_len(MIB << 20)?;
        for (path, at) in self.parts() {
            let mut copy = dd(&path, &self.emmc());
            tool::run(copy.arg(format!("seek={at}")).arg("conv=sparse,notrunc"))?;
        }
        Ok(())
    }

    /// What the guest has left.
    pub(super) fn take_apart(&self) -> Result<()> {
        for (path, at) in self.parts() {
            let count = if path == self.card() { MIB - 2 * BOOT_MIB } else { BOOT_MIB };
            let mut copy = dd(&self.emmc(), &path);
            copy.arg(format!("skip={at}")).arg(format!("count={count}"));
            tool::run(copy.arg("conv=sparse"))?;
            File::options().write(true).open(&path)?.set_len(count << 20)?;
        }
        Ok(())
    }

    /// As a firmware decides that reads autoboot.txt as a Raspberry Pi 2's does.
    fn choose(&self, cause: Cause) -> Result<Boot> {
        let card = File::open(self.card())?;
        let disk = ImageDisk::open(&card)?;
        let start = Start { tryboot: cause.tryboot, arm_64bit: None };
        let boot = rpifw::boot(standin::board("pi2b")?, &disk, &start);
        let boot = boot.map_err(|stop| anyhow!("{stop}"))?;
        let volume = disk.volume(boot.partition).context("no such slot")?;
        let read = |path: &str| {
            let content = volume.read(path).map_err(|why| anyhow!("{path}: {why}"))?;
            content.with_context(|| format!("{path} is not there"))
        };
        fs::write(self.directory.join("kernel"), read(&boot.kernel)?)?;
        let parts: Result<Vec<_>> = boot.initramfs.iter().map(|part| read(part)).collect();
        fs::write(self.directory.join("initrd"), parts?.concat())?;
        Ok(boot)
    }

    /// What it says of its choice.
    fn tree(&self, boot: &Boot) -> Result<PathBuf> {
        let tree = self.directory.join("dtb");
        fs::copy(&self.dtb, &tree)?;
        for (property, value) in [("partition", boot.partition), ("tryboot", boot.tryboot.into())] {
            let mut put = tool::command("fdtput");
            put.args(["-p", "-t", "x"]).arg(&tree).args(["/chosen/bootloader", property]);
            tool::run(put.arg(format!("{value:x}")))?;
        }
        Ok(tree)
    }

    /// What makes the register what it was, as the first thing that the guest runs.
    fn carried_over(&self) -> String {
        format!("witness.run={MMC},bootpart,enable,{},0,/dev/mmcblk0 ", self.enabled)
    }
}

fn dd(from: &Path, to: &Path) -> Command {
    let mut dd = tool::command("dd");
    let file = |key: &str, path: &Path| format!("{key}={}", path.display());
    dd.args([file("if", from), file("of", to)]).args(["bs=1M", "status=none"]);
    dd
}

impl Firmware for Board {
    const IS_ASSUMED: bool = true;

    /// The user area.
    fn card(&self) -> PathBuf {
        self.directory.join("user.img")
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn keep_memory(&mut self, keep: bool) -> Result<()> {
        ensure!(!keep, "this board has no memory that is kept");
        Ok(())
    }

    fn tries(&self, cause: Cause) -> Result<bool> {
        Ok(cause.tryboot)
    }

    fn start(&mut self, cause: Cause, words: &str) -> Result<Beginning> {
        let boot = self.choose(cause)?;
        let tree = self.tree(&boot)?;
        self.put_together()?;
        let mut qemu = tool::command("qemu-system-aarch64");
        qemu.args(["-machine", "ast2600-evb,boot-emmc=true", "-m", "512M", "-nic", "none"]);
        let emmc = self.emmc().display().to_string().replace(',', ",,");
        // the controller of the eMMC is the third
        qemu.arg("-drive").arg(format!("if=sd,index=2,format=raw,file={emmc}"));
        qemu.arg("-kernel").arg(self.directory.join("kernel"));
        qemu.arg("-initrd").arg(self.directory.join("initrd")).arg("-dtb").arg(tree);
        let more = format!("{}{words}", self.carried_over());
        qemu.arg("-append").arg(image::append(&boot.cmdline, more.as_ref()));
        let told = format!("partition {}, tryboot {}", boot.partition, boot.tryboot);
        Ok(Beginning { qemu, chosen: Some(boot), told, one_port: true })
    }
}
