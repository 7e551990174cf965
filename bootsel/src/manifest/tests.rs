// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Error, File, MAX_BYTES, MAX_FILES, MAX_KEYS, Manifest, RevisionId, modules_image};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HEAD: &str = "format=1\nrevision=2026.11-3\nversion=42\n";

fn file_line(name: &str) -> String {
    format!("{HASH}  0  {name}\n")
}

#[track_caller]
fn accept(text: &str) -> Manifest {
    let manifest = Manifest::parse(text.as_bytes()).unwrap();
    assert_eq!(manifest.to_string(), text);
    manifest
}

#[track_caller]
fn refuse(text: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(Manifest::parse(text.as_ref()).unwrap_err().to_string(), expected);
}

#[track_caller]
fn refuse_head(head: &str, expected: &str) {
    refuse(format!("{head}\n{}", file_line("root.squashfs")), expected);
}

#[track_caller]
fn refuse_file(line: &str, expected: &str) {
    refuse(format!("{HEAD}\n{line}\n"), &format!("manifest line 5: {expected}"));
}

#[test]
fn reads_all_of_it() {
    let files = file_line("root.squashfs") + &file_line("modules_6.12.95+deb12-arm64.squashfs");
    let text = format!("{HEAD}requires_bootsel=2\nnote=Grüße = x  \nempty=\n\n{files}");
    let manifest = accept(&text);
    assert_eq!(manifest.revision(), "2026.11-3".parse().ok());
    assert_eq!(manifest.version(), Some(42));
    assert_eq!(manifest.get("format"), Some("1"));
    assert_eq!(manifest.get("note"), Some("Grüße = x  "));
    assert_eq!(manifest.get("empty"), Some(""));
    assert_eq!(manifest.get("missing"), None);
    assert_eq!(manifest.files.len(), 2);
    let root = manifest.file("root.squashfs").unwrap();
    assert_eq!((root.bytes, root.sha256[0], root.sha256[31]), (0, 0xe3, 0x55));
    assert_eq!(manifest.file("ROOT.squashfs"), None);
}

#[test]
fn new_is_the_smallest() {
    let id: RevisionId = "2026.11-3".parse().unwrap();
    let manifest = Manifest::new(&id, 42);
    assert_eq!(manifest.to_string(), format!("{HEAD}\n"));
    assert_eq!(accept(&format!("{HEAD}\n")), manifest);
    assert_eq!(Manifest::new(&id, u64::MAX).version(), Some(u64::MAX));
}

#[test]
fn refuses_wrong_keys() {
    refuse_head("", "manifest line 1: not key=value");
    refuse_head("revision=1\nversion=1\n", "manifest line 1: the first key is not format");
    refuse_head("# comment\nformat=1\n", "manifest line 1: not key=value");
    refuse_head("format\n", "manifest line 1: not key=value");
    for other in ["2", "", "01", "1 ", "one"] {
        let text = format!("format={other}\nrevision=1\nversion=1\n");
        refuse_head(&text, "manifest line 1: unknown format, format=1 is known here");
    }
    refuse_head("format=1\nversion=1\n", "manifest line 2: the second key is not revision");
    refuse_head("format=1\nformat=1\n", "manifest line 2: the second key is not revision");
    refuse_head("format=1\n", "manifest line 2: not key=value");
    refuse_head("format=1\nrevision=1\n", "manifest line 3: not key=value");
    refuse_head("format=1\nrevision=1\nx=y\n", "manifest line 3: the third key is not version");
    refuse_head(
        "format=1\nrevision=../1\nversion=1\n",
        "manifest line 2: not a revision: 1 to 64 of A-Z a-z 0-9 . _ + -, first a letter or digit",
    );
    for version in ["", "+1", "-1", "01", "00", "1.0", "18446744073709551616", "1 "] {
        let text = format!("format=1\nrevision=1\nversion={version}\n");
        refuse_head(&text, "manifest line 3: version is not a number of 64 bits");
    }
    for key in ["format", "revision", "version"] {
        refuse_head(&format!("{HEAD}{key}=1\n"), "manifest line 4: key is there twice");
    }
    refuse_head(&format!("{HEAD}a=1\nb=1\na=2\n"), "manifest line 6: key is there twice");
    let bad_key = "manifest line 4: key has characters other than A-Z a-z 0-9 . _ + -";
    for key in ["", " a", "a b", "ä", "a/b"] {
        refuse_head(&format!("{HEAD}{key}=1\n"), bad_key);
    }
    for value in ["\r", "a\0b", "\u{1b}[2J", "\u{85}"] {
        refuse_head(&format!("{HEAD}a={value}\n"), "manifest line 4: value has control characters");
    }
}

#[test]
fn refuses_wrong_files() {
    let form = "not sha256, size and name with two spaces between them";
    let (one, other) = (format!("{HASH} 0 root.squashfs"), format!("{HASH}  0 root.squashfs"));
    for line in [&one, "a b", &other, HASH] {
        refuse_file(line, form);
    }
    let short = HASH.trim_start_matches('e');
    let (upper, sign) = (HASH.to_uppercase(), format!("+{short}"));
    for hash in ["", short, "a=b", &upper, &sign, &format!("{HASH}0"), &format!("{HASH}00"), "é"] {
        let problem = "sha256 is not 64 lower-case hex digits";
        refuse_file(&format!("{hash}  0  root.squashfs"), problem);
    }
    for bytes in ["", "-1", "+1", "00", "01", "0x10", "18446744073709551616"] {
        let problem = "size is not a number of 64 bits";
        refuse_file(&format!("{HASH}  {bytes}  root.squashfs"), problem);
    }
    let (long, absent) = ("a".repeat(129), "");
    for name in [
        absent,
        ".",
        "..",
        ".hidden",
        "/etc/passwd",
        "../x",
        "a/b",
        "a b",
        "a\0",
        "a\r",
        "ä",
        " a",
        "manifest",
        "manifest.minisig",
        &long,
    ] {
        let problem = "not a file name that a revision may have";
        refuse_file(&format!("{HASH}  0  {name}"), problem);
    }
    let twice = file_line("a") + &file_line("b") + &file_line("a");
    refuse(format!("{HEAD}\n{twice}"), "manifest line 7: file name is there twice");
    let after = format!("{HEAD}\n{}\n", file_line("a"));
    refuse(after, &format!("manifest line 6: {form}"));
}

#[test]
fn refuses_what_is_cut_off() {
    refuse("", "manifest line 1: ends too early");
    refuse(HEAD, "manifest line 4: ends too early");
    let text = format!("{HEAD}\n{}", file_line("root.squashfs"));
    accept(&text);
    // The end of a line of files is the one place where only the signature sees a cut.
    let whole = HEAD.len() + 1;
    for length in (0..text.len()).filter(|length| *length != whole) {
        assert!(Manifest::parse(&text.as_bytes()[..length]).is_err(), "{length}");
    }
}

#[test]
fn refuses_hostile_bytes() {
    refuse([0xff], "manifest line 1: not utf-8");
    refuse(b"format=1\nrevision=\xc3\n", "manifest line 2: not utf-8");
    refuse([0; 512], "manifest line 1: ends too early");
    refuse(
        b"format=1\r\nrevision=1\r\n",
        "manifest line 1: unknown format, format=1 is known here",
    );
    refuse("\u{feff}format=1\n", "manifest line 1: the first key is not format");
    refuse(std::vec![b'\n'; MAX_BYTES], "manifest line 1: not key=value");
    refuse(std::vec![b'a'; MAX_BYTES + 1], "manifest is longer than 65536 bytes");
}

#[test]
fn bounds() {
    let files = |count| (0..count).map(|n| file_line(&format!("f{n}"))).collect::<String>();
    accept(&format!("{HEAD}\n{}", files(MAX_FILES)));
    refuse(format!("{HEAD}\n{}", files(MAX_FILES + 1)), "manifest line 261: too many files");
    let keys = |count| (0..count).map(|n| format!("k{n}=\n")).collect::<String>();
    accept(&format!("{HEAD}{}\n", keys(MAX_KEYS - 3)));
    refuse(format!("{HEAD}{}\n", keys(MAX_KEYS - 2)), "manifest line 129: too many keys");
    let padding = MAX_BYTES - HEAD.len() - "a=\n\n".len();
    accept(&format!("{HEAD}a={}\n\n", "x".repeat(padding)));
    assert_eq!(Manifest::parse(&[0; MAX_BYTES + 1]), Err(Error::TooLong));
}

#[test]
fn revision_ids() {
    let longest = "a".repeat(64);
    for id in ["1", "a", "Z", "2026.11-3", "a..b", "1_+-.", &longest] {
        assert_eq!(id.parse::<RevisionId>().unwrap().as_str(), id);
    }
    let too_long = "a".repeat(65);
    for text in ["", ".", "..", "-a", "_", "+1", "a/b", "a b", "a\n", "ä", "a\0", &too_long] {
        assert!(text.parse::<RevisionId>().is_err(), "{text:?}");
    }
}

#[test]
fn modules_images() {
    #[track_caller]
    fn check(release: &str, expected: Option<&str>) {
        assert_eq!(modules_image(release).as_deref(), expected);
    }
    check("6.12.95+deb12-arm64", Some("modules_6.12.95+deb12-arm64.squashfs"));
    check("6.6.31+rpt-rpi-v8", Some("modules_6.6.31+rpt-rpi-v8.squashfs"));
    for hostile in ["", "a/b", "../../etc", "a b", "6.1\n", "6.1\0", "ä", &"6".repeat(200)] {
        check(hostile, None);
    }
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let file = (any::<[u8; 32]>(), any::<u64>(), "[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,127}");
    let files = proptest::collection::vec(file, 0..12);
    let keys = proptest::collection::btree_map("x[A-Za-z0-9._+-]{0,20}", "\\PC{0,40}", 0..8);
    ("[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", any::<u64>(), keys, files).prop_map(
        |(id, version, keys, files)| {
            let mut manifest = Manifest::new(&id.parse().unwrap(), version);
            manifest.keys.extend(keys);
            for (sha256, bytes, name) in files {
                if manifest.file(&name).is_none() && name != super::NAME && name != super::SIGNATURE
                {
                    manifest.files.push(File { sha256, bytes, name });
                }
            }
            manifest
        },
    )
}

proptest! {
    #[test]
    fn round_trip(manifest in manifest()) {
        prop_assert_eq!(Manifest::parse(manifest.to_string().as_bytes()), Ok(manifest));
    }

    /// Whatever is accepted is written as it was read: no byte can change without being seen.
    #[test]
    fn one_way_to_write(manifest in manifest(), place: usize, byte: u8) {
        let mut bytes = manifest.to_string().into_bytes();
        let place = place % bytes.len();
        let same = std::mem::replace(&mut bytes[place], byte) == byte;
        if let Ok(parsed) = Manifest::parse(&bytes) {
            prop_assert_eq!(parsed.to_string().into_bytes(), bytes);
            prop_assert_eq!(parsed == manifest, same);
        }
    }

    #[test]
    fn arbitrary_bytes(bytes: Vec<u8>) {
        if let Ok(parsed) = Manifest::parse(&bytes) {
            prop_assert_eq!(parsed.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn arbitrary_lines(text in "(format=1\nrevision=1\nversion=1\n)?[a-c0-9= \n.\u{e4}]{0,80}\n?") {
        if let Ok(parsed) = Manifest::parse(text.as_bytes()) {
            prop_assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn errors_are_one_line(bytes: Vec<u8>, text in "(format=1\n)?\\PC{0,40}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            if let Err(why) = Manifest::parse(bytes) {
                prop_assert!(!why.to_string().contains('\n'));
            }
        }
    }
}
