// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::config::Size;

/// By hand, from the sources that the table names.
#[test]
fn table() {
    let all = profiles().unwrap();
    let found: Vec<_> =
        all.iter().map(|p| (&*p.name, p.on_disk(), p.on_boot(), p.partitions())).collect();
    let expected = [
        ("generic", None, Some(0), 0),
        ("qemu-ast2600", None, Some(0), 0),
        ("imx8mm", Some(33 << 10), Some(33 << 10), 8 << 20),
        ("imx8mp", Some(32 << 10), Some(0), 8 << 20),
        ("rockchip", Some(32 << 10), None, 16 << 20),
    ];
    assert_eq!(found, expected);
    for profile in &all {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        assert!(profile.name.bytes().all(plain) && !profile.source.is_empty());
        assert!(profile.disk.is_some() || profile.boot.is_some());
        let place = profile.on_disk().unwrap_or(34 * 512);
        assert!(place >= table_bytes(Table::Gpt));
        assert!(profile.partitions() == 0 || profile.partitions() > place);
    }
    let error = profile("imx9").unwrap_err().to_string();
    assert!(
        error.contains("\"imx9\" is not known here: expected generic, qemu-ast2600"),
        "{error}"
    );
}

fn section(directory: &tempfile::TempDir, soc: &str, bytes: usize, boot_image: bool) -> Bootloader {
    let file = directory.path().join("flash.bin");
    fs::write(&file, vec![7; bytes]).unwrap();
    Bootloader { soc: soc.into(), file, boot_image, boot_size: Size(4 << 20) }
}

#[track_caller]
fn refused(soc: &str, bytes: usize, boot_image: bool, why: &str) {
    let directory = tempfile::tempdir().unwrap();
    let section = section(&directory, soc, bytes, boot_image);
    let error = Payload::read(&section, Table::Gpt).unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[test]
fn places() {
    const MIB: u64 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let read = |soc, bytes, apart| {
        Payload::read(&section(&directory, soc, bytes, apart), Table::Gpt).unwrap()
    };
    let payload = read("imx8mm", 5000, true);
    let image = payload.image().unwrap();
    assert_eq!((image.len(), payload.partitions()), (40_960, 8 * MIB));
    assert!(image[..33 << 10].iter().chain(&image[(33 << 10) + 5000..]).all(|byte| *byte == 0));
    assert!(image[33 << 10..][..5000].iter().all(|byte| *byte == 7));
    assert!(payload.in_disk().is_none() && payload.is_installed());
    let payload = read("imx8mm", 5000, false);
    assert_eq!(payload.in_disk().map(|(at, bytes)| (at, bytes.len())), Some((33 << 10, 5000)));
    assert!(payload.image().is_none() && !payload.is_installed());
    assert_eq!(payload.partitions(), 8 * MIB);
    assert_eq!(read("imx8mp", 4096, true).image().unwrap().len(), 4096);
    // for a place on the disk, and no boot partition
    let payload = read("rockchip", 9 << 20, true);
    assert_eq!(payload.image().unwrap().len(), (32 << 10) + (9 << 20));
    assert!(!payload.is_installed() && payload.note(false).unwrap().contains("byte 32768"));
    assert_eq!((payload.partitions(), read("generic", 1, true).partitions()), (16 * MIB, MIB));
    assert!(read("imx8mm", 1, true).note(false).is_none());
    // to the last byte
    read("imx8mp", 4 << 20, true);
    read("rockchip", (16 << 20) - (32 << 10), false);
}

#[test]
fn refusals() {
    let why = "flash.bin has 4161536 bytes, and a boot partition of 4194304 (bootloader.boot_size) has 4160512 from byte \
               33792 on, where soc imx8mm looks";
    refused("imx8mm", (4 << 20) - (32 << 10), true, why);
    refused("imx8mp", (4 << 20) + 1, true, "has 4194304 from byte 0 on");
    refused("imx8mp", 9 << 20, false, "there are 8355840 before the first partition");
    refused("rockchip", 16 << 20, true, "there are 16744448 before the first partition");
    refused(
        "generic",
        4096,
        false,
        "soc generic is known to look on the boot partitions of an eMMC",
    );
    refused("nothing", 4096, false, "\"nothing\" is not known here");
    let directory = tempfile::tempdir().unwrap();
    let mut section = section(&directory, "imx8mm", 0, true);
    let error = Payload::read(&section, Table::Gpt).unwrap_err().to_string();
    assert!(error.contains("flash.bin is empty, or zeros to its end"), "{error}");
    section.file = directory.path().join("none");
    let error = Payload::read(&section, Table::Gpt).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.ends_with("none"), "{error}");
}
