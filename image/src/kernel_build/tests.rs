// SPDX-License-Identifier: MIT OR Apache-2.0

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn arguments(words: &str) -> Arguments {
    let words = ["pivot-image", "kernel"].into_iter().chain(words.split_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Command::Kernel(arguments) => arguments,
        _ => panic!("another command"),
    }
}

#[track_caller]
fn named(words: &str, expected: Result<&str, &str>) {
    let found = settings(&arguments(words), Progress::Silent);
    let name =
        found.map(|all| all.into_iter().find(|s| s.name == "CONFIG_LOCALVERSION").unwrap().value);
    match (name, expected) {
        (Ok(name), Ok(expected)) => assert_eq!(name, expected),
        (Err(error), Err(why)) => assert!(format!("{error:#}").contains(why), "{error:#}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[test]
fn a_kernel_is_called_by_its_fragments() {
    named("--fragments base,virt,small", Ok("\"-virt-small\""));
    named("--fragments base", Ok("\"\""));
    named("--fragments base --name 7.x", Ok("\"-7.x\""));
    named("--fragments base --name a/b", Err("is no end of a release"));
    named(&format!("--fragments base --name {}", "x".repeat(41)), Err("is no end of a release"));
    named("--fragments base,nosuch", Err("no fragment \"nosuch\""));
}

#[test]
fn fragments_or_a_check() {
    let good =
        |words: &str| Cli::try_parse_from(["pivot-image"].into_iter().chain(words.split(' ')));
    assert!(good("kernel check x").is_ok());
    assert!(good("kernel").is_err());
    assert!(good("kernel --fragments base check x").is_err());
    assert!(good("kernel --fragments base --base defconfig --output x -j 2").is_ok());
}

/// A directory with as much of Linux as is looked for without `make`.
fn linux(kconfig: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in [("arch/arm64/Kconfig", ""), ("drivers/Kconfig", kconfig)] {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

#[test]
fn what_did_not_take_is_named_with_its_reason() {
    let linux = linux("config A\n\tbool\n\tdepends on B\nconfig C\n\tbool\nconfig D\n\tbool\n");
    let mine = linux.path().join("mine.config");
    let text = "CONFIG_A=y\nCONFIG_C=n\nCONFIG_D=y\nCONFIG_E=y\n#? CONFIG_F=y\n#? CONFIG_A=y\n";
    fs::write(&mine, text).unwrap();
    let settings = fragment::open(mine.to_str().unwrap()).unwrap();
    let (settings, _) = fragment::merge(settings);
    let error = complain(&settings, "CONFIG_C=y\n", linux.path()).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().map(|line| line.rsplit(" of ").next().unwrap()).collect();
    assert!(lines[1].ends_with("is n: it depends on B"), "{error}");
    assert!(lines[2].contains("is y: another option selects it"), "{error}");
    assert!(lines[3].contains("is n: something that it depends on is missing"), "{error}");
    assert!(lines[4].contains("is n: this Linux has no such option"), "{error}");
    assert_eq!(lines.len(), 5, "{error}");
    complain(&settings, "CONFIG_A=y\nCONFIG_D=y\nCONFIG_E=y\n", linux.path()).unwrap();
}

#[test]
fn sources() {
    let linux = linux("");
    let hash = || Source::at(linux.path()).unwrap().hash().unwrap();
    let before = hash();
    fs::create_dir(linux.path().join(".git")).unwrap();
    fs::write(linux.path().join(".git/index"), "x").unwrap();
    assert_eq!(hash(), before);
    fs::write(linux.path().join("drivers/new.c"), "x").unwrap();
    assert_ne!(hash(), before);
    fs::remove_dir_all(linux.path().join("arch")).unwrap();
    let error = format!("{:#}", Source::at(linux.path()).unwrap_err());
    assert!(error.contains("not Linux's sources"), "{error}");
    let file = linux.path().join("drivers/new.c");
    let error = Source::at(&file).unwrap().whole(&Cache::none(), Progress::Silent).unwrap_err();
    assert!(format!("{error:#}").contains("not a Debian package"), "{error:#}");
}

#[test]
fn a_copy_replaces_only_a_copy() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    fs::create_dir_all(from.join("boot")).unwrap();
    fs::write(from.join("release"), "6.12").unwrap();
    copy(&from, &to).unwrap();
    fs::write(to.join("boot/old"), "").unwrap();
    copy(&from, &to).unwrap();
    assert!(to.join("release").exists() && !to.join("boot/old").exists());
    fs::remove_file(to.join("release")).unwrap();
    let error = copy(&from, &to).unwrap_err().to_string();
    assert!(error.contains("not of this program"), "{error}");
}
