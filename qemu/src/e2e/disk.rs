// SPDX-License-Identifier: MIT OR Apache-2.0
//! A copy of a disk image for one case: edited and judged without root rights, by debugfs and e2fsck.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::image::{self, Image, Partition};
use crate::tool;

/// Where the builder puts the one revision of the test images.
pub(crate) const REVISION: &str = "/pivot/revisions/1";
/// Of a superblock (kernel: fs/ext4/ext4.h): where the state is, and what it says of errors.
const S_STATE: u64 = 1024 + 0x3a;
const ERROR_FS: u16 = 2;

/// The copy. Its data partition can be changed while no machine runs on it.
#[derive(Debug)]
pub(crate) struct DiskCopy {
    pub(crate) path: PathBuf,
    data: Partition,
    directory: PathBuf,
}

impl DiskCopy {
    /// Copies the image's disk into `directory`.
    pub(crate) fn make(image: &Image, directory: &Path) -> Result<Self> {
        let path = directory.join("disk.img");
        tool::copy_sparse(&image.disk, &path)?;
        Self::open(path, directory)
    }

    /// One that is there already.
    pub(crate) fn open(path: PathBuf, directory: &Path) -> Result<Self> {
        let partitions = image::partitions(&path)?;
        let data = *partitions.get(3).context("there is no data partition")?;
        Ok(Self { path, data, directory: directory.to_owned() })
    }

    /// A data partition without a disk around it.
    pub(crate) fn bare(path: PathBuf, directory: &Path) -> Result<Self> {
        let data = Partition { start: 0, length: fs::metadata(&path)?.len() };
        Ok(Self { path, data, directory: directory.to_owned() })
    }

    /// The data partition, in the words of the library that e2fsprogs share.
    fn data(&self) -> String {
        format!("{}?offset={}", self.path.display(), self.data.start)
    }

    /// Runs commands of debugfs(8). It says what went wrong and exits with 0 all the same.
    pub(crate) fn debugfs(&self, commands: &[String]) -> Result<String> {
        let script = self.directory.join("debugfs");
        fs::write(&script, commands.join("\n") + "\n")?;
        let mut debugfs = tool::command("debugfs");
        let output = tool::output(debugfs.arg("-w").arg("-f").arg(&script).arg(self.data()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // The first line is its version.
        let complaints: Vec<_> = said.lines().filter(|l| !l.starts_with("debugfs ")).collect();
        ensure!(complaints.is_empty(), "debugfs {commands:?}: {}", complaints.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn debugfs_one(&self, command: String) -> Result<String> {
        self.debugfs(&[command])
    }

    /// Deletes a file of the data partition.
    pub(crate) fn remove(&self, path: &str) -> Result<()> {
        self.debugfs_one(format!("rm {path}")).map(|_| ())
    }

    /// The content of a file of the data partition.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let out = self.directory.join("dumped");
        self.debugfs_one(format!("dump {path} {}", out.display()))?;
        fs::read(&out).with_context(|| format!("cannot read {path} of the data partition"))
    }

    /// Replaces a file of the data partition.
    pub(crate) fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        self.remove(path)?;
        self.add(path, content)
    }

    /// Puts a new file onto the data partition.
    pub(crate) fn add(&self, path: &str, content: &[u8]) -> Result<()> {
        let from = self.directory.join("written");
        File::create(&from)?.write_all(content)?;
        self.debugfs_one(format!("write {} {path}", from.display())).map(|_| ())
    }

    /// Writes back the journal of a data partition that was not unmounted, as the next mount would.
    pub(crate) fn replay(&self) -> Result<()> {
        let mut check = tool::command("e2fsck");
        let code = tool::output(check.args(["-p", "-E", "journal_only"]).arg(self.data()))?.status;
        // e2fsck(8): 1 is that it changed something
        ensure!(matches!(code.code(), Some(0 | 1)), "e2fsck of the data partition: {code}");
        Ok(())
    }

    /// Changes a text file of the data partition.
    pub(crate) fn edit(&self, path: &str, change: impl FnOnce(&str) -> String) -> Result<()> {
        let text = String::from_utf8(self.read(path)?).context("not a text")?;
        let changed = change(&text);
        ensure!(changed != text, "{path}: nothing to change in\n{text}");
        self.write(path, changed.as_bytes())
    }

    /// Names of the revision's files that begin so.
    pub(crate) fn revision_files(&self, prefix: &str) -> Result<Vec<String>> {
        let manifest = String::from_utf8(self.read(&format!("{REVISION}/manifest"))?)?;
        let names = manifest.lines().filter_map(|line| line.rsplit("  ").next());
        Ok(names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect())
    }

    /// Sets ext4's flag for errors, as the kernel does when it finds one.
    pub(crate) fn set_error_flag(&self) -> Result<()> {
        self.debugfs_one("set_super_value state 3".into()).map(|_| ())
    }

    /// Whether that flag is set.
    pub(crate) fn error_flag(&self) -> Result<bool> {
        let mut state = [0; 2];
        File::open(&self.path)?.read_exact_at(&mut state, self.data.start + S_STATE)?;
        Ok(u16::from_le_bytes(state) & ERROR_FS != 0)
    }

    /// Leaves no free block in the data partition.
    pub(crate) fn fill(&self) -> Result<()> {
        self.fill_up_to(0)
    }

    /// Leaves so many free blocks.
    pub(crate) fn fill_up_to(&self, keep: u64) -> Result<()> {
        let statistics = self.debugfs_one("stats".into())?;
        let free = statistics.lines().find_map(|line| line.trim().strip_prefix("Free blocks:"));
        let free: u64 = free.context("debugfs names no free blocks")?.trim().parse()?;
        let free = free.saturating_sub(keep);
        // What is too much is refused, so the last blocks are taken by ever smaller files.
        let mut left = free;
        let empty = self.directory.join("empty");
        File::create(&empty)?;
        for number in 0..40 {
            if left == 0 {
                return Ok(());
            }
            let take = (left - left / 20).max(1);
            let path = format!("/fill{number}");
            self.debugfs(&[
                format!("write {} {path}", empty.display()),
                format!("fallocate {path} 0 {}", take.saturating_sub(1)),
            ])?;
            let statistics = self.debugfs_one("stats".into())?;
            let free = statistics.lines().find_map(|line| line.trim().strip_prefix("Free blocks:"));
            left = free
                .context("debugfs names no free blocks")?
                .trim()
                .parse::<u64>()?
                .saturating_sub(keep);
        }
        bail!("{left} blocks are still free")
    }

    /// How many blocks its file system has.
    pub(crate) fn blocks(&self) -> Result<u64> {
        let head = self.debugfs_one("show_super_stats -h".into())?;
        let count = head.lines().find_map(|line| line.strip_prefix("Block count:"));
        Ok(count.context("debugfs names no block count")?.trim().parse()?)
    }

    /// The data partition was left as it should be: nothing to mend, no journal to replay.
    pub(crate) fn check_clean(&self) -> Result<()> {
        let mut check = tool::command("e2fsck");
        tool::run(check.arg("-fn").arg(self.data())).context("the data partition is not clean")?;
        let head = self.debugfs_one("show_super_stats -h".into())?;
        ensure!(
            !head.contains("needs_recovery"),
            "the data partition's journal was not written back"
        );
        Ok(())
    }

    /// The records of init's log on the data partition, as text.
    pub(crate) fn log(&self) -> Result<String> {
        let log = self.read("/pivot/log/init.log")?;
        Ok(String::from_utf8_lossy(&log).replace('\0', ""))
    }
}
