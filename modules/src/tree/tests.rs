// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::fixture::{Made, index, tree};
use std::path::Path;

const RELEASE: &str = "6.12.0-test";

/// A tree that has everything once.
fn made(base: &Path) -> Option<Tree> {
    let modules = [
        Made { name: "core", exports: &["core"], ..Made::default() },
        Made { name: "bus-2", exports: &["bus"], needs: &["core"], ..Made::default() },
        Made {
            name: "disk",
            modinfo: &["softdep=pre: crypto-sum post: extra", "softdep=pre: absent late"],
            needs: &["bus"],
            ..Made::default()
        },
        Made { name: "sum_fast", modinfo: &["alias=crypto-sum"], ..Made::default() },
        Made {
            name: "sum_generic",
            modinfo: &["alias=crypto-sum", "alias=sum"],
            needs: &["core"],
            ..Made::default()
        },
        Made { name: "extra", modinfo: &["alias=pci:v00001AF4d*sv*"], ..Made::default() },
        Made { name: "late", modinfo: &["softdep=disk"], ..Made::default() },
        Made { name: "hen", modinfo: &["softdep=pre: egg"], ..Made::default() },
        Made { name: "egg", modinfo: &["softdep=pre: hen"], ..Made::default() },
        Made { name: "self", modinfo: &["softdep=pre: self post: self"], ..Made::default() },
        Made { name: "builtin_user", modinfo: &["softdep=pre: fuse"], ..Made::default() },
    ];
    let builtin = [("fuse", "fs-fuse"), ("crc-x", "crypto-crc-x")];
    tree(base, RELEASE, &modules, &builtin)
        .then(|| Tree::open(base.to_str().unwrap(), RELEASE).unwrap())
}

#[track_caller]
fn check(tree: &Tree, name: &str, expected: &[&str]) {
    let files = tree.load_order(name).unwrap();
    let names: Vec<&str> = files
        .iter()
        .map(|path| path.strip_prefix("kernel/").unwrap().strip_suffix(".ko").unwrap())
        .collect();
    assert_eq!(names, expected, "{name}");
}

#[test]
fn orders_of_a_tree_that_depmod_made() {
    let base = tempfile::tempdir().unwrap();
    let Some(tree) = made(base.path()) else { return };
    check(&tree, "core", &["core"]);
    check(&tree, "bus_2", &["core", "bus-2"]);
    check(&tree, "bus-2", &["core", "bus-2"]);
    let disk = ["core", "bus-2", "sum_fast", "sum_generic", "late", "disk", "extra"];
    check(&tree, "disk", &disk);
    check(&tree, "sum", &["core", "sum_generic"]);
    check(&tree, "crypto-sum", &["sum_fast", "core", "sum_generic"]);
    check(&tree, "crypto_sum", &["sum_fast", "core", "sum_generic"]);
    check(&tree, "pci:v00001AF4d00001001sv00001AF4", &["extra"]);
    check(&tree, "late", &["late"]);
    check(&tree, "hen", &["egg", "hen"]);
    check(&tree, "egg", &["hen", "egg"]);
    check(&tree, "self", &["self"]);
    check(&tree, "builtin-user", &["builtin_user"]);
    check(&tree, "fuse", &[]);
    check(&tree, "fs-fuse", &[]);
}

#[test]
fn built_in() {
    let base = tempfile::tempdir().unwrap();
    let Some(tree) = made(base.path()) else { return };
    for (name, expected) in [
        ("fuse", true),
        ("fs-fuse", true),
        ("fs_fuse", true),
        ("crc_x", true),
        ("crc-x", true),
        ("crypto-crc-x", true),
        ("disk", false),
        ("absent", false),
        ("", false),
        ("[", false),
    ] {
        assert_eq!(tree.is_builtin(name), Ok(expected), "{name}");
    }
}

#[test]
fn unknown_names() {
    let base = tempfile::tempdir().unwrap();
    let Some(tree) = made(base.path()) else { return };
    let long = "x".repeat(2000);
    for name in ["absent", "", "dis", "disks", "kernel/disk.ko", "[", "]", &long] {
        let message = tree.load_order(name).unwrap_err().to_string();
        let expected = format!("cannot find module {name}: not in the modules of {RELEASE}");
        assert_eq!(message, expected);
    }
}

#[test]
fn lists_say_what_is_optional() {
    let base = tempfile::tempdir().unwrap();
    let Some(tree) = made(base.path()) else { return };
    for (name, expected) in [
        ("bus-2", "core bus-2"),
        // sum_generic, a softdep, depends on core, and so does disk.
        ("disk", "core bus-2 -sum_fast -sum_generic -late disk -extra"),
        ("hen", "-egg hen"),
        ("sum", "core sum_generic"),
        ("crypto-sum", "-sum_fast -core -sum_generic"),
        ("fuse", ""),
    ] {
        let list = tree.load_list(name).unwrap();
        let short = list.replace("kernel/", "").replace(".ko\n", " ");
        assert_eq!(short.trim_end(), expected, "{name}");
        let paths: Vec<&str> = crate::list(&list).map(|module| module.path).collect();
        assert_eq!(paths, tree.load_order(name).unwrap(), "{name}");
    }
    assert!(tree.load_list("absent").is_err());
}

/// A tree with this modules.dep.bin and modules.softdep.
fn written(base: &Path, dependencies: &[u8], softdeps: &[u8]) -> Result<Tree, Error> {
    let directory = base.join(RELEASE);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("modules.dep.bin"), dependencies).unwrap();
    std::fs::write(directory.join("modules.softdep"), softdeps).unwrap();
    Tree::open(base.to_str().unwrap(), RELEASE)
}

#[test]
fn files_that_are_missing() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().to_str().unwrap();
    let message = Tree::open(root, RELEASE).unwrap_err().to_string();
    let file = format!("{root}/{RELEASE}/modules.dep.bin");
    assert_eq!(message, format!("cannot open {file}: No such file or directory"));

    // With modules.dep.bin alone only the names of modules are known.
    let bytes = index(&[(b"loop", 0, b"kernel/loop.ko:")]);
    let tree = written(base.path(), &bytes, b"").unwrap();
    check(&tree, "loop", &["loop"]);
    assert!(tree.load_order("fs-ext4").is_err());
    assert_eq!(tree.is_builtin("loop"), Ok(false));
}

#[test]
fn files_that_are_damaged() {
    let base = tempfile::tempdir().unwrap();
    let file = format!("{}/{RELEASE}/modules.dep.bin", base.path().display());
    let message = written(base.path(), b"", b"").unwrap_err().to_string();
    assert_eq!(message, format!("cannot use {file}: it is not an index that depmod wrote"));

    let lines: [&[u8]; 7] = [
        b"kernel/loop.ko",
        b": kernel/a.ko",
        b"/etc/passwd:",
        b"kernel/loop.ko: ../../x.ko",
        b"kernel/loop.ko: /x.ko",
        b"kernel/\xff.ko:",
        b"",
    ];
    for line in lines {
        let tree = written(base.path(), &index(&[(b"loop", 0, line)]), b"").unwrap();
        let why = "a line is not PATH: PATH ... within the directory";
        let expected = Error::Corrupt { path: file.clone(), why };
        assert_eq!(tree.load_order("loop"), Err(expected), "{line:?}");
    }

    let bytes = index(&[(b"loop", 0, b"kernel/loop.ko:")]);
    let tree = written(base.path(), &bytes, b"softdep loop pre: \xff\xff\n\xff").unwrap();
    check(&tree, "loop", &["loop"]);
    let long = b"# comment\n".repeat(SOFTDEP / 10 + 1);
    assert!(written(base.path(), &bytes, &long).is_err());
}

#[test]
fn softdeps_without_end() {
    let base = tempfile::tempdir().unwrap();
    // Each is a softdep of each, many times over.
    let names: Vec<String> = (0..100).map(|n| format!("m{n}")).collect();
    let lines: Vec<String> = names.iter().map(|name| format!("kernel/{name}.ko:")).collect();
    let entries: Vec<_> = names
        .iter()
        .zip(&lines)
        .map(|(name, line)| (name.as_bytes(), 0, line.as_bytes()))
        .collect();
    let all = format!("{}\n", names.join(" "));
    let softdeps: String =
        names.iter().take(50).map(|name| format!("softdep {name} pre: {all}")).collect();
    let tree = written(base.path(), &index(&entries), softdeps.as_bytes()).unwrap();
    assert_eq!(tree.load_order("m0").unwrap().len(), 100);

    // More modules than any real one needs.
    let many: String = (0..600).map(|n| format!(" kernel/d{n}.ko")).collect();
    let line = format!("kernel/m.ko:{many}");
    let tree = written(base.path(), &index(&[(b"m", 0, line.as_bytes())]), b"").unwrap();
    let message = tree.load_order("m").unwrap_err().to_string();
    assert_eq!(message, "cannot load module m: too many others belong to it");
}

#[track_caller]
fn names(text: &str, before: &[&str], after: &[&str]) {
    let (found_before, found_after) = softdeps(text, "nls_x");
    assert_eq!((&found_before[..], &found_after[..]), (before, after), "{text}");
}

#[test]
fn softdep_lines() {
    names("", &[], &[]);
    names("softdep nls_x pre: a b\n", &["a", "b"], &[]);
    names("softdep nls-x pre: a post: b", &["a"], &["b"]);
    names("softdep nls_x post: b pre: a pre: c", &["a", "c"], &["b"]);
    names("# softdep nls_x pre: a\n", &[], &[]);
    names("softdep nls_x a b", &[], &[]);
    names("softdep nls_x", &[], &[]);
    names("softdep nls_xy pre: a\nsoftdep\n", &[], &[]);
    names("softdep nls_x pre: a\r\nsoftdep nls_x pre: b", &["a", "b"], &[]);
    names("\tsoftdep  nls_x\tpre:  a", &["a"], &[]);
    names("softdep nls_x pre:a", &[], &[]);
    names("options nls_x pre: a", &[], &[]);
}

#[test]
fn normal_names() {
    for (name, expected) in [
        ("virtio-blk", Some("virtio_blk")),
        ("crypto-crc32c", Some("crypto_crc32c")),
        ("usb:v[0-9]-x", Some("usb:v[0-9]_x")),
        ("a]", None),
        ("a[", None),
        ("[[]", Some("[[]")),
        ("", Some("")),
    ] {
        assert_eq!(normal(name).as_deref(), expected, "{name}");
    }
}
