// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power cuts while an update of the EEPROM is staged. All that the card is asked to write in that boot is recorded; in
//! every state that a cut could have left, either nothing on partition 1 starts recovery.bin, or what it would write is
//! whole, with the owner's configuration, and counted as an attempt. Some of the states are booted to the end.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bootsel::eeprom::image::Image;

use super::{ATTEMPTS, BOOTCONF, Device, NEW, OLD, bootloader, is_left_alone, is_staged, looks};
use crate::e2e::cuts::sparse_copy;
use crate::e2e::disk::DiskCopy;
use crate::e2e::fixture::Fixture;
use crate::image::{self, Partition};
use crate::random::Random;
use crate::recorder::{self, Request, SECTOR};
use crate::standin::verified;
use crate::tool;

/// Of a long request so many parts are looked at, in the ordinary run; all of a short one.
const PARTS: usize = 64;
/// How many states with a reordering are looked at.
const REORDERED: [usize; 2] = [400, 5000];

pub(super) fn everywhere(fixture: &Fixture, directory: &Path) -> Result<String> {
    let mut device = super::device(fixture, directory, BOOTCONF)?;
    let start = directory.join("start.img");
    tool::copy_sparse(&device.standin.card(), &start)?;
    let log = directory.join("requests");
    device.standin.record = Some(log.clone());
    device.boot(&looks(), |start| is_staged(start, 1))?;
    device.standin.record = None;
    let requests = recorder::read(&log)?;
    fs::remove_file(&log)?;
    let mut cuts = Cuts::new(&device, start, requests, fixture.all)?;
    cuts.writes_where_it_may()?;
    let (prefixes, torn) = cuts.prefixes()?;
    let reordered =
        cuts.reordered(REORDERED.get(usize::from(fixture.all)).copied().unwrap_or(0))?;
    cuts.notices_a_wrong_order()?;
    let booted = cuts.boot_some(&mut device)?;
    let looked = cuts.staged;
    Ok(format!(
        "states: {prefixes} prefixes, {torn} torn, {reordered} reordered, of them {looked} staged; {booted} booted"
    ))
}

/// The card while its states are made: requests are done to a file and undone again.
struct Cuts {
    /// The card before.
    start: PathBuf,
    requests: Vec<Request>,
    path: PathBuf,
    file: File,
    undo: Vec<Request>,
    first: Partition,
    data: Partition,
    /// The number of the request that renames the files, and where it writes.
    trigger: usize,
    place: u64,
    /// The directory's block before and after it.
    blocks: [Vec<u8>; 2],
    /// Parts of a long request.
    parts: usize,
    /// How often a state was one with a staged update.
    staged: u32,
    directory: PathBuf,
}

impl Cuts {
    fn new(device: &Device, start: PathBuf, requests: Vec<Request>, all: bool) -> Result<Self> {
        let directory = device.standin.directory.clone();
        let path = directory.join("cut.img");
        tool::copy_sparse(&start, &path)?;
        let partitions = image::partitions(&path)?;
        let [first, _, _, data] = partitions.as_slice() else { bail!("not four partitions") };
        let (first, data) = (*first, *data);
        let end = first.start + first.length;
        let trigger = requests.iter().rposition(|request| request.touches(first.start, end));
        let trigger = trigger.context("nothing was written to partition 1")?;
        let Some(Request::Write(place, after)) = requests.get(trigger).cloned() else {
            bail!("the last request for partition 1 is no write")
        };
        ensure!(after.len() == SECTOR, "the files are renamed by {} bytes", after.len());
        let file = File::options().read(true).write(true).open(&path)?;
        let mut before = vec![0; SECTOR];
        file.read_exact_at(&mut before, place)?;
        ensure!(has(&after, b"RECOVERYBIN") && !has(&before, b"RECOVERYBIN"), "no renaming");
        Ok(Self {
            start,
            requests,
            path,
            file,
            undo: Vec::new(),
            first,
            data,
            trigger,
            place,
            blocks: [before, after],
            parts: if all { usize::MAX } else { PARTS },
            staged: 0,
            directory,
        })
    }

    /// Of partition 1 nothing is touched but the two files that are written anew, and one block of the directory, once.
    fn writes_where_it_may(&self) -> Result<()> {
        let names = ["eepr2712.img", "eepr2712.rec", "autoboot.txt", "config.txt"];
        let content = |path: &Path| {
            names.iter().map(|name| image::file(path, 1, name)).collect::<Result<Vec<_>>>()
        };
        let end = self.first.start + self.first.length;
        let block = self.place + SECTOR as u64;
        let touched =
            self.requests.iter().filter(|request| request.touches(self.first.start, end)).count();
        ensure!(touched > 2, "{touched} requests for partition 1");
        let directory = self.requests.iter().filter(|request| request.touches(self.place, block));
        ensure!(directory.count() == 1, "the directory was written more than once");
        let before = content(&self.start)?;
        let after = self.directory.join("after.img");
        tool::copy_sparse(&self.start, &after)?;
        let file = File::options().write(true).open(&after)?;
        self.requests.iter().try_for_each(|request| request.apply(&file))?;
        // while they are staged, recovery.bin is what the .rec was
        let [image, Some(program), autoboot, config] = before.as_slice() else {
            bail!("eepr2712.rec is missing")
        };
        let now = content(&after)?;
        let kept = now.first() == Some(image) && now.get(2) == Some(autoboot);
        ensure!(kept && now.get(3) == Some(config), "another file of partition 1 was changed");
        let staged = image::file(&after, 1, "recovery.bin")?;
        ensure!(staged.as_ref() == Some(program), "another recovery.bin");
        Ok(fs::remove_file(after)?)
    }

    fn apply(&mut self, request: &Request) -> Result<()> {
        self.undo.push(request.undone(&self.file)?);
        request.apply(&self.file)
    }

    fn back_to(&mut self, point: usize) -> Result<()> {
        while self.undo.len() > point {
            let Some(back) = self.undo.pop() else { break };
            back.apply(&self.file)?;
        }
        Ok(())
    }

    /// Every number of whole requests, and of each one some parts.
    fn prefixes(&mut self) -> Result<(u32, u32)> {
        let (mut prefixes, mut torn) = (0, 0);
        for number in 0..self.requests.len() {
            let Some(request) = self.requests.get(number).cloned() else { break };
            self.judge().with_context(|| format!("before request {number}"))?;
            prefixes += 1;
            for part in request.parts(self.parts) {
                let point = self.undo.len();
                self.apply(&part)?;
                if !part.splits_superblock(self.data.start) {
                    self.judge().with_context(|| format!("in the middle of request {number}"))?;
                    torn += 1;
                }
                self.back_to(point)?;
            }
            self.apply(&request)?;
        }
        self.judge().context("after the last request")?;
        self.back_to(0)?;
        Ok((prefixes + 1, torn))
    }

    fn reordered(&mut self, count: usize) -> Result<usize> {
        let mut random = Random(1);
        for number in 0..count {
            let end = 1 + random.of(self.requests.len());
            let state = recorder::reordered(&self.requests, end, &mut random);
            let state: Vec<Request> = state.into_iter().cloned().collect();
            state.iter().try_for_each(|request| self.apply(request))?;
            self.judge().with_context(|| format!("reordering {number} before request {end}"))?;
            self.back_to(0)?;
        }
        Ok(count)
    }

    /// What the ROM would find.
    fn judge(&mut self) -> Result<()> {
        let mut block = vec![0; SECTOR];
        self.file.read_exact_at(&mut block, self.place)?;
        let [before, after] = &self.blocks;
        if block == *before {
            return Ok(());
        }
        ensure!(block == *after, "the directory is neither the old nor the new one");
        self.staged += 1;
        let update = image::file(&self.path, 1, "pieeprom.upd")?.context("no pieeprom.upd")?;
        let signature = image::file(&self.path, 1, "pieeprom.sig")?.context("no pieeprom.sig")?;
        verified(&update, &signature)?;
        let image = Image::parse(&update).map_err(|why| anyhow::anyhow!("{why}"))?;
        ensure!(image.build_timestamp == NEW, "the image of {}", image.build_timestamp);
        ensure!(image.bootconf() == BOOTCONF.as_bytes(), "another configuration");
        let attempts = self.attempts().context("the attempt is not counted")?;
        ensure!(attempts.starts_with(&format!("version={NEW} attempts=1 ")), "{attempts}");
        Ok(())
    }

    /// The file on the data partition, as the next mount finds it.
    fn attempts(&self) -> Result<String> {
        let part = self.directory.join("part");
        sparse_copy(&self.file, self.data.start, self.data.length, &part)?;
        let disk = DiskCopy::bare(part, &self.directory)?;
        disk.replay()?;
        Ok(String::from_utf8(disk.read(ATTEMPTS)?)?)
    }

    /// The files renamed before they are whole, and before the attempt is counted.
    fn notices_a_wrong_order(&mut self) -> Result<()> {
        let end = self.first.start + self.first.length;
        let trigger = self.requests.get(self.trigger).cloned().context("no request")?;
        let of_files = |request: &Request| request.touches(self.first.start, end);
        let first = self.requests.iter().position(of_files).context("no request")?;
        let before = |number: usize| {
            self.requests.iter().take(number).rposition(|request| !of_files(request))
        };
        // the last flush before it, too, is of what was written for the attempt
        let last = self.requests.iter().take(self.trigger).rposition(of_files).context("none")?;
        ensure!(before(self.trigger).is_some_and(|number| number > last), "nothing is counted");
        for (name, place) in [("the files", first), ("the attempt", last + 1)] {
            let kept = self.requests.clone();
            self.requests.remove(self.trigger);
            self.requests.insert(place, trigger.clone());
            let found = self.prefixes();
            self.back_to(0)?;
            self.requests = kept;
            ensure!(found.is_err(), "renamed before {name}, and nobody notices");
        }
        Ok(())
    }

    /// The device goes on from some of them, and is up to date in the end.
    fn boot_some(&self, device: &mut Device) -> Result<usize> {
        let first = self.first;
        let of_files = |request: &Request| request.touches(first.start, first.start + first.length);
        let writes = self.requests.iter().position(of_files).context("no request")?;
        let cuts = [writes + 1, self.trigger, self.trigger + 1];
        for requests in cuts {
            tool::copy_sparse(&self.start, &device.standin.card())?;
            super::with_bootloader(device, BOOTCONF)?;
            device.cause = super::Cause::default();
            let file = File::options().write(true).open(device.standin.card())?;
            self.requests.iter().take(requests).try_for_each(|request| request.apply(&file))?;
            if let Some(part) = self.requests.get(requests).and_then(|request| request.torn(1)) {
                part.apply(&file)?;
            }
            converges(device).with_context(|| format!("cut at request {requests}"))?;
        }
        Ok(cuts.len())
    }
}

/// It restarts itself at most as often as it may.
fn converges(device: &mut Device) -> Result<()> {
    for _ in 0..2 {
        let mut is_over = false;
        device.boot(&looks(), |start| {
            is_over = start.outcome.report.is_ok();
            if is_over { is_left_alone(start, "current").map(drop) } else { Ok(()) }
        })?;
        if is_over {
            ensure!(bootloader(device)?.built == NEW, "still {OLD}");
            return Ok(());
        }
    }
    bail!("it restarted twice")
}

fn has(block: &[u8], name: &[u8]) -> bool {
    block.chunks_exact(32).any(|entry| entry.starts_with(name))
}
