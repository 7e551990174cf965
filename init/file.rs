// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small files of the kernel's file systems and of `/run`, written whole.

use mount::file::open_raw;
use rustix::fs::OFlags;
use rustix::io::{Errno, Result};

/// Writes an existing file of the kernel in one call, as its attributes demand.
pub(crate) fn write(path: &str, bytes: &[u8]) -> Result<()> {
    let file = open_raw(path, OFlags::WRONLY)?;
    rustix::io::write(file, bytes).map(drop)
}

/// Makes a file in memory (`/run`) with this content.
pub(crate) fn create(path: &str, bytes: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = uapi::open::open_text(path, flags, 0o644)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).filter(|_| written > 0).ok_or(Errno::IO)?;
    }
    Ok(())
}
