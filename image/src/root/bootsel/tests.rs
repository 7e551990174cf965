// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeSet;

use super::*;
use crate::elf::fixture;

/// Lines `Key=value` of a section, a key as often as it is there.
fn values<'a>(text: &'a str, section: &str, key: &str) -> Vec<&'a str> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.strip_suffix(']') == Some(section);
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
        assert!(!value.is_empty() && value.trim() == value && !value.ends_with('\\'), "{line}");
        if inside && name == key {
            found.push(value);
        }
    }
    found
}

fn words(text: &str, key: &str) -> BTreeSet<String> {
    let values = values(text, "Unit", key);
    values.iter().flat_map(|value| value.split(' ')).map(str::to_owned).collect()
}

fn unit(name: &str) -> &'static str {
    ALL.iter().find(|unit| unit.name == name).unwrap().text
}

#[test]
fn every_unit() {
    let known: BTreeSet<&str> = ["Unit", "Service", "Timer", "Install"].into();
    for Unit { name, text, enabled_in } in &ALL {
        assert!(text.starts_with("# SPDX-License-Identifier: MIT OR Apache-2.0\n# "), "{name}");
        let sections = text.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
        assert!(sections.clone().all(|section| known.contains(section)), "{name}");
        // on a system that pivot did not start it does nothing
        assert_eq!(values(text, "Unit", "ConditionKernelCommandLine"), ["pivot.slot"], "{name}");
        assert_eq!(values(text, "Unit", "Description").len(), 1, "{name}");
        // what is enabled by a link in /usr is static for systemctl; the one that is not can be enabled
        let required = values(text, "Install", "RequiredBy");
        if *name == NETWORK {
            assert_eq!(Some(&*format!("{}.requires", required[0])), *enabled_in);
        } else {
            assert!(!text.contains("[Install]"), "{name}");
        }
        if name.ends_with(".service") {
            assert_eq!(values(text, "Service", "Type"), ["oneshot"], "{name}");
            let program = values(text, "Service", "ExecStart");
            assert_eq!(program.len(), 1);
            assert!(program[0].starts_with(&format!("/{PROGRAM} ")), "{name}");
        }
    }
}

/// None of them waits for what may hang, or makes others wait for more than itself.
#[test]
fn order_of_the_units() {
    let commit = unit("pivot-commit.service");
    let reached = ["boot-complete.target", "multi-user.target"].map(str::to_owned);
    assert_eq!(words(commit, "Requires"), reached.clone().into());
    assert_eq!(words(commit, "After"), reached.into());
    assert_eq!(words(commit, "Before"), ["shutdown.target".to_owned()].into());
    for name in ["pivot-deadline.timer", "pivot-deadline.service"] {
        assert!(words(unit(name), "After").is_empty() && words(unit(name), "Requires").is_empty());
        assert_eq!(values(unit(name), "Unit", "IgnoreOnIsolate"), ["yes"]);
    }
    for name in [
        "pivot-commit.service",
        "pivot-deadline.timer",
        "pivot-deadline.service",
        "pivot-collect.service",
    ] {
        assert_eq!(values(unit(name), "Unit", "DefaultDependencies"), ["no"], "{name}");
        // what has no default dependencies must say itself that it does not outlive a shutdown
        assert_eq!(values(unit(name), "Unit", "Conflicts"), ["shutdown.target"], "{name}");
        assert!(words(unit(name), "Before").contains("shutdown.target"), "{name}");
    }
    let collect = unit("pivot-collect.service");
    assert!(words(collect, "Before").contains("systemd-pstore.service"));
    assert!(words(collect, "After").contains("local-fs.target"));
    assert_eq!(values(collect, "Service", "TimeoutStartSec"), ["30s"]);
    assert_eq!(words(unit(NETWORK), "Before"), ["boot-complete.target".to_owned()].into());
}

#[test]
fn settings() {
    for Unit { name, text, .. } in &ALL {
        assert_eq!(with_settings(text, "10min", &Network::Route), *text, "{name}");
    }
    let peer = Network::Peer("example.com:443".to_owned());
    let texts = ALL.map(|unit| with_settings(unit.text, "90s", &peer));
    let changed = |line: &str| texts.iter().filter(|text| text.contains(line)).count();
    assert_eq!(changed("\nOnBootSec=90s\n"), 1);
    assert_eq!(
        changed("\nExecStart=/usr/sbin/bootsel reachable --timeout 300 example.com:443\n"),
        1
    );
}

#[test]
fn what_enables_them() {
    let links = |network: Network| -> Vec<String> {
        let section = Bootsel { health_network: Some(network), ..Bootsel::default() };
        let link = |(path, new): (String, New)| match new {
            New::Link(target) => Some(format!("{path} -> {target}")),
            _ => None,
        };
        units(&section).into_iter().filter_map(link).collect()
    };
    let own = [
        "usr/lib/systemd/system/multi-user.target.wants/pivot-commit.service -> ../pivot-commit.service",
        "usr/lib/systemd/system/sysinit.target.wants/pivot-deadline.timer -> ../pivot-deadline.timer",
        "usr/lib/systemd/system/sysinit.target.wants/pivot-collect.service -> ../pivot-collect.service",
    ];
    assert_eq!(links(Network::Off), own);
    let asked = links(Network::Route);
    assert_eq!((&asked[..3], asked.len()), (&own.map(str::to_owned)[..], 4));
    assert!(
        asked[3].contains("/boot-complete.target.requires/pivot-health-network.service -> ../")
    );
}

const COMPAT: &str = "CONFIG_COMPAT=y\n";

#[track_caller]
fn check(
    program: &[u8],
    asked: Option<Arch>,
    kernels: &[(Machine, &str)],
    expected: Result<Machine, &str>,
) {
    let configs: Vec<_> = kernels.iter().map(|(_, text)| Kconfig::parse(text)).collect();
    let kernels = kernels.iter().zip(&configs);
    let kernels =
        kernels.map(|((machine, _), config)| Runs { release: "6.12", config, machine: *machine });
    let found =
        runs(program, asked, &kernels.collect::<Vec<_>>()).map_err(|error| format!("{error:#}"));
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found, expected),
        (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
        (found, _) => panic!("{found:?}"),
    }
}

#[test]
fn program_runs_on_all_kernels() {
    let (wide, narrow) = (fixture::aarch64(0x10000, None), fixture::arm());
    let (arm64, arm) = ((Machine::Aarch64, COMPAT), (Machine::Arm, ""));
    let assumed = Kconfig::assumed("6.6-v8+");
    check(&wide, None, &[arm64], Ok(Machine::Aarch64));
    check(&wide, None, &[arm64, arm], Err("the kernel 6.12 is 32-bit: take the ARMv6 program"));
    check(&narrow, None, &[arm64, arm], Ok(Machine::Arm));
    check(&narrow, Some(Arch::Armv6), &[arm64], Ok(Machine::Arm));
    check(&narrow, None, &[(Machine::Aarch64, &assumed)], Ok(Machine::Arm));
    check(&narrow, None, &[(Machine::Aarch64, "")], Err("runs no 32-bit programs (CONFIG_COMPAT)"));
    check(
        &narrow,
        Some(Arch::Aarch64),
        &[arm64],
        Err("is for ARM, and bootsel.arch = \"aarch64\""),
    );
    check(&wide, Some(Arch::Armv6), &[arm64], Err("is for AArch64, and bootsel.arch = \"armv6\""));
    check(&fixture::aarch64(0x1000, None), None, &[arm64], Err("segments are aligned to 0x1000"));
    check(&fixture::arm_with(&[6, 10]), None, &[arm], Err("newer processor than ARMv6"));
    check(b"#!/bin/sh\n", None, &[arm64], Err("not an ELF file"));
}

#[test]
fn name_of_the_own_key() {
    for (secret, public) in
        [("keys/pivot.key", "pivot.pub"), ("a b.key", "revision.pub"), ("k", "k.pub")]
    {
        assert_eq!(public_name(Path::new(secret)), public);
    }
}
