// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power cuts while the data partition grows. What the guest writes is recorded; every state that a cut could have left
//! is put together again and judged here, and some are booted to the end.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::super::case::{Base, Case, Seen};
use super::super::checks::healthy;
use super::super::disk::DiskCopy;
use super::super::fixture::Fixture;
use super::extents::{extents, files, listed, names};
use super::{CARD, MIB, is_grown};
use crate::image::{self, Boot, Image, Partition};
use crate::machine::{CORTEX_A72, Machine};
use crate::random::Random;
use crate::recorder::{self, Request, SECTOR};
use crate::{run, tool};

/// Of the data partitions that pivot-image makes.
const BLOCK: u64 = 4096;
/// Of a long request for the file system at most so many parts are looked at.
const PARTS: usize = 16;
/// How many states with a reordering are looked at.
const REORDERED: usize = 300;
/// How many states are booted.
const BOOTED: usize = 4;

pub(super) fn cases() -> [Case; 2] {
    let case = |name, base, custom| Case { base, custom: Some(custom), ..Case::new(name) };
    [
        case("grow-cuts-gpt", Base::Gpt, |fixture: &Fixture, directory: &Path| {
            let virt = fixture.virt()?;
            cut_everywhere(&virt.gpt, &virt.kernel, directory)
        }),
        case("grow-cuts-mbr", Base::Mbr, |fixture: &Fixture, directory: &Path| {
            let virt = fixture.virt()?;
            cut_everywhere(&virt.mbr, &virt.mbr_kernel, directory)
        }),
    ]
}

fn cut_everywhere(image: &Image, boot: &Boot, directory: &Path) -> Result<String> {
    let recorded = Recorded::make(image, boot, directory)?;
    recorded.keeps_the_files()?;
    let (prefixes, torn) = recorded.prefixes()?;
    let reordered = recorded.reordered()?;
    let booted = recorded.boot_some(boot)?;
    let (requests, table) = (recorded.requests.len(), recorded.table_writes().len());
    recorded.notices_the_other_order()?;
    Ok(format!(
        "{requests} requests, of them {table} to the table; states: {prefixes} prefixes, {torn} torn, {reordered} \
         reordered; {booted} booted"
    ))
}

/// A boot that grew, request by request.
struct Recorded {
    directory: PathBuf,
    /// The card before it.
    start: PathBuf,
    /// Its partition 4.
    data: Partition,
    /// Where partition 4 ends when it has grown.
    new_length: u64,
    requests: Vec<Request>,
    /// The revision's files: what ext4 says where their content lies.
    files: String,
}

/// A state of the card in two sparse files: what is outside of partition 4, and partition 4 without the content of the
/// revision's files. e2fsck cannot replay a journal at an offset, and the copies are small.
struct Cut {
    table: PathBuf,
    part: PathBuf,
}

impl Recorded {
    fn make(image: &Image, boot: &Boot, directory: &Path) -> Result<Self> {
        let disk = DiskCopy::make(image, directory)?;
        super::enlarge(&disk)?;
        let start = directory.join("start.img");
        tool::copy_sparse(&disk.path, &start)?;
        let files = files(&disk)?;
        let data = partition(&disk.path)?;
        let requests = record(boot, &disk)?;
        is_grown(&disk)?;
        let new_length = partition(&disk.path)?.length;
        let directory = directory.to_owned();
        let recorded = Self { directory, start, data, new_length, requests, files };
        let again = record(boot, &disk)?;
        let table = again.iter().filter(|request| recorded.is_outside(request)).count();
        ensure!(table == 0, "the second boot wrote {table} times to the table");
        recorded.split_start()?;
        Ok(recorded)
    }

    /// Whether a request is not for partition 4 as it will be.
    fn is_outside(&self, request: &Request) -> bool {
        let end = self.data.start + self.new_length;
        request.touches(0, self.data.start) || request.touches(end, CARD)
    }

    /// The places of the requests to the table.
    fn table_writes(&self) -> Vec<usize> {
        let requests = self.requests.iter().enumerate();
        requests.filter(|(_, request)| self.is_outside(request)).map(|(at, _)| at).collect()
    }

    /// The first of them: the states before it are those of any boot.
    fn first(&self) -> Result<usize> {
        self.table_writes().first().copied().context("nothing was written to the table")
    }

    /// No request touches the content of the revision's files.
    fn keeps_the_files(&self) -> Result<()> {
        let extents = extents(&self.files)?;
        ensure!(!extents.is_empty(), "the files lie nowhere:\n{}", self.files);
        for (first, last) in extents {
            let start = self.data.start + BLOCK * first;
            let end = self.data.start + BLOCK * (last + 1);
            let touched = self.requests.iter().any(|request| request.touches(start, end));
            ensure!(!touched, "blocks {first} to {last} of a file were written to");
        }
        Ok(())
    }

    /// Makes the two files of the card before the boot.
    fn split_start(&self) -> Result<()> {
        let start = self.cut("start");
        let (from, table) = (File::open(&self.start)?, File::create(&start.table)?);
        table.set_len(CARD)?;
        // The second table of the image lies where partition 4 will be, and nobody looks for it there.
        let mut bytes = vec![0; usize::try_from(MIB)?];
        from.read_exact_at(&mut bytes, 0)?;
        table.write_all_at(&bytes, 0)?;
        let part = File::create(&start.part)?;
        part.set_len(self.new_length)?;
        let files = extents(&self.files)?;
        let mut block = vec![0; usize::try_from(BLOCK)?];
        for number in 0..self.data.length / BLOCK {
            if files.iter().any(|(first, last)| (*first..=*last).contains(&number)) {
                continue;
            }
            from.read_exact_at(&mut block, self.data.start + number * BLOCK)?;
            if block.iter().any(|byte| *byte != 0) {
                part.write_all_at(&block, number * BLOCK)?;
            }
        }
        Ok(())
    }

    fn cut(&self, name: &str) -> Cut {
        let path = |kind| self.directory.join(format!("{name}.{kind}"));
        Cut { table: path("table"), part: path("part") }
    }

    /// A copy of a state.
    fn copied(&self, from: &Cut, name: &str) -> Result<Cut> {
        let to = self.cut(name);
        tool::copy_sparse(&from.table, &to.table)?;
        tool::copy_sparse(&from.part, &to.part)?;
        Ok(to)
    }

    fn apply<'a>(&self, requests: impl IntoIterator<Item = &'a Request>, cut: &Cut) -> Result<()> {
        let open = |path| File::options().write(true).open(path);
        let (table, part) = (open(&cut.table)?, open(&cut.part)?);
        for request in requests {
            if self.is_outside(request) {
                request.apply(&table)?;
            } else {
                request.moved(self.data.start).apply(&part)?;
            }
        }
        Ok(())
    }

    /// Every number of whole requests, and of each one a part: every sector of the table's and of short ones, of longer
    /// ones some.
    fn prefixes(&self) -> Result<(usize, usize)> {
        let first = self.first()?;
        let now = self.copied(&self.cut("start"), "now")?;
        self.apply(self.requests.iter().take(first), &now)?;
        let (mut prefixes, mut torn) = (0, 0);
        for (number, request) in self.requests.iter().enumerate().skip(first) {
            self.judge(&now).with_context(|| format!("before request {number}"))?;
            prefixes += 1;
            for part in self.parts(request) {
                let cut = self.copied(&now, "cut")?;
                self.apply([&part], &cut)?;
                self.mend_superblock(&part, &cut)?;
                self.judge(&cut).with_context(|| format!("in the middle of request {number}"))?;
                torn += 1;
            }
            self.apply([request], &now)?;
        }
        self.judge(&now).context("after the last request")?;
        Ok((prefixes + 1, torn))
    }

    fn parts(&self, request: &Request) -> Vec<Request> {
        let Request::Write(_, bytes) = request else { return Vec::new() };
        let sectors = bytes.len() / SECTOR;
        let step = if self.is_outside(request) { 1 } else { sectors.div_ceil(PARTS).max(1) };
        (1..sectors).step_by(step).filter_map(|at| request.torn(at)).collect()
    }

    /// ext4's superblock is two sectors with one checksum. Where a cut falls between them, in this write or in any that
    /// a mounted ext4 makes of it, e2fsck must be told of a copy; it then replays the journal, which has the superblock.
    /// What flash writes at once is longer.
    fn mend_superblock(&self, part: &Request, cut: &Cut) -> Result<()> {
        let middle = self.data.start + 1536;
        if part.end() == middle && part.touches(middle - 1, middle) {
            // It succeeds and then cannot open the file system anew: its status says nothing.
            let mut e2fsck = tool::command("e2fsck");
            tool::output(e2fsck.args(["-p", "-b", "32768", "-B", "4096"]).arg(&cut.part))?;
        }
        Ok(())
    }

    fn reordered(&self) -> Result<usize> {
        let mut random = Random(1);
        let first = self.first()?;
        for number in 0..REORDERED {
            let end = first + 1 + random.of(self.requests.len() - first);
            let state = recorder::reordered(&self.requests, end, &mut random);
            let cut = self.copied(&self.cut("start"), "cut")?;
            self.apply(state, &cut)?;
            self.judge(&cut)
                .with_context(|| format!("reordering {number} before request {end}"))?;
        }
        Ok(REORDERED)
    }

    /// That a wrong order would be seen: with the first table of a GPT before the second, a cut leaves none.
    fn notices_the_other_order(mut self) -> Result<()> {
        let table = self.table_writes();
        let [second, _, first] = table.as_slice() else { return Ok(()) };
        self.requests.swap(*second, *first);
        ensure!(self.prefixes().is_err(), "the first table before the second went unnoticed");
        Ok(())
    }

    /// A person with this card: the table is there, partition 4 begins where it did and is the old or the new one,
    /// e2fsck mends what there is without asking, and the files are where they were.
    fn judge(&self, cut: &Cut) -> Result<()> {
        let data = partition(&cut.table)?;
        let known = [self.data.length, self.new_length].contains(&data.length);
        ensure!(known && data.start == self.data.start, "partition 4 is {data:?}");
        let part = self.directory.join("judged.part");
        tool::copy_sparse(&cut.part, &part)?;
        File::options().write(true).open(&part)?.set_len(data.length)?;
        let output = tool::output(tool::command("e2fsck").args(["-f", "-p"]).arg(&part))?;
        if !matches!(output.status.code(), Some(0 | 1)) {
            bail!("e2fsck ({}): {}", output.status, String::from_utf8_lossy(&output.stdout));
        }
        let disk = DiskCopy::bare(part, &self.directory)?;
        let blocks = disk.blocks()?;
        ensure!(blocks <= data.length / BLOCK, "ext4 has {blocks} blocks, {data:?}");
        ensure!(listed(&disk, &names(&self.files))? == self.files, "the revision's files moved");
        Ok(())
    }

    /// Some states are left to pivot itself: it ends fully grown.
    fn boot_some(&self, boot: &Boot) -> Result<usize> {
        let first = self.first()?;
        let span = self.requests.len() - first;
        for number in 0..BOOTED {
            let end = first + number * (span - 1) / BOOTED;
            let path = self.directory.join("disk.img");
            tool::copy_sparse(&self.start, &path)?;
            let file = File::options().write(true).open(&path)?;
            self.requests.iter().take(end).try_for_each(|request| request.apply(&file))?;
            // The next one torn, where it is longer than a sector.
            if let Some(part) = self.requests.get(end).and_then(|request| request.torn(1)) {
                part.apply(&file)?;
            }
            let disk = DiskCopy::open(path, &self.directory)?;
            let grown = record(boot, &disk).and_then(|_| is_grown(&disk));
            grown.with_context(|| format!("booted after request {end}"))?;
        }
        Ok(BOOTED)
    }
}

/// Boots it to its end and gives what was written.
fn record(boot: &Boot, disk: &DiskCopy) -> Result<Vec<Request>> {
    let machine = Machine {
        cpu: CORTEX_A72,
        memory: "512M".into(),
        disks: Vec::new(),
        kernel: boot.kernel.clone(),
        initrd: boot.initrd.clone(),
        append: boot.cmdline.clone().into(),
        icount: false,
    };
    let log = disk.path.with_extension("log");
    let mut qemu = machine.command();
    recorder::add_disk(&mut qemu, &disk.path, &log)?;
    let outcome = run::run(qemu, &[], Duration::from_secs(180))?;
    let seen = Seen { outcome: &outcome, disk: Some(disk), chosen: None };
    healthy(&seen).with_context(|| tool::tail(&outcome.console, 25))?;
    let requests = recorder::read(&log)?;
    fs::remove_file(&log)?;
    Ok(requests)
}

fn partition(disk: &Path) -> Result<Partition> {
    image::partitions(disk)?.get(3).copied().context("there is no partition 4")
}
