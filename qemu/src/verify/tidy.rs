// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the sources look: what rustfmt and clippy do not ask.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Note;
use crate::cargo::workspace;

/// Lines of a file.
const FILE_LIMIT: usize = 350;
/// Lines of ours that are linked into init, without tests.
const INIT_LIMIT: usize = 2800;
const LICENSE: &str = "// SPDX-License-Identifier: MIT OR Apache-2.0";
/// What is linked into init. Of bootsel's files those that init does not use are named in `UNLINKED`.
const LINKED: [&str; 5] = ["init", "mount/src", "modules/src", "uapi/src", "bootsel/src"];

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

/// What is linked into init stays small.
pub(super) fn lines() -> Result<Note> {
    let mut all = 0;
    for directory in LINKED {
        for path in sources(&workspace().join(directory), &["tests"])? {
            if path.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            all += count(&read(&path)?);
        }
    }
    let note = format!("{all} lines of code in init");
    ensure!(all <= INIT_LIMIT, "{note}, {INIT_LIMIT} are the limit");
    Ok(note)
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
}
