// SPDX-License-Identifier: MIT OR Apache-2.0
//! Public keys, and signatures of manifests by them: minisign's (Ed25519 over BLAKE2b, algorithm `ED`).

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use bootsel::bundle::SIGNATURE_MAX;
use bootsel::manifest::Manifest;
use minisign_verify::{PublicKey, Signature};

use crate::Error;

/// A public key has two lines of some 120 bytes together.
const KEY_MAX: u64 = 1024;

/// Keys that are trusted, each with the name of its file.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<(String, PublicKey)>);

/// A manifest that one of the keys signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What was signed.
    pub manifest: Manifest,
    /// The name of the key.
    pub key: String,
}

impl Keys {
    /// Reads all files `*.pub` of a directory.
    ///
    /// # Errors
    /// Where one of them is no key, or there is none: a key that was meant to be trusted is not left out silently.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let cannot = |why| Error::Read(directory.to_owned(), why);
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension().is_some_and(|ending| ending == "pub") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut keys = Self::default();
        for path in paths {
            let mut text = String::new();
            let file = File::open(&path).map_err(|why| Error::Read(path.clone(), why))?;
            file.take(KEY_MAX)
                .read_to_string(&mut text)
                .map_err(|why| Error::Read(path.clone(), why))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            keys.add(&name, &text)?;
        }
        if keys.0.is_empty() { Err(Error::NoKeys(directory.to_owned())) } else { Ok(keys) }
    }

    /// Adds the key of a file of that name.
    ///
    /// # Errors
    /// Where the text is no public key.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let key = PublicKey::decode(text).map_err(|_| Error::Key(name.to_owned()))?;
        self.0.push((name.to_owned(), key));
        Ok(())
    }

    /// Whether one of the keys made this signature, of this manifest and for its revision and version.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn verify(&self, manifest: &[u8], signature: &[u8]) -> Result<Signed, Error> {
        let signature = parse(signature)?;
        let mut wrong = None;
        for (name, key) in &self.0 {
            match key.verify(manifest, &signature, false) {
                Ok(()) => return signed(manifest, &signature, name),
                // the number of a key is no secret and no proof: another one may have the same
                Err(minisign_verify::Error::UnexpectedKeyId) => {}
                Err(minisign_verify::Error::UnexpectedAlgorithm) => {
                    return Err(Error::Signature("not of the prehashed kind"));
                }
                Err(_) => wrong = Some(name.clone()),
            }
        }
        Err(wrong.map_or(Error::UnknownKey, Error::Wrong))
    }
}

/// What the trusted comment of a manifest's signature says: who sees it need not read the manifest.
#[must_use]
pub fn trusted_comment(manifest: &Manifest) -> String {
    let revision = manifest.revision().map(|id| id.to_string()).unwrap_or_default();
    format!("pivot revision={revision} version={}", manifest.version().unwrap_or_default())
}

fn parse(signature: &[u8]) -> Result<Signature, Error> {
    let none = Error::Signature("expected four lines as minisign writes them");
    if signature.len() > SIGNATURE_MAX {
        return Err(none);
    }
    match core::str::from_utf8(signature) {
        Ok(text) if text.lines().count() == 4 => Signature::decode(text).map_err(|_| none),
        _ => Err(none),
    }
}

fn signed(bytes: &[u8], signature: &Signature, key: &str) -> Result<Signed, Error> {
    let manifest = Manifest::parse(bytes)?;
    let (found, expected) = (signature.trusted_comment(), trusted_comment(&manifest));
    if found != expected {
        return Err(Error::Comment { found: found.to_owned(), expected });
    }
    Ok(Signed { manifest, key: key.to_owned() })
}
