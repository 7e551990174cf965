// SPDX-License-Identifier: MIT OR Apache-2.0
//! The EEPROM of a Raspberry Pi 4 or 5, and what happens to it before its bootloader runs: the chip's ROM looks for
//! recovery.bin on the first partition of an SD card, and this writes pieeprom.upd to the EEPROM, gives itself another
//! name, and resets the board. (Raspberry Pi documentation, raspberry-pi/boot-eeprom.adoc; facts of recovery.bin:
//! rpi-eeprom, firmware-2711/release-notes.md)

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bootsel::eeprom::image::Image;
use rpieeprom::Release;
use sha2::{Digest, Sha256};

use crate::image;

/// A directory entry's name, as it is on the disk.
const RECOVERY: &[u8; 11] = b"RECOVERYBIN";
const RECOVERED: &[u8; 11] = b"RECOVERY000";
/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// recovery.bin could remove itself for ever, and would not end.
const RESETS: usize = 2;

/// What becomes of a staged update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// It is written.
    Writes,
    /// recovery.bin runs, renames itself, and the EEPROM is as it was.
    WritesNothing,
    /// The ROM does not look for it.
    IsNotRun,
}

/// The content of an EEPROM is a file, as that of a card.
#[derive(Clone, Debug)]
pub(crate) struct Eeprom {
    directory: PathBuf,
    pub(crate) recovery: Recovery,
}

/// What the firmware hands on of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bootloader {
    /// When it was built, and what its update said of the time; seconds since 1970, the latter 0 from the factory.
    pub(crate) built: u32,
    pub(crate) updated: u32,
    pub(crate) bootconf: Vec<u8>,
}

impl Eeprom {
    /// As it comes from the factory.
    pub(crate) fn new(directory: &Path, release: &Release) -> Result<Self> {
        let eeprom = Self { directory: directory.to_owned(), recovery: Recovery::Writes };
        eeprom.write(&release.image(), 0)?;
        Ok(eeprom)
    }

    fn file(&self) -> PathBuf {
        self.directory.join("eeprom")
    }

    fn time(&self) -> PathBuf {
        self.directory.join("eeprom.updated")
    }

    fn write(&self, image: &[u8], updated: u32) -> Result<()> {
        fs::write(self.file(), image).context("cannot write the eeprom")?;
        Ok(fs::write(self.time(), updated.to_string())?)
    }

    /// What its bootloader says of itself.
    pub(crate) fn bootloader(&self) -> Result<Bootloader> {
        let bytes = fs::read(self.file()).context("cannot read the eeprom")?;
        let image = Image::parse(&bytes).map_err(|why| anyhow!("the eeprom: {why}"))?;
        let updated = fs::read_to_string(self.time())?.parse()?;
        let bootconf = image.bootconf().to_vec();
        Ok(Bootloader { built: image.build_timestamp, updated, bootconf })
    }

    /// What happens up to the start of the bootloader; how often recovery.bin ran.
    pub(crate) fn start(&self, card: &Path) -> Result<usize> {
        let file = File::options().read(true).write(true).open(card)?;
        let first = image::partitions(card)?.first().copied().context("no partition 1")?;
        for resets in 0..RESETS {
            let is_run = self.recovery != Recovery::IsNotRun;
            let Some(entry) = find(card, &file, first)?.filter(|_| is_run) else {
                return Ok(resets);
            };
            let update = image::file(card, 1, "pieeprom.upd")?
                .context("recovery.bin without pieeprom.upd")?;
            let signature = image::file(card, 1, "pieeprom.sig")?
                .context("pieeprom.upd without pieeprom.sig")?;
            let updated = verified(&update, &signature)?;
            if self.recovery == Recovery::Writes {
                self.write(&update, updated)?;
            }
            file.write_all_at(RECOVERED, entry)?;
        }
        bail!("recovery.bin is still there after it ran {RESETS} times")
    }
}

/// The offset of recovery.bin's directory entry. The directory lies before all files.
fn find(card: &Path, file: &File, volume: image::Partition) -> Result<Option<u64>> {
    if image::file(card, 1, "recovery.bin")?.is_none() {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(volume.length)?];
    file.read_exact_at(&mut bytes, volume.start)?;
    let mut entries = bytes.chunks_exact(ENTRY);
    let place = entries.position(|entry| entry.starts_with(RECOVERY)).context("no entry")?;
    Ok(Some(volume.start + (place * ENTRY) as u64))
}

/// The time in a signature, if that is the image's: the hash in hexadecimal, and `ts: SECONDS`.
pub(crate) fn verified(image: &[u8], signature: &[u8]) -> Result<u32> {
    let text = std::str::from_utf8(signature).context("pieeprom.sig is no text")?;
    let hash: String = Sha256::digest(image).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut lines = text.lines();
    ensure!(lines.next() == Some(&*hash), "recovery.bin stops: pieeprom.sig is of another image");
    let time = lines.find_map(|line| line.strip_prefix("ts: ")).context("pieeprom.sig: no ts")?;
    Ok(time.trim().parse()?)
}
