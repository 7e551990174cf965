// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small bounded reads, and directories on the way to a mount point.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::CStr;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, Mode, OFlags, access, mkdir};
use rustix::io::{Errno, pread};
use uapi::directory;
pub use uapi::open::c_string;
use uapi::open::open;

use crate::Error;

// A sysfs attribute is at most one page of the smallest size.
pub(crate) const ATTRIBUTE: usize = 4096;

/// Opens a file with `O_CLOEXEC`.
pub fn open_with(path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    open_raw(path, flags).map_err(|errno| Error::call("open", path, errno))
}

/// The same with the bare error number.
pub fn open_raw(path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    open(&c_string(path)?, flags | OFlags::CLOEXEC, 0)
}

/// Whether there is something at `path`.
pub fn exists(path: &str) -> bool {
    c_string(path).is_ok_and(|path| access(path.as_c_str(), Access::EXISTS).is_ok())
}

/// Fills `buffer` from `offset` on as far as the file goes; how many bytes that were.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, offset.saturating_add(done as u64)) {
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
    let length =
        read_at(file.as_fd(), &mut bytes, 0).map_err(|errno| Error::call("read", path, errno))?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Exactly `length` bytes at `offset`, or nothing.
pub fn bytes_at(file: &OwnedFd, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    (read_at(file.as_fd(), &mut bytes, offset).ok()? == length).then_some(bytes)
}

/// A file of sysfs or procfs; nothing when it cannot be read, as when the device has just gone, or is no text.
pub fn attribute(path: &str) -> Option<String> {
    let mut bytes = read(path, ATTRIBUTE).ok()?;
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    String::from_utf8(bytes).ok()
}

/// Calls `each` with the name of every entry of a directory, `.` and `..` left out, and whether it is a directory, as
/// long as it can be read.
pub fn each_entry(directory: BorrowedFd<'_>, each: &mut dyn FnMut(&CStr, bool)) {
    let mut buffer = [0; 2048];
    loop {
        let mut last = true;
        let Ok(entries) = directory::read(directory, &mut buffer) else { return };
        for (name, is_directory) in entries {
            last = false;
            if !matches!(name.to_bytes(), b"." | b"..") {
                each(name, is_directory);
            }
        }
        if last {
            return;
        }
    }
}

// More devices than any machine of ours has, and a bound on what a hostile disk can make PID 1 keep.
const NAMES: usize = 1024;

/// The names in a directory, sorted, at most 1,024, without those that begin with a dot or are no text; none when it cannot be read.
pub fn names(directory: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let Ok(directory) = open_raw(directory, OFlags::RDONLY | OFlags::DIRECTORY) else {
        return names;
    };
    each_entry(directory.as_fd(), &mut |name, _| {
        if let Ok(name) = name.to_str()
            && !name.starts_with('.')
            && names.len() < NAMES
        {
            names.push(name.into());
            // Sorted by insertion: core's sort is larger than all of this file.
            let mut place = names.len() - 1;
            while let Some([before, last]) =
                names.get_mut(..=place).and_then(|n| n.last_chunk_mut())
                && *last < *before
            {
                core::mem::swap(before, last);
                place -= 1;
            }
        }
    });
    names
}

/// `mkdir -p`, mode 755.
pub fn create_directories(path: &str) -> Result<(), Error> {
    for (at, byte) in path.bytes().enumerate().skip(1) {
        if byte == b'/' {
            create_directory(path.get(..at).unwrap_or_default())?;
        }
    }
    create_directory(path)
}

fn create_directory(path: &str) -> Result<(), Error> {
    match c_string(path).and_then(|path| mkdir(path.as_c_str(), Mode::from_raw_mode(0o755))) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::call("create", path, errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::fs;

    use super::*;

    // More than one buffer of getdents64(2) holds.
    #[test]
    fn names_of_a_large_directory_are_sorted() {
        let directory = tempfile::tempdir().unwrap();
        let mut expected: Vec<String> =
            (0..500).map(|n| format!("a name of some length {n}")).collect();
        for name in expected.iter().map(String::as_str).chain([".hidden"]) {
            fs::write(directory.path().join(name), "").unwrap();
        }
        expected.sort();
        assert_eq!(names(directory.path().to_str().unwrap()), expected);
        assert!(names("/nonexistent").is_empty());
    }

    #[test]
    fn missing_directories_are_created() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_str().unwrap();
        for path in ["a/b/c", "a/b", "d//e/"] {
            let path = format!("{root}/{path}");
            create_directories(&path).unwrap();
            assert!(exists(&path) && !exists(&format!("{path}/f")));
        }
        fs::write(format!("{root}/file"), " text\n\n").unwrap();
        let error = create_directories(&format!("{root}/file/x")).unwrap_err();
        assert_eq!(format!("{error}"), format!("cannot create {root}/file/x: Not a directory"));
        assert_eq!(attribute(&format!("{root}/file")).as_deref(), Some(" text"));
    }

    #[test]
    fn a_directory_of_any_size_gives_a_bounded_list() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..NAMES + 100 {
            fs::write(directory.path().join(format!("{number}")), "").unwrap();
        }
        let names = names(directory.path().to_str().unwrap());
        assert!(names.len() == NAMES && names.is_sorted());
    }
}
