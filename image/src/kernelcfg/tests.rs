// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeSet;
use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::kernel_build::FRAGMENTS;

const DEBIAN: &str = include_str!("debian-arm64.config");

fn of(text: &str) -> Report {
    Report::of(&Kconfig::parse(text))
}

#[track_caller]
fn is(report: &Report, feature: &str, state: State, set: &[&str]) {
    let found = report.features.iter().find(|finding| finding.feature == feature).unwrap();
    let set: Vec<String> = set.iter().map(|option| (*option).to_owned()).collect();
    assert_eq!((found.state, &found.set), (state, &set), "{feature}");
}

#[test]
fn debians_kernel() {
    let report = of(DEBIAN);
    is(&report, "initramfs-zstd", State::BuiltIn, &[]);
    is(&report, "loop", State::Early, &["CONFIG_BLK_DEV_LOOP=y"]);
    is(&report, "pi-watchdog", State::Early, &["CONFIG_BCM2835_WDT=y"]);
    // PCI is built in, the disk is not
    is(&report, "virt-disk", State::Early, &["CONFIG_VIRTIO_MMIO=y", "CONFIG_VIRTIO_BLK=y"]);
    is(&report, "evidence", State::Module, &["CONFIG_PSTORE_RAM=y"]);
    is(&report, "pi-tryboot", State::No, &["CONFIG_BCM_VCIO=y"]);
    is(&report, "config", State::No, &["CONFIG_IKCONFIG=y"]);
    is(&report, "quick-crypto", State::No, &["CONFIG_CRYPTO_MANAGER_DISABLE_TESTS=y"]);
    is(&report, "armv6-init", State::BuiltIn, &[]);
    use Machine::{Raspi, Uefi, Virt};
    assert_eq!(report.missing(&[Raspi, Uefi, Virt]), [""; 0]);
}

#[test]
fn what_cannot_be_a_module() {
    let report = of("CONFIG_BLK_DEV_INITRD=m\nCONFIG_SQUASHFS=m\nCONFIG_BCM_VCIO=m\n");
    is(&report, "initramfs", State::No, &["CONFIG_BLK_DEV_INITRD=y"]);
    is(&report, "squashfs", State::Early, &["CONFIG_SQUASHFS=y"]);
    is(&report, "pi-tryboot", State::Module, &["CONFIG_BCM_VCIO=y"]);
}

#[test]
fn one_of_several_is_enough() {
    is(&of("CONFIG_BCM_VCIO=y\n"), "pi-eeprom", State::BuiltIn, &[]);
    is(&of("CONFIG_NVMEM_RMEM=m\n"), "pi-eeprom", State::Module, &["CONFIG_NVMEM_RMEM=y"]);
    is(&of("CONFIG_ARM=y\n"), "armv6-init", State::BuiltIn, &[]);
}

#[test]
fn a_kernel_without_a_machine_is_told_what_it_lacks() {
    let missing = |machines: &[Machine]| of("CONFIG_NET=y\n").missing(machines);
    assert!(missing(&[]).contains(&"loop") && !missing(&[]).contains(&"uevents"));
    assert!(!missing(&[]).contains(&"pi-watchdog"));
    assert!(missing(&[Machine::Raspi]).contains(&"pi-watchdog"));
    assert!(!missing(&[Machine::Raspi]).contains(&"uefi"));
}

#[test]
fn names_are_unique_and_fragments_known() {
    let names: BTreeSet<_> = FEATURES.iter().map(|feature| feature.name).collect();
    assert_eq!(names.len(), FEATURES.len());
    assert!(FEATURES.iter().all(|feature| feature.options.iter().all(|list| !list.is_empty())));
}

/// What the table says that a fragment sets, it sets, alone or beside `base`.
#[test]
fn fragments_keep_their_promise() {
    let text = |name: &str| FRAGMENTS.iter().find(|(known, _)| *known == name).unwrap().1;
    for feature in FEATURES {
        let Some(fragment) = feature.fragment else { continue };
        let beside = if fragment == "rpi4" { text("rpi3") } else { "" };
        // what Linux's Kconfig selects or has for a default, and no fragment can ask for
        let given = "CONFIG_PROC_FS=y\nCONFIG_SYSFS=y\nCONFIG_EPOLL=y\nCONFIG_SIGNALFD=y\nCONFIG_TIMERFD=y\n";
        let config = [text("base"), beside, text(fragment), given].concat();
        let found = finding(feature, &Kconfig::parse(&config));
        assert_eq!(found.state, State::BuiltIn, "{}: {:?}", feature.name, found.set);
    }
}

/// The table of the documentation.
fn table() -> String {
    let row = |feature: &Feature| {
        let option = |list: &&[&str]| format!("`{}`", list.join("` or `"));
        let options: Vec<String> = feature.options.iter().map(option).collect();
        let modules = match feature.when {
            When::Kernel => "",
            When::Boot => "early",
            When::System => "yes",
        };
        let who = match feature.who {
            For::All => "every boot",
            For::Virt => "`virt`",
            For::Raspi => "`raspi`",
            For::Uefi => "`uefi`",
            For::Some => "",
        };
        let fragment = feature.fragment.unwrap_or("");
        let Feature { name, what, .. } = feature;
        format!("| {name} | {what} | {} | {modules} | {who} | {fragment} |\n", options.join(", "))
    };
    let head = "| feature | is | options | as a module | needed by | fragment |\n|---|---|---|---|---|---|\n";
    FEATURES.iter().map(row).fold(head.to_owned(), |all, row| all + &row)
}

#[test]
fn the_documentation_has_the_table() {
    let documentation = include_str!("../../../docs/kernel.md");
    assert!(documentation.contains(&table()), "docs/kernel.md should have\n{}", table());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A kernel's image by its magic, with this behind.
fn arm64(more: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 4096];
    image[56..60].copy_from_slice(b"ARM\x64");
    image.extend(more);
    image
}

fn checked(bytes: &[u8]) -> Result<Report> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    check(file.path())
}

#[test]
fn every_form_of_a_configuration() {
    let text = b"CONFIG_BLK_DEV_LOOP=m\n";
    let carried = [&b"IKCFG_ST"[..], &gzip(text), b"IKCFG_ED"].concat();
    for bytes in [text.to_vec(), gzip(text), arm64(&carried), gzip(&arm64(&carried))] {
        is(&checked(&bytes).unwrap(), "loop", State::Early, &["CONFIG_BLK_DEV_LOOP=y"]);
    }
}

#[track_caller]
fn refused(bytes: &[u8], why: &str) {
    let error = format!("{:#}", checked(bytes).unwrap_err());
    assert!(error.contains(why), "{error}");
}

#[test]
fn what_says_nothing_is_refused() {
    refused(b"", "neither a kernel's configuration");
    refused(b"# CONFIG_X is not set\n", "neither a kernel's configuration");
    refused(&gzip(b"hello"), "neither a kernel's configuration");
    refused(&gzip(b"CONFIG_A=y\n")[..20], "cannot read it");
    refused(&arm64(b""), "does not carry its configuration");
    refused(b"!<arch>\n", "cannot read");
    // a bomb
    refused(&gzip(&vec![b'\n'; 9 << 20]), "neither a kernel's configuration");
}

#[test]
fn directory_is_named_once() {
    let directory = tempfile::tempdir().unwrap();
    let error = format!("{:#}", check(directory.path()).unwrap_err());
    assert_eq!(error, format!("{}: no lib/modules in it", directory.path().display()));
    let missing = directory.path().join("x");
    let error = format!("{:#}", check(&missing).unwrap_err());
    assert!(
        error.starts_with(&format!("{}: cannot open it: No such", missing.display())),
        "{error}"
    );
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in 0..4_usize) {
        let head: &[u8] = [&b""[..], b"!<arch>\n", &[0x1f, 0x8b, 8], b"CONFIG_A=y\n"][magic];
        let _ = checked(&[head, &bytes].concat());
        let _ = checked(&arm64(&[b"IKCFG_ST", &bytes[..]].concat()));
    }
}
