// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the sources look: what rustfmt and clippy do not ask.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Note;
use crate::cargo::{self, INIT, workspace};
use crate::tool;

/// Lines of a file.
const FILE_LIMIT: usize = 350;
/// Lines of ours in init: those that machine code was made from.
const INIT_LIMIT: usize = 2800;
const LICENSE: &str = "// SPDX-License-Identifier: MIT OR Apache-2.0";
/// Every file has its licence and can be read in one sitting.
pub(super) fn files() -> Result<Note> {
    let sources = sources(workspace(), &["target", "out", ".git"])?;
    let mut wrong = Vec::new();
    for path in &sources {
        let text = read(path)?;
        let shown = path.strip_prefix(workspace()).unwrap_or(path).display();
        if !text.starts_with(LICENSE) {
            wrong.push(format!("{shown}: the first line is not {LICENSE}"));
        }
        let lines = text.lines().count();
        if lines > FILE_LIMIT {
            wrong.push(format!("{shown}: {lines} lines, {FILE_LIMIT} are the limit"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(format!("{} files", sources.len()))
}

/// What of ours is linked into init stays small. A line counts where init's line table names it: much of the libraries is
/// for others and is not linked.
pub(super) fn lines() -> Result<Note> {
    let target = cargo::target()?.join("lines");
    let program = INIT.build(|cargo| {
        cargo.arg("--quiet").env("CARGO_TARGET_DIR", target);
        cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
        cargo.env("CARGO_PROFILE_RELEASE_STRIP", "none");
    })?;
    let mut dump = tool::command("readelf");
    let listing = tool::run(dump.arg("--debug-dump=decodedline").arg(program))?;
    let linked = linked(&listing);
    let files: BTreeSet<_> = linked.iter().map(|(file, _)| *file).collect();
    let mut all = 0;
    for file in &files {
        all += count(&read(&workspace().join(file))?);
    }
    let note = format!("{} lines in init, from files of {all}", linked.len());
    ensure!(linked.len() > 100, "{note}: the line table is not understood");
    ensure!(linked.len() <= INIT_LIMIT, "{note}: {INIT_LIMIT} are the limit");
    Ok(note)
}

/// File and line of what is ours in readelf's listing: `init/boot.rs:` and below it `boot.rs  33  0x2029c0  x`.
fn linked(listing: &str) -> BTreeSet<(&str, &str)> {
    let ours = ["init/", "mount/", "modules/", "uapi/", "bootsel/"];
    let mut found = BTreeSet::new();
    let mut file = None;
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(path), None) => {
                let path = path.strip_suffix(':').unwrap_or(path);
                let below = path.strip_prefix(workspace().to_str().unwrap_or_default());
                let path = below.map_or(path, |path| path.trim_start_matches('/'));
                file = ours.iter().any(|start| path.starts_with(start)).then_some(path);
            }
            (Some(_), Some(number)) if number.parse::<u32>().is_ok() => {
                found.extend(file.map(|file| (file, number)));
            }
            _ => {}
        }
    }
    found
}

/// Lines of code up to the tests: neither blank nor comment.
fn count(text: &str) -> usize {
    let code = text.lines().take_while(|line| *line != "#[cfg(test)]").map(str::trim);
    code.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Rust files below a directory.
fn sources(directory: &Path, skip: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let (path, kind) = entry.and_then(|e| Ok((e.path(), e.file_type()?)))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if kind.is_dir() && !skip.contains(&&*name) {
                left.push(path);
            } else if kind.is_file() && name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_comments_and_blank_lines_do_not_count() {
        let text =
            "// x\n//! y\n\nfn f() {\n    // z\n    g();\n}\n\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(count(text), 3);
    }

    #[test]
    fn lines_of_ours_are_told_from_others() {
        let listing = "init/boot.rs:\nFile name   Line number\nboot.rs  33  0x1  x\nboot.rs  33  0x2  x\n\
                       boot.rs  -  0x3\n\n/rustc/core/cmp.rs:\ncmp.rs  7  0x3  x\n\nmount/src/block.rs:\nblock.rs  1  0x4\n";
        let expected = [("init/boot.rs", "33"), ("mount/src/block.rs", "1")];
        assert_eq!(linked(listing), expected.into());
    }
}
