// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk image: described to pivot-image, built by it, and read back as the firmware would read it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ::image::rpidisk::ImageDisk;
use anyhow::{Context, Result, anyhow, bail, ensure};
use rpifw::Disk as _;
use serde::Deserialize;

use crate::cargo;
use crate::tool;

/// What pivot-image is told.
#[derive(Clone, Debug)]
pub(crate) struct Config<'a> {
    pub(crate) name: &'a str,
    /// Its name and its version.
    pub(crate) revision: u32,
    /// `gpt` or `mbr`.
    pub(crate) table: &'a str,
    /// The package raspi-firmware, for an image that is for Raspberry Pis.
    pub(crate) rpi: Option<&'a Path>,
    /// What such an image has for the EEPROM of its boards, a directory like rpi-eeprom's.
    pub(crate) eeprom: Option<&'a Path>,
    /// The packages with GRUB and with shim, for an image that UEFI boots.
    pub(crate) uefi: Option<[&'a Path; 2]>,
    pub(crate) cmdline: &'a str,
    /// `pivot.overlay=`
    pub(crate) overlay: &'a str,
    /// One for each processor.
    pub(crate) init: &'a [PathBuf],
    pub(crate) e2fsck: Option<&'a Path>,
    pub(crate) shell: Option<&'a Path>,
    /// Debian packages, or directories of the same shape, and which machines' drivers they carry early.
    pub(crate) kernels: &'a [(PathBuf, &'static [&'static str])],
    /// More early modules.
    pub(crate) early: &'a [&'a str],
    pub(crate) firmware: Option<&'a Path>,
    /// A squashfs, or an archive.
    pub(crate) root: &'a Path,
    /// The program and the public key that go into an archive.
    pub(crate) bootsel: Option<[&'a Path; 2]>,
    /// Of the data partition, at least; what the content needs where it is absent.
    pub(crate) data_size: Option<&'a str>,
    /// Of partition 1 and of each slot, where it is not the builder's own.
    pub(crate) sizes: Option<[&'a str; 2]>,
    /// More sections.
    pub(crate) more: &'a str,
}

/// Level of zstd: a tenth larger than by the default, and packed in a fifteenth of the time.
const ZSTD_LEVEL: u8 = 3;

impl<'a> Config<'a> {
    /// The least of an image: revision 1 of a root and what boots it, by no firmware in particular.
    pub(crate) fn new(
        name: &'a str,
        table: &'a str,
        init: &'a [PathBuf],
        kernels: &'a [(PathBuf, &'static [&'static str])],
        root: &'a Path,
    ) -> Self {
        Self {
            name,
            revision: 1,
            table,
            rpi: None,
            eeprom: None,
            uefi: None,
            cmdline: "console=ttyAMA0",
            overlay: "volatile",
            init,
            e2fsck: None,
            shell: None,
            kernels,
            early: &[],
            firmware: None,
            root,
            bootsel: None,
            data_size: None,
            sizes: None,
            more: "",
        }
    }

    fn toml(&self) -> String {
        let program = |key, path: Option<&Path>| {
            path.map(|path| format!("{key} = {}\n", quoted(path))).unwrap_or_default()
        };
        let init: Vec<_> = self.init.iter().map(|program| quoted(program)).collect();
        let mut sizes = String::new();
        if let Some(size) = self.data_size {
            sizes.push_str(&format!("data_size = {size:?}\n"));
        }
        if let Some([bootsel, slot]) = self.sizes {
            sizes.push_str(&format!("bootsel_size = {bootsel:?}\nslot_size = {slot:?}\n"));
        }
        let mut text = format!(
            "name = {:?}\nzstd_level = {ZSTD_LEVEL}\n[revision]\nid = \"{1}\"\nversion = {1}\n\
             [disk]\ntable = {2:?}\ncmdline = {3:?}\noverlay = {4:?}\n{5}\
             [initramfs]\ninit = [{6}]\n{7}{8}[root]\n{9} = {10}\n",
            self.name,
            self.revision,
            self.table,
            self.cmdline,
            self.overlay,
            sizes,
            init.join(", "),
            program("e2fsck", self.e2fsck),
            program("shell", self.shell),
            if self.bootsel.is_some() { "tar" } else { "squashfs" },
            quoted(self.root),
        );
        if let Some([program, key]) = self.bootsel.map(|paths| paths.map(quoted)) {
            text.push_str(&format!("[bootsel]\nprogram = {program}\nkeys = [{key}]\n"));
        }
        for (path, machines) in self.kernels {
            let kind = if path.is_dir() { "directory" } else { "package" };
            let (path, early) = (quoted(path), self.early);
            text.push_str(&format!(
                "[[kernel]]\n{kind} = {path}\nmachines = {machines:?}\nearly = {early:?}\n",
            ));
        }
        if let Some(rpi) = self.rpi {
            let eeprom = program("eeprom", self.eeprom);
            text.push_str(&format!("[rpi]\nfirmware = {}\n{eeprom}", quoted(rpi)));
        }
        if let Some([grub, shim]) = self.uefi.map(|paths| paths.map(quoted)) {
            text.push_str(&format!("[uefi]\ngrub = {grub}\nshim = {shim}\n"));
            if self.rpi.is_some() {
                // what a Raspberry Pi's firmware calls serial0
                text.push_str("cmdline = \"console=ttyAMA0\"\n");
            }
        }
        if let Some(firmware) = self.firmware {
            text.push_str(&format!("[firmware]\ndirectories = [{}]\n", quoted(firmware)));
        }
        text + self.more
    }

    /// Builds the image in `out`.
    pub(crate) fn build(&self, pivot_image: &Path, out: &Path, output: Output) -> Result<Image> {
        self.make("build", pivot_image, out, output)?;
        Image::open(out, self.name)
    }

    /// The same with `boot_image`: the disk without its bootloader.
    pub(crate) fn build_apart(
        &self,
        pivot_image: &Path,
        out: &Path,
        output: Output,
    ) -> Result<Image> {
        self.make("build", pivot_image, out, output)?;
        Image::open(out, &format!("{}-os", self.name))
    }

    /// The same without a disk image, for a bundle.
    pub(crate) fn build_revision(&self, pivot_image: &Path, out: &Path) -> Result<()> {
        self.make("revision", pivot_image, out, Output::Quiet)
    }

    fn make(&self, what: &str, pivot_image: &Path, out: &Path, output: Output) -> Result<()> {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let config = out.join(format!("{}.toml", self.name));
        fs::write(&config, self.toml())
            .with_context(|| format!("cannot write {}", config.display()))?;
        let mut build = tool::command(&pivot_image.to_string_lossy());
        build.arg(what).arg(&config).arg("--out").arg(out).stdout(Stdio::null());
        build.current_dir(cargo::workspace());
        match output {
            Output::Shown => tool::show(&mut build),
            Output::Quiet => tool::run(build.arg("--quiet")).map(|_| ()),
        }
    }
}

/// What of the builder's progress a person sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// All of it.
    Shown,
    /// Only why it failed.
    Quiet,
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}

/// A built image and the files beside it.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) disk: PathBuf,
    pub(crate) partitions: Vec<Partition>,
    out: PathBuf,
}

/// A file of a FAT on a disk, by its path; partitions count from 1.
pub(crate) fn file(disk: &Path, partition: u32, path: &str) -> Result<Option<Vec<u8>>> {
    let place = || format!("{path} on partition {partition} of {}", disk.display());
    let file = File::open(disk).with_context(place)?;
    let disk = ImageDisk::open(&file).with_context(place)?;
    let volume = disk.volume(partition).with_context(place)?;
    volume.read(path).map_err(|why| anyhow!("{why}")).with_context(place)
}

/// All bytes of a partition; they count from 1.
pub(crate) fn content(disk: &Path, partition: usize) -> Result<Vec<u8>> {
    let place = partitions(disk)?.get(partition - 1).copied().context("no such partition")?;
    let mut bytes = vec![0; usize::try_from(place.length)?];
    File::open(disk)?.read_exact_at(&mut bytes, place.start)?;
    Ok(bytes)
}

/// Where a partition lies, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) start: u64,
    pub(crate) length: u64,
}

/// `sfdisk --json`
#[derive(Deserialize)]
struct Listing {
    partitiontable: Table,
}

#[derive(Deserialize)]
struct Table {
    sectorsize: u64,
    partitions: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    start: u64,
    size: u64,
}

/// The partitions of a disk, as util-linux sees them.
pub(crate) fn partitions(disk: &Path) -> Result<Vec<Partition>> {
    let text = tool::run(tool::command("sfdisk").arg("--json").arg(disk))?;
    let listing: Listing = serde_json::from_str(&text)
        .with_context(|| format!("sfdisk's listing of {}", disk.display()))?;
    let table = listing.partitiontable;
    let bytes =
        |sectors: u64| sectors.checked_mul(table.sectorsize).context("a partition is too long");
    let rows = table.partitions.iter();
    rows.map(|row| Ok(Partition { start: bytes(row.start)?, length: bytes(row.size)? })).collect()
}

/// What the firmware loads from a boot slot.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    pub(crate) release: String,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) cmdline: String,
}

impl Image {
    /// One that was built before.
    pub(crate) fn open(out: &Path, name: &str) -> Result<Self> {
        let disk = out.join(format!("{name}.img"));
        ensure!(disk.exists(), "{} is not there: it must be built first", disk.display());
        let partitions = partitions(&disk)?;
        ensure!(partitions.len() == 4, "{} has {} partitions", disk.display(), partitions.len());
        Ok(Self { disk, partitions, out: out.to_owned() })
    }

    /// Plays the firmware: takes kernel, initramfs and command line out of slot a, into `out`. Which kernel: the
    /// first whose release `fits`.
    pub(crate) fn boot(&self, fits: impl Fn(&str) -> bool) -> Result<Boot> {
        let list = String::from_utf8(self.slot_file("kernels.txt")?)?;
        let rows = list.lines().filter(|line| !line.starts_with('#'));
        let mut rows = rows.map(|line| line.split(' ').collect::<Vec<_>>());
        let row = rows.find(|row| row.first().is_some_and(|release| fits(release)));
        let Some([release, kernel, initramfs, early]) = row.as_deref() else {
            bail!("kernels.txt of slot a has no kernel that fits:\n{list}");
        };
        let target = |name: &str| self.out.join(format!("{name}_{release}.loaded"));
        let built = |name: &str| self.out.join(name);
        let initrd_parts = [
            self.checked(initramfs, &built("initramfs"))?,
            self.checked(early, &built(&format!("early_{release}")))?,
        ];
        let boot = Boot {
            release: (*release).to_owned(),
            kernel: target("kernel"),
            initrd: target("initrd"),
            cmdline: String::from_utf8(self.slot_file("cmdline.txt")?)?.trim_end().to_owned(),
        };
        write(&boot.kernel, &self.checked(kernel, &built(&format!("vmlinuz_{release}")))?)?;
        write(&boot.initrd, &initrd_parts.concat())?;
        Ok(boot)
    }

    /// A file of slot a, byte for byte what the builder made.
    fn checked(&self, name: &str, built: &Path) -> Result<Vec<u8>> {
        let content = self.slot_file(name)?;
        let copy = tempfile::NamedTempFile::new()?;
        write(copy.path(), &content)?;
        let (found, made) = (tool::sha256(copy.path())?, tool::sha256(built)?);
        ensure!(
            found == made,
            "{name} in slot a has sha256 {found}, {} has {made}",
            built.display()
        );
        Ok(content)
    }

    fn slot_file(&self, name: &str) -> Result<Vec<u8>> {
        let start = self.partitions.get(1).context("there is no boot partition")?.start;
        let mut copy = tool::command("mcopy");
        copy.env("MTOOLS_SKIP_CHECK", "1").args(["-n", "-i"]);
        copy.arg(format!("{}@@{start}", self.disk.display())).arg(format!("::{name}")).arg("-");
        let output = tool::output(&mut copy)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot read {name} of slot a: {said}");
        Ok(output.stdout)
    }
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    File::create(path).and_then(|mut file| file.write_all(content)).with_context(cannot)
}

/// A command line with more words at its end, which may be no text.
pub(crate) fn append(cmdline: &str, words: &OsStr) -> std::ffi::OsString {
    let mut line = std::ffi::OsString::from(cmdline);
    if !words.is_empty() {
        line.push(" ");
        line.push(words);
    }
    line
}
