// SPDX-License-Identifier: MIT OR Apache-2.0
//! squashfs images of a revision.

use std::fs;
use std::os::unix::fs::symlink;

use ::image::cache::Cache;
use ::image::progress::Progress;
use ::image::squashfs::{self, Codec, Options, Writer};
use ::image::tree::Tree;

fn squashed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = directory.path().join("tree").join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match std::str::from_utf8(bytes).unwrap_or_default().strip_prefix("-> ") {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, bytes).unwrap(),
        }
    }
    let mut tree = Tree::default();
    tree.add(&directory.path().join("tree")).unwrap();
    let options = Options { codec: Codec::Zstd, level: 3, writer: Writer::Backhand };
    let out = directory.path().join("out");
    squashfs::write(&tree, options, &out, &Cache::none(), Progress::Silent).unwrap();
    fs::read(out).unwrap()
}

/// A modules image: what is built in, and what squashfs.ko calls.
pub(crate) fn modules(release: &str, builtin: &[&str], calls: &str) -> Vec<u8> {
    modules_and(release, builtin, calls, "nothing")
}

/// The same, and a driver that is a module.
pub(crate) fn modules_and(release: &str, builtin: &[&str], calls: &str, name: &str) -> Vec<u8> {
    let line = |name: &&str| format!("kernel/drivers/{name}.ko\n");
    let builtin: String = builtin.iter().map(line).collect();
    let calls = format!("\x7fELF\0{calls}\0");
    squashed(&[
        (&format!("{release}/modules.builtin"), builtin.as_bytes()),
        (&format!("{release}/kernel/fs/squashfs/squashfs.ko"), calls.as_bytes()),
        (&format!("{release}/kernel/drivers/{name}.ko"), b"\x7fELF"),
    ])
}

/// What a root needs for updates.
pub(crate) const UPDATES: [(&str, &str); 2] = [
    ("usr/sbin/bootsel", "x"),
    ("etc/pivot/keys/a.pub", include_str!("../../../../bootsel/signed/src/tests/a.pub")),
];

/// What every root needs.
pub(crate) const BASE: [(&str, &str); 7] = [
    ("dev/", ""),
    ("proc/", ""),
    ("sys/", ""),
    ("run/", ""),
    ("lib/modules/", ""),
    ("lib/firmware/", ""),
    ("bin/sh", "x"),
];

/// A root image: these, and what every root needs.
pub(crate) fn root(files: &[(&str, &str)]) -> Vec<u8> {
    bare_root(&[files, &BASE].concat())
}

/// An image of nothing but these: files, `DIRECTORY/`, and links, whose text is `-> TARGET`.
pub(crate) fn bare_root(files: &[(&str, &str)]) -> Vec<u8> {
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    squashed(&files)
}
