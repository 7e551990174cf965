// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signed bundles, read as a stream: what the device installs from, and what the image builder judges its own by.
//!
//! A crate of its own because minisign-verify needs std, which init does not have. The formats and their rules are
//! in [`bootsel::bundle`] and [`bootsel::tar`].
//!
//! [`Head::read`] takes the manifest and its signature, [`Head::verify`] makes a [`Bundle`] of it, and
//! [`Bundle::next_member`] goes through the rest. Contents are to be hashed by the caller, who compares them with the
//! manifest: nothing here keeps more than the head in memory.
#![forbid(unsafe_code)]

mod keys;

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use bootsel::bundle::{self, Member, Order, SIGNATURE_MAX};
use bootsel::manifest::{self, MAX_BYTES, Manifest};
use bootsel::tar;

pub use keys::{Keys, Signed, trusted_comment};

/// The beginning of a bundle: a claim, until its signature was verified.
#[derive(Debug)]
pub struct Head<R> {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The text of its signature.
    pub signature: Vec<u8>,
    stream: Stream<R>,
    order: Order,
}

impl<R: Read> Head<R> {
    /// Reads manifest and signature.
    ///
    /// # Errors
    /// Where the stream does not begin as a bundle does.
    pub fn read(reader: R) -> Result<Self, Error> {
        let mut stream = Stream { reader, left: 0, padding: 0 };
        let mut order = Order::default();
        let mut member = |most: usize| {
            let Some((name, bytes)) = stream.header()? else {
                return Err(order.end().err().map_or(Error::Trailing, Error::Bundle));
            };
            order.member(&name, bytes)?;
            let mut content = Vec::with_capacity(most);
            stream.read_to_end(&mut content).map_err(Error::stream)?;
            Ok(content)
        };
        let (manifest, signature) = (member(MAX_BYTES)?, member(SIGNATURE_MAX)?);
        Ok(Self { manifest, signature, stream, order })
    }

    /// Goes on if one of the keys made the signature.
    ///
    /// # Errors
    /// Where none did, or the manifest is not one of a bundle.
    pub fn verify(self, keys: &Keys) -> Result<Bundle<R>, Error> {
        let signed = keys.verify(&self.manifest, &self.signature)?;
        self.trust(signed.manifest, Some(signed.key))
    }

    /// Goes on without a look at the signature: for showing what is there, never for installing it.
    ///
    /// # Errors
    /// Where the manifest is not one of a bundle.
    pub fn unverified(self) -> Result<Bundle<R>, Error> {
        let manifest = Manifest::parse(&self.manifest)?;
        self.trust(manifest, None)
    }

    fn trust(mut self, manifest: Manifest, key: Option<String>) -> Result<Bundle<R>, Error> {
        self.order.trust(manifest.clone())?;
        Ok(Bundle { manifest, key, stream: self.stream, order: self.order })
    }
}

/// A bundle whose manifest is known; reading from it gives the content of the member that
/// [`Bundle::next_member`] came to.
#[derive(Debug)]
pub struct Bundle<R> {
    /// What it is.
    pub manifest: Manifest,
    /// The name of the key that verified its signature.
    pub key: Option<String>,
    stream: Stream<R>,
    order: Order,
}

impl<R: Read> Bundle<R> {
    /// Goes to the next member; what was not read of the one before is skipped. `None` is the end: everything was
    /// there, and nothing follows.
    ///
    /// # Errors
    /// Where the stream is not as a bundle has to be.
    pub fn next_member(&mut self) -> Result<Option<Member>, Error> {
        match self.stream.header()? {
            Some((name, bytes)) => Ok(Some(self.order.member(&name, bytes)?)),
            None => {
                self.order.end()?;
                self.stream.end()?;
                Ok(None)
            }
        }
    }
}

impl<R: Read> Read for Bundle<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

/// A tar archive.
#[derive(Debug)]
struct Stream<R> {
    reader: R,
    /// Bytes of the current member that were not read yet, and zeros that follow them.
    left: u64,
    padding: usize,
}

impl<R: Read> Stream<R> {
    /// Name and length of the next member; `None` at a block of zeros.
    fn header(&mut self) -> Result<Option<(String, u64)>, Error> {
        io::copy(self, &mut io::sink()).map_err(Error::stream)?;
        let padding = self.block(self.padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Error::Padding);
        }
        let block = self.block(tar::BLOCK)?;
        let Some(header) = tar::header(&block)? else { return Ok(None) };
        (self.left, self.padding) = (header.bytes, tar::padding(header.bytes));
        Ok(Some((header.name.to_owned(), header.bytes)))
    }

    /// So many bytes of the next block, at most 512.
    fn block(&mut self, bytes: usize) -> Result<[u8; tar::BLOCK], Error> {
        let mut block = [0; tar::BLOCK];
        if let Some(part) = block.get_mut(..bytes) {
            self.reader.read_exact(part).map_err(Error::stream)?;
        }
        Ok(block)
    }

    /// The second block of zeros, and nothing more.
    fn end(&mut self) -> Result<(), Error> {
        let block = self.block(tar::BLOCK)?;
        let more = self.reader.by_ref().take(1).read_to_end(&mut Vec::new());
        match more.map_err(Error::stream)? {
            0 if block.iter().all(|byte| *byte == 0) => Ok(()),
            _ => Err(Error::Trailing),
        }
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.reader.read(buffer.get_mut(..most).unwrap_or_default())?;
        if count == 0 && most > 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, Error::Truncated));
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Why a bundle or a key is refused.
#[derive(Debug)]
pub enum Error {
    /// A file or directory that cannot be read.
    Read(PathBuf, io::Error),
    /// The stream cannot be read.
    Stream(io::Error),
    /// It ends within a member.
    Truncated,
    /// Something follows the end.
    Trailing,
    /// What fills a block is not zero.
    Padding,
    /// A header of the archive.
    Tar(tar::Error),
    /// A member of the archive.
    Bundle(bundle::Error),
    /// The manifest.
    Manifest(manifest::Error),
    /// A directory without keys.
    NoKeys(PathBuf),
    /// A public key that is none.
    Key(String),
    /// The signature is none, and why.
    Signature(&'static str),
    /// No known key has the number of the one that signed.
    UnknownKey,
    /// The signature is not that of this key over this manifest.
    Wrong(String),
    /// The trusted comment is that of another revision.
    Comment {
        /// What it is.
        found: String,
        /// What the manifest asks for.
        expected: String,
    },
}

impl Error {
    fn stream(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Stream(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, why) => write!(f, "cannot read {}: {why}", path.display()),
            Self::Stream(why) => write!(f, "cannot read the bundle: {why}"),
            Self::Truncated => f.write_str("the bundle is cut short"),
            Self::Trailing => f.write_str("something follows the end of the bundle"),
            Self::Padding => f.write_str("no bundle: a block is not filled with zeros"),
            Self::Tar(why) => write!(f, "no bundle: {why}"),
            Self::Bundle(why) => write!(f, "no bundle: {why}"),
            Self::Manifest(why) => why.fmt(f),
            Self::NoKeys(path) => write!(f, "no public key (*.pub) in {}", path.display()),
            Self::Key(name) => write!(f, "{name} is not a minisign public key"),
            Self::Signature(why) => write!(f, "signature: {why}"),
            Self::UnknownKey => f.write_str("signature: made with a key that is not known here"),
            Self::Wrong(key) => {
                write!(f, "signature: wrong, the manifest is not what {key} signed")
            }
            Self::Comment { found, expected } => {
                write!(f, "signature: of {found:?}, the manifest is {expected:?}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<tar::Error> for Error {
    fn from(error: tar::Error) -> Self {
        Self::Tar(error)
    }
}

impl From<bundle::Error> for Error {
    fn from(error: bundle::Error) -> Self {
        Self::Bundle(error)
    }
}

impl From<manifest::Error> for Error {
    fn from(error: manifest::Error) -> Self {
        Self::Manifest(error)
    }
}

#[cfg(test)]
mod tests;
