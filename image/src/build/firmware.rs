// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes firmware.squashfs.

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::config;
use crate::deb;
use crate::kconfig::Kconfig;
use crate::scratch;
use crate::squashfs::{self, Codec};
use crate::tree::Tree;

/// Where Debian's packages have it, before and since the merge of /usr.
const IN_PACKAGE: [&str; 2] = ["lib/firmware", "usr/lib/firmware"];

/// All of it.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) codec: Codec,
    pub(super) tree: Tree,
    // deletes the unpacked packages
    _temporary: Vec<TempDir>,
}

/// Lays packages and directories over one another.
pub(super) fn plan(section: &config::Firmware, kernels: &[(&str, &Kconfig)]) -> Result<Planned> {
    let codec = squashfs::choose("firmware.squashfs", section.compression, kernels)?;
    let (mut tree, mut temporary) = (Tree::default(), Vec::new());
    for package in &section.packages {
        let out = scratch::directory()?;
        deb::unpack(package, out.path(), |path| {
            IN_PACKAGE.iter().any(|place| path.starts_with(place))
        })?;
        let places = IN_PACKAGE.map(|place| out.path().join(place));
        let mut places = places.iter().filter(|place| place.is_dir()).peekable();
        ensure!(places.peek().is_some(), "{}: no lib/firmware in it", package.display());
        places.try_for_each(|place| tree.add(place))?;
        temporary.push(out);
    }
    section.directories.iter().try_for_each(|directory| tree.add(directory))?;
    Ok(Planned { codec, tree, _temporary: temporary })
}
