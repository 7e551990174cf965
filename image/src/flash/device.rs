// SPDX-License-Identifier: MIT OR Apache-2.0
//! The target while it is written. `O_DIRECT`, so that progress is the card's and not the page cache's, and so
//! that what is read back comes from the card.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use super::source::PIECE;

/// Memory, places and lengths are multiples of this: no device asks for more.
const ALIGN: usize = 4096;

/// An open target.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    memory: Vec<u8>,
    /// Where the aligned part of `memory` begins.
    start: usize,
}

impl Device {
    /// Opens it for nobody else: the kernel refuses a disk that is mounted anywhere, or held by another program.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = |flags: OFlag| {
            OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)
        };
        let file = match open(OFlag::O_EXCL | OFlag::O_DIRECT) {
            // a file system without direct access, for a regular file
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => open(OFlag::O_EXCL),
            other => other,
        };
        let file = match file {
            Err(error) if error.raw_os_error() == Some(Errno::EBUSY as i32) => bail!(
                "{} is in use, and not by a mount that is seen from here: a container, or a program that has it open",
                path.display()
            ),
            other => {
                other.with_context(|| format!("cannot open {} for writing", path.display()))?
            }
        };
        let memory = vec![0; PIECE + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN);
        Ok(Self { file, memory, start })
    }

    /// Writes a piece.
    pub(super) fn write(&mut self, bytes: &[u8], place: u64) -> Result<()> {
        let piece = &mut self.memory[self.start..][..bytes.len()];
        piece.copy_from_slice(bytes);
        self.file.write_all_at(piece, place).with_context(|| format!("cannot write byte {place}"))
    }

    /// Reads a piece, from the device itself.
    pub(super) fn read(&mut self, place: u64, count: usize) -> Result<&[u8]> {
        let whole = count.next_multiple_of(ALIGN);
        let piece = &mut self.memory[self.start..][..whole];
        let cannot = || format!("cannot read byte {place} back");
        let mut done = 0;
        while done < count {
            let more = self.file.read_at(&mut piece[done..], place + done as u64);
            let more = more.with_context(cannot)?;
            ensure!(more > 0, "the device ends at byte {}", place + done as u64);
            done += more;
        }
        Ok(&piece[..count])
    }

    /// Waits until everything is on the device.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_all().context("cannot write everything to the device")?;
        // where there is no direct access, at least let go of what the cache has
        posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        Ok(())
    }
}
