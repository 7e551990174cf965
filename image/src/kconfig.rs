// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel was built with: `boot/config-<release>`, and the decisions that rest on it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use crate::squashfs::Codec;

/// The options that are built in (`=y`) or are a module (`=m`).
#[derive(Debug, Default)]
pub struct Kconfig {
    built_in: BTreeSet<String>,
    modules: BTreeSet<String>,
    assumed: bool,
}

const ASSUMED: &str = "# assumed: neither a file nor the kernel says how it was built";

impl Kconfig {
    /// Reads the file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| {
            format!("cannot read {}: the kernel's configuration", path.display())
        })?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Parses its text; lines of any other form say nothing.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut config = Self { assumed: text.starts_with(ASSUMED), ..Self::default() };
        for line in text.lines() {
            match line.trim_end().split_once('=') {
                Some((name, "y")) => config.built_in.insert(name.to_owned()),
                Some((name, "m")) => config.modules.insert(name.to_owned()),
                _ => false,
            };
        }
        config
    }

    /// A configuration for a kernel that does not say how it was built: what the makers of the Raspberry Pi build in
    /// since 5.10 (raspberrypi/linux: arch/arm/configs/bcm2711_defconfig and the kernel's own defaults), less of
    /// it where their kernels differ.
    #[must_use]
    pub fn assumed(release: &str) -> String {
        let processor = if release.contains("-v7l") {
            "CONFIG_CPU_V7=y\nCONFIG_ARM_LPAE=y\n"
        } else if release.contains("-v7") {
            "CONFIG_CPU_V7=y\n"
        } else {
            "CONFIG_CPU_V6=y\n"
        };
        let options = ["SQUASHFS", "SQUASHFS_ZLIB", "SQUASHFS_XZ", "RD_ZSTD", "RD_LZ4"];
        let lines: String = options.iter().map(|name| format!("CONFIG_{name}=y\n")).collect();
        format!("{ASSUMED}\n{processor}{lines}")
    }

    /// Whether this is [`Kconfig::assumed`].
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// Whether the option is `y`.
    #[must_use]
    pub fn built_in(&self, option: &str) -> bool {
        self.built_in.contains(option)
    }

    /// Whether the option is `y` or `m`.
    #[must_use]
    pub fn enabled(&self, option: &str) -> bool {
        self.built_in(option) || self.modules.contains(option)
    }

    /// Whether this kernel's squashfs reads the codec.
    #[must_use]
    pub fn reads(&self, codec: Codec) -> bool {
        self.enabled("CONFIG_SQUASHFS") && self.built_in(codec.kernel_option())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_kernel_without_lz4() {
        // the lines of bcm2712_defconfig that matter
        let config = Kconfig::parse(
            "# comment\nCONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_XZ=y\nCONFIG_SQUASHFS_ZSTD=y\n\
             # CONFIG_SQUASHFS_LZ4 is not set\nCONFIG_SQUASHFS_ZLIB=y\nCONFIG_LOCALVERSION=\"-v8\"\n",
        );
        assert!(config.reads(Codec::Zstd) && config.reads(Codec::Xz) && config.reads(Codec::Gzip));
        assert!(!config.reads(Codec::Lz4));
        assert!(config.enabled("CONFIG_SQUASHFS") && !config.built_in("CONFIG_SQUASHFS"));
    }

    #[test]
    fn assumed_of_a_vendor_kernel() {
        let config = Kconfig::parse(&Kconfig::assumed("6.6.31-v7l+"));
        assert!(config.is_assumed() && config.built_in("CONFIG_ARM_LPAE"));
        assert!(config.reads(Codec::Xz) && !config.reads(Codec::Zstd));
        assert!(!Kconfig::parse("CONFIG_ARM=y").is_assumed());
    }

    #[test]
    fn no_squashfs_reads_nothing() {
        assert!(!Kconfig::parse("CONFIG_SQUASHFS_ZSTD=y\n").reads(Codec::Zstd));
        assert!(!Kconfig::parse("").enabled(""));
    }
}
