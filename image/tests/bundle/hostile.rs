// SPDX-License-Identifier: MIT OR Apache-2.0
//! What somebody made of a bundle on its way.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use super::common::{Project, output, refusal};
use super::{bundle, inspect, keys, made};

type Members = Vec<(String, Vec<u8>)>;

fn members(bundle: &Path) -> Members {
    let mut archive = tar::Archive::new(fs::File::open(bundle).unwrap());
    let mut out = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        out.push((entry.path().unwrap().display().to_string(), content));
    }
    out
}

/// A ustar archive with names as they are given, also those that crate tar does not write.
fn archive(members: &Members) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

struct Hostile {
    project: Project,
    members: Members,
}

impl Hostile {
    #[track_caller]
    fn refuse_bytes(&self, bytes: &[u8], expected: &str) {
        self.project.write("hostile", bytes);
        let mut command = inspect(&self.project.path("hostile"), &self.project.path("keys"));
        let (error, code) = refusal(&mut command);
        assert!(code == 1 && error.contains(expected), "{expected}: {error}");
    }

    #[track_caller]
    fn refuse(&self, change: impl Fn(&mut Members), expected: &str) {
        let mut members = self.members.clone();
        change(&mut members);
        self.refuse_bytes(&archive(&members), expected);
    }
}

#[test]
fn changed_bundles() {
    let Some(project) = made() else { return };
    keys(&project.path("others"), &["--name", "mallory"]);
    let hostile = Hostile { members: members(&project.path("a.bundle")), project };
    let (project, good) = (&hostile.project, archive(&hostile.members));
    assert!(good == fs::read(project.path("a.bundle")).unwrap());
    // unsigned, signed by somebody else, another manifest
    hostile.refuse(
        |members| drop(members.remove(1)),
        "boot.img.zst is where manifest.minisig has to be",
    );
    hostile.refuse(|members| members[1].1.clear(), "signature: expected four lines");
    output(&mut bundle(project, "out", "others/mallory.key", "m.bundle"));
    let (error, _) = refusal(&mut inspect(&project.path("m.bundle"), &project.path("keys")));
    assert!(error.contains("signature: made with a key that is not known here"), "{error}");
    hostile.refuse(
        |members| members[0].1[20] ^= 1,
        "signature: wrong, the manifest is not what pivot.pub",
    );
    // a member that is not what was signed
    for (number, problem) in [
        (2, "boot.img"),
        (3, "firmware.squashfs has another sha256"),
        (5, "root.squashfs has another sha256"),
    ] {
        hostile.refuse(
            |members| {
                let half = members[number].1.len() / 2;
                members[number].1[half] ^= 1;
            },
            problem,
        );
    }
    // cut short: at block limits and between them
    for end in [1024, good.len() / 2, good.len() - 512, good.len() - 1024, good.len() - 1500] {
        hostile.refuse_bytes(&good[..end], "the bundle is cut short");
    }
    hostile.refuse(|members| drop(members.pop()), "ends too early: root.squashfs is missing");
    // in another order, twice, more
    hostile
        .refuse(|members| members.swap(3, 5), "root.squashfs is where firmware.squashfs has to be");
    hostile.refuse(|members| members.push(members[5].clone()), "root.squashfs is there twice");
    hostile.refuse(|members| members.insert(1, members[0].clone()), "manifest is there twice");
    hostile.refuse(|members| members.push(("x".into(), vec![])), "x is not listed in manifest");
    hostile.refuse_bytes(&[&good[..], b"x"].concat(), "something follows the end of the bundle");
    // larger than the manifest says
    hostile.refuse(|members| members[5].1.push(0), "root.squashfs has ");
    hostile.refuse(|members| members[0].1.resize(70_000, b'\n'), "bytes instead of 65536 at most");
    hostile.refuse(|members| members[2].1.resize(140 << 20, 0), "boot.img.zst has 146800640 bytes");
    // out of its directory
    for name in ["../root.squashfs", "/etc/passwd", "a/b", ".", "root.squashfs\0/x"] {
        hostile.refuse(|members| members[5].0 = name.into(), "not a plain file name");
    }
}

#[test]
fn bombs_are_not_unpacked() {
    let Some(project) = made() else { return };
    let hostile = Hostile { members: members(&project.path("a.bundle")), project };
    // 1 GiB of zeros in some 40 kB
    let mut zeros = std::io::repeat(0).take(1 << 30);
    let mut packed = Vec::new();
    zstd::stream::copy_encode(&mut zeros, &mut packed, 1).unwrap();
    hostile.refuse(|members| members[2].1.clone_from(&packed), "boot.img has another sha256");
    // more memory than a small board has for it
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&[0; 1000]).unwrap();
    let large = encoder.finish().unwrap();
    hostile.refuse(
        |members| members[2].1.clone_from(&large),
        "boot.img Frame requires too much memory",
    );
}
