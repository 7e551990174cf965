// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel looks at in a device program.

pub(crate) mod thumb;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use object::elf::{
    DT_NEEDED, EM_AARCH64, EM_ARM, FileHeader32, FileHeader64, PT_DYNAMIC, PT_INTERP, PT_LOAD,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

use crate::tool;

/// What every device program is aligned to: the largest page of any Arm64 kernel, which may run ARM programs, too.
const ALIGN: u64 = 64 << 10;

/// A part of the file that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) align: u64,
}

/// What it is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    Aarch64,
    Arm,
}

/// A program's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    machine: Machine,
    pub(crate) segments: Vec<Segment>,
    interpreter: bool,
    libraries: usize,
}

impl Elf {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let data =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&data).with_context(|| path.display().to_string())
    }

    fn parse(data: &[u8]) -> Result<Self> {
        match FileKind::parse(data)? {
            FileKind::Elf32 => Self::of::<FileHeader32<Endianness>>(data),
            FileKind::Elf64 => Self::of::<FileHeader64<Endianness>>(data),
            other => bail!("{other:?} is no ELF program"),
        }
    }

    fn of<H: FileHeader<Endian = Endianness>>(data: &[u8]) -> Result<Self> {
        let header = H::parse(data)?;
        let endian = header.endian()?;
        let machine = match header.e_machine(endian) {
            EM_AARCH64 => Machine::Aarch64,
            EM_ARM => Machine::Arm,
            other => bail!("is for another machine: {other:?}"),
        };
        let mut elf = Self { machine, segments: Vec::new(), interpreter: false, libraries: 0 };
        for program in header.program_headers(endian, data)? {
            match program.p_type(endian) {
                PT_LOAD => elf.segments.push(Segment {
                    offset: program.p_offset(endian).into(),
                    address: program.p_vaddr(endian).into(),
                    align: program.p_align(endian).into(),
                }),
                PT_INTERP => elf.interpreter = true,
                PT_DYNAMIC => {
                    let entries = program.dynamic(endian, data)?.unwrap_or_default();
                    elf.libraries += entries.iter().filter(|d| d.tag(endian) == DT_NEEDED).count();
                }
                _ => {}
            }
        }
        Ok(elf)
    }

    /// Runs on every kernel of its machine, whatever its pages are, with nothing beside it.
    pub(crate) fn check(&self, machine: Machine) -> Result<()> {
        ensure!(self.machine == machine, "is for {:?}, not {machine:?}", self.machine);
        ensure!(!self.segments.is_empty(), "no PT_LOAD at all");
        for segment in &self.segments {
            ensure!(segment.align >= ALIGN, "aligned to less than 64 KiB: {segment:x?}");
            let same = segment.address % ALIGN == segment.offset % ALIGN;
            ensure!(same, "address and offset differ modulo 64 KiB: {segment:x?}");
        }
        ensure!(!self.interpreter, "asks for a dynamic loader (PT_INTERP)");
        ensure!(self.libraries == 0, "asks for {} libraries (DT_NEEDED)", self.libraries);
        Ok(())
    }
}

/// Whether, in binutils' opinion, an ARM program needs nothing newer than ARMv6 and no floating point unit. The linker takes
/// the attributes of the first file that it is given, which may be the C library's start: that no other part is newer is
/// shown where it runs on an ARM1176.
pub(crate) fn check_armv6(path: &Path) -> Result<()> {
    let said = tool::run(tool::command("readelf").arg("-A").arg(path))?;
    let value =
        |tag: &str| said.lines().find_map(|l| l.trim().strip_prefix(tag)?.strip_prefix(": "));
    let old = value("Tag_CPU_arch").is_some_and(|arch| matches!(arch, "v4T" | "v5TE" | "v6"));
    ensure!(old, "is not compiled for ARMv6:\n{said}");
    let thumb = value("Tag_THUMB_ISA_use").is_none_or(|set| matches!(set, "No" | "Thumb-1"));
    ensure!(thumb, "has Thumb-2 instructions:\n{said}");
    let float = value("Tag_FP_arch").or_else(|| value("Tag_ABI_VFP_args"));
    ensure!(float.is_none(), "has instructions of a floating point unit:\n{said}");
    Ok(())
}
