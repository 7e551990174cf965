// SPDX-License-Identifier: MIT OR Apache-2.0
//! One directory of modules, with the files that depmod wrote there.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::slice::from_ref;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::index::{Fault, Index, TEXT};
use crate::order::order;
use crate::{Error, module_name};

/// Most bytes of modules.softdep: Debian 6.12's has 1794.
const SOFTDEP: usize = 64 << 10;

/// The modules of one kernel release: a directory `<base>/<release>` with depmod's files.
#[derive(Clone, Debug)]
pub struct Tree {
    release: String,
    directory: String,
    /// The text of modules.softdep.
    pub(crate) softdeps: String,
}

/// A module as modules.dep has it.
#[derive(Debug, PartialEq, Eq)]
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
        look(&format!("{directory}/modules.dep.bin"), |_| Ok(()))?;
        let softdeps = optional(read(&format!("{directory}/modules.softdep"), SOFTDEP))?;
        Ok(Tree { release: release.to_owned(), directory, softdeps: softdeps.unwrap_or_default() })
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
    /// Both this and an order of [`Tree::load_order`] may be had for one name: Debian 6.12 has `crc32` built in, and a
    /// module with the alias `crc32`.
    ///
    /// # Errors
    /// A file of depmod's that cannot be read or is damaged.
    pub fn is_builtin(&self, name: &str) -> Result<bool, Error> {
        let Some(module) = normal(name) else { return Ok(false) };
        Ok(self.builtin(&module)? || self.find(name)? == Found::Builtin)
    }

    /// The order as a [`list`](crate::list): softdeps, and what they alone depend on, are optional. So is all for a name
    /// that is an alias of several modules: one of them is enough.
    ///
    /// # Errors
    /// As [`Tree::load_order`].
    pub fn load_list(&self, name: &str) -> Result<String, Error> {
        let modules = self.modules(name)?;
        let needed = match modules.as_slice() {
            [module] => [&module.dependencies[..], from_ref(&module.path)].concat(),
            _ => Vec::new(),
        };
        let mark = |path: &String| if needed.contains(path) { "" } else { "-" };
        let files = order(self, name, modules)?;
        Ok(files.iter().map(|path| format!("{}{path}\n", mark(path))).collect())
    }

    /// The modules that a name stands for; none if it is built in.
    fn modules(&self, name: &str) -> Result<Vec<Module>, Error> {
        match self.find(name)? {
            Found::Modules(modules) => Ok(modules),
            Found::Builtin => Ok(Vec::new()),
            Found::Nothing => {
                Err(Error::Unknown { name: name.to_owned(), release: self.release.clone() })
            }
        }
    }

    /// What a name or alias stands for. The order is libkmod's: a module's name, an alias of modules, built in.
    pub(crate) fn find(&self, name: &str) -> Result<Found, Error> {
        let Some(alias) = normal(name) else { return Ok(Found::Nothing) };
        if let Some(module) = self.module(&alias)? {
            return Ok(Found::Modules(vec![module]));
        }
        let mut modules = Vec::new();
        for name in self.aliased("modules.alias.bin", &alias)? {
            modules.extend(self.module(&String::from_utf8_lossy(&name))?);
        }
        Ok(if !modules.is_empty() {
            Found::Modules(modules)
        } else if self.builtin(&alias)?
            || !self.aliased("modules.builtin.alias.bin", &alias)?.is_empty()
        {
            Found::Builtin
        } else {
            Found::Nothing
        })
    }

    fn module(&self, name: &str) -> Result<Option<Module>, Error> {
        let path = format!("{}/modules.dep.bin", self.directory);
        let line = look(&path, |index| index.find(name))?;
        let bad = Error::Corrupt { path, why: "a line is not PATH: PATH ... within the directory" };
        line.map(|line| Module::parse(&line).ok_or(bad)).transpose()
    }

    fn builtin(&self, name: &str) -> Result<bool, Error> {
        let path = format!("{}/modules.builtin.bin", self.directory);
        Ok(optional(look(&path, |index| index.find(name)))?.flatten().is_some())
    }

    /// The names of modules that one of the files with aliases has for `alias`.
    fn aliased(&self, file: &str, alias: &str) -> Result<Vec<Vec<u8>>, Error> {
        let path = format!("{}/{file}", self.directory);
        Ok(optional(look(&path, |index| index.find_matching(alias)))?.unwrap_or_default())
    }
}

impl Module {
    /// Parses a line of modules.dep, `PATH: PATH ...`. The last dependency is to be inserted first.
    fn parse(line: &[u8]) -> Option<Module> {
        let (path, rest) = core::str::from_utf8(line).ok()?.split_once(':')?;
        let within = |path: &str| {
            !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != "..")
        };
        let dependencies = rest.split_ascii_whitespace().rev();
        let good = within(path) && dependencies.clone().all(within);
        let dependencies = dependencies.map(str::to_string).collect();
        good.then(|| Module { path: path.to_owned(), dependencies })
    }
}

/// The name as depmod writes names: `-` is `_`, but not within brackets. None for what can be no name: brackets that
/// do not match, or more bytes than any key.
fn normal(name: &str) -> Option<String> {
    let (mut inside, mut normal) = (false, String::new());
    for letter in name.chars() {
        match letter {
            ']' if !inside => return None,
            '[' | ']' => inside = letter == '[',
            _ => {}
        }
        normal.push(if letter == '-' && !inside { '_' } else { letter });
    }
    (!inside && name.len() <= TEXT).then_some(normal)
}

/// The names that modules.softdep has before and after `module`.
///
/// Lines are `softdep MODULE pre: NAME ... post: NAME ...`. All lines of a module count. libkmod takes the first alone:
/// of the four that Debian 6.12 has for btrfs it misses crypto-crc32c, without which the mount fails.
pub(crate) fn softdeps<'a>(text: &'a str, module: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("softdep")
            || words.next().map(module_name).as_deref() != Some(module)
        {
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

/// Looks something up in one of depmod's indexes.
fn look<T>(path: &str, how: impl FnOnce(Index<'_>) -> Result<T, Fault>) -> Result<T, Error> {
    let file = open(path)?;
    let read_at = |offset: u64, buffer: &mut [u8]| rustix::io::pread(&file, buffer, offset);
    Index::open(&read_at).and_then(how).map_err(|fault| match fault {
        Fault::Read(errno) => Error::file("read", path, errno),
        Fault::Corrupt(why) => Error::Corrupt { path: path.to_owned(), why },
    })
}

/// A whole file. Bytes that are no UTF-8 become U+FFFD: they are in no name.
fn read(path: &str, limit: usize) -> Result<String, Error> {
    let mut bytes = vec![0; limit];
    // The kernel reads regular files to their end at once.
    let read = rustix::io::read(open(path)?, &mut bytes);
    match read.map_err(|errno| Error::file("read", path, errno))? {
        all if all == limit => {
            Err(Error::Corrupt { path: path.to_owned(), why: "it is too large" })
        }
        part => Ok(String::from_utf8_lossy(bytes.get(..part).unwrap_or_default()).into_owned()),
    }
}

fn open(path: &str) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::file("open", path, errno))
}

/// None for a file that is not there: a tree may lack it.
fn optional<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(Error::File { errno: Errno::NOENT, .. }) => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests;
