// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tests look things up in: indexes written by hand, and trees that depmod made of modules written by hand.

use std::format;
use std::path::Path;
use std::process::Command;
use std::string::String;
use std::vec::Vec;

/// A key with a priority and a value.
pub(crate) type Entry<'a> = (&'a [u8], u32, &'a [u8]);

/// The bytes of an index with these entries.
pub(crate) fn index(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = header(0);
    let root = write_node(&mut bytes, entries);
    bytes[8..12].copy_from_slice(&root.to_be_bytes());
    bytes
}

/// The first twelve bytes of an index.
pub(crate) fn header(root: u32) -> Vec<u8> {
    [0xB007_F457_u32, 0x0002_0001, root].map(u32::to_be_bytes).concat()
}

/// Writes a node behind its children, as depmod does, and returns the reference to it.
fn write_node(bytes: &mut Vec<u8>, entries: &[Entry<'_>]) -> u32 {
    let common =
        |first: &[u8], key: &[u8]| first.iter().zip(key).take_while(|(a, b)| a == b).count();
    let first = entries.first().map_or(&[][..], |entry| entry.0);
    let length = entries.iter().map(|entry| common(first, entry.0)).min().unwrap_or(0);
    let rests: Vec<Entry<'_>> = entries.iter().map(|e| (&e.0[length..], e.1, e.2)).collect();
    let letters: Vec<u8> = rests.iter().filter_map(|entry| entry.0.first().copied()).collect();
    let mut children = Vec::new();
    if let (Some(low), Some(high)) = (letters.iter().min(), letters.iter().max()) {
        children.extend([*low, *high]);
        for letter in *low..=*high {
            let of_letter = |e: &&Entry<'_>| e.0.first() == Some(&letter);
            let below: Vec<Entry<'_>> =
                rests.iter().filter(of_letter).map(|e| (&e.0[1..], e.1, e.2)).collect();
            let child = if below.is_empty() { 0 } else { write_node(bytes, &below) };
            children.extend(child.to_be_bytes());
        }
    }
    let mut values: Vec<&Entry<'_>> = rests.iter().filter(|entry| entry.0.is_empty()).collect();
    values.sort_by_key(|entry| entry.1);

    let mut reference = u32::try_from(bytes.len()).unwrap();
    if length > 0 {
        reference |= 0x8000_0000;
        bytes.extend([&first[..length], &[0]].concat());
    }
    if !children.is_empty() {
        reference |= 0x2000_0000;
        bytes.extend(children);
    }
    if !values.is_empty() {
        reference |= 0x4000_0000;
        bytes.extend(u32::try_from(values.len()).unwrap().to_be_bytes());
        for (_, priority, value) in values {
            bytes.extend([&priority.to_be_bytes(), *value, &[0]].concat());
        }
    }
    reference
}

/// A module of a made tree.
#[derive(Default)]
pub(crate) struct Made<'a> {
    pub(crate) name: &'a str,
    /// `key=value`: `alias=`, `softdep=`.
    pub(crate) modinfo: &'a [&'a str],
    pub(crate) exports: &'a [&'a str],
    pub(crate) needs: &'a [&'a str],
}

/// Writes `<base>/<release>` with the modules in `kernel/`, in this order, and those that are built in, as
/// (file, alias), and has depmod make its files. False, said on stderr, where there is no depmod.
pub(crate) fn tree(
    base: &Path,
    release: &str,
    made: &[Made<'_>],
    builtin: &[(&str, &str)],
) -> bool {
    // depmod looks in lib/modules below its -b.
    let parent = base.join("lib/modules");
    let directory = parent.join(release);
    std::fs::create_dir_all(directory.join("kernel")).unwrap();
    let file = |name: &str| format!("kernel/{name}.ko\n");
    for module in made {
        let path = directory.join(file(module.name).trim_end());
        std::fs::write(path, elf(module)).unwrap();
    }
    let order: String = made.iter().map(|module| file(module.name)).collect();
    std::fs::write(directory.join("modules.order"), order).unwrap();
    let names: String = builtin.iter().map(|(name, _)| file(name)).collect();
    std::fs::write(directory.join("modules.builtin"), names).unwrap();
    let aliases: String =
        builtin.iter().map(|(name, alias)| format!("{name}.alias={alias}\0")).collect();
    std::fs::write(directory.join("modules.builtin.modinfo"), aliases).unwrap();
    depmod(base, release) && std::fs::rename(&directory, base.join(release)).is_ok()
}

fn depmod(base: &Path, release: &str) -> bool {
    for program in ["depmod", "/sbin/depmod", "/usr/sbin/depmod"] {
        if let Ok(status) = Command::new(program).arg("-b").arg(base).arg(release).status() {
            assert!(status.success(), "{program} failed");
            return true;
        }
    }
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        std::eprintln!("SKIPPED: there is no depmod (package kmod)");
    }
    false
}

/// The least that depmod takes for a module: an ELF64 file with .modinfo and symbols.
fn elf(module: &Made<'_>) -> Vec<u8> {
    let strings = |list: &[&str]| list.iter().flat_map(|s| [s.as_bytes(), &[0]].concat()).collect();
    let modinfo: Vec<u8> = strings(module.modinfo);
    let exports: Vec<u8> = strings(module.exports);
    let (mut symbols, mut names) = (std::vec![0; 24], std::vec![0]);
    for symbol in module.needs {
        // st_name; STB_GLOBAL, no type, SHN_UNDEF; no value, no size.
        symbols.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
        symbols.extend([0x10, 0, 0, 0]);
        symbols.extend([0; 16]);
        names.extend([symbol.as_bytes(), &[0]].concat());
    }
    let section_names = b"\0.modinfo\0__ksymtab_strings\0.symtab\0.strtab\0.shstrtab\0";
    // sh_name, sh_type (PROGBITS, SYMTAB, STRTAB), sh_link, sh_entsize, content
    let sections: [(u32, u32, u32, u64, &[u8]); 5] = [
        (1, 1, 0, 0, &modinfo),
        (10, 1, 0, 0, &exports),
        (28, 2, 4, 24, &symbols),
        (36, 3, 0, 0, &names),
        (44, 3, 0, 0, section_names),
    ];
    let (mut content, mut table) = (Vec::new(), std::vec![0; 64]);
    for (name, kind, link, entry, bytes) in sections {
        let offset = 64 + content.len() as u64;
        content.extend(bytes);
        table.extend([name, kind].map(u32::to_le_bytes).concat());
        table.extend([0, 0, offset, bytes.len() as u64].map(u64::to_le_bytes).concat());
        table.extend([link, 0].map(u32::to_le_bytes).concat());
        table.extend([1, entry].map(u64::to_le_bytes).concat());
    }
    // ELFCLASS64, little endian; ET_REL, EM_AARCH64; the section table at the end, .shstrtab is section 5 of 6.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\xb7\0\x01\0\0\0".to_vec();
    file.extend([0, 0, 64 + content.len() as u64].map(u64::to_le_bytes).concat());
    file.extend([0, 0, 0, 0]);
    file.extend([64_u16, 0, 0, 64, 6, 5].map(u16::to_le_bytes).concat());
    [file, content, table].concat()
}
