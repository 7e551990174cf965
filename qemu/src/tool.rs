// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of the host: where they are, and what they said when they failed.

use std::env;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// What an ordinary user's PATH lacks on Debian, although mke2fs, debugfs and sfdisk are there.
const ADMIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Where the program `name` is.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(ADMIN.iter().map(PathBuf::from));
    places.map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// A command that reads nothing and speaks English. A program that is not there fails when it is run.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(find(name).unwrap_or_else(|| name.into()));
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// The same with root rights, by sudo where we have none.
pub(crate) fn as_root(name: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return command(name);
    }
    let mut sudo = command("sudo");
    sudo.arg(name);
    sudo
}

/// Runs to the end and gives what was printed; the error has the last lines of it.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!(
            "{} failed ({})\n{}",
            shown(command),
            output.status,
            tail(&String::from_utf8_lossy(&said), 50)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end, whatever the exit status is.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("cannot run {}", shown(command)))
}

/// Runs to the end; what it prints goes where our own output goes.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// The command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}

/// A copy with a hole wherever there are zeros.
pub(crate) fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let mut copy = command("cp");
    run(copy.args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to)).map(drop)
}

/// Overwrites bytes of a disk.
pub(crate) fn poke(disk: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    let file = File::options().write(true).open(disk);
    let file = file.with_context(|| format!("cannot write {}", disk.display()))?;
    Ok(file.write_all_at(bytes, at)?)
}

/// The hash of a file, in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(cannot)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).with_context(cannot)? {
            0 => break,
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_so_that_it_can_be_pasted() {
        let mut command = Command::new("qemu");
        command.args(["-append", "quiet it's", ""]);
        assert_eq!(shown(&command), "qemu -append 'quiet it'\\''s' ''");
    }

    #[test]
    fn a_failure_shows_the_end_of_what_was_said() {
        let error =
            run(command("sh").args(["-c", "echo cause >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("cause"), "{error}");
    }

    #[test]
    fn the_tail_of_a_short_text_is_all_of_it() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
    }
}
