// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks at a bundle as a device does: the signature, the order and length of its members, and each hash.

use std::fmt::{Display, Formatter};
use std::io::Read;

use anyhow::{Result, bail, ensure};
use bootsel::bundle::{Member, WINDOW_LOG_MAX};
use bootsel::manifest::{self, Manifest};
use serde::Serialize;
use sha2::{Digest, Sha256};
use signed::{Head, Keys};

use crate::inspect::{Judged, Listing};

/// What a bundle is, as far as it could be read.
#[derive(Debug, Default, Serialize)]
pub struct Bundle {
    /// The key that verified its signature.
    pub key: Option<String>,
    /// Its manifest.
    pub manifest: Option<Listing>,
    /// Why no device would install it; none: nothing is wrong.
    pub problem: Option<String>,
}

impl Bundle {
    /// Whether nothing is wrong with it.
    ///
    /// # Errors
    /// Says what is.
    pub fn sound(&self) -> Result<()> {
        let files = self.manifest.iter().flat_map(|listing| &listing.files);
        let mut wrong = files
            .filter_map(|file| file.problem.as_ref().map(|what| format!("{} {what}", file.name)));
        match self.problem.clone().or_else(|| wrong.next()) {
            Some(problem) => bail!(problem),
            None => Ok(()),
        }
    }
}

impl Display for Bundle {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "bundle")?;
        match &self.key {
            Some(key) => writeln!(f, "signature: verified with {key}")?,
            None => writeln!(f, "signature: not verified")?,
        }
        if let Some(problem) = &self.problem {
            writeln!(f, "PROBLEM: {problem}")?;
        }
        let files = || self.manifest.iter().flat_map(|listing| &listing.files);
        let not: Vec<_> = files().filter(|file| !file.checked).map(|file| &*file.name).collect();
        if !not.is_empty() {
            writeln!(f, "not looked at, because of that: {}", not.join(", "))?;
        }
        self.manifest.iter().try_for_each(|listing| listing.fmt(f))
    }
}

/// Reads a whole bundle; without keys its signature is not looked at.
#[must_use]
pub fn bundle(reader: impl Read, keys: Option<&Keys>) -> Bundle {
    let mut found = Bundle::default();
    if let Err(error) = read(reader, keys, &mut found) {
        found.problem = Some(format!("{error:#}"));
    }
    found
}

fn read(reader: impl Read, keys: Option<&Keys>, found: &mut Bundle) -> Result<()> {
    let head = Head::read(reader)?;
    let signature = keys.map(|keys| keys.verify(&head.manifest, &head.signature)).transpose();
    found.manifest = Listing::read(&head.manifest, |_| Judged::Not).ok();
    // a wrong signature is what has to be said, whatever else is wrong
    found.key = signature?.map(|signed| signed.key);
    let mut bundle = head.unverified()?;
    let manifest = bundle.manifest.clone();
    let mut good = Vec::new();
    while let Some(member) = bundle.next_member()? {
        match member {
            Member::Boot => good.push((manifest::BOOT.to_owned(), boot(&mut bundle, &manifest))),
            Member::File(file) => {
                let (sha256, _) = hash(&mut bundle, None)?;
                let same = sha256 == file.sha256;
                let judged = if same { Ok(()) } else { Err(anyhow::anyhow!("has another sha256")) };
                good.push((file.name, judged));
            }
            Member::Manifest | Member::Signature => {}
        }
        for item in found.manifest.iter_mut().flat_map(|listing| &mut listing.files) {
            if let Some((_, judged)) = good.iter().find(|(name, _)| *name == item.name) {
                item.judge(match judged {
                    Ok(()) => Judged::Good,
                    Err(error) => Judged::Wrong(format!("{error:#}")),
                });
            }
        }
    }
    Ok(())
}

/// Unpacks the volume: its length and hash, and the byte that becomes the letter of the slot.
fn boot(packed: impl Read, manifest: &Manifest) -> Result<()> {
    let (Some(file), Some(letter)) = (manifest.file(manifest::BOOT), manifest.slot_letter()) else {
        bail!("is not listed");
    };
    let mut plain = zstd::stream::read::Decoder::new(packed)?;
    plain.window_log_max(WINDOW_LOG_MAX)?;
    let (sha256, found) = hash(plain.take(file.bytes.saturating_add(1)), Some(letter))?;
    ensure!(sha256 == file.sha256, "has another sha256");
    ensure!(found == Some(b'_'), "has no letter of the slot at byte {letter}");
    Ok(())
}

/// The hash of all bytes, and the byte at a place.
fn hash(mut reader: impl Read, at: Option<u64>) -> Result<([u8; 32], Option<u8>)> {
    let (mut hash, mut begin, mut found) = (Sha256::new(), 0_u64, None);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok((hash.finalize().into(), found));
        }
        let place = at.and_then(|at| usize::try_from(at.checked_sub(begin)?).ok());
        found = found.or(place.and_then(|place| buffer[..count].get(place).copied()));
        hash.update(&buffer[..count]);
        begin += count as u64;
    }
}
