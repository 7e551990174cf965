// SPDX-License-Identifier: MIT OR Apache-2.0
//! The slot's volume as a file, packed, for bundles.

use std::path::PathBuf;

use anyhow::Result;
use bootsel::{bundle, manifest};

use super::Build;
use crate::artifact;
use crate::scratch;
use crate::tree::hash_file;

impl Build<'_> {
    /// Writes `boot.img.zst`; what the manifest says of the plain volume.
    pub(super) fn boot(&self) -> Result<(PathBuf, manifest::File)> {
        let plain = scratch::file_in(self.out, 0o600)?;
        plain.as_file().set_len(self.slot.bytes)?;
        self.slot.plan()?.write(plain.as_file(), 0)?;
        let (sha256, bytes) = hash_file(plain.path())?;
        let out = self.out.join(bundle::BOOT_PACKED);
        artifact::zstd(plain.path(), &out, &self.config.output, self.progress)?;
        Ok((out, manifest::File { sha256, bytes, name: manifest::BOOT.to_owned() }))
    }
}
