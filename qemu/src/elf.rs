// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel looks at in a device program.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64, PT_DYNAMIC, PT_INTERP, PT_LOAD};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

/// What every device program is aligned to: the largest page of any Arm64 kernel.
const ALIGN: u64 = 64 << 10;

/// A part of the file that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) align: u64,
}

/// A program's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elf {
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
        let header = FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        let mut elf = Self { segments: Vec::new(), interpreter: false, libraries: 0 };
        for program in header.program_headers(endian, data)? {
            match program.p_type(endian) {
                PT_LOAD => elf.segments.push(Segment {
                    offset: program.p_offset(endian),
                    address: program.p_vaddr(endian),
                    align: program.p_align(endian),
                }),
                PT_INTERP => elf.interpreter = true,
                PT_DYNAMIC => {
                    let entries = program.dynamic(endian, data)?.unwrap_or_default();
                    let needed = |entry: &&_| Dyn::d_tag(*entry, endian) == DT_NEEDED;
                    elf.libraries += entries.iter().filter(needed).count();
                }
                _ => {}
            }
        }
        Ok(elf)
    }

    /// Runs on every Arm64 kernel, whatever its pages are, with nothing beside it.
    pub(crate) fn check(&self) -> Result<()> {
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
