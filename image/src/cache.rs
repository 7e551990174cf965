// SPDX-License-Identifier: MIT OR Apache-2.0
//! What took long and would come out the same: images by the hash of their content, kernel packages unpacked.
//! Anything in it may be deleted at any time.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::scratch;

/// A directory of results, or none.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: Option<PathBuf>,
}

impl Cache {
    /// In `directory`, or where the user's caches are.
    #[must_use]
    pub fn new(directory: Option<PathBuf>) -> Self {
        let user = || {
            let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
            let base = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
            base.map(PathBuf::from).or(home).map(|base| base.join("pivot/image"))
        };
        Self { directory: directory.or_else(user) }
    }

    /// One that keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self { directory: None }
    }

    /// Where the result with this key is or will be; none without a cache.
    #[must_use]
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.join(key))
    }

    /// Copies the file with this key and returns its length, where it is there.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn copy_to(&self, key: &str, out: &Path) -> Result<Option<u64>> {
        match self.path(key).filter(|path| path.is_file()) {
            Some(path) => copy(&path, out).map(Some),
            None => Ok(None),
        }
    }

    /// Keeps a copy of the file. It appears whole or not at all.
    ///
    /// # Errors
    /// Where the cache cannot be written.
    pub fn store(&self, key: &str, file: &Path) -> Result<()> {
        let Some(path) = self.path(key) else { return Ok(()) };
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make cache directory {}", directory.display()))?;
        scratch::whole(&path, |to| copy(file, to)).map(drop)
    }

    /// Deletes what runs left in it that were killed.
    pub fn clear_up(&self) {
        self.directory.iter().for_each(|directory| scratch::clear_up(directory));
    }
}

fn copy(from: &Path, to: &Path) -> Result<u64> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_and_gives_back() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(directory.path().join("a/b")));
        let (file, out) = (directory.path().join("file"), directory.path().join("out"));
        fs::write(&file, "abc").unwrap();
        assert_eq!(cache.copy_to("key", &out).unwrap(), None);
        cache.store("key", &file).unwrap();
        assert_eq!(cache.copy_to("key", &out).unwrap(), Some(3));
        assert_eq!(fs::read(&out).unwrap(), b"abc");
    }

    #[test]
    fn none_keeps_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "abc").unwrap();
        Cache::none().store("key", &file).unwrap();
        assert_eq!(Cache::none().copy_to("key", &file).unwrap(), None);
    }
}
