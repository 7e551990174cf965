// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words for the kernel's error numbers: rustix without std has only "os error N".

use core::fmt;

use rustix::io::Errno;

/// An error number that displays as strerror(3) words it, or as `error N`.
#[derive(Clone, Copy, Debug)]
pub struct Text(Errno);

/// The words for `errno`.
pub fn text(errno: Errno) -> Text {
    Text(errno)
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WORDS.iter().find(|(errno, _)| *errno == self.0) {
            Some((_, words)) => f.write_str(words),
            None => write!(f, "error {}", u64::from(self.0.raw_os_error().unsigned_abs())),
        }
    }
}

// What mounting, loading modules, starting programs and watchdogs are answered with.
const WORDS: [(Errno, &str); 29] = [
    (Errno::PERM, "Operation not permitted"),
    (Errno::NOENT, "No such file or directory"),
    (Errno::IO, "Input/output error"),
    (Errno::NXIO, "No such device or address"),
    (Errno::NOEXEC, "Exec format error"),
    (Errno::AGAIN, "Resource temporarily unavailable"),
    (Errno::NOMEM, "Cannot allocate memory"),
    (Errno::ACCESS, "Permission denied"),
    (Errno::NOTBLK, "Block device required"),
    (Errno::BUSY, "Device or resource busy"),
    (Errno::EXIST, "File exists"),
    (Errno::XDEV, "Invalid cross-device link"),
    (Errno::NODEV, "No such device"),
    (Errno::NOTDIR, "Not a directory"),
    (Errno::ISDIR, "Is a directory"),
    (Errno::INVAL, "Invalid argument"),
    (Errno::NOTTY, "Inappropriate ioctl for device"),
    (Errno::NOSPC, "No space left on device"),
    (Errno::ROFS, "Read-only file system"),
    (Errno::RANGE, "Numerical result out of range"),
    (Errno::NAMETOOLONG, "File name too long"),
    (Errno::NOSYS, "Function not implemented"),
    (Errno::LOOP, "Too many levels of symbolic links"),
    (Errno::OVERFLOW, "Value too large for defined data type"),
    (Errno::OPNOTSUPP, "Operation not supported"),
    (Errno::STALE, "Stale file handle"),
    (Errno::UCLEAN, "Structure needs cleaning"),
    (Errno::NOKEY, "Required key not available"),
    (Errno::KEYREJECTED, "Key was rejected by service"),
];

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn known_and_unknown() {
        assert_eq!(text(Errno::NODEV).to_string(), "No such device");
        assert_eq!(text(Errno::from_raw_os_error(4000)).to_string(), "error 4000");
    }

    // The C library's words, by way of std.
    #[test]
    fn words_are_those_of_strerror() {
        for (errno, words) in WORDS {
            let theirs = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
            assert!(theirs.starts_with(words), "{words} is {theirs} there");
        }
    }
}
