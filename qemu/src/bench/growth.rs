// SPDX-License-Identifier: MIT OR Apache-2.0
//! How pivot's own cost grows with what lies around it: it must stay flat, or nearly.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bootsel::log::{self, Record};
use bootsel::slot::Slot;

use super::compare::{grouped, millions};
use super::levers::with_file;
use super::measure::{Boot, Job, judge};
use super::world::{QUIET, VIRT, World};
use crate::e2e::disk::DiskCopy;
use crate::image::{Config, Output};
use crate::{cargo, progress, rootfs, tool};

/// More modules, revisions, devices, megabytes.
const MODULES: [usize; 4] = [100, 500, 1000, 5000];
const REVISIONS: [usize; 4] = [1, 10, 50, 200];
const RECORDS: [usize; 4] = [0, 4, 16, 64];
const PARTITIONS: [usize; 4] = [1, 8, 24, 60];
const DISKS: [usize; 4] = [0, 4, 8, 16];
const MEGABYTES: [u64; 3] = [10, 100, 1000];

/// Measures everything and writes `growth.md`.
pub(crate) fn measure(world: &World) -> Result<()> {
    let mut text = String::new();
    curve(world, &mut text, "modules in the package, one of them loaded", &MODULES, modules)?;
    curve(world, &mut text, "revisions", &REVISIONS, revisions)?;
    curve(world, &mut text, "records of the log", &RECORDS, records)?;
    curve(world, &mut text, "partitions of a second disk", &PARTITIONS, partitions)?;
    curve(world, &mut text, "further disks", &DISKS, disks)?;
    let megabytes = MEGABYTES.map(|size| usize::try_from(size).unwrap_or_default());
    curve(world, &mut text, "megabytes of root.squashfs", &megabytes, squashfs)?;
    fs::write(world.directory.join("growth.md"), &text)?;
    print!("{text}");
    Ok(())
}

type Make = fn(&World, usize, &Path) -> Result<Boot>;

fn curve(world: &World, text: &mut String, what: &str, steps: &[usize], make: Make) -> Result<()> {
    let _ = writeln!(
        text,
        "| {what} | user instructions | system calls | kernel instructions |\n|--:|--:|--:|--:|"
    );
    for step in steps {
        let directory = tempfile::tempdir_in(&world.directory)?;
        let name = format!("{what}: {step}");
        let measured = progress::step(&name, || {
            let boot = make(world, *step, directory.path())?;
            let measured = world.measure(&boot, false)?;
            judge(Job::Device, &measured)?;
            Ok(measured)
        })
        .context(name.clone())?;
        let counts = measured.counts;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} M |",
            grouped(*step as u64),
            grouped(counts.user),
            counts.system_calls(),
            millions(counts.kernel)
        );
    }
    text.push('\n');
    Ok(())
}

fn base(world: &World) -> Result<Boot> {
    Ok(world.pivot(Job::Device)?.boot)
}

/// So many files in the image, each with its list; `dummy` is loaded.
fn modules(world: &World, count: usize, directory: &Path) -> Result<Boot> {
    let shipped = format!("modules_{}.squashfs", world.boot.release);
    let (tree, image) = (directory.join("tree"), directory.join("image"));
    let mut unpack = tool::command("unsquashfs");
    unpack.args(["-no-progress", "-dest"]).arg(&tree);
    let mut wanted = Vec::new();
    for part in ["load/dummy", "kernel/drivers/net/dummy.ko"] {
        wanted.push(format!("{}/{part}", world.boot.release));
    }
    tool::run(unpack.arg(world.directory.join("device").join(&shipped)).args(&wanted))?;
    let release = tree.join(&world.boot.release);
    for number in 1..count {
        let name = format!("m{number:05}");
        fs::write(release.join(format!("kernel/drivers/net/{name}.ko")), name.repeat(999))?;
        fs::write(release.join("load").join(&name), format!("kernel/drivers/net/{name}.ko\n"))?;
    }
    let mut pack = tool::command("mksquashfs");
    pack.arg(&tree).arg(&image);
    tool::run(pack.args(["-all-root", "-noappend", "-no-progress", "-comp", "zstd"]))?;
    let disk = with_file(world, directory, &shipped, &fs::read(&image)?)?;
    let boot = base(world)?;
    let words = format!("{} pivot.modules=dummy", boot.words);
    Ok(Boot { disk: Some(disk), words, ..boot })
}

fn revisions(world: &World, count: usize, directory: &Path) -> Result<Boot> {
    let copy = DiskCopy::make(&world.image, directory)?;
    let manifest = copy.read("/pivot/revisions/1/manifest")?;
    let file = directory.join("manifest");
    fs::write(&file, manifest)?;
    let mut commands = Vec::new();
    for number in 2..=count {
        let path = format!("/pivot/revisions/{number}");
        commands.push(format!("mkdir {path}"));
        commands.push(format!("write {} {path}/manifest", file.display()));
    }
    copy.debugfs(&commands)?;
    Ok(Boot { disk: Some(copy.path), ..base(world)? })
}

/// What the tool writes of an update, over and over.
fn records(world: &World, count: usize, directory: &Path) -> Result<Boot> {
    let mut ring = vec![0; log::BYTES];
    for event in [log::INSTALL, log::INSTALLED, log::ARMED, log::COMMIT].iter().cycle().take(count)
    {
        let record = Record {
            counter: 0,
            boot_id: "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
            slot: Some(Slot::A),
            revision: "2026.11-3",
            event,
            message: "what a person wants to know of it",
        };
        let (place, bytes) = log::next(&ring, record).context("a ring of this length")?;
        let place = usize::try_from(place)?;
        ring.splice(place..place + bytes.len(), bytes);
    }
    let (copy, file) = (DiskCopy::make(&world.image, directory)?, directory.join("log"));
    fs::write(&file, ring)?;
    let path = "/pivot/log/init.log";
    copy.debugfs(&[format!("rm {path}"), format!("write {} {path}", file.display())])?;
    Ok(Boot { disk: Some(copy.path), ..base(world)? })
}

/// A GPT with so many partitions of a MiB.
fn partitions(world: &World, count: usize, directory: &Path) -> Result<Boot> {
    let (disk, script) = (directory.join("second.img"), directory.join("script"));
    File::create(&disk)?.set_len((count as u64 + 4) << 20)?;
    fs::write(&script, format!("label: gpt\n{}", "size=1MiB\n".repeat(count)))?;
    tool::run(tool::command("sfdisk").arg("--quiet").arg(&disk).stdin(File::open(&script)?))?;
    Ok(Boot { more: vec![disk], ..base(world)? })
}

/// Disks with a partition each.
fn disks(world: &World, count: usize, directory: &Path) -> Result<Boot> {
    let mut more = Vec::new();
    for number in 0..count {
        let inner = directory.join(number.to_string());
        fs::create_dir_all(&inner)?;
        more.extend(partitions(world, 1, &inner)?.more);
    }
    Ok(Boot { more, ..base(world)? })
}

/// A root that is so large: it holds a file that cannot be compressed.
fn squashfs(world: &World, megabytes: usize, directory: &Path) -> Result<Boot> {
    let tree = super::world::marked(rootfs::Layout::Merged)?;
    let mut noise = File::open("/dev/urandom")?.take((megabytes as u64) << 20);
    std::io::copy(&mut noise, &mut File::create(tree.path().join("etc/noise"))?)?;
    let root = directory.join("root.squashfs");
    let mut pack = tool::command("mksquashfs");
    pack.arg(tree.path()).arg(&root).args(["-all-root", "-noappend", "-no-progress"]);
    tool::run(pack.args(["-comp", "zstd", "-noD", "-noF"]))?;
    let init = [cargo::INIT.shipped()?];
    let kernels: [(PathBuf, &'static [&'static str]); 1] = [(world.kernel.clone(), VIRT)];
    let firmware = tempfile::tempdir()?;
    fs::write(firmware.path().join("pivot-test.bin"), "not for any device\n")?;
    let config = Config {
        cmdline: QUIET,
        overlay: "none",
        firmware: Some(firmware.path()),
        ..Config::new("large", "gpt", &init, &kernels, &root)
    };
    let image = config.build(&cargo::IMAGE.shipped()?, &directory.join("out"), Output::Quiet)?;
    let words = image.boot(|_| true)?.cmdline;
    Ok(Boot { disk: Some(image.disk), words, ..base(world)? })
}
