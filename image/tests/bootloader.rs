// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images with a bootloader between partition table and partitions, and as an image of its own.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops where something is wrong"
)]

mod common;

use std::fs;

use common::{Project, output, program, refusal};

/// The configuration with a bootloader of 300,000 bytes.
fn with_bootloader(project: &Project, soc: &str, boot_image: bool) {
    let (file, mut bytes) = ("flash.bin", vec![0; 300_000]);
    bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8 + 1);
    project.write(file, &bytes);
    let section = format!(
        "[bootloader]\nsoc = {soc:?}\nfile = {file:?}\nboot_image = {boot_image}\n[[kernel]]"
    );
    project.configure("[[kernel]]", &section);
}

/// Without `boot_image` one image, with it two, which are the same again when they are put together. Without a bootloader
/// the image is what it always was.
#[test]
fn disk_with_a_bootloader_and_without() {
    let project = Project::new();
    if program("depmod", "kmod").is_none() || program("mke2fs", "e2fsprogs").is_none() {
        return;
    }
    output(&mut project.build("out"));
    let read = |name: &str| fs::read(project.path(name)).unwrap();
    let plain = read("out/demo.img");
    assert!(plain[34 * 512..1 << 20].iter().all(|byte| *byte == 0));
    with_bootloader(&project, "imx8mp", false);
    output(&mut project.build("one"));
    with_bootloader(&project, "imx8mp", true);
    output(&mut project.build("two"));
    let (whole, mut os, boot) =
        (read("one/demo.img"), read("two/demo-os.img"), read("two/demo-boot.img"));
    let payload = read("flash.bin");
    assert!(!project.path("two/demo.img").exists() && !project.path("one/demo-boot.img").exists());
    assert!(boot.len() == 303_104 && boot.starts_with(&payload));
    assert!(boot[payload.len()..].iter().all(|byte| *byte == 0));
    assert!(os[34 * 512..8 << 20].iter().all(|byte| *byte == 0));
    // the partitions are those of before, further back
    assert!(os[8 << 20..][510..512] == [0x55, 0xaa] && plain[1 << 20..][510..512] == [0x55, 0xaa]);
    let manifest =
        |out: &str| String::from_utf8(read(&format!("{out}/revision/manifest"))).unwrap();
    let (one, two) = (manifest("one"), manifest("two"));
    assert!(one.contains("\nsoc=imx8mp\n") && !one.contains("bootloader.img"), "{one}");
    assert!(two.contains("  303104  bootloader.img\n"), "{two}");
    assert!(!manifest("out").contains("soc="));
    assert!(read("two/revision/bootloader.img") == boot);
    // all but what lies on the data partition, which has one file more
    let data = (8 + 32 + 128 + 128) << 20;
    os[32 << 10..][..payload.len()].copy_from_slice(&payload);
    assert!(os[4096..data] == whole[4096..data], "merged, it is the other one");
    let map = fs::read_to_string(project.path("one/demo.img.bmap")).unwrap();
    assert!(map.contains(">0-255</Range>"), "{map}");
    // at the same place twice
    output(&mut project.build("two"));
    assert!(read("two/demo-boot.img") == boot);
}

/// Refused before anything is written.
#[test]
fn bootloaders_that_do_not_fit() {
    let project = Project::new();
    for (soc, apart, why) in [
        (
            "imx9",
            true,
            "bootloader.soc: \"imx9\" is not known here: expected generic, qemu-ast2600",
        ),
        (
            "generic",
            false,
            "[bootloader]: soc generic is known to look on the boot partitions of an",
        ),
    ] {
        with_bootloader(&project, soc, apart);
        let (said, code) = refusal(&mut project.build("out"));
        assert!(code == 1 && said.contains(why), "{said}");
        assert!(!project.path("out").exists());
    }
    with_bootloader(&project, "imx8mm", true);
    fs::remove_file(project.path("flash.bin")).unwrap();
    let (said, _) = refusal(&mut project.build("out"));
    assert!(said.contains("[bootloader]: cannot read") && said.contains("flash.bin"), "{said}");
    project.configure("[[kernel]]", "[bootloader]\nsoc = \"generic\"\n[[kernel]]");
    let (said, _) = refusal(&mut project.build("out"));
    assert!(said.contains("missing field `file`"), "{said}");
}
