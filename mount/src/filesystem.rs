// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting a filesystem of a device, as the kernel would mount its root.

use bootsel::text::pop;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::errno::text;
use crate::{Error, file, superblock};

/// How to mount.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Filesystem types to try, separated by commas (`rootfstype=`); without it the superblock decides.
    pub kinds: Option<&'a str>,
    /// Mount read-only.
    pub read_only: bool,
    /// Options as mount(8) takes them (`rootflags=`): its general words too, which the kernel alone would refuse.
    pub data: Option<&'a str>,
    /// Is told, a line each, what is not done as it was asked for.
    pub warn: fn(&str),
}

/// What was mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounted<'a> {
    /// The filesystem type.
    pub kind: &'a str,
    /// Read-only, asked for or not.
    pub read_only: bool,
}

/// Mounts the device `node` on `target`, which is created where it is missing.
///
/// A device that refuses to be written to is mounted read-only, with a warning: a system that can read its data can
/// say what is wrong with it.
pub fn mount<'a>(node: &str, target: &str, options: &Options<'a>) -> Result<Mounted<'a>, Error> {
    file::create_directories(target)?;
    let (mut flags, data) = split(options.data.unwrap_or_default());
    flags.set(MountFlags::RDONLY, options.read_only || flags.contains(MountFlags::RDONLY));
    let mut kinds = options.kinds.unwrap_or_else(|| kinds(node));
    let (mut tried, mut last) = ("", Errno::NODEV);
    while let Some(kind) = pop(&mut kinds, b',') {
        match attempt(node, target, kind, flags, data, options.warn) {
            Ok(read_only) => return Ok(Mounted { kind, read_only }),
            // Not this filesystem, or the kernel has no such driver.
            Err(errno @ (Errno::INVAL | Errno::NODEV)) => last = errno,
            Err(errno) => return Err(Error::mount(node, target, kind, errno)),
        }
        tried = joined(tried, kind);
    }
    let tried = if tried.is_empty() { "no known filesystem" } else { tried };
    Err(Error::mount(node, target, tried, last))
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
    file::c_string(target)
        .and_then(|target| rustix::mount::unmount(target, flags))
        .map_err(|errno| Error::call("unmount", target, errno))
}

// mount(2) with its data as text.
pub(crate) fn mount2(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    data: &str,
) -> Result<(), Errno> {
    let (source, target) = (file::c_string(source)?, file::c_string(target)?);
    let (kind, data) = (file::c_string(kind)?, file::c_string(data)?);
    let data = Some(data).filter(|data| !data.is_empty());
    rustix::mount::mount(source, target, kind, flags, data)
}

// Whether it is read-only then.
fn attempt(
    node: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    data: &str,
    warn: fn(&str),
) -> Result<bool, Errno> {
    if !flags.contains(MountFlags::RDONLY) {
        match mount2(node, target, kind, flags, data) {
            Ok(()) => return Ok(false),
            Err(errno @ (Errno::ROFS | Errno::ACCESS)) => {
                let why = text(errno);
                warn(text!("cannot mount {} read-write ({}): read-only it is", node, why));
            }
            Err(errno) => return Err(errno),
        }
    }
    let flags = flags | MountFlags::RDONLY;
    match mount2(node, target, kind, flags, data) {
        // ext4 refuses a journal that it cannot replay because the device takes no write, as a worn-out card does.
        Err(Errno::ROFS) if kind == "ext4" => {
            warn(text!("cannot replay the journal of {}: it is mounted as it was left", node));
            mount2(node, target, kind, flags, joined(data, "noload"))?;
        }
        result => result?,
    }
    Ok(true)
}

// Separated by commas.
fn kinds(node: &str) -> &'static str {
    if let Ok(Some(found)) = superblock::read(node) {
        return found.kind.name();
    }
    // What the kernel itself tries: every type that wants a device. The others have "nodev" before the tab.
    let mut kinds = "";
    let mut lines = file::attribute("/proc/filesystems");
    while let Some(line) = pop(&mut lines, b'\n') {
        if let Some(kind) = line.strip_prefix('\t') {
            kinds = joined(kinds, kind);
        }
    }
    kinds
}

fn joined(list: &str, word: &str) -> &'static str {
    text!("{}{}{}", list, if list.is_empty() { "" } else { "," }, word)
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

fn split(mut options: &str) -> (MountFlags, &'static str) {
    let (mut flags, mut data) = (MountFlags::empty(), "");
    while let Some(option) = pop(&mut options, b',') {
        match WORDS.iter().find(|(word, ..)| *word == option) {
            Some((_, flag, on)) => flags.set(*flag, *on),
            None => data = joined(data, option),
        }
    }
    (flags, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: &str, flags: MountFlags, data: &str) {
        assert_eq!(split(options), (flags, data), "{options}");
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
