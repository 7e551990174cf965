// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is found on a card after a cut: by the loader's model, by this kernel's ext4, and by `bootsel` itself.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use super::card::{Card, Content};
use super::device::{Device, Revision};
use super::world::{Chosen, PowerOn, World};
use crate::tool;

/// The length of a record in the log, and of the log.
const RECORD: usize = 512;
const RECORDS: usize = 64;

/// What a state of the card is judged by.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) power_on: PowerOn,
    /// What is started the time after that, where the first time changes the disk, and the status then.
    pub(super) then: Option<(Chosen, Value)>,
    pub(super) slots: [Content; 2],
    pub(super) data: Data,
    /// `bootsel status --json` after that boot.
    pub(super) status: Value,
}

/// What is on the data partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Data {
    /// Each directory of a revision: what is wrong with it, if anything is.
    pub(super) revisions: BTreeMap<String, Result<(), String>>,
    /// How often the log has each event.
    pub(super) events: BTreeMap<String, usize>,
}

impl Data {
    /// Whether there is a directory of that revision, whatever is in it.
    pub(super) fn has(&self, id: u32) -> bool {
        self.revisions.contains_key(&id.to_string())
    }
}

/// A place to look at cards: a loop device, a directory that is a device's root, and a mount namespace that nobody else
/// sees.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    pub(super) device: &'a Device,
    bootsel: PathBuf,
    part: PathBuf,
    loop_device: String,
    root: PathBuf,
    /// The name of the content that is mounted, and what was found there.
    mounted: Option<(u64, Data)>,
    boots: Cell<u32>,
    pub(super) mounts: u32,
}

impl<'a> Bench<'a> {
    /// To be used by the thread that made it.
    pub(super) fn new(device: &'a Device, bootsel: PathBuf, directory: &Path) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS)
            .context("cannot have a mount namespace: these cases run as root")?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        let part = directory.join("part");
        let data = device.factory.partitions.get(3).context("there is no partition 4")?;
        File::create(&part)?.set_len(data.length)?;
        let mut attach = tool::command("losetup");
        let loop_device = tool::run(attach.args(["--find", "--show"]).arg(&part))?;
        let root = directory.join("root");
        let bench = Self {
            device,
            bootsel,
            part,
            loop_device: loop_device.trim_end().to_owned(),
            root,
            mounted: None,
            boots: Cell::new(0),
            mounts: 0,
        };
        for (name, bytes) in device.world.signs() {
            bench.put(name, &bytes)?;
        }
        fs::create_dir_all(bench.data())?;
        Ok(bench)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().context("a file")?)?;
        Ok(fs::write(path, bytes)?)
    }

    fn data(&self) -> PathBuf {
        self.root.join("run/pivot/data")
    }

    /// Looks at the card as it is now. Revisions are read to their last byte where `deep` says so.
    pub(super) fn look(
        &mut self,
        card: &mut Card<'_>,
        deep: impl Fn(&str) -> bool,
    ) -> Result<Facts> {
        let power_on = self.device.power_on(&card.file)?;
        let slots = card.contents()?;
        let data = self.data_of(card, deep).context("the data partition")?;
        let point = card.here();
        let booted = self.boot(card, &power_on);
        card.back_to(point)?;
        let (then, status) = booted?;
        Ok(Facts { power_on, then, slots, data, status })
    }

    /// Does what is done at a power-on, and once more where that changes something: the power may be cut again before
    /// anything else is done.
    fn boot(&self, card: &mut Card<'_>, now: &PowerOn) -> Result<(Option<(Chosen, Value)>, Value)> {
        if let Some(request) = &now.writes {
            card.apply(request)?;
        }
        let status = self.status(card, &now.boots).context("bootsel status")?;
        if now.writes.is_none() {
            return Ok((None, status));
        }
        let then = self.device.power_on(&card.file)?.boots;
        let later = self.status(card, &then).context("bootsel status, after the trial")?;
        Ok((Some((then, later)), status))
    }

    /// Mounts a copy of partition 4, whose journal is replayed by that.
    fn data_of(&mut self, card: &Card<'_>, deep: impl Fn(&str) -> bool) -> Result<Data> {
        if let Some((name, data)) = &self.mounted
            && *name == card.data_name()
        {
            return Ok(data.clone());
        }
        self.unmount()?;
        sparse_copy(&card.file, card.data.start, card.data.length, &self.part)?;
        let mounted = mount(
            Some(self.loop_device.as_str()),
            &self.data(),
            Some("ext4"),
            MsFlags::MS_RDONLY,
            None::<&str>,
        );
        mounted.context("the kernel does not mount it")?;
        self.mounts += 1;
        let data = read_data(self.device, &self.data().join("pivot"), deep)?;
        self.mounted = Some((card.data_name(), data.clone()));
        Ok(data)
    }

    fn unmount(&mut self) -> Result<()> {
        if self.mounted.take().is_none() {
            return Ok(());
        }
        // A child of another thread has our open files until it runs its own program.
        let mut tries = 0;
        while let Err(why) = umount(&self.data()) {
            tries += 1;
            ensure!(
                why == Errno::EBUSY && tries < 1000,
                "cannot unmount the data partition: {why}"
            );
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Whether e2fsck agrees with the kernel about what is mounted.
    pub(super) fn check_mounted(&mut self) -> Result<()> {
        self.unmount()?;
        let output = tool::output(tool::command("e2fsck").args(["-f", "-p"]).arg(&self.part))?;
        if !matches!(output.status.code(), Some(0 | 1)) {
            bail!("e2fsck ({}): {}", output.status, String::from_utf8_lossy(&output.stdout));
        }
        Ok(())
    }

    /// What the tool says when this was booted.
    fn status(&self, card: &Card<'_>, boots: &Chosen) -> Result<Value> {
        self.boots.set(self.boots.get() + 1);
        let boot_id = format!("{:08}-0000-0000-0000-after-the-cut", self.boots.get());
        self.put("proc/sys/kernel/random/boot_id", boot_id.as_bytes())?;
        self.put("proc/cmdline", boots.cmdline.as_bytes())?;
        if self.device.world == World::Pi {
            let partition = boots.partition.to_be_bytes();
            self.put("proc/device-tree/chosen/bootloader/partition", &partition)?;
        }
        let text = tool::run(self.bootsel(card).args(["status", "--json"]))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// `bootsel verify`: both slots and their revisions, to the last byte.
    pub(super) fn verify(&self, card: &Card<'_>) -> Result<String> {
        tool::run(self.bootsel(card).arg("verify"))
    }

    fn bootsel(&self, card: &Card<'_>) -> Command {
        let mut command = Command::new(&self.bootsel);
        command.arg("--root").arg(&self.root).arg("--disk").arg(&card.path);
        command
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        // nobody is left to be told
        let _ = self.unmount();
        let _ = tool::run(tool::command("losetup").args(["--detach", &self.loop_device]));
    }
}

fn read_data(device: &Device, pivot: &Path, deep: impl Fn(&str) -> bool) -> Result<Data> {
    let mut data = Data::default();
    for entry in fs::read_dir(pivot.join("revisions"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let known = name.parse().ok().and_then(|id: u32| device.revisions.get(&id));
        let state = known.map_or(Err("unknown".into()), |revision| {
            whole(revision, &entry.path(), deep(&name)).map_err(|why| format!("{why:#}"))
        });
        data.revisions.insert(name, state);
    }
    let log = fs::read(pivot.join("log/init.log"))?;
    ensure!(log.len() == RECORD * RECORDS, "the log has {} bytes", log.len());
    for record in log.chunks(RECORD).filter(|record| record.starts_with(b"pivot crc=")) {
        let text = String::from_utf8_lossy(record);
        let event = text.split(" event=").nth(1).and_then(|rest| rest.split(' ').next());
        *data.events.entry(event.context("a record without an event")?.to_owned()).or_default() +=
            1;
    }
    Ok(data)
}

/// Whether a directory has all files of a revision, as they must be.
fn whole(revision: &Revision, directory: &Path, deep: bool) -> Result<()> {
    for (name, (bytes, hash)) in &revision.files {
        let path = directory.join(name);
        let found = fs::symlink_metadata(&path).with_context(|| name.clone())?.len();
        ensure!(found == *bytes, "{name} has {found} bytes of {bytes}");
        if deep {
            use sha2::{Digest, Sha256};
            let found: [u8; 32] = Sha256::digest(fs::read(&path)?).into();
            ensure!(found == *hash, "{name} has another content");
        }
    }
    Ok(())
}

/// A part of a file as a file, with its holes.
pub(crate) fn sparse_copy(from: &File, start: u64, length: u64, to: &Path) -> Result<()> {
    use nix::unistd::{Whence, lseek};
    use std::os::unix::fs::FileExt;
    let out = File::create(to)?;
    out.set_len(length)?;
    let end = i64::try_from(start + length)?;
    let mut at = i64::try_from(start)?;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(data) = lseek(from, at, Whence::SeekData) {
        let hole = lseek(from, data, Whence::SeekHole)?.min(end);
        at = data;
        while at < hole {
            let count = usize::try_from(hole - at)?.min(buffer.len());
            let part = buffer.get_mut(..count).unwrap_or_default();
            from.read_exact_at(part, u64::try_from(at)?)?;
            out.write_all_at(part, u64::try_from(at)? - start)?;
            at += i64::try_from(count)?;
        }
        if at >= end {
            break;
        }
    }
    Ok(())
}
