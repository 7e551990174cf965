// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the content of the revision's files lies, by debugfs(8).

use anyhow::{Context, Result};

use super::super::disk::{DiskCopy, REVISION};

/// The revision's images, and the extents of each in debugfs' words.
pub(super) fn files(disk: &DiskCopy) -> Result<String> {
    let names = disk.revision_files("")?.into_iter().filter(|name| name.ends_with(".squashfs"));
    listed(disk, &names.map(|name| format!("{REVISION}/{name}")).collect::<Vec<_>>())
}

pub(super) fn listed(disk: &DiskCopy, files: &[String]) -> Result<String> {
    let commands: Vec<_> = files.iter().map(|file| format!("dump_extents {file}")).collect();
    let listing = disk.debugfs(&commands)?;
    // The columns become wider with the file system.
    let lines = listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// The files of a listing: debugfs repeats each command.
pub(super) fn names(listing: &str) -> Vec<String> {
    let commands = listing.lines().filter_map(|line| line.strip_prefix("debugfs: dump_extents "));
    commands.map(str::to_owned).collect()
}

/// First and last block of each leaf in a listing of `dump_extents`: `0/ 0 1/ 1 0 - 9 1234 - 1243 10`.
pub(super) fn extents(listing: &str) -> Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    // Of an inner node there is one range: of the file's blocks.
    for line in listing.lines().filter(|line| line.matches(" - ").count() == 2) {
        let Some((before, after)) = line.rsplit_once(" - ") else { continue };
        let first = before.split_whitespace().next_back().context("no first block")?.parse();
        let last = after.split_whitespace().next().context("no last block")?.parse();
        if let (Ok(first), Ok(last)) = (first, last) {
            found.push((first, last));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #[test]
    fn leaves_alone_have_blocks() {
        let listing = "debugfs: dump_extents /a\nLevel Entries Logical Physical Length Flags\n\
                       0/ 1 1/ 1 0 - 25110 99 25111\n1/ 1 1/ 2 0 - 7341 25426 - 32767 7342\n\
                       1/ 1 2/ 2 7342 - 25110 40995 - 58763 17769";
        assert_eq!(super::extents(listing).unwrap(), [(25_426, 32_767), (40_995, 58_763)]);
        assert_eq!(super::names(listing), ["/a"]);
    }
}
