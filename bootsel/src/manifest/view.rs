// SPDX-License-Identifier: MIT OR Apache-2.0

//! A manifest as it is read: everything of it is checked, nothing is copied.

use super::{
    BadRevisionId, Error, FORMAT, MAX_BYTES, MAX_FILES, MAX_KEYS, REQUIRED_KEYS, file_name,
    is_name_byte, is_revision, is_sha256, line_at, number,
};
use crate::text::{has_controls, split_once};

/// A manifest, its text borrowed: nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Lines of `key=value`.
    keys: &'a str,
    /// Lines of [`Listed`].
    files: &'a str,
}

/// A file that a manifest lists; see [`File`](super::File).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Hash of the content: 64 lower-case hex digits.
    pub sha256: &'a str,
    /// Length of the content.
    pub bytes: u64,
    /// Its name.
    pub name: &'a str,
}

impl<'a> View<'a> {
    /// Reads a whole manifest.
    ///
    /// # Errors
    /// At the first thing that is not exactly as the format says.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::TooLong);
        }
        let mut rest = core::str::from_utf8(bytes)
            .map_err(|why| Error::Line(line_at(bytes, why.valid_up_to()), "not utf-8"))?;
        let truncated = || Error::Line(line_at(bytes, bytes.len()), "ends too early");
        if bytes.last() != Some(&b'\n') {
            return Err(truncated());
        }
        // What is right so far, and the part that is being read.
        let mut view = Self { keys: "", files: "" };
        let (mut part, mut count, mut blank) = (rest, 0, false);
        let mut number = 0;
        while let Some((line, after)) = split_once(rest, b'\n') {
            number += 1;
            let before = part.get(..part.len() - rest.len()).unwrap_or_default();
            if blank {
                view.files = before;
                view.check_file(line, count).map_err(|problem| Error::Line(number, problem))?;
            } else {
                view.keys = before;
                if line.is_empty() && count >= REQUIRED_KEYS {
                    (blank, part, rest, count) = (true, after, after, 0);
                    continue;
                }
                view.check_key(line, count).map_err(|problem| Error::Line(number, problem))?;
            }
            (rest, count) = (after, count + 1);
        }
        view.files = part;
        if blank { Ok(view) } else { Err(truncated()) }
    }

    /// The keys with their values, in the order of the manifest.
    pub fn keys(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        lines(self.keys).filter_map(|line| split_once(line, b'='))
    }

    /// The files, in the order of the manifest.
    pub fn files(self) -> impl Iterator<Item = Listed<'a>> {
        lines(self.files).filter_map(|line| Listed::split(line).ok())
    }

    /// The file of that name.
    pub fn file(self, name: &str) -> Option<Listed<'a>> {
        // A line that ends with another name need not be split.
        let ours = lines(self.files).filter(|line| line.ends_with(name));
        ours.filter_map(|line| Listed::split(line).ok()).find(|file| file.name == name)
    }

    /// The value of a key.
    pub fn get(self, key: &str) -> Option<&'a str> {
        self.keys().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The version: there in every manifest that was parsed. The higher one is newer.
    pub fn version(self) -> Option<u64> {
        number(self.get("version")?)
    }

    /// `count` lines are before this one.
    fn check_key(self, line: &str, count: usize) -> Result<(), &'static str> {
        let (key, value) = split_once(line, b'=').ok_or("not key=value")?;
        match (count, key) {
            (0, "format") if value == FORMAT => {}
            (0, "format") => return Err("unknown format, format=1 is known here"),
            (0, _) => return Err("the first key is not format"),
            (1, "revision") if is_revision(value) => {}
            (1, "revision") => return Err(BadRevisionId::TEXT),
            (1, _) => return Err("the second key is not revision"),
            (2, "version") if number(value).is_some() => {}
            (2, "version") => return Err("version is not a number of 64 bits"),
            (2, _) => return Err("the third key is not version"),
            (MAX_KEYS.., _) => return Err("too many keys"),
            _ if key.is_empty() || !key.bytes().all(is_name_byte) => {
                return Err("key has characters other than A-Z a-z 0-9 . _ + -");
            }
            _ if has_controls(value) => return Err("value has control characters"),
            _ if self.get(key).is_some() => return Err("key is there twice"),
            _ => {}
        }
        Ok(())
    }

    /// Likewise.
    fn check_file(self, line: &str, count: usize) -> Result<(), &'static str> {
        if count >= MAX_FILES {
            return Err("too many files");
        }
        let file = Listed::parse(line)?;
        if self.file(file.name).is_some() { Err("file name is there twice") } else { Ok(()) }
    }
}

fn lines(mut text: &str) -> impl Iterator<Item = &str> {
    core::iter::from_fn(move || {
        let (line, rest) = split_once(text, b'\n')?;
        text = rest;
        Some(line)
    })
}

impl<'a> Listed<'a> {
    fn parse(line: &'a str) -> Result<Self, &'static str> {
        let file = Self::split(line)?;
        if !is_sha256(file.sha256) {
            return Err("sha256 is not 64 lower-case hex digits");
        }
        if file_name(file.name).is_none() {
            return Err("not a file name that a revision may have");
        }
        Ok(file)
    }

    // Out of line: it is called for every file of either list.
    #[inline(never)]
    fn split(line: &'a str) -> Result<Self, &'static str> {
        let fields = || {
            let (sha256, rest) = split_once(line, b' ')?;
            let (bytes, rest) = split_once(rest.strip_prefix(' ')?, b' ')?;
            Some((sha256, bytes, rest.strip_prefix(' ')?))
        };
        let (sha256, bytes, name) =
            fields().ok_or("not sha256, size and name with two spaces between them")?;
        Ok(Self { sha256, bytes: number(bytes).ok_or("size is not a number of 64 bits")?, name })
    }
}
