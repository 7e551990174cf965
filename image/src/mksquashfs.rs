// SPDX-License-Identifier: MIT OR Apache-2.0
//! squashfs images by the program mksquashfs, which keeps extended attributes.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::squashfs::{Codec, Options};
use crate::tool;
use crate::tree::{Node, Tree};

/// The image of a tree; owners and times as in the one that backhand writes.
///
/// # Errors
/// Where mksquashfs is missing or fails.
pub fn tree(tree: &Tree, options: Options, out: &Path) -> Result<u64> {
    let beside = out.parent().unwrap_or(Path::new("."));
    let staging = tempfile::tempdir_in(beside).context("cannot make a staging directory")?;
    let base = staging.path();
    fs::set_permissions(base, fs::Permissions::from_mode(0o755))?;
    for (path, node) in tree.iter() {
        let to = base.join(path);
        match node {
            Node::Directory => fs::create_dir(&to)
                .and_then(|()| fs::set_permissions(&to, fs::Permissions::from_mode(0o755))),
            Node::Link(target) => symlink(target, &to),
            Node::File(source, _, executable) => fs::copy(source, &to).and_then(|_| {
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&to, fs::Permissions::from_mode(mode))
            }),
        }
        .with_context(|| format!("cannot stage {}", path.display()))?;
    }
    let mut command = mksquashfs()?;
    command.arg(base).arg(out).args(["-all-root", "-all-time", "0", "-no-xattrs"]);
    finish(command, options, out)
}

/// The image of a root file system in a directory: owners, times and extended attributes as they are.
///
/// # Errors
/// Where mksquashfs is missing or fails.
pub fn directory(source: &Path, options: Options, out: &Path) -> Result<u64> {
    let mut command = mksquashfs()?;
    command.arg(source).arg(out);
    finish(command, options, out)
}

/// The same from a tar file, compressed or not: needs no root rights for the owners in it.
///
/// # Errors
/// Where mksquashfs is missing or fails, or the file cannot be read.
pub fn tar(source: &Path, options: Options, out: &Path) -> Result<u64> {
    let cannot = || format!("cannot read {}", source.display());
    let name = source.to_string_lossy();
    let mut plain = crate::compress::reader(&name, File::open(source).with_context(cannot)?)?;
    let mut command = mksquashfs()?;
    command.arg("-").arg(out).arg("-tar");
    arguments(&mut command, options);
    let name = command.get_program().to_string_lossy().into_owned();
    let mut errors = tempfile::tempfile()?;
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(errors.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let copied = child.stdin.take().map_or(Ok(0), |mut pipe| std::io::copy(&mut plain, &mut pipe));
    let status = child.wait()?;
    if !status.success() {
        let mut text = String::new();
        std::io::Seek::rewind(&mut errors)?;
        std::io::Read::read_to_string(&mut errors, &mut text)?;
        anyhow::bail!("{name} failed ({status}):\n  {}", text.trim().replace('\n', "\n  "));
    }
    copied.with_context(cannot)?;
    Ok(fs::metadata(out)?.len())
}

fn mksquashfs() -> Result<Command> {
    let mut command = tool::command(&tool::find("mksquashfs", "squashfs-tools")?);
    // it refuses this variable together with times given as options
    command.env_remove("SOURCE_DATE_EPOCH");
    Ok(command)
}

fn arguments(command: &mut Command, options: Options) {
    let comp = options.codec.to_string();
    command.args(["-comp", &comp, "-mkfs-time", "0", "-noappend", "-no-progress", "-quiet"]);
    if options.codec == Codec::Zstd {
        command.args(["-Xcompression-level", &options.level.to_string()]);
    }
}

fn finish(mut command: Command, options: Options, out: &Path) -> Result<u64> {
    arguments(&mut command, options);
    tool::run(&mut command)?;
    Ok(fs::metadata(out).with_context(|| format!("cannot read {}", out.display()))?.len())
}
