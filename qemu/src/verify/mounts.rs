// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ring 2: the integration tests, as root, on real mounts in mount namespaces of their own.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{Note, Step};
use crate::cargo::{self, cargo};
use crate::fetch::{Store, Wanted};
use crate::tool;

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step { name: "mounts", run: || tests("mounts", Vec::new) },
        Step {
            name: "init",
            run: || {
                let init = init_of_this_machine()?;
                tests("init", || vec![("PIVOT_INIT", init.into())])
            },
        },
        Step {
            name: "oracle",
            run: || {
                let tree = modules_tree()?;
                tests("oracle", || vec![("PIVOT_MODULES_TREE", tree.into())])
            },
        },
    ]
}

/// A message of cargo's about something that it built.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds a test program as whoever we are, and runs it as root.
fn tests(name: &str, variables: impl FnOnce() -> Vec<(&'static str, OsString)>) -> Result<Note> {
    let program = build(name)?;
    let mut test = tool::as_root("env");
    for (variable, value) in variables() {
        let mut word = OsString::from(format!("{variable}="));
        word.push(value);
        test.arg(word);
    }
    let said = tool::run(test.arg(program).current_dir(cargo::workspace().join("tests")))?;
    let result = said.lines().rev().find_map(|line| line.strip_prefix("test result: ok. "));
    let passed =
        result.context("the tests came to no result")?.split(';').next().unwrap_or_default();
    ensure!(!passed.starts_with("0 "), "no test was run:\n{said}");
    Ok(passed.to_owned())
}

fn build(name: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--profile", "host", "--locked", "--no-run"]);
    build.args(["--package", "tests", "--test", name]);
    build.args(["--features", "oracle", "--message-format=json-render-diagnostics"]);
    let output = build.stderr(Stdio::piped()).output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo could not build the tests\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let ours =
        |message: &Message| message.target.as_ref().is_some_and(|target| target.name == name);
    let found = messages.filter(ours).find_map(|message| message.executable);
    found.with_context(|| format!("cargo names no program for {name}"))
}

/// `init` from the sources that ship, for the machine that the tests run on.
fn init_of_this_machine() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut build = cargo();
    build.args([
        "build",
        "--quiet",
        "--locked",
        "--release",
        "--package",
        "pivot",
        "--target",
        &target,
    ]);
    tool::run(&mut build)?;
    Ok(cargo::target()?.join(target).join("release/init"))
}

/// A whole kernel package, unpacked, with its dependencies computed.
fn modules_tree() -> Result<PathBuf> {
    let package = Store::open()?.get(Wanted::Kernel)?;
    let name = package.file_stem().unwrap_or_default();
    let tree = cargo::target()?.join("modules").join(name);
    if tree.exists() {
        return Ok(tree);
    }
    let parent = tree.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let temporary = tempfile::tempdir_in(parent)?;
    tool::run(tool::command("dpkg-deb").arg("-x").arg(&package).arg(temporary.path()))?;
    let releases = fs::read_dir(temporary.path().join("lib/modules"))?;
    for release in releases {
        let mut depmod = tool::command("depmod");
        tool::run(depmod.arg("-b").arg(temporary.path()).arg(release?.file_name()))?;
    }
    fs::rename(temporary.keep(), &tree)
        .with_context(|| format!("cannot write {}", tree.display()))?;
    Ok(tree)
}
