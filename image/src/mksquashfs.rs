// SPDX-License-Identifier: MIT OR Apache-2.0
//! squashfs images by the program mksquashfs, which keeps extended attributes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{self, Path};
use std::process::Command;

use anyhow::{Context, Result};

use crate::root::{Added, New, Source, Tar};
use crate::scratch;
use crate::squashfs::{Codec, Options};
use crate::tool;
use crate::tree::{Node, Tree};

/// The image of a tree; owners and times as in the one that backhand writes.
///
/// # Errors
/// Where mksquashfs is missing or fails.
pub fn tree(tree: &Tree, options: Options, out: &Path) -> Result<u64> {
    let staging = scratch::directory_in(scratch::parent(out))?;
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

/// The image of a root file system: owners, times and extended attributes as they are. A tar file, compressed or not,
/// needs no root rights for the owners in it.
///
/// # Errors
/// Where mksquashfs is missing or fails, or the root cannot be read.
pub fn root(source: &Source, added: &Added, options: Options, out: &Path) -> Result<u64> {
    match source {
        Source::Directory(directory) => self::directory(directory, added, options, out),
        Source::Tar(tar) => self::tar(tar, added, options, out),
    }
}

fn directory(source: &Path, added: &Added, options: Options, out: &Path) -> Result<u64> {
    let staging = scratch::directory()?;
    let mut command = mksquashfs()?;
    // where the commands in the list of what is added run
    command.current_dir(staging.path());
    command.arg(path::absolute(source)?).arg(path::absolute(out)?);
    if !added.nodes.is_empty() {
        fs::write(staging.path().join(ADDED), pseudo(added, staging.path())?)?;
        fs::write(staging.path().join(REPLACED), added.replaced.join("\n"))?;
        // with -wildcards what is left out is named by its place in the image
        command.args(["-pf", ADDED, "-wildcards", "-ef", REPLACED]);
    }
    finish(command, options, out)
}

/// Lists of what is added and what is left out.
const ADDED: &str = "added";
const REPLACED: &str = "replaced";

/// Lines for mksquashfs, and beside them the files that they copy. Paths have no blanks.
fn pseudo(added: &Added, staging: &Path) -> Result<String> {
    let mut lines = String::new();
    for (number, (path, node)) in added.nodes.iter().enumerate() {
        let mode = node.mode();
        let line = match node {
            New::Directory => format!("{path} D 0 {mode:o} 0 0\n"),
            New::Link(target) => format!("{path} S 0 {mode:o} 0 0 {target}\n"),
            New::File(bytes, _) => {
                fs::write(staging.join(number.to_string()), bytes)?;
                format!("{path} F 0 {mode:o} 0 0 cat {number}\n")
            }
        };
        lines.push_str(&line);
    }
    Ok(lines)
}

/// Of the root itself mksquashfs takes nothing from the archive: it would be writable for everybody, and of this moment.
/// Before 4.6 it belongs to whoever runs mksquashfs, whatever -root-uid says, and -root-time does nothing. (squashfs-tools
/// 4.5.1, tar.c, process_tar_file)
fn tar(source: &Tar, added: &Added, options: Options, out: &Path) -> Result<u64> {
    let program = mksquashfs()?;
    let mut command = match may_be_root() {
        Some(mut unshare) => {
            unshare.arg(program.get_program());
            unshare
        }
        None => program,
    };
    let newest = source.newest().to_string();
    command.arg("-").arg(out).arg("-tar");
    command.args([
        "-root-mode",
        &format!("{:o}", source.mode()),
        "-root-uid",
        "0",
        "-root-gid",
        "0",
    ]);
    command.args(["-root-time", &newest]);
    // what is newer becomes as old: this moment
    command.env(EPOCH, newest);
    arguments(&mut command, options);
    let name = command.get_program().to_string_lossy().into_owned();
    let mut errors = tempfile::tempfile()?;
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(errors.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let copied = child.stdin.take().map_or(Ok(()), |pipe| source.write(added, pipe));
    let status = child.wait()?;
    if !status.success() {
        let mut text = String::new();
        std::io::Seek::rewind(&mut errors)?;
        std::io::Read::read_to_string(&mut errors, &mut text)?;
        anyhow::bail!("{name} failed ({status}):\n  {}", text.trim().replace('\n', "\n  "));
    }
    copied.with_context(|| format!("cannot read {}", source.path().display()))?;
    Ok(fs::metadata(out)?.len())
}

/// What runs a program as root of a user namespace of its own, for who is not root; none where that cannot be, or need not.
fn may_be_root() -> Option<Command> {
    let unshare = || {
        let mut command = tool::command(&tool::find("unshare", "util-linux").ok()?);
        command.arg("--map-root-user");
        Some(command)
    };
    let works = || tool::run(unshare()?.arg("true")).ok();
    if is_root() || works().is_none() { None } else { unshare() }
}

fn is_root() -> bool {
    nix::unistd::Uid::current().is_root()
}

/// Whether the root directory of an image that is made of an archive may belong to who makes it.
#[must_use]
pub fn root_is_ours() -> bool {
    !is_root() && may_be_root().is_none()
}

/// It refuses this variable together with times given as options.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

fn mksquashfs() -> Result<Command> {
    let mut command = tool::command(&tool::find("mksquashfs", "squashfs-tools")?);
    command.env_remove(EPOCH);
    Ok(command)
}

fn arguments(command: &mut Command, options: Options) {
    let comp = options.codec.to_string();
    command.args(["-comp", &comp, "-noappend", "-no-progress", "-quiet"]);
    if options.codec == Codec::Zstd {
        command.args(["-Xcompression-level", &options.level.to_string()]);
    }
}

fn finish(mut command: Command, options: Options, out: &Path) -> Result<u64> {
    command.args(["-mkfs-time", "0"]);
    arguments(&mut command, options);
    tool::run(&mut command)?;
    Ok(fs::metadata(out).with_context(|| format!("cannot read {}", out.display()))?.len())
}
