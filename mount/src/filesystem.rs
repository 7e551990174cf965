// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting a filesystem of a device, as the kernel would mount its root.

use alloc::ffi::CString;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::ffi::CStr;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::errno::text;
use crate::{Error, file, superblock};

/// How to mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Filesystem types to try, separated by commas (`rootfstype=`); without it the superblock decides.
    pub kinds: Option<&'a str>,
    /// Mount read-only.
    pub read_only: bool,
    /// Options as mount(8) takes them (`rootflags=`): its general words too, which the kernel alone would refuse.
    pub data: Option<&'a str>,
}

/// What was mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// The filesystem type.
    pub kind: String,
    /// Read-only, asked for or not.
    pub read_only: bool,
}

/// Mounts the device `node` on `target`, which is created where it is missing.
///
/// A device that refuses to be written to is mounted read-only with a warning: a system that can read its data can
/// say what is wrong with it.
pub fn mount(node: &str, target: &str, options: &Options<'_>) -> Result<Mounted, Error> {
    file::create_directories(target)?;
    let (mut flags, data) = split(options.data.unwrap_or_default());
    flags.set(MountFlags::RDONLY, options.read_only || flags.contains(MountFlags::RDONLY));
    let kinds = kinds(node, options.kinds);
    let mut last = Errno::NODEV;
    for kind in &kinds {
        match attempt(node, target, kind, flags, &data) {
            Ok(read_only) => return Ok(Mounted { kind: kind.clone(), read_only }),
            // Not this filesystem, or the kernel has no such driver.
            Err(errno @ (Errno::INVAL | Errno::NODEV)) => last = errno,
            Err(errno) => return Err(Error::mount(node, target, kind, errno)),
        }
    }
    let tried = if kinds.is_empty() { "no known filesystem".into() } else { kinds.join(",") };
    Err(Error::mount(node, target, &tried, last))
}

/// Mounts a tmpfs on `target`, which is created where it is missing.
pub fn tmpfs(target: &str, data: &str) -> Result<(), Error> {
    file::create_directories(target)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount2("tmpfs", target, "tmpfs", flags, data)
        .map_err(|errno| Error::mount("tmpfs", target, "tmpfs", errno))
}

/// Unmounts `target`; `detach` takes it out of the tree at once and lets it end when its last user goes.
pub fn unmount(target: &str, detach: bool) -> Result<(), Error> {
    let flags = if detach { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    rustix::mount::unmount(target, flags).map_err(|errno| Error::call("unmount", target, errno))
}

// mount(2) with its data as text.
pub(crate) fn mount2(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    data: &str,
) -> Result<(), Errno> {
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let data = Some(data.as_c_str()).filter(|data| !data.is_empty());
    rustix::mount::mount::<_, _, _, Option<&CStr>>(source, target, kind, flags, data)
}

// Whether it is read-only then.
fn attempt(
    node: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    data: &str,
) -> Result<bool, Errno> {
    if !flags.contains(MountFlags::RDONLY) {
        match mount2(node, target, kind, flags, data) {
            Ok(()) => return Ok(false),
            Err(errno @ (Errno::ROFS | Errno::ACCESS)) => {
                log::warn!("cannot mount {node} read-write ({}): read-only it is", text(errno));
            }
            Err(errno) => return Err(errno),
        }
    }
    let flags = flags | MountFlags::RDONLY;
    match mount2(node, target, kind, flags, data) {
        // ext4 refuses a journal that it cannot replay because the device takes no write, as a worn-out card does.
        Err(Errno::ROFS) if kind == "ext4" => {
            log::warn!("cannot replay the journal of {node}: it is mounted as it was left");
            let separator = if data.is_empty() { "" } else { "," };
            mount2(node, target, kind, flags, &format!("{data}{separator}noload"))?;
        }
        result => result?,
    }
    Ok(true)
}

fn kinds(node: &str, given: Option<&str>) -> Vec<String> {
    if let Some(given) = given {
        return given.split(',').filter(|kind| !kind.is_empty()).map(String::from).collect();
    }
    match superblock::read(node) {
        Ok(Some(found)) => vec![found.kind.name().to_string()],
        // What the kernel itself tries: every type that wants a device.
        _ => file::attribute("/proc/filesystems")
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.starts_with("nodev"))
            .map(|line| line.trim().to_string())
            .collect(),
    }
}

// Words of mount(8) that are flags of mount(2), and whether they set or clear them.
const WORDS: [(&str, MountFlags, bool); 12] = [
    ("defaults", MountFlags::empty(), true),
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("nodev", MountFlags::NODEV, true),
    ("noexec", MountFlags::NOEXEC, true),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("noatime", MountFlags::NOATIME, true),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("relatime", MountFlags::RELATIME, true),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("lazytime", MountFlags::LAZYTIME, true),
];

fn split(options: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data: Vec<&str> = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match WORDS.iter().find(|(word, ..)| *word == option) {
            Some((_, flag, on)) => flags.set(*flag, *on),
            None => data.push(option),
        }
    }
    (flags, data.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: &str, flags: MountFlags, data: &str) {
        assert_eq!(split(options), (flags, data.to_string()), "{options}");
    }

    #[test]
    fn general_words_are_flags() {
        check("", MountFlags::empty(), "");
        check("defaults,noatime", MountFlags::NOATIME, "");
        check("commit=30,,nodev,subvol=@ro", MountFlags::NODEV, "commit=30,subvol=@ro");
        check("ro,rw", MountFlags::empty(), "");
        check("rw,ro", MountFlags::RDONLY, "");
    }
}
