// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of the host that the builder runs: where they are, and what they said when they failed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Directories that an ordinary user's PATH lacks on Debian although mke2fs and depmod live there.
const ADMIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Finds the program `name`; the error says which Debian `package` has it.
///
/// # Errors
/// Where no such program is in PATH or in the administrator's directories.
pub fn find(name: &str, package: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(ADMIN.iter().map(PathBuf::from));
    places
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("{name} not found (apt install {package})"))
}

/// A command for `program` that reads nothing and speaks English.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs the command to its end and returns what it printed.
///
/// # Errors
/// Where it cannot be started or fails; its last lines on standard error are then in the message.
pub fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({}){}", output.status, last_lines(&output.stderr));
    }
    Ok(output)
}

/// The last eight lines of what a program printed, ready to follow a message.
fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(8)..];
    if last.is_empty() { String::new() } else { format!(":\n  {}", last.join("\n  ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_names_the_package() {
        let error = find("no-such-program", "kmod").unwrap_err().to_string();
        assert_eq!(error, "no-such-program not found (apt install kmod)");
    }

    #[test]
    fn failure_shows_what_the_program_said() {
        let sh = find("sh", "dash").unwrap();
        let error = run(command(&sh).args(["-c", "echo cause >&2; exit 3"])).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("cause"), "{error}");
    }
}
