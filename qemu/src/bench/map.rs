// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is where in the init that ships: the linker's map, which build.rs has it write beside the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection};
use rustc_demangle::demangle;

use super::compare::grouped;

/// How many functions the table has.
const ROWS: usize = 20;

/// The functions of a program.
#[derive(Debug)]
pub(crate) struct Map {
    /// By address: size and name. Where the linker folded equal ones, one name stands for all.
    functions: BTreeMap<u64, (u64, String)>,
    /// Address and size of all code.
    code: (u64, u64),
}

impl Map {
    /// Of this program.
    pub(crate) fn of(program: &Path) -> Result<Self> {
        let path = program.with_extension("map");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the linker's map {}", path.display()))?;
        let map = Self::parse(&text);
        let bytes = fs::read(program)?;
        let file = object::File::parse(&*bytes).context("the program")?;
        let code = file.section_by_name(CODE).context("no code in the program")?;
        ensure!(
            map.code == (code.address(), code.size()),
            "{} is the map of another program: touch init/main.rs, and build again",
            path.display()
        );
        Ok(map)
    }

    /// lld writes address, load address, size and alignment, the first three in hexadecimal, and behind them a section, a part
    /// of one in an object file or a symbol, each below its word in the first line.
    fn parse(text: &str) -> Self {
        let mut functions = BTreeMap::new();
        let (mut is_code, mut code) = (false, (0, 0));
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default();
        let (section, symbol) = (header.find("Out"), header.find("Symbol"));
        for line in lines {
            let mut words = line.split_ascii_whitespace();
            let mut number = || u64::from_str_radix(words.next()?, 16).ok();
            let (Some(address), Some(_), Some(size), Some(_)) =
                (number(), number(), number(), number())
            else {
                continue;
            };
            let name = words.collect::<Vec<_>>().join(" ");
            let place = line.find(&name);
            if place == section {
                is_code = name == CODE;
                if is_code {
                    code = (address, size);
                }
            // `$x` begins code and `$d` data (ELF for the Arm 64-bit Architecture: mapping symbols).
            } else if place == symbol && is_code && !name.starts_with('$') {
                functions.insert(address, (size, format!("{:#}", demangle(&name))));
            }
        }
        Self { functions, code }
    }

    /// The function that has this address.
    pub(crate) fn name(&self, address: u64) -> &str {
        let found = self.functions.range(..=address).next_back();
        found.map_or("?", |(_, (_, name))| name)
    }

    /// A table of the largest.
    pub(crate) fn largest(&self) -> String {
        let mut rows: Vec<_> = self.functions.values().collect();
        rows.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        let all: u64 = rows.iter().map(|(size, _)| size).sum();
        let mut text = format!(
            "| of init's {} functions, {} bytes, the largest | bytes |\n|---|--:|\n",
            rows.len(),
            grouped(all)
        );
        for (size, name) in rows.into_iter().take(ROWS) {
            text.push_str(&format!("| `{name}` | {} |\n", grouped(*size)));
        }
        text
    }
}

const CODE: &str = ".text";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_their_sizes() {
        let map = Map::parse(
            "             VMA              LMA     Size Align Out     In      Symbol
          200120           200120       10     8 .rodata
          200120           200120       10     1                 a name of data
          2027e8           2027e8       24     4 .text
          2027e8           2027e8       14     4         init.o:(.text.start)
          2027e8           2027e8        0     1                 $x
          2027e8           2027e8        8     1                 pivot_start
          2027f0           2027f0        c     1                 _ZN6rustix2io5write17h01f5d973baf24c5cE
",
        );
        assert_eq!(map.code, (0x20_27e8, 0x24));
        assert_eq!(map.name(0x20_27ec), "pivot_start");
        assert_eq!(map.name(0x20_27fb), "rustix::io::write");
        assert_eq!(map.name(0x20_0120), "?");
        assert!(map.largest().contains("2 functions, 20 bytes"), "{}", map.largest());
        assert!(map.largest().contains("| `rustix::io::write` | 12 |\n| `pivot_start` | 8 |\n"));
    }
}
