// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small bounded reads, and directories on the way to a mount point.

use core::ffi::CStr;

use bootsel::list::List;
use bootsel::text::of;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use uapi::open::{mkdir, open_text};
use uapi::{directory, memory};

pub use uapi::open::{c_string, exists};

use crate::Error;

/// Bytes of a sysfs attribute: at most one page of the smallest size.
pub(crate) const ATTRIBUTE: usize = 4096;

/// Opens a file with `O_CLOEXEC`.
pub fn open_with(path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    open_raw(path, flags).map_err(|errno| Error::call("open", path, errno))
}

/// The same with the bare error number.
pub fn open_raw(path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_text(path, flags | OFlags::CLOEXEC, 0)
}

/// Fills `buffer` from `offset` on as far as the file goes; how many bytes that were.
fn read_at(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match uapi::file::pread(file, rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(n) => done = done.saturating_add(n),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// What the kernel gives of a file of its own in one call, as far as there is room; nothing where it cannot be read.
pub fn peek<'a>(path: &str, room: &'a mut [u8]) -> &'a [u8] {
    let read =
        open_raw(path, OFlags::RDONLY).and_then(|file| uapi::file::pread(file.as_fd(), room, 0));
    room.get(..read.unwrap_or(0)).unwrap_or_default()
}

/// The first bytes of a file, as many as there is room for.
///
/// # Errors
/// Where it cannot be opened or read.
pub fn read_to<'a>(path: &str, room: &'a mut [u8]) -> Result<&'a [u8], Error> {
    let file = open_with(path, OFlags::RDONLY)?;
    let read = read_at(file.as_fd(), room, 0);
    let length = read.map_err(|errno| Error::call("read", path, errno))?;
    Ok(room.get(..length).unwrap_or_default())
}

/// Fills the buffer with what is at `offset`, or says that there is not so much.
pub fn fill_at(file: &OwnedFd, offset: u64, buffer: &mut [u8]) -> Option<()> {
    (read_at(file.as_fd(), buffer, offset).ok()? == buffer.len()).then_some(())
}

/// A file of sysfs or procfs; empty when it cannot be read, as when the device has just gone, or is no text.
pub fn attribute(path: &str) -> &'static str {
    of(peek(path, memory::bytes(ATTRIBUTE))).trim_ascii_end()
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

/// Calls `each` with the names in a directory, without those that begin with a dot or are no text.
pub fn each_name(directory: &str, each: &mut dyn FnMut(&str)) {
    let Ok(directory) = open_raw(directory, OFlags::RDONLY | OFlags::DIRECTORY) else { return };
    each_entry(directory.as_fd(), &mut |name, _| {
        let name = of(name.to_bytes());
        if !name.is_empty() && !name.starts_with('.') {
            each(name);
        }
    });
}

// More devices than any machine of ours has, and a bound on what a hostile disk can make PID 1 keep.
const NAMES: usize = 1024;

/// The names in a directory, sorted, at most 1,024; none when it cannot be read. See [`each_name`].
pub fn names(directory: &str) -> List<&'static str, NAMES> {
    let mut names = List::new("");
    each_name(directory, &mut |name| {
        if names.len() < NAMES {
            names.push(text!("{}", name));
        }
        // Sorted by insertion: core's sort is larger than all of this file.
        let mut end = names.len();
        while let Some([before, last]) = names.get_mut(..end).and_then(|n| n.last_chunk_mut())
            && *last < *before
        {
            core::mem::swap(before, last);
            end -= 1;
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
    match mkdir(path, 0o755) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::call("create", path, errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::fs;
    use std::string::String;
    use std::vec::Vec;

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
        assert_eq!(*names(directory.path().to_str().unwrap()), expected);
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
        assert_eq!(attribute(&format!("{root}/file")), " text");
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
