// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads archives as the kernel does: several one after the other, with zero bytes between them.

use anyhow::{Context, Result, bail, ensure};

use super::{HEADER, MAGIC, TRAILER};

/// An entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: String,
    /// Type and permissions, as in `stat`.
    pub mode: u32,
    /// Of a device node.
    pub device: (u32, u32),
    /// Content of a file, target of a link.
    pub data: Vec<u8>,
}

/// The entries of the archive that `bytes` begin with, and how many bytes it takes, trailer included.
///
/// # Errors
/// Where it is cut short or is not in the newc form.
pub fn archive(bytes: &[u8]) -> Result<(Vec<Entry>, usize)> {
    let (mut entries, mut position) = (Vec::new(), 0);
    loop {
        let (entry, next) = entry(bytes, position)
            .with_context(|| format!("cpio archive is broken at byte {position}"))?;
        position = next;
        if entry.path == TRAILER {
            return Ok((entries, position));
        }
        entries.push(entry);
    }
}

fn entry(bytes: &[u8], at: usize) -> Result<(Entry, usize)> {
    let header = bytes.get(at..at + HEADER).context("ends too early")?;
    ensure!(header.starts_with(MAGIC), "no newc header");
    let field = |index: usize| -> Result<u32> {
        let digits = std::str::from_utf8(&header[6 + 8 * index..14 + 8 * index])?;
        u32::from_str_radix(digits, 16).with_context(|| format!("{digits:?} is no number"))
    };
    let name_at = at + HEADER;
    let name_end = name_at + usize::try_from(field(11)?)?;
    let data_at = name_end.next_multiple_of(4);
    let data_end = data_at + usize::try_from(field(6)?)?;
    let Some([name @ .., 0]) = bytes.get(name_at..name_end) else { bail!("name is cut short") };
    let data = bytes.get(data_at..data_end).context("content is cut short")?;
    let entry = Entry {
        path: String::from_utf8_lossy(name).into_owned(),
        mode: field(1)?,
        device: (field(9)?, field(10)?),
        data: data.to_vec(),
    };
    Ok((entry, data_end.next_multiple_of(4)))
}

#[cfg(test)]
mod tests {
    use super::super::Archive;
    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::default();
        archive.character_device("dev/console", 0o600, (5, 1));
        archive.file("init", 0o755, b"abcde".to_vec());
        archive.symlink("bin/sh", "busybox");
        archive.to_bytes()
    }

    #[test]
    fn what_was_written_is_read() {
        let (entries, used) = archive(&sample()).unwrap();
        assert_eq!(used, sample().len());
        let facts: Vec<_> = entries.iter().map(|e| (e.path.as_str(), e.mode)).collect();
        let expected = [
            ("bin", 0o040_755),
            ("bin/sh", 0o120_777),
            ("dev", 0o040_755),
            ("dev/console", 0o020_600),
            ("init", 0o100_755),
        ];
        assert_eq!(facts, expected);
        assert_eq!((entries[3].device, entries[4].data.as_slice()), ((5, 1), &b"abcde"[..]));
    }

    #[test]
    fn hostile_archives() {
        let whole = sample();
        for length in 0..whole.len() - 3 {
            assert!(archive(&whole[..length]).is_err(), "{length}");
        }
        for position in 0..HEADER {
            let mut bytes = whole.clone();
            bytes[position] = b'F';
            let _ = archive(&bytes);
        }
    }
}
