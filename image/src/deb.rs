// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unpacks a Debian package without dpkg: an `ar` archive whose member `data.tar.*` is the content.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::compress;

const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
const AR_HEADER: usize = 60;

/// Unpacks those members whose path `wanted` accepts (it sees `boot/vmlinuz-6.12`) into `out`.
///
/// # Errors
/// Where the file is no Debian package, or broken, or `out` cannot be written.
pub fn unpack(package: &Path, out: &Path, wanted: impl Fn(&Path) -> bool) -> Result<()> {
    let context = || format!("cannot unpack {}", package.display());
    let mut file = File::open(package).with_context(context)?;
    let (name, length) = find_data(&mut file).with_context(context)?;
    let plain = compress::reader(&name, file.take(length)).with_context(context)?;
    let mut archive = tar::Archive::new(plain);
    for entry in archive.entries().with_context(context)? {
        let mut entry = entry.with_context(context)?;
        let path = entry.path().with_context(context)?.into_owned();
        let path = path.strip_prefix("./").unwrap_or(&path);
        let kind = entry.header().entry_type();
        if !kind.is_file() || !wanted(path) {
            continue;
        }
        let safe = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        ensure!(safe, "{}: member {} leads outside", package.display(), path.display());
        let to = out.join(path);
        fs::create_dir_all(to.parent().unwrap_or(out)).with_context(context)?;
        let mut file = File::create(&to).with_context(context)?;
        std::io::copy(&mut entry, &mut file).with_context(context)?;
    }
    Ok(())
}

/// Leaves the file at the first byte of `data.tar.*`; the member's name and length.
fn find_data(file: &mut File) -> Result<(String, u64)> {
    let mut magic = [0; AR_MAGIC.len()];
    let whole = file.read_exact(&mut magic).is_ok();
    ensure!(whole && &magic == AR_MAGIC, "not a Debian package");
    let mut position = AR_MAGIC.len() as u64;
    loop {
        let mut header = [0; AR_HEADER];
        file.seek(SeekFrom::Start(position))?;
        if file.read_exact(&mut header).is_err() {
            bail!("no data.tar in it");
        }
        let text = |from: usize, to: usize| String::from_utf8_lossy(&header[from..to]).into_owned();
        let name = text(0, 16).trim_end().trim_end_matches('/').to_owned();
        let length: u64 = text(48, 58).trim().parse().ok().context("its ar header is broken")?;
        if name.starts_with("data.tar") {
            return Ok((name, length));
        }
        // members begin at even offsets
        position =
            position.saturating_add(AR_HEADER as u64).saturating_add(length.next_multiple_of(2));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A package with these files.
    pub(crate) fn package(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, data) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("./{path}"), *data).unwrap();
        }
        let data = zstd::bulk::compress(&tar.into_inner().unwrap(), 1).unwrap();
        let mut out = AR_MAGIC.to_vec();
        for (name, bytes) in
            [("debian-binary", &b"2.0\n"[..]), ("control.tar", b"x"), ("data.tar.zst", &data)]
        {
            out.extend(format!("{name:<16}{:<32}{:<10}`\n", "0", bytes.len()).bytes());
            out.extend(bytes);
            out.resize(out.len().next_multiple_of(2), b'\n');
        }
        out
    }

    #[test]
    fn takes_what_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.deb");
        fs::write(&file, package(&[("boot/vmlinuz-1", b"kernel"), ("usr/share/doc/x", b"no")]))
            .unwrap();
        let out = directory.path().join("out");
        unpack(&file, &out, |path| path.starts_with("boot")).unwrap();
        assert_eq!(fs::read(out.join("boot/vmlinuz-1")).unwrap(), b"kernel");
        assert!(!out.join("usr").exists());
    }

    #[track_caller]
    fn refused(bytes: &[u8], why: &str) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.deb");
        fs::write(&file, bytes).unwrap();
        let error = format!("{:#}", unpack(&file, directory.path(), |_| true).unwrap_err());
        assert!(error.contains(why) && error.contains("x.deb"), "{error}");
    }

    #[test]
    fn hostile_packages() {
        refused(b"", "not a Debian package");
        refused(b"PK\x03\x04 something else", "not a Debian package");
        refused(AR_MAGIC, "no data.tar");
        let good = package(&[("boot/x", &[7; 5000])]);
        refused(&good[..good.len() / 2], "no data.tar");
        refused(&good[..good.len() - 20], "cannot unpack");
        let mut bad = good;
        bad[8 + 48] = b'x';
        refused(&bad, "ar header");
    }
}
