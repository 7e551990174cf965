// SPDX-License-Identifier: MIT OR Apache-2.0
//! Words for the kernel's error numbers: rustix without std has only "os error N".

use bootsel::text::pop;
use rustix::io::Errno;

use crate::text::decimal32;

/// An error number as strerror(3) words it, or as `error N`.
pub fn text(errno: Errno) -> &'static str {
    words(errno)
        .unwrap_or_else(|| text!("error {}", decimal32(errno.raw_os_error().unsigned_abs())))
}

fn words(errno: Errno) -> Option<&'static str> {
    let mut words = WORDS;
    for known in KNOWN {
        let found = pop(&mut words, b'\n');
        if known == errno {
            return found;
        }
    }
    None
}

// What mounting, loading modules, starting programs and watchdogs are answered with.
const KNOWN: [Errno; 29] = [
    Errno::PERM,
    Errno::NOENT,
    Errno::IO,
    Errno::NXIO,
    Errno::NOEXEC,
    Errno::AGAIN,
    Errno::NOMEM,
    Errno::ACCESS,
    Errno::NOTBLK,
    Errno::BUSY,
    Errno::EXIST,
    Errno::XDEV,
    Errno::NODEV,
    Errno::NOTDIR,
    Errno::ISDIR,
    Errno::INVAL,
    Errno::NOTTY,
    Errno::NOSPC,
    Errno::ROFS,
    Errno::RANGE,
    Errno::NAMETOOLONG,
    Errno::NOSYS,
    Errno::LOOP,
    Errno::OVERFLOW,
    Errno::OPNOTSUPP,
    Errno::STALE,
    Errno::UCLEAN,
    Errno::NOKEY,
    Errno::KEYREJECTED,
];
// In one text, a line each: a table of them would be twice as long.
const WORDS: &str = "\
Operation not permitted\n\
No such file or directory\n\
Input/output error\n\
No such device or address\n\
Exec format error\n\
Resource temporarily unavailable\n\
Cannot allocate memory\n\
Permission denied\n\
Block device required\n\
Device or resource busy\n\
File exists\n\
Invalid cross-device link\n\
No such device\n\
Not a directory\n\
Is a directory\n\
Invalid argument\n\
Inappropriate ioctl for device\n\
No space left on device\n\
Read-only file system\n\
Numerical result out of range\n\
File name too long\n\
Function not implemented\n\
Too many levels of symbolic links\n\
Value too large for defined data type\n\
Operation not supported\n\
Stale file handle\n\
Structure needs cleaning\n\
Required key not available\n\
Key was rejected by service";

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn known_and_unknown() {
        assert_eq!(text(Errno::NODEV), "No such device");
        assert_eq!(text(Errno::from_raw_os_error(4000)), "error 4000");
    }

    // The C library's words, by way of std.
    #[test]
    fn words_are_those_of_strerror() {
        assert_eq!(WORDS.split('\n').count(), KNOWN.len());
        for (errno, words) in KNOWN.into_iter().zip(WORDS.split('\n')) {
            let theirs = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
            assert!(theirs.starts_with(words), "{words} is {theirs} there");
        }
    }
}
