// SPDX-License-Identifier: MIT OR Apache-2.0
//! One directory of modules, with the files that depmod wrote there.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::index::{Fault, Index, TEXT};
use crate::order::order;
use crate::{Error, insert, module_name};

/// Most bytes of modules.softdep: Debian's has 1794.
const SOFTDEP: usize = 256 << 10;

/// The modules of one kernel release: a directory `<base>/<release>` with depmod's files.
#[derive(Debug)]
pub struct Tree {
    release: String,
    directory: String,
    dependencies: File,
    softdeps: String,
}

/// A module as modules.dep has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its file, relative to the directory.
    pub(crate) path: String,
    /// The files of all that it depends on, in the order to insert.
    pub(crate) dependencies: Vec<String>,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A module, or those that have the name as an alias.
    Modules(Vec<Module>),
    /// Something that the kernel has built in.
    Builtin,
    /// Nothing in this tree.
    Nothing,
}

impl Tree {
    /// Opens `<base>/<release>`.
    ///
    /// # Errors
    /// Without a modules.dep.bin: depmod has not run there.
    pub fn open(base: &str, release: &str) -> Result<Tree, Error> {
        let directory = format!("{base}/{release}");
        let dependencies = File::open(format!("{directory}/modules.dep.bin"))?;
        dependencies.index(|_| Ok(()))?;
        let softdeps = match File::open(format!("{directory}/modules.softdep")) {
            Ok(file) => file.text(SOFTDEP)?,
            Err(Error::File { errno: Errno::NOENT, .. }) => String::new(),
            Err(why) => return Err(why),
        };
        Ok(Tree { release: release.to_owned(), directory, dependencies, softdeps })
    }

    /// The files to insert, in that order, so that the module `name` is loaded: softdeps before it, dependencies, the
    /// module, softdeps after it. The paths are relative to the directory. A module that is built in needs none.
    ///
    /// `name` may be an alias (`crc32c`, a modalias); then it is for all modules that have it.
    ///
    /// # Errors
    /// An unknown name; a file of depmod's that cannot be read or is damaged. Softdeps that are not there are left out.
    pub fn load_order(&self, name: &str) -> Result<Vec<String>, Error> {
        order(self, name, self.modules(name)?)
    }

    /// Whether the kernel itself contains the module `name`, or the name is an alias of such modules alone.
    ///
    /// Both this and an order of [`Tree::load_order`] may be had for one name: Debian 6.12 has `crc32` built in, and
    /// modules with the alias `crc32`, the faster ones.
    ///
    /// # Errors
    /// A file of depmod's that cannot be read or is damaged.
    pub fn is_builtin(&self, name: &str) -> Result<bool, Error> {
        let Some(module) = normal(name) else { return Ok(false) };
        Ok(self.builtin(&module)? || self.find(name)? == Found::Builtin)
    }

    /// Loads the module `name` with all that belongs to it, and says how many were inserted. Those that are loaded
    /// already do not count. `options` gives each module's parameters by its name.
    ///
    /// A softdep that the kernel refuses is logged and left out, as modprobe does: some have no hardware here. Of
    /// several modules with the alias `name` one is enough.
    ///
    /// # Errors
    /// As [`Tree::load_order`], and where the kernel refuses the module or one that it depends on.
    pub fn load(&self, name: &str, options: &dyn Fn(&str) -> String) -> Result<usize, Error> {
        let (mut inserted, mut loaded, mut refused) = (0_usize, false, None);
        for module in self.modules(name)? {
            match self.load_module(name, &module, options) {
                Ok(new) => {
                    loaded = true;
                    inserted = inserted.saturating_add(new);
                }
                Err(why) => {
                    if let Some(earlier) = refused.replace(why) {
                        log::warn!("{earlier}");
                    }
                }
            }
        }
        match refused {
            Some(why) if !loaded => return Err(why),
            Some(why) => log::warn!("{why}"),
            None => {}
        }
        Ok(inserted)
    }

    fn load_module(
        &self,
        name: &str,
        module: &Module,
        options: &dyn Fn(&str) -> String,
    ) -> Result<usize, Error> {
        let mut inserted = 0_usize;
        for path in order(self, name, Vec::from([module.clone()]))? {
            let needed = path == module.path || module.dependencies.contains(&path);
            let file = format!("{}/{path}", self.directory);
            match insert(&file, &options(&module_name(&path))) {
                Ok(new) => inserted = inserted.saturating_add(new.into()),
                Err(why) if needed => return Err(why),
                Err(why) => log::warn!("{why}; {name} is loaded without it"),
            }
        }
        Ok(inserted)
    }

    /// The modules that a name stands for; none if it is built in.
    fn modules(&self, name: &str) -> Result<Vec<Module>, Error> {
        match self.find(name)? {
            Found::Modules(modules) => Ok(modules),
            Found::Builtin => Ok(Vec::new()),
            Found::Nothing => {
                let (name, release) = (name.to_owned(), self.release.clone());
                Err(Error::Unknown { name, release })
            }
        }
    }

    /// What a name or alias stands for. The order is libkmod's: a module's name, an alias of modules, built in.
    pub(crate) fn find(&self, name: &str) -> Result<Found, Error> {
        let Some(alias) = normal(name) else { return Ok(Found::Nothing) };
        if let Some(module) = self.module(&alias)? {
            return Ok(Found::Modules(Vec::from([module])));
        }
        let names = self.index("modules.alias.bin", |index| index.find_matching(&alias))?;
        let mut modules = Vec::new();
        for name in names.unwrap_or_default() {
            modules.extend(self.module(&String::from_utf8_lossy(&name))?);
        }
        if !modules.is_empty() {
            return Ok(Found::Modules(modules));
        }
        let aliases = self
            .index("modules.builtin.alias.bin", |index| index.find_matching(&alias))?
            .unwrap_or_default();
        let builtin = !aliases.is_empty() || self.builtin(&alias)?;
        Ok(if builtin { Found::Builtin } else { Found::Nothing })
    }

    fn builtin(&self, name: &str) -> Result<bool, Error> {
        let listed = self.index("modules.builtin.bin", |index| index.find(name))?;
        Ok(listed.flatten().is_some())
    }

    fn module(&self, name: &str) -> Result<Option<Module>, Error> {
        let line = self.dependencies.index(|index| index.find(name))?;
        let bad = Error::Corrupt {
            path: self.dependencies.path.clone(),
            why: "a line is not PATH: PATH ... within the directory",
        };
        line.map(|line| Module::parse(&line).ok_or(bad)).transpose()
    }

    /// Looks something up in one of the files that a tree may lack.
    fn index<T>(
        &self,
        name: &str,
        look: impl FnOnce(Index<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Error> {
        match File::open(format!("{}/{name}", self.directory)) {
            Ok(file) => file.index(look).map(Some),
            Err(Error::File { errno: Errno::NOENT, .. }) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// The text of modules.softdep.
    pub(crate) fn softdeps(&self) -> &str {
        &self.softdeps
    }
}

impl Module {
    /// Parses a line of modules.dep, `PATH: PATH ...`. The last dependency is to be inserted first.
    fn parse(line: &[u8]) -> Option<Module> {
        let (path, rest) = core::str::from_utf8(line).ok()?.split_once(':')?;
        let mut dependencies: Vec<String> =
            rest.split_ascii_whitespace().map(str::to_string).collect();
        dependencies.reverse();
        let within = |path: &str| {
            !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..")
        };
        let good = within(path) && dependencies.iter().all(|path| within(path));
        good.then(|| Module { path: path.to_owned(), dependencies })
    }
}

/// The name as depmod writes names: `-` is `_`, but not within brackets. None for what can be
/// no name: brackets that do not match, or more bytes than any key.
fn normal(name: &str) -> Option<String> {
    if name.len() > TEXT {
        return None;
    }
    let mut inside = false;
    let letters = name.chars().map(|letter| {
        match letter {
            '[' if !inside => inside = true,
            ']' if inside => inside = false,
            ']' => return None,
            '-' if !inside => return Some('_'),
            _ => {}
        }
        Some(letter)
    });
    let normal = letters.collect::<Option<String>>();
    normal.filter(|_| !inside)
}

/// The names that modules.softdep has before and after `module`.
///
/// Lines are `softdep MODULE pre: NAME ... post: NAME ...`. All lines of a module count. libkmod takes the first alone:
/// of the four that Debian 6.12 has for btrfs it misses crypto-crc32c, without which the mount fails.
pub(crate) fn softdeps<'a>(text: &'a str, module: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (command, name) = (words.next(), words.next());
        if command != Some("softdep") || name.map(module_name).as_deref() != Some(module) {
            continue;
        }
        let mut place = None;
        for word in words {
            match word {
                "pre:" => place = Some(&mut before),
                "post:" => place = Some(&mut after),
                // A name without a place, as cifs has them, says nothing; libkmod ignores it too.
                name => place.iter_mut().for_each(|names| names.push(name)),
            }
        }
    }
    (before, after)
}

/// A file of depmod's, open.
#[derive(Debug)]
struct File {
    path: String,
    fd: OwnedFd,
}

impl File {
    fn open(path: String) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::open(path.as_str(), flags, Mode::empty()) {
            Ok(fd) => Ok(File { path, fd }),
            Err(errno) => Err(Error::file("open", &path, errno)),
        }
    }

    fn index<T>(&self, look: impl FnOnce(Index<'_>) -> Result<T, Fault>) -> Result<T, Error> {
        let read_at = |offset: u64, buffer: &mut [u8]| rustix::io::pread(&self.fd, buffer, offset);
        Index::open(&read_at).and_then(look).map_err(|fault| match fault {
            Fault::Read(errno) => Error::file("read", &self.path, errno),
            Fault::Corrupt(why) => Error::Corrupt { path: self.path.clone(), why },
        })
    }

    /// The whole file. Bytes that are no UTF-8 become U+FFFD: they match no name.
    fn text(&self, limit: usize) -> Result<String, Error> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = rustix::io::read(&self.fd, &mut buffer)
                .map_err(|errno| Error::file("read", &self.path, errno))?;
            match buffer.get(..read) {
                Some([]) | None => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Some(part) => bytes.extend_from_slice(part),
            }
            if bytes.len() > limit {
                return Err(Error::Corrupt { path: self.path.clone(), why: "it is too large" });
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn the_kernel_refuses() {
        let base = tempfile::tempdir().unwrap();
        let Some(tree) = made(base.path()) else { return };
        let asked = core::cell::RefCell::new(Vec::new());
        let options = |name: &str| {
            asked.borrow_mut().push(name.to_owned());
            String::new()
        };
        // No kernel takes these files, and the first one is needed.
        let message = tree.load("disk", &options).unwrap_err().to_string();
        let file = format!("{}/{RELEASE}/kernel/core.ko", base.path().display());
        assert!(message.starts_with(&format!("cannot insert {file}: ")), "{message}");
        assert_eq!(asked.take(), ["core"]);
        // Both that have the alias are tried.
        tree.load("crypto-sum", &options).unwrap_err();
        assert_eq!(asked.take(), ["sum_fast", "core"]);
        // Softdeps may fail.
        tree.load("hen", &options).unwrap_err();
        assert_eq!(asked.take(), ["egg", "hen"]);
        assert_eq!(tree.load("fuse", &options), Ok(0));
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
        assert_eq!(message, format!("cannot use {file}: it ends too early"));

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
}
