// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an image for UEFI has that others have not: GRUB on partition 1 with the script that chooses the slot, and in
//! each slot what it is to boot.

pub mod pe;

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bootsel::Slot;
use bootsel::grubenv::{self, Fragment, Grubenv};
use flate2::read::GzDecoder;

use crate::config::Uefi;
use crate::deb;
use crate::fat::Content;
use crate::kernel::image::Kind;
use crate::progress::Progress;
use pe::Program;

/// What a firmware starts from a disk that it knows nothing of. (UEFI specification 2.10, 3.5.1.1)
pub const BOOT: &str = "EFI/BOOT/BOOTAA64.EFI";
/// What shim starts, from its own directory. (shim: `include/config.h`, `DEFAULT_LOADER`)
pub const BEHIND_SHIM: &str = "EFI/BOOT/grubaa64.efi";
/// GRUB's script on partition 1. It is in the root directory, as grubenv is: bootsel finds a file's sector there.
pub const SCRIPT_TEXT: &str = include_str!("uefi/grub.cfg");
/// Type of partition 1 on a GPT.
pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// The kernel in a slot that has one for the Raspberry Pi, too: the latter's is packed with gzip.
pub const KERNEL: &str = "vmlinuz";

/// Where Debian's packages have GRUB, the signed one first. The plain one is of grub-efi-arm64-bin.
const GRUB: [&str; 2] = [
    "usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed",
    "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi",
];
/// And shim: of shim-signed, and of shim-unsigned.
const SHIM: [&str; 2] = ["usr/lib/shim/shimaa64.efi.signed", "usr/lib/shim/shimaa64.efi"];
const AR_MAGIC: &[u8] = b"!<arch>\n";
/// First bytes of a gzip file.
const GZIP: &[u8] = &[0x1f, 0x8b, 8];
/// No kernel is larger when it is unpacked.
const PLAIN_MAX: u64 = 256 << 20;
/// The first GRUB that starts what is only known to be a UEFI program; before, it had to be a kernel's Image.
const ZBOOT: (u32, u32) = (2, 12);

/// What partition 1 starts with.
#[derive(Debug)]
pub struct Loader {
    grub: Vec<u8>,
    shim: Option<Vec<u8>>,
    prefix: String,
    /// GRUB's, where it says it.
    pub version: Option<String>,
}

impl Loader {
    /// Reads the programs.
    ///
    /// # Errors
    /// Where one is not there, or is no UEFI program for 64-bit Arm.
    pub fn read(section: &Uefi, progress: Progress) -> Result<Self> {
        let (grub, signed) = program(&section.grub, GRUB).context("uefi.grub")?;
        let shim = section.shim.as_deref().map(|path| program(path, SHIM)).transpose();
        let shim = shim.context("uefi.shim")?;
        if shim.is_some() && !signed {
            progress
                .note("warning: uefi.grub is not signed: under Secure Boot shim does not start it");
        }
        let version = pe::sbat(&grub, "grub");
        let shim = shim.map(|(bytes, _)| bytes);
        Ok(Self { grub, shim, prefix: section.prefix.clone(), version })
    }

    /// The files of partition 1.
    #[must_use]
    pub fn files(&self) -> Vec<(String, Content)> {
        let bytes = |bytes: &[u8]| Content::Bytes(bytes.to_vec());
        let first = self.shim.as_ref().unwrap_or(&self.grub);
        let mut files = vec![
            (grubenv::SCRIPT.to_owned(), bytes(SCRIPT_TEXT.as_bytes())),
            (grubenv::NAME.to_owned(), bytes(&environment())),
            (BOOT.to_owned(), bytes(first)),
        ];
        if self.shim.is_some() {
            files.push((BEHIND_SHIM.to_owned(), bytes(&self.grub)));
        }
        let redirect = "# GRUB looks here. The script is beside grubenv, in the root directory.\n\
                        source ($root)/grub.cfg\n";
        let place = format!("{}/{}", self.prefix.trim_start_matches('/'), grubenv::SCRIPT);
        files.push((place, bytes(redirect.as_bytes())));
        files
    }

    /// A kernel as this GRUB starts it.
    ///
    /// # Errors
    /// Where it is no UEFI program, or one that this GRUB does not start.
    pub fn kernel(&self, release: &str, image: Vec<u8>) -> Result<Vec<u8>> {
        let image = unpacked(image).with_context(|| format!("kernel {release}"))?;
        let Some(program) = Program::of(&image) else {
            bail!("kernel {release} is no UEFI program: it was built without CONFIG_EFI_STUB");
        };
        if let Some(version) = self.version.as_deref().filter(|_| program.zboot) {
            ensure!(
                starts_zboot(version),
                "kernel {release} unpacks itself (CONFIG_EFI_ZBOOT), and GRUB {version} does not start such ones: \
                 2.12 does"
            );
        }
        Ok(image)
    }
}

/// Which kernel GRUB starts, by what each is: the first whose pages are of 4 KiB, which every processor has, or the
/// first of 64 bits.
///
/// # Errors
/// Where there is none.
pub fn first(kinds: &[Option<Kind>]) -> Result<usize> {
    let common = |kind: &Option<Kind>| matches!(kind, Some(Kind::Arm64 { page: 4, .. }));
    let wide = |kind: &Option<Kind>| matches!(kind, Some(Kind::Arm64 { .. } | Kind::Zboot));
    let found = kinds.iter().position(common).or_else(|| kinds.iter().position(wide));
    found.context("uefi: expected a 64-bit kernel among the [[kernel]] sections")
}

/// A program, and whether it is signed: a file, or the first of these in a package.
fn program(path: &Path, places: [&str; 2]) -> Result<(Vec<u8>, bool)> {
    let context = || format!("cannot read {}", path.display());
    let mut bytes = fs::read(path).with_context(context)?;
    if bytes.starts_with(AR_MAGIC) {
        let mut found = [None, None];
        deb::look(path, |member, data| {
            if let Some(index) = places.iter().position(|place| member == Path::new(place)) {
                let mut program = Vec::new();
                data.read_to_end(&mut program)?;
                found[index] = Some(program);
            }
            Ok(found[0].is_none())
        })?;
        bytes = found.into_iter().flatten().next().with_context(|| {
            format!("{}: neither {} nor {} in it", path.display(), places[0], places[1])
        })?;
    }
    let program = Program::of(&bytes)
        .with_context(|| format!("{} is no UEFI program for 64-bit Arm", path.display()))?;
    Ok((bytes, program.signed))
}

fn unpacked(image: Vec<u8>) -> Result<Vec<u8>> {
    if !image.starts_with(GZIP) {
        return Ok(image);
    }
    let mut out = Vec::new();
    GzDecoder::new(image.as_slice()).take(PLAIN_MAX).read_to_end(&mut out)?;
    Ok(out)
}

/// Whether a kernel is one that not every GRUB starts.
#[must_use]
pub fn unpacks_itself(image: &[u8]) -> bool {
    Program::of(image).is_some_and(|program| program.zboot)
}

/// Whether GRUB of this version starts kernels that unpack themselves.
#[must_use]
pub fn starts_zboot(version: &str) -> bool {
    numbers(version) >= ZBOOT
}

/// `2.12~rc1` is 2 and 12.
fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// grubenv of a new image: slot a, no trial.
fn environment() -> Vec<u8> {
    [Grubenv::new(Slot::A).to_sector(), grubenv::filler()].concat()
}

/// Whether GRUB gives these words to a kernel as they are. Its `linux` puts a backslash before quotes and backslashes
/// (grub: `grub-core/lib/cmdline.c`), and its `set` looks for variables.
#[must_use]
pub fn is_plain(words: &str) -> bool {
    words.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"'\"\\$".contains(&byte))
}

/// `grub.cfg` of a slot: what GRUB's script boots from it. It is equal in both slots, the letter comes from the script.
///
/// # Errors
/// Where the words cannot be in it.
pub fn fragment(kernel: &str, initrds: &[&str], cmdline: String) -> Result<Content> {
    let kernel = format!("/{kernel}");
    let initrds = initrds.iter().map(|name| format!("/{name}")).collect();
    let fragment = Fragment { kernel, initrds, cmdline };
    fragment.check().context("grub.cfg of the slots")?;
    let text =
        format!("# What GRUB boots from this slot; grub.cfg of partition 1 reads it.\n{fragment}");
    Ok(Content::Bytes(text.into_bytes()))
}

#[cfg(test)]
mod tests;
