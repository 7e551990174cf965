// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key pairs as minisign makes them, and signatures of manifests.

use std::fmt;
use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use blake2::{Blake2b512, Digest};
use bootsel::manifest::Manifest;
use ct_codecs::{Base64, Decoder, Encoder};
use ed25519_compact::SecretKey;
use minisign::{KeyPair, PublicKey, SecretKeyBox};
use serde::Serialize;
use signed::{Keys, trusted_comment};
use tempfile::NamedTempFile;

use crate::progress::Progress;
use crate::scratch;

/// Of a prehashed signature.
const ALGORITHM: &[u8] = b"ED";
/// Bytes of minisign's structure, and where in it lie: the algorithm that makes a key of a password, zero for none;
/// the number of the key; the Ed25519 key, seed and public key. (minisign(1): SECRET KEY FORMAT.)
const BYTES: usize = 158;
const KDF: Range<usize> = 2..4;
const NUMBER: Range<usize> = 54..62;
const ED25519: Range<usize> = 62..126;

/// The two files of a key pair.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// To be kept.
    pub secret: PathBuf,
    /// For devices.
    pub public: PathBuf,
}

/// Makes a key pair in `directory`.
///
/// # Errors
/// Where one of the files is there already, or cannot be written.
pub fn make(directory: &Path, name: &str, password: Option<&Path>) -> Result<Made> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    let fits = !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
    ensure!(
        fits,
        "name {name:?}: expected letters, digits, '.', '_', '+' and '-': it is a file name"
    );
    let [secret, public] = ["key", "pub"].map(|ending| directory.join(format!("{name}.{ending}")));
    for path in [&secret, &public] {
        ensure!(!path.exists(), "{} is there already: no key is overwritten", path.display());
    }
    let pair = match password {
        Some(file) => KeyPair::generate_encrypted_keypair(Some(first_line(file)?)),
        None => KeyPair::generate_unencrypted_keypair(),
    }
    .context("cannot make a key pair")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make directory {}", directory.display()))?;
    let text = pair.sk.to_box(Some("secret key of pivot-image"))?.into_string();
    // both or none: half a pair would be in the way of the next one
    let first = unnamed(&secret, 0o600, &text)?;
    let second = unnamed(&public, 0o644, &pair.pk.to_box()?.into_string())?;
    name_it(first, &secret)?;
    if let Err(error) = name_it(second, &public) {
        let _ = fs::remove_file(&secret);
        return Err(error);
    }
    Ok(Made { secret, public })
}

/// A file that will be at `path`.
fn unnamed(path: &Path, mode: u32, text: &str) -> Result<NamedTempFile> {
    let mut file = scratch::file_in(scratch::parent(path), mode)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

/// Never over another file.
fn name_it(file: NamedTempFile, path: &Path) -> Result<()> {
    let named = file.persist_noclobber(path).map_err(|error| error.error);
    named.with_context(|| format!("cannot write {}", path.display())).map(drop)
}

fn first_line(file: &Path) -> Result<String> {
    let cannot = || format!("cannot read password file {}", file.display());
    let text = fs::read_to_string(file).with_context(cannot)?;
    let line = text.lines().next().unwrap_or_default();
    ensure!(!line.is_empty(), "password file {}: its first line is empty", file.display());
    Ok(line.to_owned())
}

/// A secret key.
pub struct Key {
    number: [u8; 8],
    ed25519: SecretKey,
    /// Text of its public key.
    public: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a secret key; a warning goes out where others may read it, too.
    ///
    /// # Errors
    /// Where it is none, or the password is missing or wrong.
    pub fn read(path: &Path, password: Option<&Path>, progress: Progress) -> Result<Self> {
        let cannot = || format!("cannot read key {}", path.display());
        let text = fs::read_to_string(path).with_context(cannot)?;
        if fs::metadata(path).with_context(cannot)?.mode() & 0o077 != 0 {
            let advice = "others may read this secret key: chmod 600";
            progress.note(&format!("warning: {}: {advice}", path.display()));
        }
        let mut bytes = text
            .lines()
            .nth(1)
            .and_then(|line| Base64::decode_to_vec(line, None).ok())
            .filter(|bytes| bytes.len() == BYTES && bytes.starts_with(b"Ed"))
            .with_context(|| format!("{} is not a minisign secret key", path.display()))?;
        // Crate minisign does not take the program's plain keys, which have no checksum: it is for locked ones alone.
        if bytes[KDF] != [0; 2] {
            let Some(file) = password else {
                bail!("key {} is encrypted: a password file is needed", path.display());
            };
            let secret = SecretKeyBox::from_string(&text)?.into_secret_key(Some(first_line(file)?));
            bytes = secret.with_context(|| format!("key {}", path.display()))?.to_bytes();
        }
        let ed25519 = ed25519_compact::KeyPair::from_slice(&bytes[ED25519])
            .and_then(|pair| pair.validate().map(|()| pair))
            .map_err(|_| anyhow!("key {} is damaged", path.display()))?;
        let number: [u8; 8] = bytes[NUMBER].try_into()?;
        let public = [b"Ed", &number[..], &ed25519.pk[..]].concat();
        let public = PublicKey::from_bytes(&public)?.to_box()?.into_string();
        Ok(Self { number, ed25519: ed25519.sk, public })
    }

    /// The text of its public key's file.
    #[must_use]
    pub fn public(&self) -> &str {
        &self.public
    }

    /// Signs a manifest, the same way each time: the text of `manifest.minisig`.
    ///
    /// # Errors
    /// Where what came out is not what a device would accept.
    pub fn sign(&self, manifest: &Manifest) -> Result<String> {
        let text = manifest.to_string();
        let hash = Blake2b512::digest(text.as_bytes());
        let signature = self.ed25519.sign(hash, None);
        let comment = trusted_comment(manifest);
        let both = self.ed25519.sign([&signature[..], comment.as_bytes()].concat(), None);
        let first = Base64::encode_to_string([ALGORITHM, &self.number, &signature[..]].concat())?;
        let second = Base64::encode_to_string(&both[..])?;
        let out = format!(
            "untrusted comment: signature of a revision by pivot-image\n{first}\n\
             trusted comment: {comment}\n{second}\n"
        );
        let mut keys = Keys::default();
        keys.add("this key", &self.public)?;
        keys.verify(text.as_bytes(), out.as_bytes()).context("cannot sign")?;
        Ok(out)
    }
}
