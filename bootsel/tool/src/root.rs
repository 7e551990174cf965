// SPDX-License-Identifier: MIT OR Apache-2.0
//! The running system, below a directory that is `/` but in tests.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result, failed, refused};

/// No file that is read whole is longer, but for `/proc/kallsyms`, which is searched line by line.
const SMALL: u64 = 1 << 20;

/// Where everything is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Whether this is the running system.
    pub(crate) fn is_real(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// `path` below it; without a leading slash.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// The data partition's own directory.
    pub(crate) fn pivot(&self, path: &str) -> PathBuf {
        self.0.join("run/pivot/data/pivot").join(path)
    }

    /// A small file, `None` where it cannot be read.
    pub(crate) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        read(&self.path(path)).ok()
    }

    /// The same as text without the newline or NUL at its end.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        let text = String::from_utf8_lossy(&bytes);
        Some(text.trim_end_matches(['\n', '\0']).to_owned())
    }

    /// A number of the device tree.
    pub(crate) fn tree_number(&self, property: &str) -> Option<u32> {
        let bytes = self.bytes(&format!("proc/device-tree/{property}"))?;
        bytes.as_array().copied().map(u32::from_be_bytes)
    }

    /// The words of the command line; ours have no quotes.
    pub(crate) fn cmdline(&self) -> String {
        self.text("proc/cmdline").unwrap_or_default()
    }

    /// Held as long as the file is open.
    pub(crate) fn lock(&self) -> Result<File> {
        self.lock_within(Duration::ZERO)
    }

    /// Waits for another one to end.
    pub(crate) fn lock_within(&self, time: Duration) -> Result<File> {
        const AGAIN: Duration = Duration::from_millis(200);
        let path = self.path("run/pivot/bootsel.lock");
        let cannot = || format!("cannot lock {}", path.display());
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed(cannot()))?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if began.elapsed() < time => {
                    thread::sleep(AGAIN)
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return refused("another bootsel is at work; wait until it has ended");
                }
                Err(why) => return Err(Error::Failed(format!("{}: {why}", cannot()))),
            }
        }
    }
}

/// The value of a command line's word; the last one counts, as in the kernel.
pub(crate) fn word<'a>(cmdline: &'a str, key: &str) -> Option<&'a str> {
    let mut words = cmdline.split_ascii_whitespace().take_while(|word| *word != "--");
    let value = |word: &'a str| match word.split_once('=') {
        Some((name, value)) => (name == key).then_some(value),
        None => (word == key).then_some(""),
    };
    let mut last = None;
    for word in words.by_ref() {
        last = value(word).or(last);
    }
    last
}

/// A small file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed(cannot()))?;
    file.take(SMALL).read_to_end(&mut bytes).map_err(failed(cannot()))?;
    Ok(bytes)
}

/// The names in a directory, in their order; those that are no text are left out.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn words() {
        let line = "pivot.slot=_ a pivot.slot=b -- pivot.slot=a";
        assert_eq!(word(line, "pivot.slot"), Some("b"));
        assert_eq!(word(line, "a"), Some(""));
        assert_eq!(word(line, "pivot.slo"), None);
    }
}
