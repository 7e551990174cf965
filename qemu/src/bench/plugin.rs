// SPDX-License-Identifier: MIT OR Apache-2.0
//! The TCG plugin that counts instructions (`qemu/plugin/count.c`): built here, loaded by QEMU, read back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::{cargo, tool};

/// What was executed between the two marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Instructions of programs.
    pub(crate) user: u64,
    /// Instructions of the kernel.
    pub(crate) kernel: u64,
    /// Instructions before the first mark: the kernel's start, and the initramfs unpacked.
    pub(crate) before: u64,
    /// In their order; the first is what was before any.
    pub(crate) calls: Vec<Call>,
    /// How often each address of a program was executed, where that was asked for.
    pub(crate) places: BTreeMap<u64, u64>,
}

/// A system call, and what was executed from it to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Of the generic table, which arm64 has (kernel: include/uapi/asm-generic/unistd.h); negative where there was none.
    pub(crate) number: i32,
    pub(crate) user: u64,
    pub(crate) kernel: u64,
}

impl Counts {
    pub(crate) fn all(&self) -> u64 {
        self.user + self.kernel
    }

    pub(crate) fn system_calls(&self) -> usize {
        self.calls.iter().filter(|call| call.number >= 0).count()
    }
}

/// Builds the plugin and has QEMU load it. The error says what is missing: where that is, nothing can be measured.
pub(crate) fn build(directory: &Path) -> Result<PathBuf> {
    let plugin = directory.join("count.so");
    let mut compile = tool::command("cc");
    compile.args(["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"]);
    compile.arg("-o").arg(&plugin).arg(cargo::workspace().join("qemu/plugin/count.c"));
    tool::run(&mut compile).context("the plugin cannot be built")?;
    let mut load = tool::command("qemu-system-aarch64");
    load.args(["-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"]);
    load.arg("-plugin").arg(argument(&plugin, &directory.join("count.test"), false));
    let script = directory.join("count.quit");
    fs::write(&script, "quit\n")?;
    load.stdin(Stdio::from(fs::File::open(&script)?));
    tool::run(&mut load).context("this QEMU does not load plugins")?;
    Ok(plugin)
}

/// The value of QEMU's `-plugin`.
pub(crate) fn argument(plugin: &Path, out: &Path, places: bool) -> String {
    let places = if places { ",places=on" } else { "" };
    format!("{},out={}{places}", plugin.display(), out.display())
}

/// Reads what the plugin wrote.
pub(crate) fn read(path: &Path) -> Result<Counts> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut whole = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["call", number, user, kernel] => counts.calls.push(Call {
                number: number.parse()?,
                user: user.parse()?,
                kernel: kernel.parse()?,
            }),
            ["place", address, count] => {
                counts.places.insert(u64::from_str_radix(address, 16)?, count.parse()?);
            }
            ["before", count] => counts.before = count.parse()?,
            ["user", count] => counts.user = count.parse()?,
            ["kernel", count] => {
                counts.kernel = count.parse()?;
                whole = true;
            }
            _ => {}
        }
    }
    ensure!(whole, "the marks were not both executed: the boot did not reach the root's init");
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_plugin_writes_is_understood() {
        let counts = parse(
            "before 99\ncall -1 3 400\ncall 221 10 90\nplace 2000e8 7\nuser 13\nkernel 490\n",
        )
        .unwrap();
        assert_eq!((counts.user, counts.kernel, counts.all()), (13, 490, 503));
        assert_eq!((counts.system_calls(), counts.before), (1, 99));
        assert_eq!(counts.places.get(&0x20_00e8), Some(&7));
    }

    #[test]
    fn a_boot_that_ended_early_is_no_measurement() {
        assert!(parse("call -1 3 400\n").is_err());
        assert!(parse("").is_err());
    }
}
