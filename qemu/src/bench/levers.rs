// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's share of a boot, and what of it is ours to set: one thing changed at a time.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ::image::compress::{self, Compression};
use ::image::cpio::{Archive, read::Entry};
use anyhow::{Context, Result, ensure};

use super::compare::{grouped, millions};
use super::contenders::Contender;
use super::measure::{Boot, Job};
use super::world::{FLOOR_DIRECT, World, entries, signed};
use crate::e2e::disk::DiskCopy;
use crate::{cargo, progress, tool};

/// What was changed, and what it did.
#[derive(Debug)]
struct Row {
    what: String,
    /// Instructions before init and of the boot.
    before: u64,
    between: u64,
    /// Bytes of what was changed, where its size is part of the choice.
    bytes: Option<u64>,
}

/// Measures everything and writes `levers.md`.
pub(crate) fn measure(world: &World) -> Result<()> {
    let base = world.pivot(Job::Device)?;
    let mut text = String::new();
    text.push_str(&table("Words of the command line", &words(world, &base)?));
    text.push_str(&table("Compression of initramfs and early modules", &archives(world, &base)?));
    text.push_str(&table("Programs in the initramfs", &programs(world, &base)?));
    text.push_str(&table("Reading the images", &direct(world)?));
    text.push_str(&table("Modules image, with xfs loaded from it", &squashfs(world, &base)?));
    text.push_str(&modules(world, &base)?);
    fs::write(world.directory.join("levers.md"), &text)?;
    print!("{text}");
    Ok(())
}

fn table(title: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "### {title}\n\n| | before init | init to root | together | to the first | bytes |\n|---|--:|--:|--:|--:|--:|\n"
    );
    let sum = |row: &Row| row.before + row.between;
    let first = rows.first().map_or(0, sum);
    for row in rows {
        let change = i128::from(sum(row)) - i128::from(first);
        let sign = if change < 0 { "-" } else { "+" };
        let change = millions(u64::try_from(change.unsigned_abs()).unwrap_or_default());
        text.push_str(&format!(
            "| {} | {} M | {} M | {} M | {sign}{change} M | {} |\n",
            row.what,
            millions(row.before),
            millions(row.between),
            millions(sum(row)),
            row.bytes.map_or(String::new(), grouped)
        ));
    }
    text + "\n"
}

fn row(world: &World, what: &str, boot: &Boot, bytes: Option<u64>) -> Result<Row> {
    let measured = progress::step(what, || world.measure(boot, false)).context(what.to_owned())?;
    let counts = measured.counts;
    Ok(Row { what: what.to_owned(), before: counts.before, between: counts.all(), bytes })
}

/// One word less, and the seed less.
fn words(world: &World, base: &Contender) -> Result<Vec<Row>> {
    let mut rows = vec![row(world, "all of them", &base.boot, None)?];
    for word in ["loop.max_loop=0", "cryptomgr.notests", "quiet"] {
        let words = base.boot.words.split(' ').filter(|w| *w != word).collect::<Vec<_>>().join(" ");
        ensure!(words != base.boot.words, "{word} is not on the command line");
        rows.push(row(
            world,
            &format!("without `{word}`"),
            &Boot { words, ..base.boot.clone() },
            None,
        )?);
    }
    let unseeded = Boot { seed: false, ..base.boot.clone() };
    rows.push(row(world, "without the firmware's `rng-seed`", &unseeded, None)?);
    let words = format!("{} randomize_kstack_offset=off", base.boot.words);
    let unseeded = Boot { words, ..unseeded };
    rows.push(row(world, "without it, `randomize_kstack_offset=off`", &unseeded, None)?);
    Ok(rows)
}

/// The two archives of the builder.
fn parts(world: &World) -> Result<[Vec<Entry>; 2]> {
    let out = world.directory.join("device");
    let early = format!("early_{}", world.boot.release);
    Ok([entries(&fs::read(out.join("initramfs"))?)?, entries(&fs::read(out.join(early))?)?])
}

fn packed(entries: &[Entry], compression: Compression) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for entry in entries {
        match entry.mode & 0o170_000 {
            0o040_000 => archive.directory(&entry.path),
            0o020_000 => archive.character_device(&entry.path, entry.mode & 0o777, entry.device),
            _ => archive.file(&entry.path, entry.mode & 0o777, entry.data.clone()),
        }
    }
    compress::archive(compression, &archive.to_bytes())
}

fn archives(world: &World, base: &Contender) -> Result<Vec<Row>> {
    let parts = parts(world)?;
    let mut rows = Vec::new();
    for compression in [Compression::Zstd, Compression::Lz4, Compression::None] {
        let packed = parts.iter().map(|part| packed(part, compression));
        let initramfs = packed.collect::<Result<Vec<_>>>()?.concat();
        // the kernel takes LZ4 for one archive only
        let bytes = Some(initramfs.len() as u64);
        let boot = if compression == Compression::Lz4 {
            let one: Vec<Entry> = parts.iter().flatten().cloned().collect();
            Boot { initramfs: self::packed(&one, compression)?, ..base.boot.clone() }
        } else {
            Boot { initramfs, ..base.boot.clone() }
        };
        match row(world, &compression.to_string(), &boot, bytes) {
            Ok(row) => rows.push(row),
            // the archive with the mark follows the one in LZ4
            Err(why) => progress::note(&format!("{compression}: {why:#}")),
        }
    }
    Ok(rows)
}

/// init for 64-bit kernels alone, and the one for ARMv6 beside it.
fn programs(world: &World, base: &Contender) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let all = [cargo::INIT.shipped()?, cargo::INIT_ARMV6.shipped()?];
    let early = fs::read(world.directory.join(format!("device/early_{}", world.boot.release)))?;
    for (what, count) in [("AArch64", 1), ("AArch64 and ARMv6", 2)] {
        let out = world.directory.join("initramfs");
        let mut make = tool::command(&cargo::IMAGE.shipped()?.to_string_lossy());
        make.args(["--quiet", "initramfs", "--out"]).arg(&out).current_dir(cargo::workspace());
        for program in all.iter().take(count) {
            make.arg("--init").arg(program);
        }
        tool::run(&mut make)?;
        let archive = fs::read(out)?;
        let bytes = Some(archive.len() as u64);
        let boot = Boot { initramfs: [archive, early.clone()].concat(), ..base.boot.clone() };
        rows.push(row(world, what, &boot, bytes)?);
    }
    Ok(rows)
}

/// Whether a loop device reads past the page cache of its file: by the floor, which has nothing else to do.
fn direct(world: &World) -> Result<Vec<Row>> {
    let through = world.floor(Job::Device)?;
    let past = world.floor_of(Job::Device, FLOOR_DIRECT)?;
    Ok(vec![
        row(world, "through the page cache (the floor)", &through.boot, None)?,
        row(world, "`LO_FLAGS_DIRECT_IO` (the floor)", &past.boot, None)?,
    ])
}

/// Codecs and block sizes of the modules' image, and what it costs to load one large module with what it needs.
fn squashfs(world: &World, base: &Contender) -> Result<Vec<Row>> {
    let shipped = format!("modules_{}.squashfs", world.boot.release);
    let (directory, mut rows) = (tempfile::tempdir_in(&world.directory)?, Vec::new());
    let tree = directory.path().join("tree");
    let mut unpack = tool::command("unsquashfs");
    unpack.args(["-no-progress", "-dest"]).arg(&tree);
    tool::run(unpack.arg(world.directory.join("device").join(&shipped)))?;
    let variants = [
        ("zstd", "128K"),
        ("zstd", "16K"),
        ("zstd", "64K"),
        ("zstd", "1M"),
        ("lz4", "128K"),
        ("gzip", "128K"),
        ("xz", "128K"),
    ];
    for (codec, block) in variants {
        let image = directory.path().join("image");
        let mut pack = tool::command("mksquashfs");
        pack.arg(&tree).arg(&image).args([
            "-all-root",
            "-noappend",
            "-no-progress",
            "-comp",
            codec,
            "-b",
            block,
        ]);
        tool::run(&mut pack)?;
        let bytes = fs::read(&image)?;
        let disk = with_file(world, directory.path(), &shipped, &bytes)?;
        let words = format!("{} pivot.modules=xfs", base.boot.words);
        let boot = Boot { disk: Some(disk), words, ..base.boot.clone() };
        rows.push(row(
            world,
            &format!("{codec}, blocks of {block}"),
            &boot,
            Some(bytes.len() as u64),
        )?);
    }
    Ok(rows)
}

/// The disk with another file in its revision.
pub(crate) fn with_file(
    world: &World,
    directory: &std::path::Path,
    name: &str,
    bytes: &[u8],
) -> Result<PathBuf> {
    let copy = DiskCopy::make(&world.image, directory)?;
    copy.write(&format!("/pivot/revisions/1/{name}"), bytes)?;
    copy.edit("/pivot/revisions/1/manifest", |manifest| {
        let lines = manifest.lines().map(|line| match line.split("  ").collect::<Vec<_>>()[..] {
            [hash, _, found] if found == name => format!("{hash}  {}  {name}\n", bytes.len()),
            _ => format!("{line}\n"),
        });
        lines.collect()
    })?;
    Ok(copy.path)
}

/// What each early module costs, and what its signature would.
fn modules(world: &World, base: &Contender) -> Result<String> {
    const FINIT_MODULE: i32 = 273;
    let [shared, early] = parts(world)?;
    let with_signatures: Vec<Entry> = early
        .iter()
        .map(|entry| {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            let data = fs::read(signed(&world.kernel).join(name)).unwrap_or(entry.data.clone());
            Entry { data, ..entry.clone() }
        })
        .collect();
    let archive = |early: &[Entry]| -> Result<Vec<u8>> {
        Ok([packed(&shared, Compression::Zstd)?, packed(early, Compression::Zstd)?].concat())
    };
    let mut costs: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
    for (column, early) in [early, with_signatures].iter().enumerate() {
        let boot = Boot { initramfs: archive(early)?, ..base.boot.clone() };
        let counts = progress::step("early modules", || world.measure(&boot, false))?.counts;
        let loads = counts.calls.iter().filter(|call| call.number == FINIT_MODULE);
        for (number, call) in loads.enumerate() {
            if let Some(cost) = costs.entry(number).or_default().get_mut(column) {
                *cost = call.kernel;
            }
        }
    }
    let mut text = "### Early modules\n\n| module | bytes | to load it | with its signature |\n|---|--:|--:|--:|\n".to_owned();
    for (number, (name, data)) in world.modules.iter().enumerate() {
        let [plain, signed] = costs.get(&number).copied().unwrap_or_default();
        let length = grouped(data.len() as u64);
        text.push_str(&format!(
            "| {name} | {length} | {} M | {} M |\n",
            millions(plain),
            millions(signed)
        ));
    }
    Ok(text + "\n")
}
