// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

const SMALLEST: &str = r#"
name = "demo"
[revision]
id = "1"
version = 1
[disk]
table = "gpt"
[[kernel]]
package = "linux.deb"
"#;

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let error = Config::parse(text, Path::new("")).unwrap_err();
    let error = format!("{error:#}");
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn smallest_file_and_its_defaults() {
    let config = Config::parse(SMALLEST, Path::new("/board")).unwrap();
    assert_eq!(config.disk.slot_size, Size(128 << 20));
    assert_eq!(config.disk.bootsel_size, Size(32 << 20));
    assert_eq!(config.initramfs.compression, Compression::Zstd);
    assert_eq!(config.squashfs, Writer::Backhand);
    assert_eq!(config.kernel[0].package.as_deref(), Some(Path::new("/board/linux.deb")));
    assert!(config.root.is_none() && config.firmware.is_none());
}

#[test]
fn absolute_paths_stay() {
    let text = format!("{SMALLEST}[root]\nsquashfs = \"/srv/root.squashfs\"\n");
    let config = Config::parse(&text, Path::new("board")).unwrap();
    let root = config.root.unwrap().squashfs.unwrap();
    assert_eq!(root, Path::new("/srv/root.squashfs"));
}

#[test]
fn unknown_keys() {
    refused(&SMALLEST.replace("version", "verison"), &["unknown field `verison`", "`version`"]);
    refused(&format!("nmae = 1\n{SMALLEST}"), &["unknown field `nmae`", "expected one of `name`"]);
    refused(&format!("{SMALLEST}machine = [\"virt\"]\n"), &["unknown field `machine`", "machines"]);
}

#[test]
fn unknown_values_name_the_known_ones() {
    refused(&SMALLEST.replace("gpt", "apm"), &["unknown variant `apm`", "`gpt`", "`mbr`"]);
    let text = format!("{SMALLEST}machines = [\"raspy\"]\n");
    refused(&text, &["unknown variant `raspy`", "`virt`", "`raspi`"]);
    let text = format!("{SMALLEST}compression = \"lzo\"\n");
    refused(&text, &["unknown variant `lzo`", "`zstd`"]);
}

#[test]
fn values_that_cannot_be() {
    refused(&SMALLEST.replace("id = \"1\"", "id = \"../1\""), &["\"../1\"", "not a revision"]);
    refused(&SMALLEST.replace("\"demo\"", "\"a/b\""), &["name = \"a/b\"", "file name"]);
    let size =
        |text: &str| SMALLEST.replace("[[kernel]]", &format!("slot_size = {text}\n[[kernel]]"));
    refused(&size("\"128K\""), &["slot_size", "expected a number and M or G"]);
    refused(&size("\"3000G\""), &["slot_size", "expected 2048G or less"]);
    refused(&size("128"), &["slot_size", "string"]);
    refused(&format!("zstd_level = 99\n{SMALLEST}"), &["zstd_level", "99"]);
}

#[test]
fn one_of_several() {
    let two = format!("{SMALLEST}directory = \"x\"\n");
    refused(&two, &["kernel 1: expected one of package and directory"]);
    refused(&format!("{SMALLEST}[root]\n"), &["root: expected one of squashfs, directory and tar"]);
    let text = format!("{SMALLEST}[root]\nsquashfs = \"a\"\ncompression = \"xz\"\n");
    refused(&text, &["root.compression"]);
    refused(&format!("{SMALLEST}[firmware]\n"), &["firmware: expected packages or directories"]);
    let text = format!("{SMALLEST}[initramfs]\ninit = []\n");
    refused(&text, &["initramfs.init: expected at least one program"]);
}

#[test]
fn what_alone_does_nothing() {
    let alone = SMALLEST.replace("version = 1", "version = 1\npassword_file = \"x\"");
    refused(&alone, &["revision.password_file", "revision.key, which is not given"]);
    Config::parse(&alone.replace("password_file", "key = \"k\"\npassword_file"), Path::new(""))
        .unwrap();
    let pi = SMALLEST.replace("gpt", "mbr") + "[rpi]\n";
    for channel in ["default", "latest"] {
        let alone = format!("{pi}eeprom_channel = \"{channel}\"\n");
        refused(&alone, &["rpi.eeprom_channel", "rpi.eeprom, which is not given"]);
        Config::parse(&(alone + "eeprom = \"x\"\n"), Path::new("")).unwrap();
    }
}

#[test]
fn file_is_named() {
    let error = format!("{:#}", Config::read(Path::new("/no/such.toml")).unwrap_err());
    assert!(error.starts_with("cannot read configuration /no/such.toml: "), "{error}");
}

#[test]
fn the_examples_are_valid() {
    for (file, name, rpi, uefi) in [
        ("example.toml", "demo", false, false),
        ("rpi.toml", "rpi", true, false),
        ("arm64.toml", "arm64", false, true),
        ("universal.toml", "universal", true, true),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
        let config = Config::read(&path).unwrap();
        assert_eq!(config.name, name);
        assert_eq!((config.rpi.is_some(), config.uefi.is_some()), (rpi, uefi), "{name}");
    }
}
