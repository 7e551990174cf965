// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting a filesystem of a device, as the kernel would mount its root.

use alloc::string::String;
use core::fmt;

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
    pub warn: fn(fmt::Arguments<'_>),
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
/// A device that refuses to be written to is mounted read-only, with a warning: a system that can read its data can
/// say what is wrong with it.
pub fn mount(node: &str, target: &str, options: &Options<'_>) -> Result<Mounted, Error> {
    file::create_directories(target)?;
    let (mut flags, data) = split(options.data.unwrap_or_default());
    flags.set(MountFlags::RDONLY, options.read_only || flags.contains(MountFlags::RDONLY));
    let kinds = options.kinds.map_or_else(|| kinds(node), String::from);
    let (mut tried, mut last) = (String::new(), Errno::NODEV);
    let mut rest = &*kinds;
    while let Some(kind) = pop(&mut rest, b',') {
        match attempt(node, target, kind, flags, &data, options.warn) {
            Ok(read_only) => return Ok(Mounted { kind: kind.into(), read_only }),
            // Not this filesystem, or the kernel has no such driver.
            Err(errno @ (Errno::INVAL | Errno::NODEV)) => last = errno,
            Err(errno) => return Err(Error::mount(node, target, kind, errno)),
        }
        push(&mut tried, kind);
    }
    let tried = if tried.is_empty() { "no known filesystem" } else { &tried };
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
        .and_then(|target| rustix::mount::unmount(&*target, flags))
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
    let data = Some(&*data).filter(|data| !data.is_empty());
    rustix::mount::mount(&*source, &*target, &*kind, flags, data)
}

// Whether it is read-only then.
fn attempt(
    node: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    data: &str,
    warn: fn(fmt::Arguments<'_>),
) -> Result<bool, Errno> {
    if !flags.contains(MountFlags::RDONLY) {
        match mount2(node, target, kind, flags, data) {
            Ok(()) => return Ok(false),
            Err(errno @ (Errno::ROFS | Errno::ACCESS)) => {
                warn(format_args!(
                    "cannot mount {node} read-write ({}): read-only it is",
                    text(errno)
                ));
            }
            Err(errno) => return Err(errno),
        }
    }
    let flags = flags | MountFlags::RDONLY;
    match mount2(node, target, kind, flags, data) {
        // ext4 refuses a journal that it cannot replay because the device takes no write, as a worn-out card does.
        Err(Errno::ROFS) if kind == "ext4" => {
            warn(format_args!("cannot replay the journal of {node}: it is mounted as it was left"));
            let mut data = String::from(data);
            push(&mut data, "noload");
            mount2(node, target, kind, flags, &data)?;
        }
        result => result?,
    }
    Ok(true)
}

// Separated by commas.
fn kinds(node: &str) -> String {
    if let Ok(Some(found)) = superblock::read(node) {
        return found.kind.name().into();
    }
    // What the kernel itself tries: every type that wants a device. The others have "nodev" before the tab.
    let mut kinds = String::new();
    let lines = file::attribute("/proc/filesystems").unwrap_or_default();
    let mut rest = &*lines;
    while let Some(line) = pop(&mut rest, b'\n') {
        if let Some(kind) = line.strip_prefix('\t') {
            push(&mut kinds, kind);
        }
    }
    kinds
}

fn push(list: &mut String, word: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(word);
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
    let (mut flags, mut data) = (MountFlags::empty(), String::new());
    let mut rest = options;
    while let Some(option) = pop(&mut rest, b',') {
        match WORDS.iter().find(|(word, ..)| *word == option) {
            Some((_, flag, on)) => flags.set(*flag, *on),
            None => push(&mut data, option),
        }
    }
    (flags, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: &str, flags: MountFlags, data: &str) {
        assert_eq!(split(options), (flags, data.into()), "{options}");
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
