// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data partition: an ext4 made by mke2fs from a staging directory, without mounting it and without root
//! rights. Equal content gives equal bytes.

use std::fmt::Write;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::scratch;
use crate::tool;
use crate::tree::{Node, Tree};

/// mke2fs takes 1 KiB below 512 MiB, with which growing to the size of a card takes 14 s instead of 0.4 s.
const BLOCK: usize = 4096;
/// The journal never grows with the file system: 4 MiB, as mke2fs would choose, throttle a large card.
const JOURNAL: u64 = 32 << 20;
/// What mke2fs finds in place of the host's mke2fs.conf, so that every host makes the same.
/// - inode_ratio: the default of 16 KiB spends 3 % of a grown card on inode tables; files of a root are larger
///   than that on average, and the images here are a few large ones.
/// - features: not metadata_csum_seed and orphan_file, which kernels before 5.15 refuse to write; resize_inode
///   keeps room to grow in place.
/// - the other sections are for its size classes, which it warns of when they are missing.
const SETTINGS: &str = "
[defaults]
    blocksize = 4096
    default_mntopts = acl,user_xattr
    enable_periodic_fsck = 0
    inode_ratio = 32768
    inode_size = 256
    base_features = has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
large_file,huge_file,dir_nlink,extra_isize,metadata_csum
[fs_types]
    ext4 = {
        inode_size = 256
    }
    floppy = {
        inode_size = 256
    }
    small = {
        inode_size = 256
    }
    big = {
        inode_size = 256
    }
    huge = {
        inode_size = 256
    }
";
/// Free space for logs, state and the writes of the first boot, before it grows the partition. With less an image
/// of next to nothing would be too small for its journal, which may take half of it.
const SPARE: u64 = 40 << 20;
/// 2026-01-01 00:00 UTC: a time that is past for every clock that was ever set.
const TIME: &str = "1767225600";

/// A file whose blocks shall exist although it holds nothing but zeros: mke2fs makes a hole of those.
#[derive(Clone, Debug)]
pub struct Preallocated {
    /// Its path in the file system.
    pub path: &'static str,
    /// Its length.
    pub bytes: usize,
}

/// What becomes of a staging directory.
#[derive(Debug)]
pub struct Filesystem<'a> {
    /// Volume label.
    pub label: &'a str,
    /// As text.
    pub uuid: &'a str,
    /// Salt of the directories' hashes, also a UUID.
    pub hash_seed: &'a str,
    /// The content.
    pub staging: &'a Path,
    /// Added to it.
    pub zeros: &'a [Preallocated],
}

/// Bytes for a file system with this content: metadata, journal and some free space included, whole MiB.
#[must_use]
pub fn size_for(content: u64) -> u64 {
    // inode tables are 256 bytes in each 32 KiB; group descriptors, bitmaps and extents a little more
    (content + content / 50 + JOURNAL + SPARE).next_multiple_of(1 << 20)
}

impl Filesystem<'_> {
    /// Makes the file system in `out`, a new file of `bytes`.
    ///
    /// # Errors
    /// Where mke2fs or debugfs is missing or fails, or the content does not fit.
    pub fn make(&self, out: &Path, bytes: u64) -> Result<()> {
        for file in self.zeros {
            // not zeros yet: see above
            let path = self.staging.join(file.path);
            fs::create_dir_all(path.parent().unwrap_or(self.staging))?;
            fs::write(&path, vec![0xff; file.bytes])
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let paths = staged(self.staging)?;
        File::create(out)
            .and_then(|file| file.set_len(bytes))
            .with_context(|| format!("cannot make {}", out.display()))?;
        self.mke2fs(out, bytes)?;
        own_by_root(out, &paths)?;
        self.zeros.iter().try_for_each(|file| zero(out, file))
    }

    fn mke2fs(&self, out: &Path, bytes: u64) -> Result<()> {
        let settings = temporary(SETTINGS)?;
        let mut command = quiet("mke2fs")?;
        command.env("MKE2FS_CONFIG", settings.path());
        command.args(["-q", "-F", "-t", "ext4", "-b", &BLOCK.to_string(), "-m", "0"]);
        command.args(["-J", &format!("size={}", JOURNAL >> 20), "-L", self.label, "-U", self.uuid]);
        let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard,root_owner=0:0";
        command.args(["-E", &format!("{options},hash_seed={}", self.hash_seed)]);
        command.arg("-d").arg(self.staging).arg(out).arg((bytes / BLOCK as u64).to_string());
        tool::run(&mut command).with_context(|| {
            format!("cannot make the {} file system of {bytes} bytes", self.label)
        })?;
        Ok(())
    }
}

fn temporary(text: &str) -> Result<tempfile::NamedTempFile> {
    let file = scratch::file()?;
    fs::write(file.path(), text).context("cannot write a temporary file")?;
    Ok(file)
}

/// A program of e2fsprogs with a clock that stands still.
fn quiet(name: &str) -> Result<Command> {
    let mut command = tool::command(&tool::find(name, "e2fsprogs")?);
    command.env("E2FSPROGS_FAKE_TIME", TIME).env("SOURCE_DATE_EPOCH", TIME);
    Ok(command)
}

/// Every path below the staging directory, relative to it, and whether it is a directory.
fn staged(base: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let mut tree = Tree::default();
    tree.add(base)?;
    let one = |(path, node): (&Path, &Node)| {
        let plain = path.to_str().is_some_and(|path| !path.contains(['"', '\n', '<']));
        ensure!(plain, "{}: no name for a file here", path.display());
        ensure!(!matches!(node, Node::Link(_)), "{}: a link has no place here", path.display());
        Ok((path.to_owned(), *node == Node::Directory))
    };
    tree.iter().map(one).collect()
}

/// mke2fs keeps owner, mode and times of each staged file: an ordinary user's, of today. debugfs comes with
/// it and, unlike fakeroot, is always there.
fn own_by_root(image: &Path, paths: &[(PathBuf, bool)]) -> Result<()> {
    let mut script = String::new();
    for (path, directory) in paths {
        let mode = if *directory { "040755" } else { "0100644" };
        let time = format!("@{TIME}");
        let fields = [
            ("uid", "0"),
            ("gid", "0"),
            ("mode", mode),
            ("atime", &time),
            ("ctime", &time),
            ("mtime", &time),
        ];
        for (field, value) in fields {
            writeln!(script, "set_inode_field \"/{}\" {field} {value}", path.display())?;
        }
    }
    let script = temporary(&script)?;
    let mut command = quiet("debugfs")?;
    command.arg("-w").arg("-f").arg(script.path()).arg(image);
    debugfs(&mut command).context("cannot give the files of the data partition to root").map(|_| ())
}

/// debugfs exits with 0 whatever happens: it failed where it complains of more than its version.
fn debugfs(command: &mut Command) -> Result<String> {
    let output = tool::run(command)?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaint = errors.lines().find(|line| !line.starts_with("debugfs ") && !line.is_empty());
    match complaint {
        Some(line) => bail!("debugfs: {line}"),
        None => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

/// Runs one debugfs request on a file system that begins at byte `at` of a file, without writing.
///
/// # Errors
/// Where debugfs is missing or complains.
pub fn request(image: &Path, at: u64, request: &str) -> Result<String> {
    let mut command = quiet("debugfs")?;
    let place = format!("{}?offset={at}", image.display());
    debugfs(command.arg("-R").arg(request).arg(place))
}

/// The blocks in use, in bytes: metadata, the journal, directories and files. All of their bytes count, zeros too:
/// a stale inode table or bitmap is damage, and the journal of an earlier image of the same name has the same UUID
/// and the same sequence numbers, so that its blocks would be replayed.
///
/// # Errors
/// Where dumpe2fs is missing or fails, or its free blocks do not add up.
pub fn used(image: &Path) -> Result<Vec<Range<u64>>> {
    let mut command = quiet("dumpe2fs")?;
    let output = tool::run(command.arg(image)).context("cannot list the blocks in use")?;
    used_blocks(&String::from_utf8_lossy(&output.stdout))
}

/// Of what dumpe2fs prints: a header, then `  Free blocks: 6465-32767, 40000` for each group.
fn used_blocks(text: &str) -> Result<Vec<Range<u64>>> {
    let field = |name: &str| -> Result<u64> {
        let value = text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        value.and_then(|value| value.parse().ok()).with_context(|| format!("dumpe2fs: no {name}"))
    };
    let (blocks, block) = (field("Block count:")?, field("Block size:")?);
    let (mut used, mut next, mut free) = (Vec::new(), 0, 0);
    let lists = text.lines().filter_map(|line| line.strip_prefix("  Free blocks:"));
    for list in lists.flat_map(|list| list.split(',')).map(str::trim).filter(|l| !l.is_empty()) {
        let (first, last) = list.split_once('-').unwrap_or((list, list));
        let number = |text: &str| text.parse().with_context(|| format!("dumpe2fs: {list:?}"));
        let (first, last): (u64, u64) = (number(first)?, number(last)?);
        ensure!(next <= first && first <= last && last < blocks, "dumpe2fs: free blocks {list}");
        used.push(next * block..first * block);
        (next, free) = (last + 1, free + last + 1 - first);
    }
    used.push(next * block..blocks * block);
    let expected = field("Free blocks:")?;
    ensure!(free == expected, "dumpe2fs lists {free} of {expected} free blocks");
    Ok(used)
}

/// Writes zeros over the blocks of a file, which stay its own: data blocks have no checksums in ext4.
fn zero(image: &Path, file: &Preallocated) -> Result<()> {
    let listed = request(image, 0, &format!("blocks /{}", file.path))?;
    let blocks: Vec<u64> = listed
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("debugfs: {listed}"))?;
    let expected = file.bytes.div_ceil(BLOCK);
    ensure!(blocks.len() == expected, "{}: {} of {expected} blocks", file.path, blocks.len());
    let out = File::options().write(true).open(image)?;
    for block in blocks {
        out.write_all_at(&[0; BLOCK], block * BLOCK as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "it is a list of ranges")]
    fn blocks_in_use() {
        let text = |groups: &str| {
            let head = "Block count:              100\nFree blocks:              6\n";
            format!("{head}Block size:               4096\n{groups}")
        };
        let groups = "  Free blocks: 10-12, 14\n  Free blocks: \n  Free blocks: 98-99\n";
        let blocks = [0..10, 13..14, 15..98, 100..100].map(|r| r.start * 4096..r.end * 4096);
        assert_eq!(used_blocks(&text(groups)).unwrap(), blocks);
        for wrong in ["", "  Free blocks: 10-14\n", "  Free blocks: 10-x\n"] {
            assert!(used_blocks(&text(wrong)).is_err(), "{wrong}");
        }
        for wrong in ["  Free blocks: 95-100\n", "  Free blocks: 9-11, 9-11\n"] {
            assert!(used_blocks(&text(wrong)).unwrap_err().to_string().contains("free blocks"));
        }
        let full = text("").replace("        6", "        0");
        assert_eq!(used_blocks(&full).unwrap(), [0..409_600]);
    }

    #[test]
    fn room_for_content_and_journal() {
        assert_eq!(size_for(0), 72 << 20);
        assert!(size_for(300 << 20) > (348 << 20));
        assert_eq!(size_for(12_345_678) % (1 << 20), 0);
    }
}
