// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks whose partitions hold a root file system each, for `root=`. Made without root rights.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::rootfs::{Layout, Programs, Rootfs, witness_tree};
use crate::{image, tool};

/// `UUID=` of the ext4.
pub(crate) const EXT4_UUID: &str = "0f4b8d3c-6a1e-4c56-9d7a-2b5e8f901234";
/// Its `LABEL=`.
pub(crate) const EXT4_LABEL: &str = "witness ext4";
/// `UUID=` of the FAT.
pub(crate) const FAT_UUID: &str = "4A3B-2C1D";
/// Its `LABEL=`.
pub(crate) const FAT_LABEL: &str = "WITNESSFAT";
/// `PARTUUID=` of partition 1 on the disk with a GPT.
pub(crate) const PARTUUID: &str = "a1b2c3d4-1111-4222-8333-444455556666";
/// Of the disk with an MBR.
pub(crate) const SIGNATURE: &str = "c0ffee42";

/// MiB of each partition.
const SIZE: u64 = 16;

/// Makes `roots-gpt.img` and `roots-mbr.img`: 1 ext4, 2 FAT, 3 squashfs, 4 an ext4 without anything in it.
pub(crate) fn make(directory: &Path) -> Result<[PathBuf; 2]> {
    let plain = witness_tree(Programs::Arm64, Layout::Plain)?;
    let temporary = tempfile::tempdir_in(directory)?;
    let file = |name: &str| temporary.path().join(name);
    ext4(&file("1"), EXT4_UUID, EXT4_LABEL, Some(plain.path()))?;
    fat(&file("2"), plain.path())?;
    let squashfs = Rootfs::Witness.squashfs(Programs::Arm64, temporary.path())?;
    let empty = "0f4b8d3c-6a1e-4c56-9d7a-2b5e8f905678";
    ext4(&file("4"), empty, "empty", None)?;
    let parts = [file("1"), file("2"), squashfs, file("4")];
    let table = |kind: &str, rows: [&str; 4]| {
        let rows = rows.map(|row| format!("size={SIZE}MiB{row}\n")).concat();
        format!("label: {kind}\n{rows}")
    };
    let gpt_first = format!(", uuid={PARTUUID}, name=\"root one\"");
    let gpt = table("gpt", [&gpt_first, ", name=two", ", name=three", ", name=four"]);
    let mbr = table(&format!("dos\nlabel-id: 0x{SIGNATURE}"), ["", "", "", ""]);
    Ok([
        disk(&directory.join("roots-gpt.img"), &gpt, &parts)?,
        disk(&directory.join("roots-mbr.img"), &mbr, &parts)?,
    ])
}

fn ext4(file: &Path, uuid: &str, label: &str, content: Option<&Path>) -> Result<()> {
    let mut make = tool::command("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-U", uuid, "-L", label]);
    if let Some(content) = content {
        make.arg("-d").arg(content);
    }
    tool::run(make.arg(file).arg(format!("{SIZE}M"))).map(|_| ())
}

fn fat(file: &Path, content: &Path) -> Result<()> {
    let id = FAT_UUID.replace('-', "");
    let mut make = tool::command("mkfs.fat");
    make.args(["-C", "-i", &id, "-n", FAT_LABEL]).arg(file);
    tool::run(make.arg((SIZE << 10).to_string()))?;
    for entry in content.read_dir()? {
        let mut copy = tool::command("mcopy");
        copy.args(["-s", "-i"]).arg(file).arg(entry?.path()).arg("::");
        tool::run(&mut copy)?;
    }
    Ok(())
}

fn disk(path: &Path, table: &str, parts: &[PathBuf; 4]) -> Result<PathBuf> {
    // A MiB before the first partition and one behind the last, for the second GPT.
    File::create(path)?.set_len((4 * SIZE + 2) << 20)?;
    let script = path.with_extension("sfdisk");
    std::fs::write(&script, table)?;
    tool::run(tool::command("sfdisk").arg("--quiet").arg(path).stdin(File::open(&script)?))
        .with_context(|| format!("partition table:\n{table}"))?;
    for (part, partition) in parts.iter().zip(image::partitions(path)?) {
        let mut copy = tool::command("dd");
        copy.args(["conv=notrunc,sparse", "bs=1M"]).arg(format!("seek={}", partition.start >> 20));
        tool::run(
            copy.arg(format!("if={}", part.display())).arg(format!("of={}", path.display())),
        )?;
    }
    Ok(path.to_owned())
}
