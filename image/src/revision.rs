// SPDX-License-Identifier: MIT OR Apache-2.0
//! A revision's directory: its files and the manifest that names them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bootsel::manifest::{self, File, Manifest};

use crate::config;
use crate::keys::Key;
use crate::scratch;
use crate::tree::hash_file;

/// Fills `directory` with the files, each under its own name, and writes the manifest, which lists the `boot` volume,
/// too, and its signature if there is a key. What was there before is removed.
///
/// # Errors
/// Where a file cannot be read, or the directory cannot be written.
pub fn write(
    directory: &Path,
    revision: &config::Revision,
    keys: &[(&str, String)],
    files: &[PathBuf],
    boot: Option<File>,
    key: Option<&Key>,
) -> Result<Manifest> {
    scratch::whole_directory(directory, |to| fill(to, revision, keys, files, boot, key))
}

fn fill(
    directory: &Path,
    revision: &config::Revision,
    keys: &[(&str, String)],
    files: &[PathBuf],
    boot: Option<File>,
    key: Option<&Key>,
) -> Result<Manifest> {
    let cannot = "cannot write the manifest";
    let mut manifest = Manifest::new(&revision.id, revision.version);
    manifest.keys.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        link(path, &directory.join(&name))?;
        let (sha256, bytes) = hash_file(path)?;
        manifest.files.push(File { sha256, bytes, name });
    }
    manifest.files.extend(boot);
    manifest.files.sort_by(|a, b| a.name.cmp(&b.name));
    let text = manifest.to_string();
    // what the device will do with it
    Manifest::parse(text.as_bytes()).context("the manifest would not be understood")?;
    fs::write(directory.join(manifest::NAME), text).context(cannot)?;
    if let Some(key) = key {
        let signature = key.sign(&manifest)?;
        fs::write(directory.join(manifest::SIGNATURE), signature).context(cannot)?;
    }
    Ok(manifest)
}

/// A second name for the file, or a copy where that is not possible.
///
/// # Errors
/// Where it cannot be copied either.
pub fn link(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifest_lists_the_files() {
        let base = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = base.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let files = [file("root.squashfs", "abc"), file("modules_6.12.squashfs", "")];
        let revision = config::Revision {
            id: "r1".parse().unwrap(),
            version: 3,
            key: None,
            password_file: None,
        };
        let directory = base.path().join("revision");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("old"), "").unwrap();
        write(&directory, &revision, &[("slot_letter", "700".to_owned())], &files, None, None)
            .unwrap();
        let text = fs::read_to_string(directory.join("manifest")).unwrap();
        let expected = "format=1\nrevision=r1\nversion=3\nslot_letter=700\n\n\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  0  modules_6.12.squashfs\n\
            ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  3  root.squashfs\n";
        assert_eq!(text, expected);
        assert!(!directory.join("old").exists());
        assert_eq!(fs::read(directory.join("root.squashfs")).unwrap(), b"abc");
    }
}
