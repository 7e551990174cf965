// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block maps and compressed images, judged by bmaptool, zstd, xz, fsck.fat and e2fsck. The map must be right over a
//! card full of old bytes: what it leaves out keeps them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod common;

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use common::{Project, assert_equal, output, partition, pivot_image, program, refusal};
use serde_json::Value;
use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;
/// Start and length of the FAT partitions, and the start of the data partition, in MiB, where [`SMALL`] is set.
const FAT: [(u64, u64); 3] = [(1, 4), (5, 34), (39, 34)];
const DATA: u64 = 73;
const SMALL: &str = "\"mbr\"\nbootsel_size = \"4M\"\nslot_size = \"34M\"";

/// Builds an image with these lines for `[output]`; its report, and none where a program is missing.
fn built(project: &Project, table: &str, compress: &str) -> Option<Value> {
    let needed = [("depmod", "kmod"), ("mke2fs", "e2fsprogs"), ("mksquashfs", "squashfs-tools")];
    if !needed.iter().all(|(name, package)| program(name, package).is_some()) {
        return None;
    }
    let text = fs::read_to_string(project.path("demo.toml")).unwrap().replace("\"gpt\"", table);
    project.write("demo.toml", format!("{text}\n[output]\n{compress}\n").as_bytes());
    let report = output(project.build("out").arg("--json"));
    Some(serde_json::from_str(&report).unwrap())
}

/// The text of an element.
fn element<'a>(text: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split_once(&open).unwrap().1.split_once(&close).unwrap().0
}

/// The ranges of a block map in bytes, with their checksums.
fn ranges(text: &str) -> Vec<(Range<usize>, String)> {
    let one = |line: &str| {
        let line = line.trim().strip_prefix("<Range chksum=\"")?.strip_suffix("</Range>")?;
        let (sum, blocks) = line.split_once("\">")?;
        let (first, last) = blocks.split_once('-')?;
        let number = |text: &str| text.parse::<usize>().unwrap();
        Some((number(first) * BLOCK..(number(last) + 1) * BLOCK, sum.to_owned()))
    };
    text.lines().filter_map(one).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file of bytes that are not zero.
fn old_card(path: &Path, bytes: usize) {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0] | 1
    };
    let noise: Vec<u8> = (0..1 << 20).map(|_| next()).collect();
    let file = File::create(path).unwrap();
    for place in (0..bytes).step_by(noise.len()) {
        file.write_all_at(&noise[..noise.len().min(bytes - place)], place as u64).unwrap();
    }
}

/// Both of an image written over zeros and over an old card must be whole to others, and the same in what counts.
#[track_caller]
fn check_card(project: &Project, card: &Path) {
    let image = project.path("out/demo.img");
    for (index, (start, mib)) in FAT.into_iter().enumerate() {
        let part = project.path("part");
        partition(card, start, mib, &part);
        output(program("fsck.fat", "dosfstools").unwrap().arg("-n").arg(&part));
        let [one, two] = [&image, card].map(|disk| {
            let to = project.path(&format!("files{index}"));
            let _ = fs::remove_dir_all(&to);
            fs::create_dir(&to).unwrap();
            let mut mcopy = program("mcopy", "mtools").unwrap();
            mcopy.args(["-s", "-n", "-i"]).arg(format!("{}@@{start}M", disk.display()));
            // BOOTSEL may be empty, which is an error to mcopy
            let _ = mcopy.arg("::*").arg(&to).output().unwrap();
            tar(&to)
        });
        assert_eq!(one, two, "files of partition {}", index + 1);
    }
    let (data, other) = (project.path("data"), project.path("data-of-image"));
    let mib = (fs::metadata(&image).unwrap().len() >> 20) - DATA - 1;
    partition(card, DATA, mib, &data);
    partition(&image, DATA, mib, &other);
    output(program("e2fsck", "e2fsprogs").unwrap().arg("-fn").arg(&data));
    let [one, two] = [&data, &other].map(|disk| {
        let to = project.path("dump");
        let _ = fs::remove_dir_all(&to);
        fs::create_dir(&to).unwrap();
        let mut debugfs = program("debugfs", "e2fsprogs").unwrap();
        output(debugfs.arg("-R").arg(format!("rdump /pivot {}", to.display())).arg(disk));
        assert_eq!(fs::read(to.join("pivot/log/init.log")).unwrap(), [0; 32 << 10]);
        let mut journal = program("debugfs", "e2fsprogs").unwrap();
        let inode = to.join("journal");
        output(journal.arg("-R").arg(format!("dump <8> {}", inode.display())).arg(disk));
        assert_eq!(fs::metadata(&inode).unwrap().len(), 32 << 20);
        tar(&to)
    });
    assert_eq!(one, two, "files of the data partition");
}

/// A hash over names and content of a tree.
fn tar(directory: &Path) -> String {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--mtime=@0", "-cf", "-", "-C"]).arg(directory).arg(".");
    let found = tar.output().unwrap();
    assert!(found.status.success());
    sha256(&found.stdout)
}

#[test]
fn map_covers_all_that_counts() {
    for table in ["\"gpt\"", "\"mbr\""] {
        let project = Project::new();
        if built(&project, table, "").is_none() {
            return;
        }
        let image = fs::read(project.path("out/demo.img")).unwrap();
        let text = fs::read_to_string(project.path("out/demo.img.bmap")).unwrap();
        let number = |name| element(&text, name).parse::<usize>().unwrap();
        assert_eq!(number("ImageSize"), image.len());
        assert_eq!((number("BlockSize"), number("BlocksCount") * BLOCK), (BLOCK, image.len()));
        let own = element(&text, "BmapFileChecksum");
        assert_eq!(own, sha256(text.replace(own, &"0".repeat(64)).as_bytes()));
        let ranges = ranges(&text);
        let mapped: usize = ranges.iter().map(|(range, _)| range.len()).sum();
        assert_eq!(number("MappedBlocksCount") * BLOCK, mapped);
        let mut place = 0;
        for (range, sum) in &ranges {
            assert!(place <= range.start && range.end <= image.len(), "{range:?}");
            assert_eq!(*sum, sha256(&image[range.clone()]), "{range:?}");
            let left_out = place..range.start;
            assert!(image[left_out].iter().all(|byte| *byte == 0), "{place} to {}", range.start);
            place = range.end;
        }
        assert_eq!(place, image.len(), "the last sectors are those of the second GPT");
        assert_eq!(ranges[0].0.start, 0);
        // the journal alone is 32 MiB of zeros, and a map of everything would be none
        assert!(((33 << 20)..(image.len() / 2)).contains(&mapped), "{mapped}");
        check_table(&project.path("out/demo.img"), table);
        check_bootsel(&project);
    }
}

fn check_table(image: &Path, table: &str) {
    let name = if table == "\"gpt\"" { "gpt" } else { "dos" };
    let sfdisk = |option| Some(output(program("sfdisk", "fdisk")?.arg(option).arg(image)));
    let Some(text) = sfdisk("--verify") else { return };
    assert!(text.contains("No errors detected."), "{text}");
    let text = sfdisk("--dump").unwrap();
    assert!(text.starts_with(&format!("label: {name}\n")), "{text}");
}

/// The boot ROM of a Pi up to 3 was seen to start from 4160 sectors of FAT16, and not from fewer or from FAT12.
fn check_bootsel(project: &Project) {
    let Some(mut fsck) = program("fsck.fat", "dosfstools") else { return };
    let part = project.path("part");
    partition(&project.path("out/demo.img"), 1, 32, &part);
    let text = output(fsck.args(["-n", "-v"]).arg(&part));
    let number = |what: &str| {
        let line = text.lines().find(|line| line.contains(what)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    assert!(text.contains("2 FATs, 16 bit entries"), "{text}");
    assert!(number("data clusters") * number("bytes per cluster") / 512 >= 4160, "{text}");
}

#[test]
fn over_an_old_card() {
    let project = Project::new();
    let needed = [("fsck.fat", "dosfstools"), ("mcopy", "mtools"), ("debugfs", "e2fsprogs")];
    if !needed.iter().all(|(name, package)| program(name, package).is_some())
        || built(&project, SMALL, "").is_none()
    {
        return;
    }
    let (image, card) = (project.path("out/demo.img"), project.path("card"));
    let bytes = usize::try_from(fs::metadata(&image).unwrap().len()).unwrap();
    old_card(&card, bytes + (8 << 20));
    output(pivot_image().args(["flash", "--force"]).arg(&image).arg(&card));
    check_card(&project, &card);
    let Some(mut bmaptool) = program("bmaptool", "bmap-tools") else { return };
    let second = project.path("card2");
    let map = project.path("out/demo.img.bmap");
    output(bmaptool.args(["copy", "--bmap"]).arg(&map).arg(&image).arg(&second));
    let [ours, theirs] = [&card, &second].map(|card| fs::read(card).unwrap());
    for (range, _) in ranges(&fs::read_to_string(map).unwrap()) {
        assert!(ours[range.clone()] == theirs[range.clone()], "{range:?}");
    }
    // and the test can fail: a map of what is not a hole leaves old bytes in the tables
    let holes = project.path("holes.bmap");
    output(
        program("bmaptool", "bmap-tools").unwrap().arg("create").arg(&image).arg("-o").arg(&holes),
    );
    old_card(&card, bytes);
    output(pivot_image().args(["flash", "--force", "--bmap"]).arg(&holes).arg(&image).arg(&card));
    let part = project.path("part");
    partition(&card, DATA, (bytes as u64 >> 20) - DATA - 1, &part);
    refusal(program("e2fsck", "e2fsprogs").unwrap().arg("-fn").arg(&part));
}

/// Everything in the output directory but the kernels can be looked at.
fn what_was_built_is_known(project: &Project) {
    let plain = fs::metadata(project.path("out/demo.img")).unwrap().len();
    let mut seen = 0;
    for entry in fs::read_dir(project.path("out")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("vmlinuz_") {
            continue;
        }
        let json = output(pivot_image().args(["inspect", "--json"]).arg(&path));
        let found: Value = serde_json::from_str(&json).unwrap();
        let (kind, content, unpacked) = (&found["kind"], &found["content"], &found["unpacked"]);
        let expected = match name {
            "demo.img.bmap" => kind == "bmap" && found["image"] == plain,
            "demo.img.zst" => content == "a disk image" && *unpacked == plain,
            "demo.img.xz" => content == "a disk image" && unpacked.is_null(),
            "boot.img.zst" => content == "a boot partition" && *unpacked == 34 << 20,
            _ => kind != "packed",
        };
        assert!(expected, "{name}: {json}");
        let text = output(pivot_image().arg("inspect").arg(&path));
        assert!(!text.contains("PROBLEM") && !text.is_empty(), "{name}: {text}");
        seen += 1;
    }
    assert!(seen >= 9, "{seen}");
}

#[test]
fn compressed_images() {
    let (one, two) = (Project::new(), Project::new());
    let compress = "compress = [\"xz\", \"zst\"]\nzst_level = 1\nxz_level = 0";
    if built(&one, SMALL, compress).is_none() || built(&two, SMALL, compress).is_none() {
        return;
    }
    what_was_built_is_known(&one);
    let image = one.path("out/demo.img");
    for (ending, tool, package) in [("zst", "zstd", "zstd"), ("xz", "xz", "xz-utils")] {
        let name = format!("out/demo.img.{ending}");
        assert_equal(&one.path(&name), &two.path(&name));
        let Some(mut tool) = program(tool, package) else { continue };
        let script = one.path("plain");
        let plain = File::create(&script).unwrap();
        assert!(tool.arg("-dc").arg(one.path(&name)).stdout(plain).status().unwrap().success());
        assert_equal(&script, &image);
    }
    if let Some(mut xz) = program("xz", "xz-utils") {
        let text = output(xz.args(["--robot", "--list"]).arg(one.path("out/demo.img.xz")));
        let blocks = text.lines().find_map(|line| line.strip_prefix("file\t1\t")).unwrap();
        let blocks: u64 = blocks.split('\t').next().unwrap().parse().unwrap();
        assert!(blocks > 5, "{text}");
    }
    let Some(mut bmaptool) = program("bmaptool", "bmap-tools") else { return };
    let card = one.path("card");
    let xz = one.path("out/demo.img.xz");
    output(bmaptool.arg("copy").arg(&xz).arg(&card));
    output(pivot_image().args(["flash", "--force"]).arg(&xz).arg(&card));
    assert_equal(&card, &image);
}

#[test]
fn report_lists_them() {
    let project = Project::new();
    let Some(report) = built(&project, SMALL, "compress = [\"zst\"]") else { return };
    let files = report["files"].as_array().unwrap();
    let hash = |ending: &str| {
        let found = files.iter().find(|f| f["path"].as_str().unwrap().ends_with(ending)).unwrap();
        found["sha256"].as_str().unwrap().to_owned()
    };
    for name in ["demo.img", "demo.img.bmap", "demo.img.zst"] {
        let bytes = fs::read(project.path("out").join(name)).unwrap();
        assert_eq!(hash(&format!("/{name}")), sha256(&bytes));
    }
    assert!(!project.path("out/demo.img.xz").exists());
    project.configure("[revision]", "[output]\nzst_level = 20\n[revision]");
    let (error, _) = refusal(&mut project.build("out"));
    assert!(error.contains("output.zst_level: expected 1 to 19"), "{error}");
}
