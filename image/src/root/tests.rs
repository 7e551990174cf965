// SPDX-License-Identifier: MIT OR Apache-2.0

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;

use super::*;
use crate::config;

/// A path, and what is there: `/` is a directory, `-> x` a link, anything else a file.
type Entries<'a> = &'a [(&'a str, &'a str)];

const DEBIAN: Entries<'_> = &[
    ("etc", "/"),
    ("etc/passwd", "root"),
    ("lib", "-> usr/lib"),
    ("sbin", "-> usr/sbin"),
    ("usr", "/"),
    ("usr/lib", "/"),
    ("usr/sbin", "-> bin"),
    ("usr/bin", "/"),
    ("usr/bin/bootsel", "old"),
];

fn sources(directory: &Path, entries: Entries<'_>) -> [Source; 2] {
    let root = directory.join("root");
    fs::create_dir(&root).unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    for (path, what) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        if *what == "/" {
            fs::create_dir(root.join(path)).unwrap();
            header.set_entry_type(tar::EntryType::Directory);
            builder.append_data(&mut header, format!("./{path}/"), &b""[..]).unwrap();
        } else if let Some(target) = what.strip_prefix("-> ") {
            symlink(target, root.join(path)).unwrap();
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, format!("./{path}"), target).unwrap();
        } else {
            fs::write(root.join(path), what).unwrap();
            header.set_size(what.len() as u64);
            builder.append_data(&mut header, format!("./{path}"), what.as_bytes()).unwrap();
        }
    }
    let tar = directory.join("root.tar");
    fs::write(&tar, builder.into_inner().unwrap()).unwrap();
    let section =
        |directory, tar| config::Root { squashfs: None, directory, tar, compression: None };
    [section(Some(root), None), section(None, Some(tar))].map(|section| {
        let mut source = Source::of(&section).unwrap();
        source.look().unwrap();
        source
    })
}

/// The same of a directory and of an archive.
#[track_caller]
fn check(entries: Entries<'_>, path: &str, expected: Result<(&[&str], &[&str]), &str>) {
    let directory = tempfile::tempdir().unwrap();
    for source in sources(directory.path(), entries) {
        let added = Added::plan(&source, vec![(path.to_owned(), New::Link("x".to_owned()))]);
        match (added, expected) {
            (Ok(added), Ok((paths, replaced))) => {
                let found: Vec<_> = added.nodes.iter().map(|(path, _)| path.as_str()).collect();
                assert_eq!(
                    (found.as_slice(), added.replaced.as_slice()),
                    (paths, &own(replaced)[..])
                );
            }
            (Err(error), Err(expected)) => assert_eq!(format!("{error:#}"), expected),
            (found, _) => panic!("{source:?}: {found:?}"),
        }
    }
}

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn missing_directories_are_made() {
    let made = ["etc/pivot", "etc/pivot/keys", "etc/pivot/keys/a.pub"];
    check(DEBIAN, "etc/pivot/keys/a.pub", Ok((&made, &[])));
    check(&[("x", "/")], "etc/a", Ok((&["etc", "etc/a"], &[])));
}

#[test]
fn links_are_followed() {
    check(DEBIAN, "lib/systemd/a", Ok((&["usr/lib/systemd", "usr/lib/systemd/a"], &[])));
    check(DEBIAN, "usr/sbin/other", Ok((&["usr/bin/other"], &[])));
    let absolute = [("etc", "-> /usr/../config"), ("usr", "/"), ("config", "/")];
    check(&absolute, "etc/a", Ok((&["config/a"], &[])));
    // never out of the root
    let out = [("etc", "-> ../../.././config"), ("config", "/")];
    check(&out, "etc/a", Ok((&["config/a"], &[])));
    check(&[("etc", "-> /")], "etc/a", Ok((&["a"], &[])));
}

#[test]
fn what_is_there_is_replaced() {
    check(DEBIAN, "sbin/bootsel", Ok((&["usr/bin/bootsel"], &["usr/bin/bootsel"])));
    let link = [("usr", "/"), ("usr/bootsel", "-> /etc/x")];
    check(&link, "usr/bootsel", Ok((&["usr/bootsel"], &["usr/bootsel"])));
}

#[test]
fn ways_that_end() {
    let at = |why: &'static str| -> String { format!("cannot put /etc/pivot/a in place: {why}") };
    let wrong = |entries: Entries<'_>, why| check(entries, "etc/pivot/a", Err(&at(why)));
    wrong(&[("etc", "file")], "/etc is no directory");
    wrong(
        &[("etc", "/"), ("etc/pivot", "-> /run/pivot")],
        "a link leads to /run, which is not there",
    );
    wrong(&[("etc", "-> etc2"), ("etc2", "-> etc")], "/etc: too many links");
    let odd = [("etc", "-> a b"), ("a b", "/")];
    check(&odd, "etc/pivot/a", Err("cannot put /a b/pivot in place: odd name"));
    let directory = [("etc", "/"), ("etc/pivot", "/"), ("etc/pivot/a", "/")];
    wrong(&directory, "/etc/pivot/a is a directory");
}

#[test]
fn mount_points_are_made() {
    let made = |entries: Entries<'_>| {
        let directory = tempfile::tempdir().unwrap();
        sources(directory.path(), entries).map(|source| {
            let (wanted, _) = mount_points(&source);
            let added = Added::plan(&source, wanted);
            let nodes = added.map(|added| {
                added.nodes.into_iter().map(|(path, new)| {
                    assert_eq!(new, New::Directory);
                    path
                })
            });
            nodes.map(Iterator::collect::<Vec<_>>).map_err(|why| format!("{why:#}"))
        })
    };
    let all = ["dev", "proc", "run", "sys", "usr/lib/firmware", "usr/lib/modules"];
    assert_eq!(made(DEBIAN), [Ok(own(&all)), Ok(own(&all))]);
    let parents = ["dev", "lib", "lib/firmware", "lib/modules", "proc", "run", "sys"];
    assert_eq!(made(&[("x", "/")]), [Ok(own(&parents)), Ok(own(&parents))]);
    let there = [("dev", "/"), ("proc", "/"), ("sys", "/"), ("run", "-> tmp"), ("tmp", "/")];
    let lib = [("lib", "/"), ("lib/modules", "/"), ("lib/firmware", "-> ../tmp")];
    assert_eq!(made(&[&there[..], &lib].concat()), [Ok(vec![]), Ok(vec![])]);
    // what cannot be made is left out, and said
    let [_, found] = made(&[("dev", "file")]);
    assert_eq!(found.unwrap(), own(&parents[1..]));
    let directory = tempfile::tempdir().unwrap();
    let links = [("lib", "/"), ("lib/firmware", "-> /run/firmware"), ("dev", "file")];
    for source in sources(directory.path(), &links) {
        let (_, impossible) = mount_points(&source);
        let [dev, firmware] = &impossible[..] else { panic!("{impossible:?}") };
        assert_eq!(dev, "no directory /dev: /dev is no directory");
        assert!(firmware.starts_with("no directory /lib/firmware: a link leads to /run"));
    }
}

fn write(source: &Source, added: &Added) -> Vec<u8> {
    let Source::Tar(tar) = source else { panic!("{source:?}") };
    let mut out = Vec::new();
    tar.write(added, &mut out).unwrap();
    out
}

fn listed(archive: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let line = |mut entry: tar::Entry<'_, &[u8]>| {
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (entry.path().unwrap().display().to_string(), text)
    };
    entries.map(line).collect()
}

#[test]
fn archive_keeps_its_members_and_gets_more() {
    let directory = tempfile::tempdir().unwrap();
    let [_, source] = sources(directory.path(), DEBIAN);
    let long = format!("usr/lib/{}", "x".repeat(150));
    let file = |path: &str| (path.to_owned(), New::File(b"new".to_vec(), true));
    let added = Added::plan(&source, vec![file("sbin/bootsel"), file(&long)]).unwrap();
    let mut expected: Vec<_> = listed(&fs::read(directory.path().join("root.tar")).unwrap());
    expected.retain(|(path, _)| path != "usr/bin/bootsel" && path != "./usr/bin/bootsel");
    assert_eq!(expected.len(), DEBIAN.len() - 1);
    expected.push(("usr/bin/bootsel".to_owned(), "new".to_owned()));
    expected.push((long, "new".to_owned()));
    assert_eq!(listed(&write(&source, &added)), expected);
    // a file that became shorter
    let path = directory.path().join("root.tar");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..1024]).unwrap();
    let Source::Tar(tar) = &source else { panic!() };
    let error = tar.write(&added, std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "it is shorter than it was");
}

/// Long names, extended headers, members that are there twice: all of a member goes, and no other.
#[test]
fn headers_before_a_member_go_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.tar");
    let mut builder = tar::Builder::new(Vec::new());
    let long = format!("etc/{}", "y".repeat(200));
    for (name, text) in [("etc/a", "1"), (&long, "2"), ("etc/b", "3"), ("etc/a", "4"), (&long, "5")]
    {
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        builder.append_pax_extensions([("SCHILY.xattr.user.x", &b"y"[..])]).unwrap();
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    // no end marker
    let bytes = builder.into_inner().unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1024]).unwrap();
    let root = config::Root { squashfs: None, directory: None, tar: Some(path), compression: None };
    let mut source = Source::of(&root).unwrap();
    source.look().unwrap();
    assert_eq!(source.names("etc"), ["a", "b", &"y".repeat(200)]);
    let new = vec![("etc/a".to_owned(), New::File(b"6".to_vec(), false))];
    let mut added = Added::plan(&source, new).unwrap();
    added.replaced.push(long);
    // a directory that no member is
    let expected = [("etc/b", "3"), ("etc", ""), ("etc/a", "6")];
    let expected: Vec<_> = expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    assert_eq!(listed(&write(&source, &added)), expected);
}

#[test]
fn no_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root");
    let look = || {
        let directory = Some(path.clone());
        let section = config::Root { squashfs: None, directory, tar: None, compression: None };
        format!("{:#}", Source::of(&section).unwrap().look().unwrap_err())
    };
    let error = look();
    assert!(error.starts_with("root.directory: cannot read directory /"), "{error}");
    fs::write(&path, "").unwrap();
    let error = look();
    assert!(error.contains("/root: Not a directory"), "{error}");
}

#[test]
fn no_archive() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.tar");
    for bytes in [&b""[..], &[0; 1024], b"#!/bin/sh\n", &[7; 2048]] {
        fs::write(&path, bytes).unwrap();
        let tar = Some(path.clone());
        let section = config::Root { squashfs: None, directory: None, tar, compression: None };
        let error = Source::of(&section).unwrap().look().unwrap_err();
        assert!(error.to_string().starts_with("cannot read /"), "{error}");
    }
}
