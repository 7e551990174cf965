// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small bounded reads, and directories on the way to a mount point.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Dir, Mode, OFlags, open};
use rustix::io::{Errno, pread};

use crate::Error;

// A sysfs attribute is at most one page of the smallest size.
const ATTRIBUTE: usize = 4096;

/// Opens a file with `O_CLOEXEC`.
pub fn open_with(path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    open(path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|e| Error::call("open", path, e))
}

/// Fills `buffer` from `offset` on as far as the file goes; how many bytes that were.
pub(crate) fn read_at(file: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match pread(&file, rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done = done.saturating_add(n),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// The first `limit` bytes of a file at the most.
///
/// # Errors
/// Where it cannot be opened or read.
pub fn read(path: &str, limit: usize) -> Result<Vec<u8>, Error> {
    let file = open_with(path, OFlags::RDONLY)?;
    let mut bytes = vec![0; limit];
    let length = read_at(file, &mut bytes, 0).map_err(|errno| Error::call("read", path, errno))?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Exactly `length` bytes at `offset`, or nothing.
pub(crate) fn bytes_at(file: impl AsFd, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    (read_at(file, &mut bytes, offset).ok()? == length).then_some(bytes)
}

/// A file of sysfs or procfs; nothing when it cannot be read, as when the device has just gone.
pub fn attribute(path: &str) -> Option<String> {
    let bytes = read(path, ATTRIBUTE).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim_end().to_string())
}

/// The names in a directory, sorted; none when it cannot be read.
pub(crate) fn names(directory: &str) -> Vec<String> {
    let Ok(file) = open_with(directory, OFlags::RDONLY | OFlags::DIRECTORY) else {
        return Vec::new();
    };
    let Ok(entries) = Dir::new(file) else { return Vec::new() };
    let mut names: Vec<String> = Vec::new();
    for entry in entries.map_while(Result::ok) {
        let name = String::from_utf8_lossy(entry.file_name().to_bytes());
        // Sorted by insertion: core's sort is larger than all of this file.
        if let Err(place) = names.binary_search_by(|other| other.as_str().cmp(&name))
            && !name.starts_with('.')
        {
            names.insert(place, name.into_owned());
        }
    }
    names
}

/// `mkdir -p`, mode 755.
pub fn create_directories(path: &str) -> Result<(), Error> {
    let slashes = path.match_indices('/').map(|(at, _)| at).filter(|at| *at != 0);
    for end in slashes.chain([path.len()]) {
        let directory = path.get(..end).unwrap_or_default();
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::call("create", directory, errno)),
        }
    }
    Ok(())
}
