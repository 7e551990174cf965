// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an image for the Raspberry Pi has that others have not: kernels under the names that the firmware looks
//! for, its own files, device trees and `config.txt`.

pub mod check;
pub mod config_txt;
pub mod dtb;
pub mod eeprom;
pub mod firmware;

use std::io::Write;

use anyhow::{Context, Result, bail, ensure};

use crate::cache::Cache;
use crate::config::KernelFile;
use crate::kernel::image::Kind;
use crate::kernel::{Kernel, Look};
use crate::scratch;
use crate::tree::{hash_file, hex};

/// gzip's best; the firmware unpacks each level at the same speed.
const LEVEL: u32 = 9;

/// The name for a kernel: the one that is given, or the one that its processors look for.
///
/// # Errors
/// Where no Raspberry Pi runs this kernel, or none that looks for that name.
pub fn file(look: &Look, given: Option<KernelFile>) -> Result<KernelFile> {
    let release = &look.release;
    let Some(kind) = look.kind else {
        bail!("kernel {release}: its image is neither an arm64 Image nor an ARM zImage");
    };
    let inferred = match kind {
        Kind::Zboot => bail!(
            "kernel {release}: unpacks itself under UEFI alone (CONFIG_EFI_ZBOOT), no Raspberry Pi starts it"
        ),
        Kind::Arm64 { page: 16, .. } => Some(KernelFile::V2712),
        Kind::Arm64 { page: 0 | 4, .. } => Some(KernelFile::V8),
        Kind::Arm64 { .. } => None,
        Kind::Arm => of_arm(look),
    };
    let file = given.or(inferred).with_context(|| {
        format!("kernel {release}: cannot tell for which Raspberry Pi it is; say file = \"kernel...img\"")
    })?;
    let wide = matches!(file, KernelFile::V8 | KernelFile::V2712);
    match (kind, wide) {
        (Kind::Arm64 { .. }, false) => {
            bail!("kernel {release}: 64-bit, and {} is not", file.name())
        }
        (Kind::Arm, true) => bail!("kernel {release}: 32-bit, and {} is not", file.name()),
        // Arm: Cortex-A53 and -A72 Technical Reference Manuals, ID_AA64MMFR0_EL1.TGran16
        (Kind::Arm64 { page: 16, .. }, _) if file == KernelFile::V8 => bail!(
            "kernel {release}: pages of 16 KiB, and the processors of a Pi 3 and 4, which look for kernel8.img, have none"
        ),
        _ => Ok(file),
    }
}

/// For 32-bit kernels their configuration says it. One for ARMv6 and ARMv7 alike is for the older.
fn of_arm(look: &Look) -> Option<KernelFile> {
    let has = |option: &str| look.config.built_in(option);
    if has("CONFIG_CPU_V6") || has("CONFIG_CPU_V6K") {
        Some(KernelFile::V6)
    } else if has("CONFIG_ARM_LPAE") {
        Some(KernelFile::V7l)
    } else {
        has("CONFIG_CPU_V7").then_some(KernelFile::V7)
    }
}

/// The kernel as it lies in a slot: 64-bit ones are packed with gzip, which the firmware knows by its first bytes
/// (Raspberry Pi documentation, `config_txt/boot.adoc`, `arm_64bit`); zImages unpack themselves.
///
/// # Errors
/// Where the kernel cannot be read, or the cache not written.
pub fn packed(kernel: &Kernel, kind: Option<Kind>, cache: &Cache) -> Result<Vec<u8>> {
    let path = &kernel.vmlinuz;
    let read = || std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    if !matches!(kind, Some(Kind::Arm64 { packed: false, .. })) {
        return read();
    }
    let key = format!("gzip-{LEVEL}-{}", hex(&hash_file(path)?.0));
    if let Some(Ok(known)) = cache.path(&key).map(std::fs::read) {
        return Ok(known);
    }
    // no name and no time in it: equal for equal kernels
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(LEVEL));
    out.write_all(&read()?)?;
    let out = out.finish()?;
    let temporary = scratch::file()?;
    std::fs::write(temporary.path(), &out)?;
    cache.store(&key, temporary.path())?;
    Ok(out)
}

/// Refuses two kernels for one file.
///
/// # Errors
/// Names both.
pub fn check_files(files: &[(KernelFile, &str)]) -> Result<()> {
    for (index, (file, release)) in files.iter().enumerate() {
        let other = files[..index].iter().find(|(other, _)| other == file);
        if let Some((_, other)) = other {
            ensure!(
                false,
                "kernels {other} and {release} are both for {}: remove one, or give it another file = \"...\"",
                file.name()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kconfig::Kconfig;

    const V6: &str = "CONFIG_CPU_V6K=y";
    const V7: &str = "CONFIG_CPU_V7=y";
    const LPAE: &str = "CONFIG_CPU_V7=y\nCONFIG_ARM_LPAE=y";

    fn arm64(page: u32) -> Option<Kind> {
        Some(Kind::Arm64 { page, packed: false })
    }

    #[track_caller]
    fn check(kind: Option<Kind>, config: &str, given: Option<KernelFile>, expected: &str) {
        let config = Kconfig::parse(config);
        let look = Look { release: "6.12".to_owned(), kind, config };
        match file(&look, given) {
            Ok(file) => assert_eq!(file.name(), expected),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    }

    #[test]
    fn inferred_names() {
        check(Some(Kind::Arm), V6, None, "kernel.img");
        check(Some(Kind::Arm), &format!("{V6}\n{V7}"), None, "kernel.img");
        check(Some(Kind::Arm), V7, None, "kernel7.img");
        check(Some(Kind::Arm), LPAE, None, "kernel7l.img");
        check(arm64(4), "", None, "kernel8.img");
        check(arm64(0), "", None, "kernel8.img");
        check(arm64(16), "", None, "kernel_2712.img");
        check(arm64(64), "", None, "cannot tell for which Raspberry Pi");
        check(Some(Kind::Arm), "", None, "cannot tell for which Raspberry Pi");
        check(None, V7, None, "neither an arm64 Image nor an ARM zImage");
    }

    #[test]
    fn given_names() {
        check(arm64(4), "", Some(KernelFile::V2712), "kernel_2712.img");
        check(Some(Kind::Arm), LPAE, Some(KernelFile::V7), "kernel7.img");
        check(arm64(16), "", Some(KernelFile::V8), "pages of 16 KiB");
        check(arm64(4), "", Some(KernelFile::V7), "64-bit, and kernel7.img is not");
        check(Some(Kind::Arm), V7, Some(KernelFile::V8), "32-bit, and kernel8.img is not");
    }

    #[test]
    fn one_kernel_for_each_name() {
        check_files(&[(KernelFile::V7, "a"), (KernelFile::V8, "b")]).unwrap();
        let error = check_files(&[(KernelFile::V7, "a"), (KernelFile::V7, "b")]).unwrap_err();
        assert!(error.to_string().starts_with("kernels a and b are both for kernel7.img"));
    }
}
