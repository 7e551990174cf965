// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's `virt` machine as a 64-bit Arm computer with UEFI: nothing is loaded for it. The firmware finds GRUB on the
//! disk, and GRUB finds the rest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::fetch::{self, Store, Wanted};
use crate::machine::CORTEX_A72;
use crate::{recorder, tool};

/// In the package of the firmware: without Secure Boot.
const FIRMWARE: &str = "usr/share/qemu-efi-aarch64/QEMU_EFI.fd";
/// With it: the program, and its variables with Microsoft's keys, each a flash of its own.
const SECURE: [&str; 2] = ["usr/share/AAVMF/AAVMF_CODE.fd", "usr/share/AAVMF/AAVMF_VARS.ms.fd"];

/// In U-Boot's package.
const U_BOOT: &str = "usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// What the disk hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    VirtioBlk,
    VirtioScsi,
    Nvme,
    /// AAVMF has no driver for it: GRUB and the kernel come from a virtio disk that has no data partition.
    Sata,
    Usb,
}

/// A computer with a disk that keeps what is written to it.
#[derive(Clone, Debug)]
pub(crate) struct Uefi {
    pub(crate) disk: PathBuf,
    pub(crate) storage: Storage,
    /// Whether the firmware hands on ACPI's tables; otherwise a device tree.
    pub(crate) acpi: bool,
    /// Whether nobody can write to the disk.
    pub(crate) read_only: bool,
    /// Where what is written is recorded, on a virtio disk.
    pub(crate) record: Option<PathBuf>,
    firmware: PathBuf,
    /// The firmware's variables, where Secure Boot is on.
    variables: Option<PathBuf>,
}

impl Uefi {
    /// With a copy of a disk image; the firmware is put beside it.
    pub(crate) fn new(image: &Path, directory: &Path) -> Result<Self> {
        let firmware = directory.join("firmware");
        fetch::unpack(&Store::open()?.get(Wanted::Uefi)?, FIRMWARE, &firmware)?;
        let disk = directory.join("disk.img");
        tool::copy_sparse(image, &disk)?;
        let (storage, record) = (Storage::VirtioBlk, None);
        let variables = None;
        Ok(Self { disk, storage, acpi: true, read_only: false, record, firmware, variables })
    }

    /// With Secure Boot on, for good.
    pub(crate) fn secure(mut self) -> Result<Self> {
        let [program, variables] = SECURE;
        let package = Store::open()?.get(Wanted::Uefi)?;
        let file = self.firmware.with_extension("variables");
        fetch::unpack(&package, program, &self.firmware)?;
        fetch::unpack(&package, variables, &file)?;
        self.variables = Some(file);
        Ok(self)
    }

    /// With U-Boot in the place of AAVMF: the UEFI of most boards that have no EDK2. It makes SMBIOS tables of its own, so
    /// the witness is told nothing.
    pub(crate) fn u_boot(mut self) -> Result<Self> {
        fetch::unpack(&Store::open()?.get(Wanted::UBoot)?, U_BOOT, &self.firmware)?;
        self.acpi = false;
        Ok(self)
    }

    /// QEMU without any console. The words, which are separated by blanks, are for the witness.
    pub(crate) fn command(&self, words: &str) -> Result<Command> {
        let mut qemu = tool::command("qemu-system-aarch64");
        let acpi = if self.acpi { "on" } else { "off" };
        qemu.args(["-machine", &format!("virt,acpi={acpi}"), "-cpu", CORTEX_A72]);
        qemu.args(["-smp", "1", "-m", "1G", "-nic", "none"]);
        qemu.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        match &self.variables {
            None => {
                qemu.arg("-bios").arg(&self.firmware);
            }
            Some(variables) => {
                for (file, read_only) in [(&self.firmware, "on"), (variables, "off")] {
                    let file = file.display().to_string().replace(',', ",,");
                    qemu.arg("-drive")
                        .arg(format!("if=pflash,format=raw,readonly={read_only},file={file}"));
                }
            }
        }
        // it would wait five seconds for somebody to press a key
        qemu.args(["-boot", "menu=on,splash-time=0"]);
        for word in words.split_whitespace() {
            qemu.arg("-smbios").arg(format!("type=11,value={}", word.replace(',', ",,")));
        }
        match &self.record {
            Some(log) => recorder::add_disk(&mut qemu, &self.disk, log)?,
            None => self.attach(&mut qemu)?,
        }
        Ok(qemu)
    }

    /// What the firmware can read, without a data partition.
    fn boot_disk(&self) -> Result<PathBuf> {
        let path = self.disk.with_extension("boot");
        tool::copy_sparse(&self.disk, &path)?;
        tool::run(tool::command("sgdisk").args(["-d", "4"]).arg(&path))?;
        Ok(path)
    }

    fn attach(&self, qemu: &mut Command) -> Result<()> {
        if self.storage == Storage::Sata {
            let path = self.boot_disk()?.display().to_string().replace(',', ",,");
            qemu.arg("-drive").arg(format!("if=none,id=boot,format=raw,file={path}"));
            qemu.args(["-device", "virtio-blk-pci,drive=boot,bootindex=0"]);
        }
        let path = self.disk.display().to_string().replace(',', ",,");
        let read_only = if self.read_only { "on" } else { "off" };
        qemu.arg("-drive")
            .arg(format!("if=none,id=disk,format=raw,read-only={read_only},file={path}"));
        let devices: &[&str] = match self.storage {
            Storage::VirtioBlk => &["virtio-blk-pci,drive=disk"],
            Storage::VirtioScsi => &["virtio-scsi-pci", "scsi-hd,drive=disk"],
            Storage::Nvme => &["nvme,serial=pivot,drive=disk"],
            Storage::Sata => &["ahci,id=ahci", "ide-hd,bus=ahci.0,drive=disk"],
            Storage::Usb => &["qemu-xhci", "usb-storage,drive=disk"],
        };
        for device in devices {
            qemu.args(["-device", device]);
        }
        Ok(())
    }

    /// Overwrites bytes of the disk.
    pub(crate) fn poke(&self, at: u64, bytes: &[u8]) -> Result<()> {
        tool::poke(&self.disk, at, bytes)
    }
}
