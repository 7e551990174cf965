// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fuzz targets (`fuzz/`), each for a short time, over the inputs that are kept. libFuzzer finds what is new by
//! counters that the compiler puts into the code; the pinned stable compiler does that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use super::Note;
use crate::cargo::{self, cargo, workspace};
use crate::tool;

/// Seconds for a target, in every run.
pub(super) const SHORT: u32 = 8;
/// Seconds for a target with `--all`.
pub(super) const LONG: u32 = 60;
/// How many run at a time.
const JOBS: usize = 2;

/// As `cargo fuzz --sanitizer none` says them. No address sanitizer: it needs nightly, and nothing here is `unsafe`.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// What libFuzzer says where FLAGS had their effect.
const COUNTERS: &str = "inline 8-bit counters";
/// Behind it is the path of an input that breaks something.
const FOUND: &str = "Test unit written to ";
/// Behind it is how many inputs were tried.
const TRIED: &str = "stat::number_of_executed_units:";

/// Builds and runs them all.
pub(super) fn run(seconds: u32) -> Result<Note> {
    let manifest = workspace().join("fuzz/Cargo.toml");
    tool::run(cargo().args(["fmt", "--check", "--manifest-path"]).arg(&manifest))?;
    let target = cargo::target()?.join("fuzz");
    let programs = build(&manifest, &target)?;
    let count = programs.len();
    let (waiting, results) = (Mutex::new(programs.into_iter()), Mutex::new(Vec::new()));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                while let Some(program) = next() {
                    let result = fuzz(&program, &target, seconds);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (good, bad): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let bad: Vec<_> = bad.into_iter().filter_map(Result::err).map(|e| format!("{e:#}")).collect();
    ensure!(bad.is_empty(), "{}", bad.join("\n"));
    let tried: u64 = good.into_iter().flatten().sum();
    Ok(format!("{count} targets, {tried} inputs"))
}

/// The programs, one for each file of `fuzz_targets`.
fn build(manifest: &Path, target: &Path) -> Result<Vec<PathBuf>> {
    let host = host()?;
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--release", "--manifest-path"]).arg(manifest);
    // With it said, what runs while cargo builds is compiled without these flags.
    build.args(["--target", &host]).env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", FLAGS);
    tool::run(&mut build)?;
    let built = target.join(host).join("release");
    let mut programs = Vec::new();
    for entry in fs::read_dir(workspace().join("fuzz/fuzz_targets"))? {
        let source = entry?.path();
        let name = source.file_stem().with_context(|| source.display().to_string())?;
        let program = built.join(name);
        // A target that Cargo.toml does not name would not be built.
        ensure!(program.is_file(), "fuzz/Cargo.toml has no target for {}", source.display());
        programs.push(program);
    }
    programs.sort();
    ensure!(!programs.is_empty(), "there are no fuzz targets");
    Ok(programs)
}

/// This machine, as rustc calls it.
fn host() -> Result<String> {
    let said = tool::run(tool::command("rustc").current_dir(workspace()).arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}

/// Runs one; how many inputs it tried.
fn fuzz(program: &Path, target: &Path, seconds: u32) -> Result<u64> {
    let name = program.file_name().unwrap_or_default();
    let shown = name.display();
    let kept = workspace().join("fuzz/corpus").join(name);
    ensure!(kept.is_dir(), "fuzz target {shown}: there is no {}", kept.display());
    let findings = target.join("findings").join(name);
    fs::create_dir_all(&findings)?;
    let found = tempfile::tempdir()?;
    let mut command = Command::new(program);
    // New inputs go to the first directory and are gone at the end.
    command.arg(found.path()).arg(kept).arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-artifact_prefix={}/", findings.display()));
    command.args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024"]);
    let output = tool::output(&mut command)?;
    judge(&shown.to_string(), output.status.success(), &String::from_utf8_lossy(&output.stderr))
}

/// How many inputs libFuzzer has tried, where none broke anything.
fn judge(name: &str, passed: bool, said: &str) -> Result<u64> {
    if !passed {
        let input = value(said, FOUND).unwrap_or("nothing that could be kept");
        bail!("fuzz target {name} fails on {input}\n{}", tool::tail(said, 40));
    }
    ensure!(said.contains(COUNTERS), "fuzz target {name} was built without counters\n{said}");
    let tried = value(said, TRIED).and_then(|number| number.parse().ok());
    tried.filter(|tried| *tried > 0).with_context(|| format!("{name} tried nothing\n{said}"))
}

/// What stands behind a word, to the end of the line.
fn value<'a>(said: &'a str, word: &str) -> Option<&'a str> {
    Some(said.split(word).nth(1)?.lines().next()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(passed: bool, said: &str, expected: Result<u64, &str>) {
        let judged = judge("fat", passed, said).map_err(|why| why.to_string());
        assert_eq!(
            judged.as_ref().map_err(|why| why.lines().next().unwrap_or_default()),
            expected.as_ref().map_err(|why| *why)
        );
    }

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let whole = "INFO: Loaded 1 modules (3 inline 8-bit counters): 3 [0x1, 0x4),\n\
                     stat::number_of_executed_units: 4105\nstat::average_exec_per_sec: 513\n";
        check(true, whole, Ok(4105));
        check(true, &whole.replace("4105", "0"), Err("fat tried nothing"));
        let plain = whole.replace("inline", "");
        check(true, &plain, Err("fuzz target fat was built without counters"));
        let found = "artifact_prefix='/x/'; Test unit written to /x/crash-7\nBase64: Cg==\n";
        check(false, found, Err("fuzz target fat fails on /x/crash-7"));
        check(false, whole, Err("fuzz target fat fails on nothing that could be kept"));
    }
}
