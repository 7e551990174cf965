// SPDX-License-Identifier: MIT OR Apache-2.0
//! Modules made ready: plain .ko files (signatures stay, they are at the end of the plain file) with the index
//! files of depmod, which packages do not carry.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::file_name;
use crate::compress;
use crate::load::Resolver;
use crate::progress::{Progress, Step};
use crate::scratch;
use crate::tool;
use crate::tree::{Node, Tree};

/// Fills `<to>/lib/modules/<release>` from `source`, the directory of that release.
pub(super) fn prepare(source: &Path, to: &Path, release: &str, progress: Progress) -> Result<()> {
    let target = to.join("lib/modules").join(release);
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let files = files(source)?;
    let step =
        progress.step(&format!("modules of {release}"), files.iter().map(|file| file.1).sum());
    copy(source, &target, &files, &step)?;
    depmod(to, release)?;
    Resolver::open(&to.join("lib/modules"), release)?.write_lists(&target)?;
    step.done(&format!("{} files unpacked", files.len()));
    Ok(())
}

/// Modules and what depmod reads, relative to the release's directory, with their lengths.
fn files(source: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut tree = Tree::default();
    // `build` and `source` are links to the headers: on the device they lead nowhere
    tree.add(source)?;
    let input = ["modules.order", "modules.builtin", "modules.builtin.modinfo"];
    let wanted = |path: &Path| {
        let name = file_name(path);
        plain_name(&name).is_some() || input.iter().any(|input| path == Path::new(input))
    };
    let files =
        tree.iter().filter(|(path, _)| wanted(path)).filter_map(|(path, node)| match node {
            Node::File(_, length, _) => Some((path.to_owned(), *length)),
            _ => None,
        });
    Ok(files.collect())
}

/// `x.ko` for `x.ko`, `x.ko.xz`, `x.ko.zst`, `x.ko.gz`.
pub(super) fn plain_name(name: &str) -> Option<&str> {
    let plain = [".xz", ".zst", ".gz"].iter().find_map(|ending| name.strip_suffix(ending));
    Some(plain.unwrap_or(name)).filter(|plain| plain.ends_with(".ko"))
}

/// On every processor: unpacking xz is most of the work.
fn copy(source: &Path, target: &Path, files: &[(PathBuf, u64)], step: &Step) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let one = |path: &Path| -> Result<()> {
        let name = file_name(path);
        let to = target.join(path).with_file_name(plain_name(&name).unwrap_or(&name));
        fs::create_dir_all(to.parent().unwrap_or(target))?;
        let packed = fs::read(source.join(path))
            .with_context(|| format!("cannot read {}", source.join(path).display()))?;
        let plain =
            if plain_name(&name).is_some() { compress::unpack(&name, &packed)? } else { packed };
        fs::write(&to, plain).with_context(|| format!("cannot write {}", to.display()))
    };
    std::thread::scope(|scope| {
        let worker = |number: usize| {
            files.iter().skip(number).step_by(threads).try_for_each(|(path, length)| {
                step.advance(*length);
                one(path)
            })
        };
        let workers: Vec<_> = (0..threads).map(|n| scope.spawn(move || worker(n))).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(result) => result,
            Err(_) => bail!("a thread that unpacks modules died"),
        })
    })
}

/// Writes modules.dep and the other index files of `<base>/lib/modules/<release>`.
///
/// # Errors
/// Where depmod is missing or fails.
pub(super) fn depmod(base: &Path, release: &str) -> Result<()> {
    // its default directories may hold settings of this host
    let settings = scratch::directory()?;
    let base = fs::canonicalize(base)?;
    let mut command = tool::command(&tool::find("depmod", "kmod")?);
    command.arg("-C").arg(settings.path()).arg("-b").arg(&base).arg(release);
    tool::run(&mut command).context("the modules' dependencies are not known")?;
    // Without modules.builtin.modinfo (kernels before 5.2) it leaves an index of no bytes, which is none.
    for entry in fs::read_dir(base.join("lib/modules").join(release))? {
        let path = entry?.path();
        let empty = fs::metadata(&path)?.len() == 0;
        if empty && path.extension().is_some_and(|extension| extension == "bin") {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_modules() {
        assert_eq!(plain_name("loop.ko.xz"), Some("loop.ko"));
        assert_eq!(plain_name("loop.ko"), Some("loop.ko"));
        assert_eq!(plain_name("modules.dep"), None);
        assert_eq!(plain_name("ko.xz"), None);
    }
}
