// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo verify`: all tests, in three rings; a line for each step and a summary at the end.

mod fuzz;
mod kernel;
mod mounts;
mod tidy;
mod workspace;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::e2e::{self, Case, Fixture};
use crate::setup::{self, Purpose};
use crate::{bench, cli, tool};

pub(crate) use workspace::sizes;

/// What one step has to say beside passing: a number, or nothing.
pub(crate) type Note = String;

/// Something that passes or fails.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) run: fn() -> Result<Note>,
}

/// A line of the results.
#[derive(Debug, Serialize)]
struct Line {
    ring: u8,
    name: String,
    passed: bool,
    seconds: f64,
    note: String,
}

/// All results so far; printed as they come.
#[derive(Debug)]
struct Results {
    json: bool,
    lines: Mutex<Vec<Line>>,
}

impl Results {
    /// Does it, and prints its line.
    fn record(&self, ring: u8, name: &str, run: impl FnOnce() -> Result<Note>) {
        let began = Instant::now();
        let result = run();
        let seconds = began.elapsed().as_secs_f64();
        let passed = result.is_ok();
        let note = result.unwrap_or_else(|why| format!("{why:#}"));
        let line = Line { ring, name: name.to_owned(), passed, seconds, note };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.json {
            line.print();
        }
        lines.push(line);
    }

    fn summary(self) -> Result<ExitCode> {
        let lines = self.lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&lines)?);
        }
        let passed = lines.iter().filter(|line| line.passed).count();
        let failed = lines.len() - passed;
        if !self.json {
            println!("{passed} passed, {failed} failed");
        }
        Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Line {
    fn print(&self) {
        let mark = if self.passed { "ok    " } else { "FAILED" };
        let note = match (self.passed, self.note.is_empty()) {
            (_, true) => String::new(),
            (true, false) => format!("  {}", self.note),
            (false, false) => format!("\n{}\n", indent(&tool::tail(&self.note, 60))),
        };
        println!("{mark} {} {:<34} {:>6.1} s{note}", self.ring, self.name, self.seconds);
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// Runs what is asked for.
pub(crate) fn verify(options: &cli::Verify) -> Result<ExitCode> {
    let asked = |ring: u8| options.ring.is_empty() || options.ring.contains(&ring);
    let wanted = |name: &str| options.only.split(',').any(|text| name.contains(text));
    let rings = [(1, workspace::steps(options.all)), (2, mounts::steps()), (3, bench::steps())];
    let steps: Vec<(u8, Step)> = rings
        .into_iter()
        .filter(|(ring, _)| asked(*ring))
        .flat_map(|(ring, steps)| steps.into_iter().map(move |step| (ring, step)))
        .filter(|(_, step)| wanted(step.name))
        .collect();
    let mut cases = if asked(3) { e2e::cases(options.all) } else { Vec::new() };
    cases.retain(|case| wanted(&case.name));
    ensure!(
        !(steps.is_empty() && cases.is_empty()),
        "nothing has {} in its name: cargo verify --list tells what there is",
        options.only
    );
    if options.list {
        steps.iter().for_each(|(ring, step)| println!("{ring} {}", step.name));
        cases.iter().for_each(|case| println!("3 {}", case.name));
        return Ok(ExitCode::SUCCESS);
    }
    setup::ensure_ready(Purpose::Verify, !options.no_install)?;
    if let Some(what) = options.bench {
        return bench::run(what, options.all, options.kernel.as_deref());
    }
    let results = Results { json: options.json, lines: Mutex::default() };
    for (ring, step) in &steps {
        results.record(*ring, step.name, step.run);
    }
    if !cases.is_empty() {
        machines(&results, cases, options);
    }
    results.summary()
}

/// Ring 3: some machines at a time, each case the next free one.
fn machines(results: &Results, cases: Vec<Case>, options: &cli::Verify) {
    let mut built = None;
    results.record(3, "images", || {
        let version = tool::run(tool::command("qemu-system-aarch64").arg("--version"))?;
        let fixture = built.insert(Fixture::build(&cases, options.all)?);
        let linux = fixture.virt().map(|virt| format!(", Linux {}", virt.kernel.release));
        Ok(version.lines().next().unwrap_or_default().to_owned() + &linux.unwrap_or_default())
    });
    let Some(fixture) = &built else { return };
    let (waiting, working): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.waits);
    let (working, waiting) = (Mutex::new(working.into_iter()), Mutex::new(waiting.into_iter()));
    let next = |queue: &Mutex<std::vec::IntoIter<Case>>| {
        queue.lock().unwrap_or_else(PoisonError::into_inner).next()
    };
    let work = |queue| {
        while let Some(case) = next(queue) {
            results.record(3, &case.name, || case.run(fixture));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| work(&waiting));
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| work(&working));
        }
    });
}
