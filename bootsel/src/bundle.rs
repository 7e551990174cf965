// SPDX-License-Identifier: MIT OR Apache-2.0

//! A bundle: a revision and the boot volume that belongs to it, in one file that is installed as a stream.
//!
//! It is a tar archive ([`crate::tar`]) of these members, in this order and no others: the manifest, its signature,
//! the slot's volume packed with zstd, and the files of the manifest in the manifest's order. Nothing is
//! believed before the signature was verified: until then a bundle may only choose how many of at most
//! 64 KiB + 1 KiB are read.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;

use crate::manifest::{BOOT, File, MAX_BYTES, Manifest, NAME, SIGNATURE};
use crate::tar;

/// Name of the member with the slot's volume.
pub const BOOT_PACKED: &str = "boot.img.zst";
/// A signature has four lines of some 350 bytes together; its comments could be longer.
pub const SIGNATURE_MAX: usize = 1024;
/// Base 2 logarithm of the most memory that unpacking [`BOOT_PACKED`] may take: 8 MiB, what zstd's levels up to 19
/// need.
pub const WINDOW_LOG_MAX: u32 = 23;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    /// The manifest. Not to be believed yet.
    Manifest,
    /// Its signature: to be verified, then [`Order::trust`] is called.
    Signature,
    /// The packed volume.
    Boot,
    /// A file of the revision, of exactly this length.
    File(File),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Manifest,
    Signature,
    /// Nothing: [`Order::trust`] has to be called first.
    Trust,
    Boot,
    /// The number of this file among [`Manifest::images`].
    File(usize),
}

/// Judges members by name and size as they come.
#[derive(Clone, Debug)]
pub struct Order {
    next: Next,
    manifest: Option<Manifest>,
}

impl Default for Order {
    fn default() -> Self {
        Self { next: Next::Manifest, manifest: None }
    }
}

impl Order {
    /// Says what the next member is. After an error nothing more is to be read.
    ///
    /// # Errors
    /// Where it is not the one that has to come now, or not as long as it may be.
    pub fn member(&mut self, name: &str, bytes: u64) -> Result<Member, Error> {
        let (expected, most) = match self.next {
            Next::Trust => return Err(Error::NotVerified),
            Next::Manifest => (NAME, MAX_BYTES as u64),
            Next::Signature => (SIGNATURE, SIGNATURE_MAX as u64),
            Next::Boot => (BOOT_PACKED, self.boot().map_or(0, |boot| packed_max(boot.bytes))),
            Next::File(number) => match self.image(number) {
                Some(file) => (file.name.as_str(), file.bytes),
                None => return Err(self.misplaced(name, None)),
            },
        };
        if name != expected {
            return Err(self.misplaced(name, Some(expected)));
        }
        let exact = matches!(self.next, Next::File(_));
        if bytes > most || exact && bytes != most {
            return Err(Error::Size { name: name.to_owned(), bytes, expected: most, exact });
        }
        let (member, next) = match self.next {
            Next::Manifest => (Member::Manifest, Next::Signature),
            Next::Signature | Next::Trust => (Member::Signature, Next::Trust),
            Next::Boot => (Member::Boot, Next::File(0)),
            Next::File(number) => {
                let file = self.image(number).ok_or(Error::NotVerified)?;
                (Member::File(file.clone()), Next::File(number.saturating_add(1)))
            }
        };
        self.next = next;
        Ok(member)
    }

    /// The signature of this manifest was verified.
    ///
    /// # Errors
    /// Where it is not the time for it, or the manifest is not one of a bundle.
    pub fn trust(&mut self, manifest: Manifest) -> Result<(), Error> {
        if self.next != Next::Trust {
            return Err(Error::NotVerified);
        }
        let boot = manifest.file(BOOT).ok_or(Error::Manifest("lists no boot.img"))?;
        if manifest.slot_letter().is_none_or(|letter| letter >= boot.bytes) {
            return Err(Error::Manifest("has no slot_letter within boot.img"));
        }
        let unfit = |file: &File| file.name == BOOT_PACKED || file.name.len() > tar::NAME_MAX;
        if manifest.images().any(unfit) {
            return Err(Error::Manifest("lists a file that no bundle can hold"));
        }
        self.manifest = Some(manifest);
        self.next = Next::Boot;
        Ok(())
    }

    /// The archive ends here.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn end(&self) -> Result<(), Error> {
        let missing = match self.next {
            Next::Trust => return Err(Error::NotVerified),
            Next::Manifest => NAME,
            Next::Signature => SIGNATURE,
            Next::Boot => BOOT_PACKED,
            Next::File(number) => match self.image(number) {
                Some(file) => &file.name,
                None => return Ok(()),
            },
        };
        Err(Error::Missing(missing.to_owned()))
    }

    fn boot(&self) -> Option<&File> {
        self.manifest.as_ref()?.file(BOOT)
    }

    fn image(&self, number: usize) -> Option<&File> {
        self.manifest.as_ref()?.images().nth(number)
    }

    /// Why a member is not the one that has to come.
    fn misplaced(&self, name: &str, expected: Option<&str>) -> Error {
        let place = match name {
            NAME => Some(0),
            SIGNATURE => Some(1),
            BOOT_PACKED => Some(2),
            _ => {
                let images = self.manifest.iter().flat_map(Manifest::images);
                images.zip(3..).find(|(file, _)| file.name == name).map(|(_, place)| place)
            }
        };
        let here = match self.next {
            Next::Manifest => 0,
            Next::Signature => 1,
            Next::Trust | Next::Boot => 2,
            Next::File(number) => number.saturating_add(3),
        };
        let name = name.to_owned();
        match (place, expected) {
            (Some(place), _) if place < here => Error::Twice(name),
            (_, None) => Error::Unknown(name),
            (Some(_), Some(expected)) => Error::Order { name, expected: expected.to_owned() },
            // names are known from the manifest on
            (None, Some(expected)) if self.manifest.is_none() => {
                Error::Order { name, expected: expected.to_owned() }
            }
            (None, Some(_)) => Error::Unknown(name),
        }
    }
}

/// zstd makes incompressible input longer by 1/256 and a little (`ZSTD_COMPRESSBOUND`).
fn packed_max(bytes: u64) -> u64 {
    bytes.saturating_add(bytes >> 8).saturating_add(1024)
}

/// Why a bundle is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The signature has to be verified before anything else is read.
    NotVerified,
    /// A verified manifest that does not describe a bundle, and why.
    Manifest(&'static str),
    /// Another member had to come.
    Order {
        /// The one that came.
        name: String,
        /// The one that had to.
        expected: String,
    },
    /// This member was there already.
    Twice(String),
    /// The manifest does not name this member.
    Unknown(String),
    /// This member is missing.
    Missing(String),
    /// A member of a wrong length.
    Size {
        /// The member.
        name: String,
        /// Its length.
        bytes: u64,
        /// The length that it has to have, or may have at most.
        expected: u64,
        /// Which of both.
        exact: bool,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotVerified => f.write_str("its signature was not verified"),
            Self::Manifest(problem) => write!(f, "{NAME} {problem}"),
            Self::Order { name, expected } => write!(f, "{name} is where {expected} has to be"),
            Self::Twice(name) => write!(f, "{name} is there twice"),
            Self::Unknown(name) => write!(f, "{name} is not listed in {NAME}"),
            Self::Missing(name) => write!(f, "ends too early: {name} is missing"),
            Self::Size { name, bytes, expected, exact } => {
                let most = if *exact { "" } else { " at most" };
                write!(f, "{name} has {bytes} bytes instead of {expected}{most}")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
