// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two subcommands.

use std::fs;

use super::common::{output, pivot_image};
use super::image::Image;

#[test]
fn exit_codes_and_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.img");
    let run = |image: &Image, arguments: &[&str]| {
        image.write(&path);
        let output = pivot_image().args(arguments).arg(&path).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&Image::new(), &["lint"]), (0, String::new()));
    let mut warned = Image::new();
    warned.remove("fixup4.dat");
    let (code, text) = run(&warned, &["lint"]);
    assert_eq!((code, text.lines().count()), (0, 2));
    assert!(text.starts_with("warning: partition 2, fixup4.dat: is missing: "), "{text}");
    let mut wrong = Image::new();
    wrong.types[0] = 0xef;
    let (code, text) = run(&wrong, &["lint", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["findings"][0]["severity"]), (1, &"error".into()));
    assert_eq!(report["findings"][0]["rule"], "partition-type");
    assert_eq!(pivot_image().arg("lint").output().unwrap().status.code(), Some(2));
    fs::write(&path, b"x").unwrap();
    assert_eq!(pivot_image().arg("lint").arg(&path).output().unwrap().status.code(), Some(1));
}

#[test]
fn table_of_boards() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.img");
    Image::new().write(&path);
    let text = output(pivot_image().arg("boards").arg(&path));
    let line = |board: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(board));
        line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line("pi1b"),
        "pi1b a, try b kernel.img 6.12-v6 bcm2708-rpi-b.dtb initrd,early.img yes bcm2835 (built in)"
    );
    assert_eq!(
        line("pi02w"),
        "pi02w a, try b kernel8.img 6.12-v8 bcm2710-rpi-zero-2-w.dtb initrd,early8.img yes bcm2835 (built in)"
    );
    assert_eq!(
        line("cm5"),
        "cm5 a, try b kernel_2712.img 6.12-16k bcm2712-rpi-cm5-cm5io.dtb initrd,early16k.img yes \
         sdhci_brcmstb (built in)"
    );
    assert!(text.contains(
        "kernel7l.img: taken only with arm_64bit=0 in config.txt, by pi4b pi400 cm4 cm4s\n"
    ));
    let json = output(pivot_image().args(["boards", "--json"]).arg(&path));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["boards"].as_array().unwrap().len(), 27);
    assert_eq!(report["boards"][0]["normal"]["kernel"], "kernel.img");
    assert_eq!(report["boards"][0]["trial"]["slot"], "b");
}
