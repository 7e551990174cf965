// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's `virt` machine: a virtio disk, the i6300esb watchdog, and the files that the firmware would have loaded.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::tool;

/// A disk of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
    /// More options of `-drive`: `throttling.iops-total=1`.
    pub(crate) options: &'static str,
}

impl Disk {
    /// A disk as it should be.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read_only: false, options: "" }
    }

    /// Adds it to a machine.
    pub(crate) fn attach(&self, qemu: &mut Command, number: usize) {
        let (read_only, more) = (if self.read_only { "on" } else { "off" }, self.options);
        let comma = if more.is_empty() { "" } else { "," };
        qemu.arg("-drive").arg(format!(
            "if=none,id=disk{number},format=raw,read-only={read_only},file={}{comma}{more}",
            self.path.display().to_string().replace(',', ",,")
        ));
        qemu.arg("-device").arg(format!("virtio-blk-pci,drive=disk{number}"));
    }
}

/// Everything that decides how a run begins.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cpu: &'static str,
    pub(crate) memory: String,
    pub(crate) disks: Vec<Disk>,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) append: OsString,
    /// Whether the guest's clock counts instructions and jumps over idle time: what waits for a timeout costs no
    /// time then.
    pub(crate) icount: bool,
}

/// Has pages of 4 KiB and 64 KiB only.
pub(crate) const CORTEX_A72: &str = "cortex-a72";
/// Also of 16 KiB.
pub(crate) const CORTEX_A76: &str = "cortex-a76";

impl Machine {
    /// QEMU without any console.
    pub(crate) fn command(&self) -> Command {
        let mut qemu = tool::command("qemu-system-aarch64");
        qemu.args(["-machine", "virt", "-cpu", self.cpu, "-smp", "1", "-m", &self.memory]);
        qemu.args(["-nic", "none", "-device", "i6300esb", "-action", "watchdog=reset"]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initrd);
        qemu.arg("-append").arg(&self.append);
        if self.icount {
            // One instruction is one nanosecond.
            qemu.args(["-icount", "shift=0,sleep=off", "-rtc", "clock=vm"]);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            disk.attach(&mut qemu, number);
        }
        qemu
    }
}
