// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkmod judges `modules`: the same files in the same order for every module, alias and built-in of a whole kernel
//! package.
//!
//! `PIVOT_MODULES_TREE` names a directory that holds `lib/modules/<release>`: an unpacked kernel package after
//! `depmod -b DIRECTORY RELEASE`. Nothing is loaded.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use modules::{Error, Tree, module_name};

#[path = "oracle/libkmod.rs"]
mod libkmod;
#[path = "oracle/softdeps.rs"]
mod softdeps;

use libkmod::Kmod;

/// The tree under test, and libkmod looking at it.
struct Fixture {
    tree: Tree,
    directory: String,
    release: String,
    /// libkmod as it is: of several softdep lines for one module it takes the first alone.
    plain: Kmod,
    /// libkmod that is given the softdep lines of each module joined into one. That is what our answers are held to.
    joined: Kmod,
}

impl Fixture {
    fn open() -> Fixture {
        let root = std::env::var("PIVOT_MODULES_TREE").expect(
            "PIVOT_MODULES_TREE must name an unpacked kernel package on which depmod -b has run",
        );
        let base = format!("{root}/lib/modules");
        let mut releases: Vec<String> = fs::read_dir(&base)
            .unwrap_or_else(|why| panic!("cannot read {base}: {why}"))
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(releases.len(), 1, "{base} must hold one release: {releases:?}");
        Fixture::of(&base, &releases.remove(0))
    }

    fn of(base: &str, release: &str) -> Fixture {
        let directory = format!("{base}/{release}");
        let config = tempfile::tempdir().unwrap();
        let (name, lines) = ("0-before-modules.softdep.conf", joined_softdeps(&directory));
        fs::write(config.path().join(name), lines).unwrap();
        Fixture {
            tree: Tree::open(base, release).unwrap(),
            plain: Kmod::new(&directory, None),
            joined: Kmod::new(&directory, Some(config.path())),
            directory,
            release: release.to_owned(),
        }
    }

    fn text(&self, name: &str) -> String {
        let path = format!("{}/{name}", self.directory);
        fs::read_to_string(&path).unwrap_or_else(|why| panic!("cannot read {path}: {why}"))
    }

    /// Our files in order; None for a name that stands for nothing.
    fn ours(&self, name: &str) -> Option<Vec<String>> {
        match self.tree.load_order(name) {
            Ok(files) => Some(files),
            Err(Error::Unknown { .. }) => None,
            Err(why) => panic!("{name}: {why}"),
        }
    }

    #[track_caller]
    fn agree(&self, name: &str) -> Option<Vec<String>> {
        let ours = self.ours(name);
        assert_eq!(ours, self.joined.files(name), "order of {name}: ours, libkmod's");
        let builtin = self.joined.is_builtin(name);
        assert_eq!(self.tree.is_builtin(name).unwrap(), builtin, "{name} is built in");
        ours
    }

    /// The names of all modules, from the text that depmod wrote for people.
    fn modules(&self) -> Vec<String> {
        self.text("modules.dep")
            .lines()
            .map(|line| module_name(line.split(':').next().unwrap()))
            .collect()
    }
}

/// One line a module instead of several: `softdep btrfs pre: blake2b-256 pre: sha256 ...`.
fn joined_softdeps(directory: &str) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let text = fs::read_to_string(format!("{directory}/modules.softdep")).unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("softdep ")) {
        let (name, rest) = line.split_once(' ').unwrap();
        // Names before the first `pre:` have no place; behind another line's they would get one.
        if !(rest.starts_with("pre:") || rest.starts_with("post:")) {
            continue;
        }
        match lines.iter_mut().find(|(of, _)| of == name) {
            Some((_, all)) => *all = format!("{all} {rest}"),
            None => lines.push((name.to_owned(), rest.to_owned())),
        }
    }
    lines.iter().map(|(name, rest)| format!("softdep {name} {rest}\n")).collect()
}

/// How many softdep lines each module has.
fn softdep_lines(fixture: &Fixture) -> HashMap<String, usize> {
    let mut lines = HashMap::new();
    for line in fixture.text("modules.softdep").lines() {
        if let Some(name) = line.strip_prefix("softdep ").and_then(|rest| rest.split(' ').next()) {
            *lines.entry(module_name(name)).or_default() += 1;
        }
    }
    lines
}

#[test]
fn every_module() {
    let fixture = Fixture::open();
    let several = softdep_lines(&fixture);
    let several = |path: &String| several.get(&module_name(path)).is_some_and(|lines| *lines > 1);
    let (mut files, mut most, mut more) = (0, 0, Vec::new());
    let names = fixture.modules();
    assert!(names.len() > 1000, "not a whole kernel package: {} modules", names.len());
    for name in &names {
        let ours = fixture.agree(name).unwrap();
        files += ours.len();
        most = most.max(ours.len());
        // What we have more than libkmod as it is comes from softdep lines that it leaves out.
        let plain = fixture.plain.files(name).unwrap();
        if plain != ours {
            assert!(ours.iter().any(several), "order of {name}: {ours:?}, libkmod's {plain:?}");
            assert!(plain.iter().all(|path| ours.contains(path)), "{name} lacks some of {plain:?}");
            more.push(name);
        }
    }
    println!(
        "{}: {} modules, {files} files in order, at most {most}",
        fixture.release,
        names.len()
    );
    println!("more than libkmod for {}: {more:?}", more.len());
}

/// modules.dep by itself, through the safe crate: libkmod's dependencies come before the module, and they and the module
/// are all that is not optional.
#[test]
fn every_dependency() {
    let fixture = Fixture::open();
    let context = kmod::Context::new_with_dirname(Path::new(&fixture.directory)).unwrap();
    let prefix = format!("{}/", fixture.directory);
    let mut count = 0;
    for name in fixture.modules() {
        let module = context.module_new_from_name(&name).unwrap();
        let relative = |module: &kmod::Module| {
            module.path().unwrap().to_str().unwrap().strip_prefix(&prefix).unwrap().to_owned()
        };
        let theirs: Vec<String> = module
            .dependencies()
            .map(|module| relative(&module))
            .chain([relative(&module)])
            .collect();
        let list = fixture.tree.load_list(&name).unwrap();
        let ours: Vec<modules::Listed<'_>> = modules::list(&list).collect();
        let place = |path: &String| {
            let same = |ours: &modules::Listed<'_>| ours.path == path;
            ours.iter().position(same).unwrap_or_else(|| panic!("{name} lacks {path}"))
        };
        let places: Vec<usize> = theirs.iter().map(place).collect();
        assert_eq!(places.last(), places.iter().max(), "{name} comes before {theirs:?}: {ours:?}");
        // The rest are softdeps.
        let needed = ours.iter().filter(|ours| !ours.optional).count();
        assert!(places.iter().all(|place| !ours[*place].optional), "{name}: {ours:?}");
        assert_eq!(needed, theirs.len(), "{name}: {ours:?}");
        count += theirs.len() - 1;
    }
    println!("{count} dependencies");
}

/// A string that the pattern of an alias matches; `n` varies what stands for a star.
fn example(pattern: &str, n: usize) -> String {
    let star = ["", "0", "*-?", "Z[0-9]z"][n % 4];
    let mut example = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => example.push_str(star),
            '?' => example.push('5'),
            '[' => {
                example.extend(letters.next());
                letters.by_ref().find(|letter| *letter == ']');
            }
            letter => example.push(letter),
        }
    }
    example
}

#[test]
fn every_alias() {
    let fixture = Fixture::open();
    let text = fixture.text("modules.alias");
    let aliases = text.lines().filter_map(|line| line.strip_prefix("alias ")?.split(' ').next());
    let (mut looked, mut found) = (0, 0);
    for (n, alias) in aliases.enumerate() {
        let name = example(alias, n);
        let ours = fixture.ours(&name);
        assert_eq!(ours, fixture.joined.files(&name), "order of {name}: ours, libkmod's");
        found += usize::from(ours.is_some());
        looked += 1;
    }
    println!("{looked} aliases of modules looked up, {found} found");
    assert!(looked > 10_000 && found > looked / 2, "{found} of {looked}");
}

#[test]
fn every_builtin() {
    let fixture = Fixture::open();
    let listed = fixture.text("modules.builtin");
    for path in listed.lines() {
        let name = module_name(path);
        // Not nothing, where a module has the alias: crc32_generic for crc32.
        fixture.agree(&name).unwrap();
        assert!(fixture.tree.is_builtin(&name).unwrap(), "{name}");
    }
    let information = fixture.text("modules.builtin.modinfo");
    let aliases =
        information.split('\0').filter_map(|line| line.split_once(".alias=")).map(|pair| pair.1);
    let mut looked = 0;
    for (n, alias) in aliases.enumerate() {
        fixture.agree(&example(alias, n));
        looked += 1;
    }
    println!("{} modules built in, {looked} aliases of theirs looked up", listed.lines().count());
}

#[test]
fn names_that_people_write() {
    let fixture = Fixture::open();
    let mut found = 0;
    for name in [
        "ext4",
        "fs-ext4",
        "virtio-blk",
        "virtio_blk",
        "crc32c",
        "crypto-crc32c",
        "crypto_crc32c",
        "sha256",
        "squashfs",
        "fs-squashfs",
        "overlay",
        "loop",
        "block-major-7-0",
        "btrfs",
        "xfs",
        "nls_iso8859-1",
        "virtio:d00000002v00001AF4",
        "pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00",
        "pci:v00008086d000057B9sv00008086sd00000000bc02sc00i00",
        "of:NmmcT(null)Cbrcm,bcm2835-sdhost",
        "platform:bcm2835-wdt",
        "usb:v0BDAp8153d3000dc00dsc00dp00icFFiscFFip00in00",
        "fuse",
        "vfio",
        "act_mpls",
    ] {
        found += usize::from(fixture.agree(name).is_some());
    }
    // Not each kernel has each driver.
    assert!(found > 15, "only {found} of the names stand for something");
    for name in ["ext4", "loop", "squashfs", "overlay", "crypto-crc32c"] {
        assert!(fixture.ours(name).is_some(), "{name} stands for nothing");
    }
    for name in [
        "",
        "no_such_module",
        "ext",
        "ext44",
        "kernel/fs/ext4/ext4.ko",
        "[",
        "]",
        "a[b",
        "*",
        "?",
        "fs-nothing",
        "pci:",
    ] {
        assert_eq!(fixture.agree(name), None, "{name}");
    }
}

/// What /proc counts for this thread: bytes read, calls to read them.
fn reads() -> (u64, u64) {
    let text = fs::read_to_string("/proc/thread-self/io").unwrap();
    let number = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    (number("rchar:"), number("syscr:"))
}

/// A lookup reads what it needs, not the index files (2.2 MB in Debian's package).
#[test]
fn reads_little() {
    let fixture = Fixture::open();
    let counted = |look: &dyn Fn()| {
        let before = reads();
        look();
        let after = reads();
        (after.0 - before.0, after.1 - before.1)
    };
    // To count is to read.
    let nothing = counted(&|| ());
    for name in [
        "loop",
        "virtio_blk",
        "ext4",
        "btrfs",
        "amdgpu",
        "crypto-crc32c",
        "pci:v00008086d000057B9sv00008086sd00000000bc02sc00i00",
        "of:NmmcT(null)Cbrcm,bcm2835-sdhost",
    ] {
        let start = std::time::Instant::now();
        let read = counted(&|| drop(fixture.ours(name)));
        let (bytes, calls) = (read.0 - nothing.0, read.1 - nothing.1);
        println!("{name}: {bytes} bytes in {calls} reads, {:?}", start.elapsed());
        assert!(bytes < 128 << 10, "{name}: {bytes} bytes read");
    }
}
