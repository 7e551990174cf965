// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an image shows of its kernels: which modules each has, which of them are there before the data partition
//! is, and whether a reboot can carry the tryboot flag. Evidence is a file or a string, never a version.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;
use backhand::{FilesystemReader, InnerNode};
use bootsel::manifest::{self, Manifest};
use modules::module_name;

use crate::ext4;
use crate::inspect::archive::{self, Initramfs};
use crate::inspect::disk::list;
use crate::kernel::image::{self, Kind};
use crate::machines::is_disk;
use crate::squashfs::{self, Codec};

/// Where the revisions are on the data partition.
pub const REVISIONS: &str = "/pivot/revisions";

/// The data partition: where it begins, read by debugfs.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    image: &'a Path,
    start: u64,
}

/// A revision as it lies on the data partition.
#[derive(Debug)]
pub struct Revision {
    /// Its name.
    pub id: String,
    /// Its files and their lengths.
    pub files: Vec<(String, u64)>,
    /// Its manifest, or why there is none.
    pub manifest: Result<Manifest, String>,
}

impl<'a> Data<'a> {
    /// The ext4 file system at a byte of the image, none where there is another one.
    #[must_use]
    pub fn at(image: &'a Path, file: &File, start: u64) -> Option<Self> {
        let mut magic = [0; 2];
        // kernel: fs/ext4/ext4.h, s_magic
        file.read_exact_at(&mut magic, start.checked_add(1024 + 56)?).ok()?;
        (magic == [0x53, 0xef]).then_some(Self { image, start })
    }

    /// A revision, none where it is not there.
    ///
    /// # Errors
    /// Where debugfs is missing, or the file system damaged.
    pub fn revision(&self, id: &str) -> Result<Option<Revision>> {
        if !list(self.image, self.start, REVISIONS)?.iter().any(|(name, _)| name == id) {
            return Ok(None);
        }
        let directory = format!("{REVISIONS}/{id}");
        let files = list(self.image, self.start, &directory)?;
        let read = || -> Result<Manifest> {
            let request = format!("cat {directory}/{}", manifest::NAME);
            Ok(Manifest::parse(ext4::request(self.image, self.start, &request)?.as_bytes())?)
        };
        let manifest = read().map_err(|error| format!("{error:#}"));
        Ok(Some(Revision { id: id.to_owned(), files, manifest }))
    }

    /// Copies a file of a revision to a temporary one.
    ///
    /// # Errors
    /// Where debugfs fails.
    pub fn copy(&self, id: &str, name: &str) -> Result<tempfile::NamedTempFile> {
        let copy = crate::scratch::file()?;
        let request = format!("dump {REVISIONS}/{id}/{name} {}", copy.path().display());
        ext4::request(self.image, self.start, &request)?;
        Ok(copy)
    }
}

/// A driver of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// In the kernel.
    BuiltIn,
    /// A module in the initramfs.
    Early,
    /// A module that lies on the data partition only.
    Late,
    /// Neither.
    None,
}

/// What a kernel release has, by its modules image.
#[derive(Debug, Default)]
pub struct Modules {
    /// Compression of the image.
    pub codec: Option<Codec>,
    builtin: BTreeSet<String>,
    files: BTreeSet<String>,
    /// What its squashfs reads, where that is a module.
    pub reads: Option<Vec<Codec>>,
}

/// What squashfs.ko calls where it was built with a decompressor. (kernel: fs/squashfs/{zlib,xz,lz4,zstd}_wrapper.c;
/// zstd_init_dstream since 5.16)
const CALLS: [(Codec, &str); 5] = [
    (Codec::Gzip, "zlib_inflate"),
    (Codec::Xz, "xz_dec_run"),
    (Codec::Lz4, "LZ4_decompress_safe"),
    (Codec::Zstd, "zstd_init_dstream"),
    (Codec::Zstd, "ZSTD_initDStream"),
];

impl Modules {
    /// Reads a `modules_<release>.squashfs`.
    ///
    /// # Errors
    /// Where it is no squashfs.
    pub fn read(path: &Path, release: &str) -> Result<Self> {
        let mut modules = Self { codec: Some(squashfs::codec_of(path)?), ..Self::default() };
        let image = FilesystemReader::from_reader(BufReader::new(File::open(path)?))?;
        for node in image.files() {
            let InnerNode::File(file) = &node.inner else { continue };
            let path = node.fullpath.to_string_lossy();
            let Some((top, inner)) = path.trim_start_matches('/').split_once('/') else { continue };
            if top != release {
                continue;
            }
            let content = || -> Result<Vec<u8>> {
                let mut bytes = Vec::new();
                image.file(file).reader().read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            if inner == "modules.builtin" {
                let text = String::from_utf8_lossy(&content()?).into_owned();
                modules.builtin = text.lines().map(module_name).collect();
            } else if inner.ends_with(".ko") || inner.contains(".ko.") {
                let name = module_name(inner);
                if name == "squashfs" && inner.ends_with(".ko") {
                    modules.reads = Some(decompressors(&content()?));
                }
                modules.files.insert(name);
            }
        }
        Ok(modules)
    }

    /// How a driver is there, under any of its names. `early` are the modules in the initramfs.
    #[must_use]
    pub fn driver(
        &self,
        names: &[&'static str],
        early: &BTreeSet<String>,
    ) -> (&'static str, Driver) {
        let has = |set: &BTreeSet<String>| names.iter().copied().find(|name| set.contains(*name));
        let found = [
            (has(&self.builtin), Driver::BuiltIn),
            (has(early), Driver::Early),
            (has(&self.files), Driver::Late),
        ];
        let first = found.into_iter().find_map(|(name, how)| Some((name?, how)));
        first.unwrap_or((names.first().copied().unwrap_or_default(), Driver::None))
    }

    /// Whether it says what is built in: one that does not may have any driver.
    #[must_use]
    pub fn knows_builtin(&self) -> bool {
        !self.builtin.is_empty()
    }

    /// Whether a disk can be seen before the data partition is.
    #[must_use]
    pub fn sees_disk(&self, early: &BTreeSet<String>) -> bool {
        self.builtin.iter().chain(early).any(|name| is_disk(name))
    }
}

fn decompressors(module: &[u8]) -> Vec<Codec> {
    let calls = |name: &str| {
        let name = format!("\0{name}\0");
        module.windows(name.len()).any(|window| window == name.as_bytes())
    };
    CALLS.iter().filter(|(_, name)| calls(name)).map(|(codec, _)| *codec).collect()
}

/// The drivers of the SD host, by the names that kernels give them: mainline's first.
#[must_use]
pub fn medium(chip: rpifw::Chip) -> &'static [&'static str] {
    match chip {
        // kernel: drivers/mmc/host/bcm2835.c; raspberrypi/linux: bcm2835-sdhost.c, bcm2835-mmc.c
        rpifw::Chip::Bcm2835 | rpifw::Chip::Bcm2836 | rpifw::Chip::Bcm2837 => {
            &["bcm2835", "bcm2835_sdhost", "bcm2835_mmc"]
        }
        // kernel: drivers/mmc/host/sdhci-iproc.c, brcm,bcm2711-emmc2
        rpifw::Chip::Bcm2711 => &["sdhci_iproc"],
        // kernel: drivers/mmc/host/sdhci-brcmstb.c, brcm,bcm2712-sdhci
        rpifw::Chip::Bcm2712 => &["sdhci_brcmstb"],
    }
}

/// What a kernel's file shows.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it is; none where it is no kernel that is known here.
    pub kind: Option<Kind>,
    /// The release in its banner; none where it is packed in a way that is not read here.
    pub release: Option<String>,
    /// Whether it compares the argument of a reboot with " tryboot". (raspberrypi/linux:
    /// drivers/firmware/raspberrypi.c)
    pub tryboot: bool,
}

impl Image {
    /// Looks at a kernel.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        let kind = Kind::of(&bytes);
        let plain = image::plain(bytes);
        let tryboot = plain.windows(9).any(|window| window == b" tryboot\0");
        Self { kind, release: image::release(&plain), tryboot }
    }
}

/// The modules in all the parts of an initramfs that this release loads early.
#[must_use]
pub fn early(parts: &[Initramfs], release: &str) -> BTreeSet<String> {
    let lists = parts.iter().flat_map(|file| &file.parts).flat_map(|part| &part.early);
    let own = lists.filter(|early| early.release == release);
    own.flat_map(|early| &early.modules).map(|path| module_name(path)).collect()
}

/// Reads a file that may be a part of an initramfs.
///
/// # Errors
/// Where it is none.
pub fn initramfs(bytes: &[u8]) -> Result<Initramfs> {
    archive::read(bytes)
}

/// A line of `kernels.txt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Release of the kernel.
    pub release: String,
    /// Its file.
    pub kernel: String,
    /// The parts of its initramfs.
    pub initramfs: Vec<String>,
}

/// The kernels that `kernels.txt` lists.
#[must_use]
pub fn kernels_txt(text: &str) -> Vec<Listed> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        let release = words.next().filter(|word| !word.starts_with('#'))?;
        Some(Listed { release, kernel: words.next()?, initramfs: words.collect() })
    };
    text.lines().filter_map(line).collect()
}
