// SPDX-License-Identifier: MIT OR Apache-2.0
//! One measured boot: counted by the plugin, judged by what the witness found.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use witness::Report;

use super::plugin::{self, Counts};
use super::world::{MEMORY, World};
use crate::machine::{CORTEX_A72, Disk, Machine};
use crate::run::{self, Ended};
use crate::tool;

/// What has to be done between the marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Job {
    /// The watchdog armed, the data partition, root, modules and firmware of a revision mounted and shown.
    Device,
    /// One root device.
    Root,
}

/// What is booted.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    pub(crate) job: Job,
    /// The initramfs, without the marks; empty where the kernel is to mount the root by itself.
    pub(crate) initramfs: Vec<u8>,
    /// The kernel's command line.
    pub(crate) words: String,
    /// In place of the world's own.
    pub(crate) disk: Option<PathBuf>,
    /// Further disks.
    pub(crate) more: Vec<PathBuf>,
    /// Whether the firmware gives the kernel a seed for its random numbers.
    pub(crate) seed: bool,
    pub(crate) limit: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) counts: Counts,
    pub(crate) peak_kib: u64,
    pub(crate) report: Report,
}

impl Measured {
    /// Files of the initramfs that are still there.
    pub(crate) fn left(&self) -> usize {
        self.report.initramfs.iter().flatten().count()
    }
}

impl World {
    /// Boots it once.
    pub(crate) fn measure(&self, boot: &Boot, places: bool) -> Result<Measured> {
        let directory = tempfile::tempdir_in(&self.directory)?;
        let (initrd, counts) = (directory.path().join("initrd"), directory.path().join("counts"));
        let mut archives = boot.initramfs.clone();
        // where the kernel looks for one more: at a multiple of four
        archives.resize(archives.len().next_multiple_of(512), 0);
        if boot.initramfs.is_empty() {
            // none: the kernel finds nothing to unpack, and goes on to root=
            archives.resize(512, 0);
        } else {
            archives.extend_from_slice(&self.begin);
        }
        fs::write(&initrd, archives)?;
        let own = match boot.job {
            Job::Device => &self.image.disk,
            Job::Root => &self.root,
        };
        let path = boot.disk.clone().unwrap_or_else(|| own.clone());
        let machine = Machine {
            cpu: CORTEX_A72,
            memory: MEMORY.into(),
            // what is written goes to a temporary file of QEMU's
            disks: [path]
                .into_iter()
                .chain(boot.more.clone())
                .map(|path| Disk { options: "snapshot=on", ..Disk::new(path) })
                .collect(),
            kernel: self.boot.kernel.clone(),
            initrd,
            append: OsString::from(format!("{} rdinit=/begin", boot.words)),
            icount: true,
        };
        let mut qemu = machine.command();
        // While the guest waits for the disk its clock jumps to the next timer: on a busy host that is soon the watchdog's.
        qemu.args(["-action", "watchdog=none"]);
        // The same seed, address of the kernel and time of day in each run.
        if boot.seed {
            qemu.arg("-dtb").arg(&self.tree);
        }
        qemu.args(["-machine", "dtb-randomness=off", "-rtc", "base=2026-01-01T00:00:00"]);
        qemu.arg("-plugin").arg(plugin::argument(&self.plugin, &counts, places));
        let outcome = run::run(qemu, &[], boot.limit)?;
        let console = outcome.console;
        let shown = || format!("console:\n{}", tool::tail(&console, 40));
        ensure!(outcome.ended == Ended::Itself, "it did not end; {}", shown());
        let report = outcome.report.map_err(|why| anyhow!("{why}; {}", shown()))?;
        let counts = plugin::read(&counts).with_context(shown)?;
        let peak = report.environment.get("PEAK_KIB").context("the second mark ran no witness")?;
        let peak_kib = peak.parse()?;
        Ok(Measured { counts, peak_kib, report })
    }
}

/// Whether the job was done: what the booted system finds.
pub(crate) fn judge(job: Job, measured: &Measured) -> Result<()> {
    let report = &measured.report;
    let root = report.mount("/").context("nothing is mounted on /")?;
    for target in ["/dev", "/proc", "/sys", "/run"] {
        ensure!(report.mount(target).is_some(), "{target} is not mounted");
    }
    if job == Job::Root {
        // Where no program ran, the kernel mounted it, and has a name of its own for it.
        let source = if measured.counts.user == 0 { "/dev/root" } else { "/dev/vda1" };
        ensure!(root.source == source && root.kind == "ext4", "the root: {root:?}");
        return Ok(());
    }
    ensure!(root.kind == "squashfs" && report.loops.len() == 3, "{root:?}, {:?}", report.loops);
    ensure!(report.mount("/run/pivot/data").is_some_and(|data| data.kind == "ext4"), "no data");
    ensure!(!report.lib_modules.is_empty(), "the root does not see its modules");
    ensure!(!report.lib_firmware.is_empty(), "the root does not see its firmware");
    let watchdog = report.watchdog.as_ref().context("there is no watchdog")?;
    ensure!(watchdog.state == "active" && watchdog.timeout == "15", "{watchdog:?}");
    Ok(())
}
