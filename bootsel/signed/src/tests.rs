// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys and signatures in `tests/` were made by the program minisign 0.11.

use std::fs;
use std::io::Read;

use bootsel::bundle::Member;
use proptest::prelude::{any, prop_assert, proptest};

use super::{Bundle, Error, Head, Keys, trusted_comment};

const MANIFEST: &[u8] = include_bytes!("tests/manifest");
const SIGNATURE: &[u8] = include_bytes!("tests/manifest.minisig");
/// Of the same manifest by another key; with the comment of another revision; of minisign before 0.6.
const BY_B: &[u8] = include_bytes!("tests/b.minisig");
const OTHER: &[u8] = include_bytes!("tests/other.minisig");
const LEGACY: &[u8] = include_bytes!("tests/legacy.minisig");
const A: &str = include_str!("tests/a.pub");
const B: &str = include_str!("tests/b.pub");

fn keys(texts: &[(&str, &str)]) -> Keys {
    let mut keys = Keys::default();
    texts.iter().for_each(|(name, text)| keys.add(name, text).unwrap());
    keys
}

#[test]
fn signed_by_a_known_key() {
    let signed = keys(&[("b.pub", B), ("a.pub", A)]).verify(MANIFEST, SIGNATURE).unwrap();
    assert_eq!((signed.key.as_str(), signed.manifest.version()), ("a.pub", Some(2)));
    assert_eq!(trusted_comment(&signed.manifest), "pivot revision=r2 version=2");
    let signed = keys(&[("b.pub", B), ("a.pub", A)]).verify(MANIFEST, BY_B).unwrap();
    assert_eq!(signed.key, "b.pub");
}

#[track_caller]
fn refuse(manifest: &[u8], signature: &[u8], expected: &str) {
    let error = keys(&[("a.pub", A)]).verify(manifest, signature).unwrap_err().to_string();
    assert_eq!(error, format!("signature: {expected}"));
}

#[test]
fn not_signed() {
    refuse(MANIFEST, BY_B, "made with a key that is not known here");
    refuse(MANIFEST, LEGACY, "not of the prehashed kind");
    refuse(
        MANIFEST,
        OTHER,
        "of \"pivot revision=r3 version=2\", the manifest is \"pivot revision=r2 version=2\"",
    );
    let wrong = "wrong, the manifest is not what a.pub signed";
    refuse(b"", SIGNATURE, wrong);
    for at in 0..MANIFEST.len() {
        let mut changed = MANIFEST.to_vec();
        changed[at] ^= 1;
        refuse(&changed, SIGNATURE, wrong);
    }
    let none = "expected four lines as minisign writes them";
    refuse(MANIFEST, b"", none);
    refuse(MANIFEST, &SIGNATURE[..SIGNATURE.len() - 9], none);
    refuse(MANIFEST, &[SIGNATURE, b"x\n"].concat(), none);
    refuse(MANIFEST, &[SIGNATURE, &[b'\n'; 2000]].concat(), none);
    refuse(MANIFEST, &[b"\xff", SIGNATURE].concat(), none);
    assert!(matches!(Keys::default().verify(MANIFEST, SIGNATURE), Err(Error::UnknownKey)));
}

#[test]
fn every_character_of_a_signature_counts() {
    let keys = keys(&[("a.pub", A)]);
    let text = String::from_utf8(SIGNATURE.to_vec()).unwrap();
    // the first line is a comment of no meaning
    let first = text.find('\n').unwrap();
    for at in first + 1..text.len() - 1 {
        let mut changed = SIGNATURE.to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert!(keys.verify(MANIFEST, &changed).is_err(), "character {at}");
    }
}

#[test]
fn directory_of_keys() {
    let directory = tempfile::tempdir().unwrap();
    let text = |why: Result<Keys, Error>| why.unwrap_err().to_string();
    assert!(text(Keys::read(directory.path())).starts_with("no public key (*.pub) in "));
    fs::write(directory.path().join("README"), "x").unwrap();
    fs::write(directory.path().join("b.pub"), B).unwrap();
    fs::write(directory.path().join("a.pub"), A).unwrap();
    assert_eq!(Keys::read(directory.path()).unwrap().verify(MANIFEST, BY_B).unwrap().key, "b.pub");
    fs::write(directory.path().join("c.pub"), "x\ny\n").unwrap();
    assert_eq!(text(Keys::read(directory.path())), "c.pub is not a minisign public key");
    let missing = text(Keys::read(&directory.path().join("no")));
    assert!(
        missing.starts_with("cannot read ")
            && missing.ends_with("No such file or directory (os error 2)")
    );
}

/// Two keys may have the same number: all of them are tried.
#[test]
fn number_of_another_key() {
    let [a, b] = [A, B].map(|text| text.lines().nth(1).unwrap());
    let (head, tail) = (a.get(..14).unwrap(), b.get(14..).unwrap());
    let forged = format!("untrusted comment: x\n{head}{tail}\n");
    let keys = keys(&[("forged.pub", &forged), ("a.pub", A)]);
    assert_eq!(keys.verify(MANIFEST, SIGNATURE).unwrap().key, "a.pub");
}

fn header(name: &str, bytes: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{bytes:011o}").as_bytes());
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in members {
        out.extend(header(name, content.len()));
        out.extend(*content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn good() -> Vec<u8> {
    archive(&[
        ("manifest", MANIFEST),
        ("manifest.minisig", SIGNATURE),
        ("boot.img.zst", b"packed"),
        ("root.squashfs", b"abc"),
    ])
}

/// Reads all of a bundle, every content but that of the boot volume.
fn read(bytes: &[u8]) -> Result<Vec<(Member, String)>, Error> {
    let mut bundle = Head::read(bytes)?.verify(&keys(&[("a.pub", A)]))?;
    let mut out = Vec::new();
    while let Some(member) = bundle.next_member()? {
        let mut content = String::new();
        if member != Member::Boot {
            bundle.read_to_string(&mut content).map_err(Error::stream)?;
        }
        out.push((member, content));
    }
    Ok(out)
}

#[track_caller]
fn refuse_bundle(bytes: &[u8], expected: &str) {
    assert_eq!(read(bytes).unwrap_err().to_string(), expected);
}

#[test]
fn whole_bundle() {
    let members = read(&good()).unwrap();
    assert_eq!(members[0], (Member::Boot, String::new()));
    let (Member::File(file), content) = &members[1] else { panic!() };
    assert_eq!((file.name.as_str(), content.as_str(), members.len()), ("root.squashfs", "abc", 2));
}

#[test]
fn cut_at_every_byte() {
    let good = good();
    for end in 0..good.len() {
        let error = read(&good[..end]).unwrap_err();
        assert!(matches!(error, Error::Truncated), "{end}: {error}");
    }
    refuse_bundle(&[&good[..], b"\0"].concat(), "something follows the end of the bundle");
    refuse_bundle(&[&good[..], &good[..]].concat(), "something follows the end of the bundle");
    refuse_bundle(
        &[&good[..good.len() - 512], &good[..]].concat(),
        "something follows the end of the bundle",
    );
}

#[test]
fn other_archives() {
    refuse_bundle(&[0; 1024], "no bundle: ends too early: manifest is missing");
    refuse_bundle(&[1; 1024], "no bundle: not a ustar archive");
    let head = [("manifest", MANIFEST), ("manifest.minisig", SIGNATURE)];
    refuse_bundle(&archive(&head[..1]), "no bundle: ends too early: manifest.minisig is missing");
    refuse_bundle(&archive(&head), "no bundle: ends too early: boot.img.zst is missing");
    let error = "no bundle: boot.img.zst is where manifest.minisig has to be";
    refuse_bundle(&archive(&[head[0], ("boot.img.zst", b"")]), error);
    refuse_bundle(&archive(&[head[0], ("../x", b"")]), "no bundle: not a plain file name");
    let mut padded = good();
    padded[512 + MANIFEST.len()] = 1;
    refuse_bundle(&padded, "no bundle: a block is not filled with zeros");
}

#[test]
fn unverified_is_for_looking() {
    let changed = [MANIFEST, b""].concat();
    let bytes =
        archive(&[("manifest", &changed), ("manifest.minisig", b"none"), ("boot.img.zst", b"")]);
    let mut bundle: Bundle<_> = Head::read(&bytes[..]).unwrap().unverified().unwrap();
    assert_eq!(bundle.key, None);
    assert_eq!(bundle.next_member().unwrap(), Some(Member::Boot));
    assert_eq!(
        bundle.next_member().unwrap_err().to_string(),
        "no bundle: ends too early: root.squashfs is missing"
    );
}

proptest! {
    /// A changed byte is noticed, or was content, which its reader compares with the manifest.
    #[test]
    fn changed_byte(at in 0_usize..5000, by in 1..=u8::MAX) {
        let mut bytes = good();
        let at = at % bytes.len();
        bytes[at] ^= by;
        if let Ok(members) = read(&bytes) {
            prop_assert!(members.len() == 2 && members[1].0 == read(&good()).unwrap()[1].0);
        }
    }

    #[test]
    fn any_bytes(manifest: Vec<u8>, signature: Vec<u8>, more in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut bytes = archive(&[("manifest", &manifest), ("manifest.minisig", &signature)]);
        bytes.extend(more);
        prop_assert!(read(&bytes).is_err());
    }
}
