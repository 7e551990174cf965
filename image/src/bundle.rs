// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bundles: what a device installs. The order of the members and every limit are [`bootsel::bundle`]'s.

pub mod read;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bootsel::bundle::{BOOT_PACKED, Order};
use bootsel::manifest::{Manifest, NAME, SIGNATURE};

use crate::keys::Key;
use crate::progress::{Progress, size};
use crate::scratch;

/// Makes a bundle of what `build` or `revision` left in `directory`. Without a key the signature that is there is
/// taken.
///
/// # Errors
/// Where there is no signature, a file is not what the manifest says, or `out` cannot be written: it is as it was then.
pub fn write(directory: &Path, key: Option<&Key>, out: &Path, progress: Progress) -> Result<()> {
    let revision = directory.join("revision");
    let at = revision.join(NAME);
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let text = read(&at)?;
    let manifest = Manifest::parse(&text).with_context(|| at.display().to_string())?;
    let signature = match key {
        Some(key) => key.sign(&manifest)?.into_bytes(),
        None => {
            let path = revision.join(SIGNATURE);
            ensure!(path.exists(), "{} is not signed: give a key", at.display());
            read(&path)?
        }
    };
    let cannot = || format!("cannot write {}", out.display());
    let step = progress.step(&out.display().to_string(), 0);
    let bytes = scratch::whole(out, |to| {
        let mut archive = Archive::new(File::create(to).with_context(cannot)?, &manifest);
        archive.bytes(NAME, &text)?;
        archive.bytes(SIGNATURE, &signature)?;
        archive.file(BOOT_PACKED, directory)?;
        for image in manifest.images() {
            archive.file(&image.name, &revision)?;
        }
        archive.end().with_context(cannot)?;
        let file = File::open(to).with_context(cannot)?;
        let bytes = file.metadata().with_context(cannot)?.len();
        let found = read::bundle(file, None);
        found
            .sound()
            .with_context(|| format!("cannot make a bundle of {}", directory.display()))?;
        Ok(bytes)
    })?;
    step.done(&size(bytes));
    Ok(())
}

/// An archive under way, its members judged as the device will.
struct Archive<'a, W: Write> {
    tar: tar::Builder<BufWriter<W>>,
    order: Order,
    manifest: &'a Manifest,
}

impl<'a, W: Write> Archive<'a, W> {
    fn new(out: W, manifest: &'a Manifest) -> Self {
        let tar = tar::Builder::new(BufWriter::with_capacity(1 << 20, out));
        Self { tar, order: Order::default(), manifest }
    }

    fn header(&mut self, name: &str, bytes: u64) -> Result<tar::Header> {
        self.order.member(name, bytes)?;
        if name == SIGNATURE {
            self.order.trust(self.manifest.clone())?;
        }
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        Ok(header)
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let header = self.header(name, bytes.len() as u64)?;
        self.tar.append(&header, bytes).with_context(|| format!("cannot add {name}"))
    }

    fn file(&mut self, name: &str, directory: &Path) -> Result<()> {
        let path = directory.join(name);
        let cannot = || format!("cannot read {}", path.display());
        let file = File::open(&path).with_context(cannot)?;
        let header = self.header(name, file.metadata().with_context(cannot)?.len())?;
        self.tar.append(&header, file).with_context(|| format!("cannot add {}", path.display()))
    }

    fn end(self) -> Result<()> {
        self.order.end()?;
        self.tar.into_inner()?.flush()?;
        Ok(())
    }
}
