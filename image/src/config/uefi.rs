// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[uefi]`: what only an image for UEFI and GRUB has.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::Config;

/// `[uefi]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uefi {
    /// GRUB: a Debian package, or the program itself.
    pub grub: PathBuf,
    /// What starts GRUB under Secure Boot: a Debian package, or the program itself. Absent: the firmware starts GRUB.
    pub shim: Option<PathBuf>,
    /// Where that GRUB looks for its grub.cfg: it is built into it.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// More words for the kernel's command line, of boots by GRUB alone.
    #[serde(default)]
    pub cmdline: String,
}

/// Of the GRUB that Debian builds and signs (debian/build-efi-images in its source package grub2).
fn prefix() -> String {
    "/EFI/debian".to_owned()
}

/// What can be seen in the text alone.
pub(super) fn check(config: &Config) -> Result<()> {
    let Some(uefi) = &config.uefi else { return Ok(()) };
    let plain = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(known)
    };
    let parts = uefi.prefix.strip_prefix('/');
    ensure!(
        parts.is_some_and(|parts| parts.split('/').all(plain)),
        "uefi.prefix = {:?}: expected a directory like \"/EFI/debian\"",
        uefi.prefix
    );
    ensure!(
        config.rpi.is_some() || config.kernel.iter().all(|kernel| kernel.file.is_none()),
        "kernel.file: GRUB asks for no name"
    );
    Ok(())
}
