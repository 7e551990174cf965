// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel modules: from a name to the files to load, in order, and into the kernel.
//!
//! A [`Tree`] is one directory of `/lib/modules` as depmod leaves it. The image builder resolves names with it, and
//! libkmod judges it (`tests/oracle.rs`). PID 1 searches nothing: it inserts the files of a [`list`] that was resolved
//! so.
//!
//! What libkmod does and this deliberately does not: no modprobe.d (no `options`, `install` or `blacklist` lines;
//! options come from the command line, as for a driver that is built in), no removal, no `symbol:` lookups. And what
//! it does more: of several softdep lines of one module all count.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod error;
#[cfg(test)]
mod fixture;
mod glob;
mod index;
mod insert;
mod order;
mod tree;

use alloc::string::String;

use bootsel::text::{pop, split_once};
use mount::text;
use rustix::fs::OFlags;

pub use error::Error;
pub use insert::insert;
pub use tree::Tree;

/// One line of a list of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The module's file, relative to the directory of its release.
    pub path: &'a str,
    /// The others do without it: a soft dependency.
    pub optional: bool,
}

/// The modules of a list in the order to insert, a line each: the file `early` of an initramfs, or `load/NAME` of a
/// modules image. A `-` before the path says that the module is optional. Empty lines and those that begin with `#` are
/// left out, and blanks at the end of a line.
pub fn list(mut text: &str) -> impl Iterator<Item = Listed<'_>> {
    core::iter::from_fn(move || {
        loop {
            let line = pop(&mut text, b'\n')?.trim_ascii_end();
            let optional = match line.as_bytes().first() {
                None | Some(b'#') => continue,
                first => first == Some(&b'-'),
            };
            return Some(Listed { path: line.get(optional.into()..)?, optional });
        }
    })
}

/// The name by which the kernel knows the module: `kernel/fs/nls/nls_iso8859-1.ko.xz` is `nls_iso8859_1`.
pub fn module_name(path_or_name: &str) -> String {
    stem(path_or_name).replace('-', "_")
}

/// The same, where it is one of the texts of a boot.
pub fn kernel_name(path_or_name: &str) -> &'static str {
    let (mut name, mut rest) = ("", stem(path_or_name));
    while let Some((before, behind)) = split_once(rest, b'-') {
        name = text!("{}{}_", name, before);
        rest = behind;
    }
    text!("{}{}", name, rest)
}

/// The name as it is in the name of the file, with `-` or `_`.
pub fn stem(path_or_name: &str) -> &str {
    let slash = path_or_name.bytes().rposition(|byte| byte == b'/');
    let file = path_or_name.get(slash.map_or(0, |slash| slash + 1)..).unwrap_or_default();
    // As kbuild and libkmod: a name ends at its first dot.
    split_once(file, b'.').map_or(file, |(name, _)| name)
}

/// Tells the kernel to look for firmware in `path` first. `sys` is where sysfs is mounted.
///
/// # Errors
/// Where sysfs is not mounted, the kernel has no firmware loader, or the path is longer than 255 bytes.
#[doc(alias = "firmware_class.path")]
pub fn set_firmware_path(sys: &str, path: &str) -> Result<(), mount::Error> {
    let parameter = text!("{}/module/firmware_class/parameters/path", sys);
    let cannot = |errno| mount::Error::call("write", parameter, errno);
    let file = mount::file::open_raw(parameter, OFlags::WRONLY).map_err(cannot)?;
    // No newline: the kernel would take it as part of the path (module_param_string). One write is one value.
    rustix::io::write(&file, path.as_bytes()).map_err(cannot)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[track_caller]
    fn name(path: &str, expected: &str) {
        assert_eq!(module_name(path), expected, "{path}");
        assert_eq!(kernel_name(path), expected, "{path}");
    }

    #[test]
    fn module_names() {
        name("ext4", "ext4");
        name("virtio-blk", "virtio_blk");
        name("kernel/fs/nls/nls_iso8859-1.ko", "nls_iso8859_1");
        name("kernel/drivers/block/loop.ko.xz", "loop");
        name("/lib/modules/6.12.95+deb12-arm64/kernel/lib/crc16.ko.zst", "crc16");
        name("", "");
        name("dir/", "");
        name("..", "");
        name("é-ü.ko", "é_ü");
    }

    #[test]
    fn lists() {
        let text = "# watchdog first
kernel/drivers/watchdog/i6300esb.ko

  	
-kernel/lib/crc.ko 
#kernel/no.ko
last.ko";
        let found: Vec<(&str, bool)> = list(text).map(|one| (one.path, one.optional)).collect();
        let expected = [
            ("kernel/drivers/watchdog/i6300esb.ko", false),
            ("kernel/lib/crc.ko", true),
            ("last.ko", false),
        ];
        assert_eq!(found, expected);
        assert_eq!(list("").count(), 0);
        assert_eq!(
            list(
                "# nothing
"
            )
            .count(),
            0
        );
    }

    #[test]
    fn firmware_path() {
        let sys = tempfile::tempdir().unwrap();
        let root = sys.path().to_str().unwrap();
        let message =
            std::format!("{}", set_firmware_path(root, "/run/pivot/firmware").unwrap_err());
        let parameter = std::format!("{root}/module/firmware_class/parameters/path");
        assert_eq!(message, std::format!("cannot write {parameter}: No such file or directory"));

        std::fs::create_dir_all(sys.path().join("module/firmware_class/parameters")).unwrap();
        std::fs::write(&parameter, "").unwrap();
        set_firmware_path(root, "/run/pivot/firmware").unwrap();
        assert_eq!(std::fs::read(&parameter).unwrap(), b"/run/pivot/firmware");
    }
}
