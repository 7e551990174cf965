// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must be true of every program in the initramfs: it is static, and its segments lie so that a kernel
//! with 64 KiB pages takes it. A kernel refuses smaller alignment than its page with EINVAL, and the boot ends.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use object::Endianness;
use object::elf;
use object::read::elf::{
    AttributeReader, AttributesSection, Dyn, FileHeader, ProgramHeader, SectionHeader,
};
use serde::Serialize;

/// Alignment that every Arm kernel accepts (CONFIG_ARM64_64K_PAGES is the largest).
pub const ALIGNMENT: u64 = 0x10000;

/// The machine of an ELF file, as far as pivot runs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm.
    Arm,
    /// Any other, with its e_machine number.
    Other(u16),
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aarch64 => f.write_str("AArch64"),
            Self::Arm => f.write_str("ARM"),
            Self::Other(number) => write!(f, "machine {number}"),
        }
    }
}

/// The facts of an ELF file that decide whether it can run as part of an initramfs.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// For which machine.
    pub machine: Machine,
    /// The smallest p_align of its PT_LOAD segments.
    pub alignment: u64,
    /// Whether every PT_LOAD has p_vaddr and p_offset equal modulo [`ALIGNMENT`].
    pub congruent: bool,
    /// The dynamic loader of PT_INTERP.
    pub interpreter: Option<String>,
    /// Whether a DT_NEEDED entry asks for a library.
    pub needs_libraries: bool,
    /// The bytes that its PT_LOAD segments take in memory.
    pub memory: u64,
    /// Of an ARM program: the Tag_CPU_arch of its build attributes, where it has them.
    pub arm_architecture: Option<u64>,
}

impl Facts {
    /// Reads them from the whole file.
    ///
    /// # Errors
    /// Where it is no ELF program.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        match bytes.get(4) {
            Some(class) if *class == elf::ELFCLASS64.0 => {
                of::<elf::FileHeader64<Endianness>>(bytes)
            }
            _ => of::<elf::FileHeader32<Endianness>>(bytes),
        }
    }

    /// Whether the file can run from an initramfs on every kernel of its machine.
    ///
    /// # Errors
    /// Names the first thing that is wrong and what to do about it.
    pub fn check(&self) -> Result<()> {
        if let Some(interpreter) = &self.interpreter {
            bail!("is linked dynamically (it wants {interpreter}): link it statically");
        }
        ensure!(!self.needs_libraries, "needs shared libraries: link it statically");
        ensure!(
            self.alignment >= ALIGNMENT && self.congruent,
            "segments are aligned to {:#x}: kernels with larger pages refuse it; link it with \
             -z max-page-size=65536",
            self.alignment
        );
        Ok(())
    }

    /// Whether the processor of a Raspberry Pi 1 or Zero, an ARM1176, knows the instructions of this ARM program.
    ///
    /// # Errors
    /// Where it was compiled for a newer one, or does not say for which.
    pub fn check_armv6(&self) -> Result<()> {
        match self.arm_architecture {
            // Up to v6KZ, and v6K; number 8 is v6T2 ("Addenda to, and Errata in, the ABI for the Arm Architecture",
            // Tag_CPU_arch).
            Some(0..=7 | 9) => Ok(()),
            Some(other) => bail!(
                "is compiled for a newer processor than ARMv6 (Tag_CPU_arch {other}): a Raspberry Pi 1 or Zero \
                 cannot run it"
            ),
            None => bail!("does not say for which ARM processor it is compiled (.ARM.attributes)"),
        }
    }
}

fn of<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Facts> {
    let header = H::parse(bytes).ok().context("not an ELF file")?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    let mut facts = Facts {
        machine: match header.e_machine(endian) {
            elf::EM_AARCH64 => Machine::Aarch64,
            elf::EM_ARM => Machine::Arm,
            other => Machine::Other(other.0),
        },
        alignment: u64::MAX,
        congruent: true,
        interpreter: None,
        needs_libraries: false,
        memory: 0,
        arm_architecture: None,
    };
    if facts.machine == Machine::Arm {
        for section in header.section_headers(endian, bytes)? {
            if section.sh_type(endian) == elf::SHT_ARM_ATTRIBUTES {
                facts.arm_architecture = architecture(&section.attributes(endian, bytes)?)?;
            }
        }
    }
    for segment in segments {
        if segment.p_type(endian) == elf::PT_LOAD {
            let (address, offset): (u64, u64) =
                (segment.p_vaddr(endian).into(), segment.p_offset(endian).into());
            facts.alignment = facts.alignment.min(segment.p_align(endian).into());
            facts.congruent &= address.wrapping_sub(offset).is_multiple_of(ALIGNMENT);
            facts.memory = facts.memory.saturating_add(segment.p_memsz(endian).into());
        }
        if let Some(name) = segment.interpreter(endian, bytes)? {
            facts.interpreter = Some(String::from_utf8_lossy(name).into_owned());
        }
        let entries = segment.dynamic(endian, bytes)?.unwrap_or_default();
        facts.needs_libraries |= entries.iter().any(|entry| entry.tag(endian) == elf::DT_NEEDED);
    }
    ensure!(facts.alignment != u64::MAX, "no segment to load: not a program");
    Ok(facts)
}

/// The newest Tag_CPU_arch of the file and its parts.
fn architecture<H: FileHeader>(section: &AttributesSection<'_, H>) -> Result<Option<u64>> {
    let mut newest = None;
    for vendor in section.subsections()? {
        let vendor = vendor?;
        if vendor.vendor() == b"aeabi" {
            for part in vendor.subsubsections() {
                newest = newest.max(cpu_arch(part?.attributes())?);
            }
        }
    }
    Ok(newest)
}

/// Tag_CPU_arch of one list: tags, each with a number or a string.
fn cpu_arch(mut attributes: AttributeReader<'_>) -> Result<Option<u64>> {
    let mut found = None;
    while let Some(tag) = attributes.read_tag()? {
        match tag {
            6 => found = Some(attributes.read_integer()?),
            // Tag_compatibility has both.
            32 => {
                attributes.read_integer()?;
                attributes.read_string()?;
            }
            // Tag_CPU_raw_name, Tag_CPU_name; from 32 on odd numbers are strings.
            4 | 5 => drop(attributes.read_string()?),
            33.. if tag % 2 == 1 => drop(attributes.read_string()?),
            _ => drop(attributes.read_integer()?),
        }
    }
    Ok(found)
}

/// Small ELF files for tests: one PT_LOAD, and PT_INTERP where `interpreter` is given.
#[cfg(test)]
pub(crate) mod fixture {
    use object::elf;

    pub(crate) fn aarch64(alignment: u64, interpreter: Option<&str>) -> Vec<u8> {
        let segments = 1 + u16::from(interpreter.is_some());
        let mut out = b"\x7fELF\x02\x01\x01".to_vec();
        out.resize(16, 0);
        for half in [2, 183_u16] {
            out.extend(half.to_le_bytes());
        }
        out.extend(1_u32.to_le_bytes());
        for word in [0x40_0000_u64, 64, 0] {
            out.extend(word.to_le_bytes());
        }
        out.extend(0_u32.to_le_bytes());
        for half in [64, 56, segments, 64, 0, 0] {
            out.extend(half.to_le_bytes());
        }
        let name_at = 64 + 56 * u64::from(segments);
        let mut segment = |kind: u32, offset: u64, address: u64, size: u64, alignment: u64| {
            out.extend(kind.to_le_bytes());
            out.extend(5_u32.to_le_bytes());
            for word in [offset, address, address, size, size, alignment] {
                out.extend(word.to_le_bytes());
            }
        };
        segment(elf::PT_LOAD.0, 0, 0x40_0000, name_at, alignment);
        if let Some(name) = interpreter {
            segment(elf::PT_INTERP.0, name_at, 0, name.len() as u64 + 1, 1);
            out.extend(name.as_bytes());
            out.push(0);
        }
        out
    }

    /// The same as 32-bit ARM, compiled for ARMv6 (Tag_CPU_arch 6).
    pub(crate) fn arm() -> Vec<u8> {
        arm_with(&[&[5], &b"ARM1176JZF-S\0"[..], &[6, 6, 8, 1]].concat())
    }

    /// With these build attributes of the whole file.
    pub(crate) fn arm_with(list: &[u8]) -> Vec<u8> {
        arm_with_section(&attributes(list))
    }

    /// A section of build attributes: format version, vendor, scope (1 is the whole file), list.
    pub(crate) fn attributes(list: &[u8]) -> Vec<u8> {
        let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
        let file = [&[1], &length(5 + list.len())[..], list].concat();
        let vendor = [&length(10 + file.len())[..], b"aeabi\0", &file].concat();
        [b"A", &vendor[..]].concat()
    }

    /// With this `.ARM.attributes`.
    pub(crate) fn arm_with_section(section: &[u8]) -> Vec<u8> {
        let mut out = b"\x7fELF\x01\x01\x01".to_vec();
        out.resize(16, 0);
        for half in [2, 40_u16] {
            out.extend(half.to_le_bytes());
        }
        for word in [1, 0x10000, 52, 84, 0x0500_0200_u32] {
            out.extend(word.to_le_bytes());
        }
        for half in [52, 32, 1, 40, 2, 0_u16] {
            out.extend(half.to_le_bytes());
        }
        for word in [1, 0, 0x10000, 0x10000, 84, 84, 5, 0x10000_u32] {
            out.extend(word.to_le_bytes());
        }
        // Section headers: the null one, and the attributes behind it.
        out.resize(124, 0);
        let size = u32::try_from(section.len()).unwrap();
        for word in [0, elf::SHT_ARM_ATTRIBUTES.0, 0, 0, 164, size, 0, 0, 1, 0] {
            out.extend(word.to_le_bytes());
        }
        out.extend(section);
        out
    }
}

#[cfg(test)]
mod tests;
