// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fragments of `kernel/` against Linux's own Kconfig: every option takes. Nothing is compiled.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Note;
use crate::cargo::{self, workspace};
use crate::fetch::{Store, Wanted};
use crate::tool;

/// What the documentation names, and everything over upstream's own configuration.
const SETS: [(&str, &str); 5] = [
    ("allnoconfig", "base,virt,small"),
    ("allnoconfig", "base,virt,containers,small"),
    ("allnoconfig", "base,rpi3,small"),
    ("allnoconfig", "base,rpi3,rpi4,containers,small"),
    ("defconfig", "base,virt,rpi3,rpi4,containers,small"),
];

pub(super) fn fragments() -> Result<Note> {
    let source = Store::open()?.get(Wanted::LinuxSource)?;
    let pivot_image = cargo::IMAGE.shipped()?;
    let mut notes = Vec::new();
    for (base, fragments) in SETS {
        let mut make = tool::command(&pivot_image.to_string_lossy());
        make.current_dir(workspace()).args(["--quiet", "kernel", "--config-only"]);
        make.args(["--base", base, "--fragments", fragments]).arg("--source").arg(&source);
        let config = tool::run(&mut make).with_context(|| format!("{base} with {fragments}"))?;
        let built_in = config.lines().filter(|line| line.ends_with("=y")).count();
        ensure!(built_in > 300, "{base} with {fragments}: {built_in} options are built in");
        notes.push(format!("{built_in}"));
    }
    Ok(format!("{} options are built in", notes.join(", ")))
}

/// `kernel check` of Debian's own packages, which are what most people have.
pub(super) fn check() -> Result<Note> {
    let package = Store::open()?.get(Wanted::Kernel)?;
    let mut check = tool::command(&cargo::IMAGE.shipped()?.to_string_lossy());
    check.args(["kernel", "check", "--json", "--machine", "virt", "--machine", "raspi"]);
    let report: Value = serde_json::from_str(&tool::run(check.arg(&package))?)?;
    let features = report.get("features").and_then(Value::as_array).context("no features")?;
    for (feature, expected) in [
        ("initramfs", "builtin"),
        ("loop", "early module"),
        ("pi-watchdog", "early module"),
        ("evidence", "module"),
        ("pi-tryboot", "no"),
    ] {
        let found = features.iter().find(|row| row.get("feature").is_some_and(|f| f == feature));
        let state = found.and_then(|row| row.get("state")).and_then(Value::as_str);
        ensure!(state == Some(expected), "{feature} is {state:?}, not {expected}");
    }
    Ok(format!("{} features", features.len()))
}
