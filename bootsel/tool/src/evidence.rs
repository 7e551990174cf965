// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeps what the kernel left in memory over a reset (pstore) on the data partition, and says in the log what ended the
//! boot before.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootsel::Slot;
use bootsel::state::evidence::{Reset, booted_in, findings, panic_line, to_drop};
use rustix::fs::OFlags;
use rustix::mount::{MountFlags, mount};

use crate::disk::Disk;
use crate::error::{Error, Result, failed};
use crate::root::{Root, names};
use crate::this_boot::ThisBoot;
use crate::{emmc, machine, say};

const PSTORE: &str = "sys/fs/pstore";
/// What is taken: dumps of the kernel's log, consoles, what user space wrote, traces. systemd-pstore has the rest.
const KINDS: [&str; 4] = ["dmesg-", "console-", "pmsg-", "ftrace-"];
/// No backend has larger records: ramoops on a Raspberry Pi has 64 KiB in all.
const RECORD: u64 = 1 << 20;
/// No more at once: a record is a panic, or a part of one.
const RECORDS: usize = 64;
/// Panics of one boot that go to the log, which has room for 64 records in all.
const PANICS: usize = 4;

/// A record of pstore.
struct Record {
    path: PathBuf,
    name: String,
    bytes: Vec<u8>,
}

/// `bootsel collect`
pub(crate) fn collect(root: &Root, named: Option<&Path>) -> Result<()> {
    let _lock = root.lock_within(Duration::from_secs(10))?;
    let records = read(root);
    // said before it is moved: what a cut of power interrupts is done again
    let mut boot = ThisBoot::look(root, named);
    let panics = panics(&records);
    let revision = boot.revision.clone();
    for found in boot.with(|boot| findings(boot, &revision, &panics, reset(root))) {
        let message = if found.message.is_empty() { "the trial is over" } else { &found.message };
        say(&format!("slot {}: {message}", found.slot));
        let (event, id) = (found.event, &boot.boot_id);
        let written = boot.journal.write(event, found.slot, &found.revision, id, &found.message);
        if let Err(why) = written {
            say(&format!("warning: {why}"));
        }
    }
    // a bootloader whose slot was committed right before the power was cut
    if let Ok(disk) = Disk::find(root, named)
        && let Err(why) = emmc::follow(root, &disk)
    {
        say(&format!("warning: {why}"));
    }
    // a data partition that is full or read-only is no reason to fail: status says that it is
    if let Err(why) = keep(root, &records) {
        say(&format!("warning: {why}; the records stay in /{PSTORE}"));
    }
    Ok(())
}

fn read(root: &Root) -> Vec<Record> {
    let directory = root.path(PSTORE);
    let mut found = names(&directory);
    if found.is_empty() && root.is_real() {
        // systemd mounts it, other inits may not; where it is mounted or not known there is nothing to do
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let _ = mount("pstore", &directory, "pstore", flags, None);
        found = names(&directory);
    }
    found.retain(|name| KINDS.iter().any(|kind| name.starts_with(kind)));
    found.truncate(RECORDS);
    found.into_iter().filter_map(|name| record(directory.join(&name), &name)).collect()
}

/// Names and contents come from memory that survived a reset, or from an EFI variable: neither is believed.
fn record(path: PathBuf, name: &str) -> Option<Record> {
    fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    File::open(&path).ok()?.take(RECORD).read_to_end(&mut bytes).ok()?;
    let plain = |char: char| char.is_ascii_alphanumeric() || ".-".contains(char);
    let name = name.chars().take(100).map(|char| if plain(char) { char } else { '_' }).collect();
    Some(Record { path, name, bytes })
}

/// Each panic once: a dump and a console both have it.
fn panics(records: &[Record]) -> Vec<(String, Option<(Slot, String)>)> {
    let mut panics: Vec<(String, Option<(Slot, String)>)> = Vec::new();
    for record in records {
        let Some(line) = panic_line(&record.bytes) else { continue };
        let of = booted_in(&record.bytes);
        match panics.iter_mut().find(|(known, _)| *known == line) {
            Some((_, known)) => *known = known.take().or(of),
            None => panics.push((line, of)),
        }
    }
    panics.truncate(PANICS);
    panics
}

fn reset(root: &Root) -> Reset {
    Reset {
        bootstatus: machine::watchdog(root).and_then(|watchdog| watchdog.bootstatus),
        rsts: root.tree_number("chosen/bootloader/rsts"),
        unclean: machine::data(root).is_some_and(|data| recovered(root, &data.device)),
    }
}

/// Whether the journal of the data partition had to be replayed when it was mounted: the boot before did not end in
/// order. Nothing but the kernel's log says so afterwards. (`fs/ext4/super.c`)
fn recovered(root: &Root, device: &str) -> bool {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let log = File::options().read(true).custom_flags(flags).open(root.path("dev/kmsg"));
    let Ok(mut log) = log else { return false };
    let line = format!("EXT4-fs ({device}): recovery complete");
    // a record at a time; the longest has 8 KiB (`CONSOLE_EXT_LOG_MAX`)
    let mut record = vec![0; 8 << 10];
    loop {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(bytes) => {
                let text = String::from_utf8_lossy(record.get(..bytes).unwrap_or_default());
                if text.contains(&line) {
                    return true;
                }
            }
            // overwritten while it was read
            Err(why) if why.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => return false,
        }
    }
}

/// Copies each record, makes all copies durable, and only then removes the originals.
fn keep(root: &Root, records: &[Record]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let store = machine::store(root);
    fs::create_dir_all(&store).map_err(failed(format!("cannot create {}", store.display())))?;
    let mut kept = names(&store);
    for left in kept.extract_if(.., |name| name.starts_with('.')) {
        remove(&store.join(left))?;
    }
    let numbers = kept.iter().filter_map(|name| name.split_once('.')?.0.parse::<u32>().ok());
    let number = numbers.max().map_or(1, |newest| newest.saturating_add(1));
    for record in records {
        // copied, and the power was cut before the original was removed
        let same =
            |name: &&String| name.split_once('.').is_some_and(|(_, name)| name == record.name);
        let newest = kept.iter().rfind(same).map(|name| store.join(name));
        if newest.is_some_and(|path| fs::read(path).is_ok_and(|bytes| bytes == record.bytes)) {
            continue;
        }
        let name = format!("{number:06}.{}", record.name);
        make_room(&store, &mut kept, record.bytes.len())?;
        while let Err(why) = copy(&store, &name, &record.bytes) {
            let full = why.kind() == ErrorKind::StorageFull;
            if !full || kept.is_empty() {
                return Err(Error::Failed(format!("cannot write {}: {why}", store.display())));
            }
            remove(&store.join(kept.remove(0)))?;
        }
        kept.push(name);
    }
    let synced = File::open(&store).and_then(|directory| directory.sync_all());
    synced.map_err(failed(format!("cannot sync {}", store.display())))?;
    records.iter().try_for_each(|record| remove(&record.path))?;
    say(&format!("kept {} records of the kernel in {}", records.len(), store.display()));
    Ok(())
}

/// Whole under its name, or not there.
fn copy(store: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let new = store.join(".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, store.join(name))
}

/// Drops the oldest, until the new one fits.
fn make_room(store: &Path, kept: &mut Vec<String>, bytes: usize) -> Result<()> {
    let length = |name| fs::symlink_metadata(store.join(name)).map_or(0, |meta| meta.len());
    let sizes: Vec<u64> = kept.iter().map(length).collect();
    for name in kept.drain(..to_drop(&sizes, bytes as u64)) {
        remove(&store.join(name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(failed(format!("cannot remove {}", path.display())))
}
