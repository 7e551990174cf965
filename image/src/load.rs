// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of modules in the order to insert them: what takes an index to look up and softdeps to follow is done
//! here, once, so that PID 1 only reads lines.
//!
//! A line is a path relative to the release's directory; `-` before it says that the rest does without that
//! module. The initramfs has one list, `early`; a modules image has `load/NAME` for each module by its name, an empty
//! one for what is built in.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use modules::{Tree, module_name};

/// A module's file, and whether the others do without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Relative to the directory of the release.
    pub path: String,
    /// Wanted by a softdep only.
    pub optional: bool,
}

/// Resolves names in one release's directory.
#[derive(Debug)]
pub struct Resolver {
    tree: Tree,
    release: String,
    /// What modules.dep says: a file, and all that it depends on.
    dependencies: HashMap<String, Vec<String>>,
}

impl Resolver {
    /// Opens `<base>/<release>`.
    ///
    /// # Errors
    /// Where depmod has not run there.
    pub fn open(base: &Path, release: &str) -> Result<Self> {
        let name = base.to_str().context("the path of the modules is not UTF-8")?;
        let tree = Tree::open(name, release)
            .map_err(|error| anyhow::anyhow!("modules of {release}: {error}"))?;
        let file = base.join(release).join("modules.dep");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self { tree, release: release.to_owned(), dependencies: dependencies(&text) })
    }

    /// The list for a module or alias; empty where it is built in, none where it is not known.
    ///
    /// # Errors
    /// Where the index files are damaged.
    pub fn lines(&self, name: &str) -> Result<Option<Vec<Line>>> {
        let paths = match self.tree.load_order(name) {
            Ok(paths) => paths,
            Err(modules::Error::Unknown { .. }) => return Ok(None),
            Err(error) => bail!("module {name} of kernel {}: {error}", self.release),
        };
        let wanted = module_name(name);
        let own = paths.iter().find(|path| module_name(path) == wanted);
        let needed = own.and_then(|own| self.dependencies.get(own));
        let line = |path: &String| Line {
            // nothing is optional for an alias: which of its modules the name means is not known
            optional: needed.is_some_and(|needed| Some(path) != own && !needed.contains(path)),
            path: path.clone(),
        };
        Ok(Some(paths.iter().map(line).collect()))
    }

    /// Writes `load/NAME` for every module and everything that is built in.
    ///
    /// # Errors
    /// Where the index files are damaged or the directory cannot be written.
    pub fn write_lists(&self, directory: &Path) -> Result<()> {
        let load = directory.join("load");
        fs::create_dir_all(&load).with_context(|| format!("cannot make {}", load.display()))?;
        let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
        let files = self.dependencies.keys().map(String::as_str).chain(builtin.lines());
        for name in files.map(module_name).filter(|name| !name.is_empty()) {
            let lines =
                self.lines(&name)?.with_context(|| format!("module {name} is not listed"))?;
            let file = load.join(&name);
            fs::write(&file, text(&lines))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

/// The text of a list.
#[must_use]
pub fn text(lines: &[Line]) -> String {
    let line = |line: &Line| format!("{}{}\n", if line.optional { "-" } else { "" }, line.path);
    lines.iter().map(line).collect()
}

/// Parses modules.dep: `PATH: PATH ...`.
fn dependencies(text: &str) -> HashMap<String, Vec<String>> {
    let line = |line: &str| {
        let (path, rest) = line.split_once(':')?;
        Some((path.to_owned(), rest.split_ascii_whitespace().map(str::to_owned).collect()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_what_init_reads() {
        let line = |path: &str, optional| Line { path: path.to_owned(), optional };
        let text = text(&[
            line("kernel/crypto/crc32c_generic.ko", true),
            line("kernel/fs/ext4.ko", false),
        ]);
        assert_eq!(text, "-kernel/crypto/crc32c_generic.ko\nkernel/fs/ext4.ko\n");
        let read: Vec<_> = modules::list(&text).map(|m| (m.path, m.optional)).collect();
        assert_eq!(read, [("kernel/crypto/crc32c_generic.ko", true), ("kernel/fs/ext4.ko", false)]);
    }

    #[test]
    fn modules_dep() {
        let found = dependencies("kernel/a.ko: kernel/b.ko kernel/c.ko\nkernel/b.ko:\nnonsense\n");
        assert_eq!(found["kernel/a.ko"], ["kernel/b.ko", "kernel/c.ko"]);
        assert!(found["kernel/b.ko"].is_empty() && found.len() == 2);
    }

    #[test]
    fn depmod_must_have_run() {
        let base = tempfile::tempdir().unwrap();
        let error = Resolver::open(base.path(), "6.12").unwrap_err().to_string();
        assert!(error.starts_with("modules of 6.12: cannot open "), "{error}");
    }
}
