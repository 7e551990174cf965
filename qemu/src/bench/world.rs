// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all contenders have in common: the kernel and its modules, the disks, and the marks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ::image::cpio::{Archive, read};
use ::image::{compress, deb};
use anyhow::{Context, Result, ensure};

use crate::cargo::{self, DEVICE, Program, Target, program};
use crate::fetch::{Store, Wanted};
use crate::image::{Boot, Config, Image, Output};
use crate::machine::CORTEX_A72;
use crate::rootfs::{self, Layout, Programs};
use crate::{progress, tool};

/// The programs of `qemu/floor`.
pub(crate) const BEGIN: Program = program("floor", "begin", Target::Device(DEVICE));
pub(crate) const END: Program = program("floor", "end", Target::Device(DEVICE));
pub(crate) const FLOOR_DEVICE: Program = program("floor", "floor-device", Target::Device(DEVICE));
pub(crate) const FLOOR_DIRECT: Program = program("floor", "floor-direct", Target::Device(DEVICE));
pub(crate) const FLOOR_ROOT: Program = program("floor", "floor-root", Target::Device(DEVICE));

/// Which machines' drivers the image carries early.
pub(crate) const VIRT: &[&str] = &["virt"];
/// Words of every boot: no line on the console, and the kernel does not test its own ciphers meanwhile.
pub(crate) const QUIET: &str = "console=ttyAMA0 panic=-1 quiet cryptomgr.notests loop.max_loop=0";
pub(crate) const MEMORY: &str = "512M";
/// Parts of a kernel package that a boot on `virt` could use; without the others it is packed in seconds.
const PARTS: [&str; 9] = [
    "kernel/crypto",
    "kernel/fs",
    "kernel/lib",
    "kernel/drivers/block",
    "kernel/drivers/virtio",
    "kernel/drivers/mmc",
    "kernel/drivers/watchdog",
    "kernel/drivers/md",
    "kernel/drivers/net/dummy",
];

/// Everything that is built once.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) directory: PathBuf,
    pub(crate) plugin: PathBuf,
    /// As `pivot-image` made it: GPT, a revision, three images.
    pub(crate) image: Image,
    pub(crate) boot: Boot,
    /// A disk whose first partition is a root.
    pub(crate) root: PathBuf,
    /// The directory of the kernel.
    pub(crate) kernel: PathBuf,
    /// The early modules in their order: name and content, without their signatures.
    pub(crate) modules: Vec<(String, Vec<u8>)>,
    /// The archive with the first mark.
    pub(crate) begin: Vec<u8>,
    /// What the firmware tells of the machine.
    pub(crate) tree: PathBuf,
}

impl World {
    /// `target/bench`
    pub(crate) fn directory() -> Result<PathBuf> {
        let directory = cargo::target()?.join("bench");
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(directory)
    }

    /// With the kernel of the tests, or another package or directory.
    pub(crate) fn build(directory: PathBuf, plugin: PathBuf, other: Option<&Path>) -> Result<Self> {
        let kernel = match other {
            Some(other) => other.to_owned(),
            None => progress::step("kernel without signatures", || kernel(&directory))?,
        };
        let out = directory.join("device");
        fs::create_dir_all(&out)?;
        let rootfs = rootfs::pack(&marked(Layout::Merged)?, &out)?;
        let init = [cargo::INIT.shipped()?];
        let firmware = tempfile::tempdir()?;
        fs::write(firmware.path().join("pivot-test.bin"), "not for any device\n")?;
        let kernels = [(kernel.clone(), VIRT)];
        let config = Config {
            cmdline: QUIET,
            overlay: "none",
            firmware: Some(firmware.path()),
            data_size: Some("64M"),
            ..Config::new("bench", "gpt", &init, &kernels, &rootfs)
        };
        let image = config.build(&cargo::IMAGE.shipped()?, &out, Output::Quiet)?;
        let boot = image.boot(|_| true)?;
        let modules = early(&fs::read(out.join(format!("early_{}", boot.release)))?)?;
        let root = progress::step("disk with a root", || root(&directory))?;
        let mut begin = Archive::default();
        begin.file("begin", 0o755, fs::read(BEGIN.shipped()?)?);
        let begin = compress::archive(compress::Compression::None, &begin.to_bytes())?;
        let tree = device_tree(&directory)?;
        Ok(Self { directory, plugin, image, boot, root, kernel, modules, begin, tree })
    }
}

/// The kernel of the tests as a directory. The signatures of its modules are taken away: to check one costs ten times what
/// else there is to do, and would hide what is measured.
fn kernel(directory: &Path) -> Result<PathBuf> {
    let package = Store::open()?.get(Wanted::Kernel)?;
    let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (kernel, done) = (directory.join(&name), directory.join(format!("{name}.done")));
    if done.exists() {
        return Ok(kernel);
    }
    deb::unpack(&package, &kernel, |path| {
        let path = path.to_string_lossy();
        let list = path.contains("/modules.");
        list || path.starts_with("boot/") || PARTS.iter().any(|part| path.contains(part))
    })?;
    fs::create_dir_all(signed(&kernel))?;
    let mut left = vec![kernel.clone()];
    while let Some(inner) = left.pop() {
        for entry in fs::read_dir(&inner)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|ending| ending == "xz") {
                let module = compress::unpack("module.xz", &fs::read(&path)?)?;
                let name = path.file_stem().unwrap_or_default().to_owned();
                fs::write(signed(&kernel).join(name), &module)?;
                fs::write(path.with_extension(""), unsigned(&module))?;
                fs::remove_file(&path)?;
            }
        }
    }
    fs::write(done, "")?;
    Ok(kernel)
}

/// Where its modules are as they were.
pub(crate) fn signed(kernel: &Path) -> PathBuf {
    kernel.with_extension("signed")
}

/// The module without the signature at its end (kernel: include/linux/module_signature.h: the signature, twelve bytes of which
/// the last four are its length in network order, and the words).
fn unsigned(module: &[u8]) -> &[u8] {
    let signed = || {
        let rest = module.strip_suffix(b"~Module signature appended~\n")?;
        let (head, length) = rest.split_last_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        head.get(..head.len().checked_sub(8)?.checked_sub(length)?)
    };
    signed().unwrap_or(module)
}

/// The root whose init is the second mark.
pub(crate) fn marked(layout: Layout) -> Result<rootfs::Tree> {
    let tree = rootfs::witness_tree(Programs::Arm64, layout)?;
    let sbin = tree.path().join("sbin");
    fs::rename(sbin.join("init"), sbin.join("witness"))?;
    fs::copy(END.shipped()?, sbin.join("init"))?;
    // systemd enters nothing else
    fs::write(tree.path().join("etc/os-release"), "ID=witness\n")?;
    Ok(tree)
}

/// QEMU's own device tree with a seed for the kernel's random numbers, the same in each run. Every firmware gives one;
/// without it each system call before the first interrupts of a disk costs ten thousand instructions, because the kernel makes a
/// random number of what entropy it has (`randomize_kstack_offset`).
fn device_tree(directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("virt.dtb");
    let mut dump = tool::command("qemu-system-aarch64");
    dump.arg("-machine").arg(format!("virt,dtb-randomness=off,dumpdtb={}", tree.display()));
    dump.args(["-cpu", CORTEX_A72, "-smp", "1", "-m", MEMORY, "-nic", "none", "-display", "none"]);
    tool::run(&mut dump)?;
    let mut put = tool::command("fdtput");
    put.args(["-t", "bx"]).arg(&tree).args(["/chosen", "rng-seed"]);
    tool::run(put.args((0..64).map(|i| format!("{:x}", (i * 37 + 11) % 256))))?;
    Ok(tree)
}

/// A GPT whose first partition, behind the first MiB, is an ext4 with the root.
fn root(directory: &Path) -> Result<PathBuf> {
    let (disk, script) = (directory.join("root.img"), directory.join("root.sfdisk"));
    let tree = marked(Layout::Plain)?;
    File::create(&disk)?.set_len(34 << 20)?;
    fs::write(&script, "label: gpt\nstart=1MiB, size=32MiB\n")?;
    tool::run(tool::command("sfdisk").arg("--quiet").arg(&disk).stdin(File::open(&script)?))?;
    let mut make = tool::command("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-E", "offset=1048576,lazy_itable_init=0", "-d"]);
    tool::run(make.arg(tree.path()).arg(&disk).arg("32M"))?;
    Ok(disk)
}

/// What an archive of the builder's holds: behind the frame there is padding.
pub(crate) fn entries(archive: &[u8]) -> Result<Vec<read::Entry>> {
    let end = archive.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    // a frame may end with zeros
    let plain =
        (0..4).find_map(|zeros| compress::unpack("archive.zst", archive.get(..end + zeros)?).ok());
    Ok(read::archive(&plain.context("an archive of the builder is not zstd's")?)?.0)
}

/// The modules of the builder's archive, in the order of its list.
fn early(archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let entries = entries(archive)?;
    let data = |end: &str| {
        entries.iter().find(|entry| entry.path.ends_with(end)).map(|entry| entry.data.clone())
    };
    let list = String::from_utf8(data("/early").unwrap_or_default())?;
    let modules: Vec<_> = list
        .lines()
        .map(|line| {
            let path = line.trim_start_matches('-');
            let data = data(path).with_context(|| format!("{path} is not in the archive"))?;
            let name = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".ko");
            Ok((name.replace('-', "_"), data))
        })
        .collect::<Result<_>>()?;
    // the floor arms the watchdog behind the first
    let first = modules.first().map(|(name, _)| name);
    ensure!(
        first.is_none_or(|name| name == "i6300esb"),
        "the first module is not a watchdog: {list}"
    );
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_taken_away() {
        let mut module = b"ELF and so onsignature".to_vec();
        module.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        module.extend(b"~Module signature appended~\n");
        assert_eq!(unsigned(&module), b"ELF and so on");
        assert_eq!(unsigned(b"ELF and so on"), b"ELF and so on");
        assert_eq!(unsigned(b"~Module signature appended~\n"), b"~Module signature appended~\n");
    }
}
