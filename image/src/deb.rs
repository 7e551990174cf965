// SPDX-License-Identifier: MIT OR Apache-2.0
//! Unpacks a Debian package without dpkg: an `ar` archive whose member `data.tar.*` is the content.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::compress;

/// How every package begins.
pub(crate) const AR_MAGIC: &[u8; 8] = b"!<arch>\n";
const AR_HEADER: usize = 60;
/// The longest control file of Debian has some 20 KB.
const CONTROL_MAX: u64 = 1 << 20;

/// The architecture that the package is for: `arm64`, `all`.
///
/// # Errors
/// Where the file is no Debian package, or broken.
pub fn architecture(package: &Path) -> Result<String> {
    let context = || format!("cannot read {}", package.display());
    let mut text = String::new();
    walk(package, "control.tar", |path, entry| {
        if path == Path::new("control") {
            entry.take(CONTROL_MAX).read_to_string(&mut text)?;
        }
        Ok(text.is_empty())
    })
    .with_context(context)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Architecture:"));
    line.map(|name| name.trim().to_owned())
        .context("it does not say for what")
        .with_context(context)
}

/// Shows every regular file of the content and its path (`boot/vmlinuz-6.12`) until one returns false.
///
/// # Errors
/// Where the file is no Debian package, or broken, or `look` fails.
pub fn look(
    package: &Path,
    mut look: impl FnMut(&Path, &mut dyn Read) -> Result<bool>,
) -> Result<()> {
    walk(package, "data.tar", |path, entry| {
        if entry.header().entry_type().is_file() { look(path, entry) } else { Ok(true) }
    })
    .with_context(|| format!("cannot read {}", package.display()))
}

/// Unpacks those members whose path `wanted` accepts (it sees `boot/vmlinuz-6.12`) into `out`.
///
/// # Errors
/// Where the file is no Debian package, or broken, or `out` cannot be written.
pub fn unpack(package: &Path, out: &Path, wanted: impl Fn(&Path) -> bool) -> Result<()> {
    let context = || format!("cannot unpack {}", package.display());
    // links come last: so no file is written through one of them
    let mut links = Vec::new();
    walk(package, "data.tar", |path, entry| {
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_symlink() || kind.is_hard_link()) || !wanted(path) {
            return Ok(true);
        }
        let to = out.join(path);
        fs::create_dir_all(to.parent().unwrap_or(out))?;
        if kind.is_file() {
            std::io::copy(entry, &mut File::create(&to)?)?;
        } else {
            let target = entry.link_name()?.context("a link without a target")?.into_owned();
            links.push((to, target, kind.is_symlink()));
        }
        Ok(true)
    })
    .with_context(context)?;
    links.iter().try_for_each(|link| make_link(link, out)).with_context(context)
}

/// A link at `to`. The target of a hard link is a member of the archive.
fn make_link((to, target, symbolic): &(PathBuf, PathBuf, bool), out: &Path) -> Result<()> {
    let linked = if *symbolic {
        std::os::unix::fs::symlink(target, to)
    } else {
        fs::hard_link(out.join(member(target)?), to)
    };
    linked.with_context(|| format!("cannot make the link {}", to.display()))
}

/// A path in the archive, relative; refused where it leads out of it.
fn member(path: &Path) -> Result<&Path> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let safe = path.components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(safe, "member {} leads outside", path.display());
    Ok(path)
}

/// Visits the entries of the tar file `<part>.*` until one returns false.
fn walk(
    package: &Path,
    part: &str,
    mut visit: impl FnMut(&Path, &mut tar::Entry<'_, Box<dyn Read + '_>>) -> Result<bool>,
) -> Result<()> {
    let mut file = File::open(package)?;
    let (name, length) = find(&mut file, part)?;
    let mut archive = tar::Archive::new(compress::reader(&name, file.take(length))?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if !visit(member(&path)?, &mut entry)? {
            break;
        }
    }
    Ok(())
}

/// Leaves the file at the first byte of `<part>.*`; the member's name and length.
fn find(file: &mut File, part: &str) -> Result<(String, u64)> {
    let mut magic = [0; AR_MAGIC.len()];
    let whole = file.read_exact(&mut magic).is_ok();
    ensure!(whole && &magic == AR_MAGIC, "not a Debian package");
    let mut position = AR_MAGIC.len() as u64;
    loop {
        let mut header = [0; AR_HEADER];
        file.seek(SeekFrom::Start(position))?;
        if file.read_exact(&mut header).is_err() {
            bail!("no {part} in it");
        }
        let text = |from: usize, to: usize| String::from_utf8_lossy(&header[from..to]).into_owned();
        let name = text(0, 16).trim_end().trim_end_matches('/').to_owned();
        let length: u64 = text(48, 58).trim().parse().ok().context("its ar header is broken")?;
        if name.starts_with(part) {
            return Ok((name, length));
        }
        // members begin at even offsets
        position =
            position.saturating_add(AR_HEADER as u64).saturating_add(length.next_multiple_of(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(files: &[(&str, &[u8])], links: &[(&str, &str, tar::EntryType)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, data) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("./{path}"), *data).unwrap();
        }
        for (path, target, kind) in links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(0);
            tar.append_link(&mut header, format!("./{path}"), target).unwrap();
        }
        zstd::bulk::compress(&tar.into_inner().unwrap(), 1).unwrap()
    }

    fn package(files: &[(&str, &[u8])], links: &[(&str, &str, tar::EntryType)]) -> Vec<u8> {
        let control = tar(&[("control", b"Package: x\nArchitecture: arm64\n")], &[]);
        let data = tar(files, links);
        let mut out = AR_MAGIC.to_vec();
        for (name, bytes) in [
            ("debian-binary", &b"2.0\n"[..]),
            ("control.tar.zst", &control),
            ("data.tar.zst", &data),
        ] {
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
        let files = [("boot/vmlinuz-1", &b"kernel"[..]), ("usr/share/doc/x", b"no")];
        fs::write(&file, package(&files, &[])).unwrap();
        let out = directory.path().join("out");
        unpack(&file, &out, |path| path.starts_with("boot")).unwrap();
        assert_eq!(fs::read(out.join("boot/vmlinuz-1")).unwrap(), b"kernel");
        assert!(!out.join("usr").exists());
        assert_eq!(architecture(&file).unwrap(), "arm64");
        let mut seen = Vec::new();
        look(&file, |path, _| {
            seen.push(path.to_owned());
            Ok(false)
        })
        .unwrap();
        assert_eq!(seen, [Path::new("boot/vmlinuz-1")]);
    }

    #[test]
    fn links_survive() {
        use tar::EntryType::{Link, Symlink};
        let directory = tempfile::tempdir().unwrap();
        let (file, out) = (directory.path().join("x.deb"), directory.path().join("out"));
        let links = [("lib/b", "../elsewhere", Symlink), ("lib/c", "./lib/a", Link)];
        fs::write(&file, package(&[("lib/a", b"A")], &links)).unwrap();
        unpack(&file, &out, |_| true).unwrap();
        assert_eq!(fs::read_link(out.join("lib/b")).unwrap(), Path::new("../elsewhere"));
        assert_eq!(fs::read(out.join("lib/c")).unwrap(), b"A");
        // a file behind a link lands beside it, and the link has no place any more
        let links = [("lib", directory.path().to_str().unwrap(), Symlink)];
        fs::write(&file, package(&[("lib/a", b"A")], &links)).unwrap();
        let error =
            format!("{:#}", unpack(&file, &directory.path().join("2"), |_| true).unwrap_err());
        assert!(error.contains("cannot make the link"), "{error}");
        assert!(!directory.path().join("a").exists());
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
        let good = package(&[("boot/x", &[7; 5000])], &[]);
        refused(&good[..good.len() / 2], "no data.tar");
        refused(&good[..good.len() - 20], "cannot unpack");
        let mut bad = good;
        bad[8 + 48] = b'x';
        refused(&bad, "ar header");
    }
}
