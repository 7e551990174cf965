// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists of modules in the order to insert them: what takes an index to look up and softdeps to follow is done
//! here, once, so that PID 1 only reads lines.
//!
//! A line is a path relative to the release's directory; `-` before it says that the rest does without that
//! module. The initramfs has one list, `early`; a modules image has `load/NAME` for each module by its name, an empty
//! one for what is built in.

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
        Ok(Self { tree, release: release.to_owned() })
    }

    /// The list for a module or alias; empty where it is built in, none where it is not known.
    ///
    /// # Errors
    /// Where the index files are damaged.
    pub fn lines(&self, name: &str) -> Result<Option<Vec<Line>>> {
        let line =
            |line: modules::Listed<'_>| Line { path: line.path.into(), optional: line.optional };
        match self.tree.load_list(name) {
            Ok(list) => Ok(Some(modules::list(&list).map(line).collect())),
            Err(modules::Error::Unknown { .. }) => Ok(None),
            Err(error) => bail!("module {name} of kernel {}: {error}", self.release),
        }
    }

    /// Writes `load/NAME` for every module and everything that is built in.
    ///
    /// # Errors
    /// Where the index files are damaged or the directory cannot be written.
    pub fn write_lists(&self, directory: &Path) -> Result<()> {
        let load = directory.join("load");
        fs::create_dir_all(&load).with_context(|| format!("cannot make {}", load.display()))?;
        let file = directory.join("modules.dep");
        let modules =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
        // modules.dep: `PATH: PATH ...`.
        let paths = modules.lines().filter_map(|line| Some(line.split_once(':')?.0));
        for name in paths.chain(builtin.lines()).map(module_name).filter(|name| !name.is_empty()) {
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
    fn depmod_must_have_run() {
        let base = tempfile::tempdir().unwrap();
        let error = Resolver::open(base.path(), "6.12").unwrap_err().to_string();
        assert!(error.starts_with("modules of 6.12: cannot open "), "{error}");
    }
}
