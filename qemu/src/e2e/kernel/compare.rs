// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel of our own saves: against Debian's, with the same root and the same init, one boot after the other.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Kernel, size};
use crate::bench::{plugin, world};
use crate::cargo;
use crate::fetch::{Store, Wanted};
use crate::image::{Boot, Config, Image, Output};
use crate::machine::{CORTEX_A72, Disk, Machine};
use crate::rootfs::{self, Layout};
use crate::run::{self, Ended};
use crate::tool;

/// A distribution's kernel costs more than this many times as much; what is measured is several times that.
const LEAST: u64 = 2;

/// From the machine's first instruction to the first one of the root's init.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Bytes of the kernel's image.
    image: u64,
    instructions: u64,
    /// What the guest's clock says meanwhile, in a run of its own: this host's speed, and how busy it is, are in it.
    time: Duration,
}

pub(super) fn with_debians(kernel: &Kernel, directory: &Path) -> Result<String> {
    let debian = Store::open()?.get(Wanted::Kernel)?;
    let counter = plugin::build(directory)?;
    let root = rootfs::pack(&world::marked(Layout::Merged)?, directory)?;
    let init = [cargo::INIT.shipped()?];
    let kernels = [(kernel.directory.clone(), &["virt"][..]), (debian, &["virt"])];
    let config = Config {
        cmdline: "console=ttyAMA0 panic=-1 quiet",
        data_size: Some("64M"),
        ..Config::new("compared", "gpt", &init, &kernels, &root)
    };
    let image = config.build(&cargo::IMAGE.shipped()?, &directory.join("image"), Output::Quiet)?;
    let ours = image.boot(|release| release == kernel.release)?;
    let theirs = image.boot(|release| release != kernel.release)?;
    let ours = cost(&image, &ours, &counter, directory).context("ours")?;
    let theirs = cost(&image, &theirs, &counter, directory).context("Debian's")?;
    let less = [(ours.image, theirs.image), (ours.instructions, theirs.instructions)];
    let told = told(&ours, &theirs);
    ensure!(less.iter().all(|(ours, theirs)| ours * LEAST <= *theirs), "not half: {told}");
    Ok(told)
}

fn cost(image: &Image, boot: &Boot, counter: &Path, directory: &Path) -> Result<Cost> {
    let mut machine = Machine {
        cpu: CORTEX_A72,
        memory: "512M".into(),
        disks: vec![Disk { options: "snapshot=on", ..Disk::new(image.disk.clone()) }],
        kernel: boot.kernel.clone(),
        initrd: boot.initrd.clone(),
        append: boot.cmdline.clone().into(),
        icount: false,
    };
    // Where instructions are the clock, it jumps while the disk is waited for.
    let time = until_init(machine.command(), boot)?;
    machine.icount = true;
    let counts = directory.join("counts");
    let mut qemu = machine.command();
    let argument = plugin::argument(counter, &counts, false);
    qemu.arg("-plugin").arg(format!("{argument},from=start"));
    until_init(qemu, boot)?;
    let image = fs::metadata(&boot.kernel)?.len();
    Ok(Cost { image, instructions: plugin::read(&counts)?.all(), time })
}

/// The guest's clock when pivot executes the root's init.
fn until_init(qemu: Command, boot: &Boot) -> Result<Duration> {
    let outcome = run::run(qemu, &[], Duration::from_secs(300))?;
    let shown = || tool::tail(&outcome.console, 40);
    ensure!(outcome.ended == Ended::Itself, "it did not end; console:\n{}", shown());
    let report = outcome.report.as_ref().map_err(|why| anyhow::anyhow!("{why}\n{}", shown()))?;
    ensure!(report.release == boot.release, "Linux {}", report.release);
    let stages = report.boot.as_ref().and_then(|boot| boot.get("stages")?.as_array());
    let last = stages.and_then(|stages| stages.last()?.get("end_us").and_then(Value::as_u64));
    Ok(Duration::from_micros(last.context("no stages in boot.json")?))
}

fn milliseconds(cost: &Cost) -> u64 {
    u64::try_from(cost.time.as_millis()).unwrap_or(u64::MAX)
}

fn told(ours: &Cost, theirs: &Cost) -> String {
    let part = |ours: u64, theirs: u64| {
        let thousandths = ours.saturating_mul(1000) / theirs.max(1);
        format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
    };
    let millions = |count: u64| format!("{} M", count / 1_000_000);
    format!(
        "of Debian's kernel: image {} of {} ({}), instructions to the root's init {} of {} ({}), guest time {} ms of {} ms ({})",
        size(ours.image),
        size(theirs.image),
        part(ours.image, theirs.image),
        millions(ours.instructions),
        millions(theirs.instructions),
        part(ours.instructions, theirs.instructions),
        milliseconds(ours),
        milliseconds(theirs),
        part(milliseconds(ours), milliseconds(theirs)),
    )
}
