// SPDX-License-Identifier: MIT OR Apache-2.0
//! Temporary files and directories, and results that appear whole or not at all: what fails, or is ended by a signal,
//! leaves nothing half-written behind.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{self, Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use tempfile::{Builder, NamedTempFile, TempDir};

/// How everything temporary is called, before the number of its process.
const PREFIX: &str = ".pivot-image-";
/// What is older was left by a run that was killed: nobody compiles a kernel that long.
const STALE: Duration = Duration::from_hours(24);

/// Directories in which there may be something of this process. Whoever holds it makes nothing new.
static PLACES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn places() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn prefix() -> String {
    format!("{PREFIX}{}-", process::id())
}

fn make<T>(
    place: &Path,
    make: impl FnOnce(&mut Builder<'_, '_>) -> io::Result<T>,
) -> io::Result<T> {
    let mut places = places();
    places.insert(path::absolute(place)?);
    make(Builder::new().prefix(&prefix()))
}

/// A directory that is deleted when it is dropped.
///
/// # Errors
/// Where it cannot be made.
pub fn directory() -> Result<TempDir> {
    directory_in(&env::temp_dir())
}

/// The same, in this directory.
///
/// # Errors
/// As [`directory`].
pub fn directory_in(place: &Path) -> Result<TempDir> {
    make(place, |builder| builder.tempdir_in(place))
        .with_context(|| format!("cannot make a temporary directory in {}", place.display()))
}

/// A file that is deleted when it is dropped.
///
/// # Errors
/// Where it cannot be made.
pub fn file() -> Result<NamedTempFile> {
    file_in(&env::temp_dir(), 0o600)
}

/// The same, in this directory, with what the umask leaves of `mode`.
///
/// # Errors
/// As [`file()`].
pub fn file_in(place: &Path, mode: u32) -> Result<NamedTempFile> {
    let mode = fs::Permissions::from_mode(mode);
    make(place, |builder| builder.permissions(mode).tempfile_in(place))
        .with_context(|| format!("cannot make a temporary file in {}", place.display()))
}

/// The directory of a file.
#[must_use]
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the file `out` of what `write` writes into another one beside it: until that is whole, `out` is as it was.
///
/// # Errors
/// Those of `write`, or where `out` cannot be written.
pub fn whole<T>(out: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let cannot = || format!("cannot write {}", out.display());
    let there = fs::metadata(out).ok();
    if there.as_ref().is_some_and(fs::Metadata::is_dir) {
        bail!("{}: it is a directory", cannot());
    }
    // a device, a pipe, what somebody has open as /dev/stdout, a link to what is not there yet: nothing can take its place
    let stays = there.as_ref().is_some_and(|facts| !facts.is_file())
        || there.is_none() && out.is_symlink()
        || out.starts_with("/dev")
        || out.starts_with("/proc");
    if stays {
        let temporary = file()?;
        let made = write(temporary.path())?;
        let copy = || io::copy(&mut File::open(temporary.path())?, &mut File::create(out)?);
        copy().with_context(cannot)?;
        return Ok(made);
    }
    // a link stays one
    let out = if there.is_some() { out.canonicalize().with_context(cannot)? } else { out.into() };
    clear_up(parent(&out));
    let temporary = file_in(parent(&out), 0o666).with_context(cannot)?;
    let made = write(temporary.path())?;
    if let Some(before) = there {
        fs::set_permissions(temporary.path(), before.permissions()).with_context(cannot)?;
    }
    temporary.persist(&out).map_err(|error| error.error).with_context(cannot)?;
    Ok(made)
}

/// The same for a directory: what was there goes when the new one is whole.
///
/// # Errors
/// As [`whole`].
pub fn whole_directory<T>(out: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let cannot = || format!("cannot write {}", out.display());
    // a link stays one
    let out = &if out.exists() { out.canonicalize().with_context(cannot)? } else { out.into() };
    fs::create_dir_all(parent(out)).with_context(cannot)?;
    clear_up(parent(out));
    let temporary = directory_in(parent(out))?;
    // a directory inside of it, so that the permissions are what the umask leaves
    let new = temporary.path().join("new");
    fs::create_dir(&new).with_context(cannot)?;
    let made = fill(&new)?;
    // a signal waits for the end of it
    let _held = places();
    if out.exists() {
        fs::rename(out, temporary.path().join("old")).with_context(cannot)?;
    }
    fs::rename(&new, out).with_context(cannot)?;
    Ok(made)
}

/// The same for bytes.
///
/// # Errors
/// As [`whole`].
pub fn write(out: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    whole(out, |to| fs::write(to, bytes).with_context(|| format!("cannot write {}", out.display())))
}

/// Deletes what runs left in a directory that were killed. What cannot be deleted is not ours to mind.
pub fn clear_up(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let age = entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed());
        if ours && age.is_ok_and(|age| age.is_ok_and(|age| age > STALE)) {
            remove(&entry.path());
        }
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}

/// From here on a signal that ends the program ends the programs that it runs, too, and deletes what is temporary.
///
/// # Errors
/// Where signals cannot be caught.
pub fn end_on_signals() -> Result<()> {
    let ignored = ignored();
    let caught = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|n| ignored >> (n - 1) & 1 == 0);
    let mut signals = Signals::new(caught).context("cannot catch signals")?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            // held to the end: nothing new is made, and main waits in `settle`
            let places = places();
            end_children();
            places.iter().for_each(|place| empty(place));
            let _ = emulate_default_handler(signal);
        }
    });
    Ok(())
}

/// Where a signal has come, waits for the end: what failed because of it is not worth a message.
pub fn settle() {
    drop(places());
}

/// The mask of what whoever started this wants ignored, such as SIGHUP by nohup.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// They write into what is deleted. A terminal signals them itself; whoever kills this process alone does not.
fn end_children() {
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in list.split_whitespace().filter_map(|number| number.parse().ok()) {
            let _ = signal::kill(Pid::from_raw(child), Signal::SIGTERM);
        }
    }
}

/// Deletes what this process has there. Its other threads, and programs that have not ended yet, may add to it.
fn empty(place: &Path) {
    let (prefix, ours) = (prefix(), |entry: &fs::DirEntry, prefix: &str| {
        entry.file_name().to_string_lossy().starts_with(prefix)
    });
    for _ in 0..20 {
        let entries = fs::read_dir(place).into_iter().flatten().flatten();
        let left: Vec<_> = entries.filter(|entry| ours(entry, &prefix)).collect();
        if left.is_empty() {
            return;
        }
        left.iter().for_each(|entry| remove(&entry.path()));
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn whole_or_as_before() {
        let base = tempfile::tempdir().unwrap();
        let out = base.path().join("out");
        for text in ["one", "two"] {
            write(&out, text).unwrap();
            assert_eq!(fs::read_to_string(&out).unwrap(), text);
        }
        let half = whole(&out, |to| {
            fs::write(to, "half")?;
            bail!("full") as Result<()>
        });
        assert_eq!(half.unwrap_err().to_string(), "full");
        assert_eq!(
            (fs::read_to_string(&out).unwrap().as_str(), names(base.path()).len()),
            ("two", 1)
        );
        let error = format!("{:#}", write(base.path(), "").unwrap_err());
        assert_eq!(error, format!("cannot write {}: it is a directory", base.path().display()));
        let error = format!("{:#}", write(&base.path().join("no/such"), "").unwrap_err());
        assert!(error.contains("no/such: ") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn links_and_devices_stay() {
        let base = tempfile::tempdir().unwrap();
        let (out, link) = (base.path().join("out"), base.path().join("link"));
        fs::write(&out, "before").unwrap();
        std::os::unix::fs::symlink("out", &link).unwrap();
        write(&link, "after").unwrap();
        assert!(link.is_symlink() && fs::read(&out).unwrap() == b"after");
        write(Path::new("/dev/null"), "x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_killed_runs_left_goes() {
        let base = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - STALE * 2;
        for (name, old) in [
            (".pivot-image-1-old", Some(old)),
            (".pivot-image-1-new", None),
            ("squashfs-1", Some(old)),
        ] {
            let path = base.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), "").unwrap();
            if let Some(old) = old {
                fs::File::open(&path).unwrap().set_modified(old).unwrap();
            }
        }
        clear_up(base.path());
        assert_eq!(names(base.path()), [".pivot-image-1-new", "squashfs-1"]);
    }
}
