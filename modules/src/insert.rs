// SPDX-License-Identifier: MIT OR Apache-2.0
//! `finit_module`: one file into the kernel.

use rustix::ffi::c_int;
use rustix::fs::OFlags;
use rustix::io::Errno;

use mount::errno::text;
use mount::{Error, error};

/// linux/module.h: the kernel decompresses the file itself (Linux 5.17, MODULE_DECOMPRESS), and only what it was built
/// for, in Debian xz.
const MODULE_INIT_COMPRESSED_FILE: c_int = 4;

/// Inserts the module in the file `path` with the parameters `options` (`name=value ...`), and says whether it was new:
/// one that is loaded already is fine.
///
/// # Errors
/// Where the file cannot be opened or the kernel refuses the module.
#[doc(alias = "finit_module")]
pub fn insert(path: &str, options: &str) -> Result<bool, Error> {
    let file = mount::file::open_with(path, OFlags::RDONLY)?;
    // A NUL would cut the options short.
    let options = mount::file::c_string(options).map_err(|errno| refused(path, errno))?;
    match rustix::system::finit_module(&file, options, flags(path)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(refused(path, errno)),
    }
}

fn refused(path: &str, errno: Errno) -> Error {
    let hint = hint(errno);
    let (open, close) = if hint.is_empty() { ("", "") } else { (" (", ")") };
    error!("cannot insert {}: {}{}{}{}", path, text(errno), open, hint, close)
}

/// What an errno means when `finit_module` gives it. The kernel says more on its own log: names of symbols, versions.
/// Source: kernel/module/{main,version,signing,decompress}.c and kernel/params.c of Linux 6.12.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOEXEC => {
            "for another kernel release or machine: vermagic, ELF header, module_layout"
        }
        Errno::INVAL => {
            "disagrees about a symbol's version, not compressed as the kernel reads it, or a bad parameter"
        }
        Errno::NOENT => "unknown symbol: a module that it depends on is not loaded",
        Errno::KEYREJECTED => {
            "its signature is missing or of an unknown key, and the kernel insists on one"
        }
        Errno::BADMSG => "its signature is damaged",
        Errno::OPNOTSUPP => "this kernel does not decompress modules: MODULE_DECOMPRESS",
        Errno::PERM => {
            "modules are disabled, this one is blacklisted, or the kernel is locked down"
        }
        Errno::RANGE | Errno::NOSPC => "the value of a parameter is out of range or too long",
        Errno::BUSY => "another one of this name is being loaded or unloaded",
        Errno::NODEV => "its hardware is not there",
        _ => "",
    }
}

fn flags(path: &str) -> c_int {
    let compressed = [".ko.xz", ".ko.zst", ".ko.gz"].iter().any(|suffix| path.ends_with(suffix));
    if compressed { MODULE_INIT_COMPRESSED_FILE } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn compressed_by_suffix() {
        for (path, expected) in
            [("a.ko", 0), ("a.ko.xz", 4), ("/x/a.ko.zst", 4), ("a.ko.gz", 4), ("a.xz", 0), ("", 0)]
        {
            assert_eq!(flags(path), expected, "{path}");
        }
    }

    #[test]
    fn names_what_it_could_not_open() {
        let message = insert("/nonexistent/loop.ko", "").unwrap_err().to_string();
        assert_eq!(message, "cannot open /nonexistent/loop.ko: No such file or directory");
    }

    #[test]
    fn the_kernel_refuses_what_is_no_module() {
        let file = tempfile::NamedTempFile::with_suffix(".ko").unwrap();
        std::fs::write(file.path(), "#!/bin/sh\n").unwrap();
        let path = file.path().to_str().unwrap();
        // ENOEXEC for root; EPERM for others, or where modules are disabled; ENOSYS in a sandbox or without MODULES.
        let message = insert(path, "").unwrap_err().to_string();
        assert!(message.starts_with(&std::format!("cannot insert {path}: ")), "{message}");
    }

    #[test]
    fn options_with_a_nul() {
        let file = tempfile::NamedTempFile::with_suffix(".ko").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(insert(path, "a=1\0b=2"), Err(refused(path, Errno::INVAL)));
    }
}
