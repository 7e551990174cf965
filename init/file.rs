// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small files of the kernel's file systems and of the initramfs, read and written whole and bounded.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};

/// Reads at most `limit` bytes of a file.
pub(crate) fn read(path: &str, limit: usize) -> Result<Vec<u8>> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let mut chunk = [0; 1024];
        let room = limit.saturating_sub(bytes.len()).min(chunk.len());
        let count = match rustix::io::read(&file, chunk.get_mut(..room).unwrap_or_default()) {
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(why) => return Err(why),
        };
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    Ok(bytes)
}

/// The one line of a sysfs or procfs attribute, without its newline; `None` where it cannot be read.
pub(crate) fn attribute(path: &str) -> Option<String> {
    let bytes = read(path, 4096).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_string())
}

/// Writes an existing file of the kernel in one call, as its attributes demand.
pub(crate) fn write(path: &str, bytes: &[u8]) -> Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, bytes).map(drop)
}

/// Makes a file in memory (`/run`) with this content.
pub(crate) fn create(path: &str, bytes: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o644))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).filter(|_| written > 0).ok_or(Errno::IO)?;
    }
    Ok(())
}

/// Makes a directory and those above it.
pub(crate) fn create_dirs(path: &str) -> Result<()> {
    for (end, _) in path.match_indices('/').skip(1).chain([(path.len(), "")]) {
        match rustix::fs::mkdir(path.get(..end).unwrap_or(path), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}
