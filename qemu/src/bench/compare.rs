// SPDX-License-Identifier: MIT OR Apache-2.0
//! pivot beside the floor and the other inits: booted in turns, told as JSON and as a Markdown table.

use std::fs;

use anyhow::{Context, Result};
use serde::Serialize;

use super::contenders::Contender;
use super::map::Map;
use super::measure::{Job, Measured, judge};
use super::plugin::Counts;
use super::world::World;
use crate::progress;

/// How often each is booted: what the kernel does beside differs by some thousandths from run to run.
const ROUNDS: usize = 3;

/// finit_module(2) and init_module(2).
const LOADING: [i32; 2] = [273, 105];

/// What came of one contender.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    job: &'static str,
    name: &'static str,
    /// Of all instructions to those of the floor in the same round: the median; none where there is no initramfs.
    ratio: Option<f64>,
    /// The same without the system calls that load modules; none where several processes load them at a time.
    ratio_without_loading: Option<f64>,
    /// From the kernel's start to the root's init.
    whole: u64,
    user: u64,
    kernel: u64,
    /// Of the kernel's.
    loading: u64,
    system_calls: usize,
    peak_kib: u64,
    program: u64,
    initramfs: u64,
    left: usize,
    /// What of the job was not done.
    missing: Option<String>,
}

impl Job {
    fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Root => "root",
        }
    }
}

/// Kernel instructions of the system calls that load modules.
pub(crate) fn loading(counts: &Counts) -> u64 {
    let loads = counts.calls.iter().filter(|call| LOADING.contains(&call.number));
    loads.map(|call| call.kernel).sum()
}

/// Boots all contenders for a job in turns.
pub(crate) fn job(world: &World, job: Job, contenders: &[Contender]) -> Result<Vec<Row>> {
    let mut rounds: Vec<Vec<Measured>> = Vec::new();
    for round in 1..=ROUNDS {
        let mut measured = Vec::new();
        for contender in contenders {
            let what = format!("{} {}, {round} of {ROUNDS}", job.name(), contender.name);
            measured.push(
                progress::step(&what, || world.measure(&contender.boot, false))
                    .context(contender.name)?,
            );
        }
        rounds.push(measured);
    }
    contenders.iter().enumerate().map(|(i, contender)| row(job, contender, &rounds, i)).collect()
}

fn row(job: Job, contender: &Contender, rounds: &[Vec<Measured>], i: usize) -> Result<Row> {
    let all = |without: bool| -> Result<f64> {
        let mut ratios = Vec::new();
        for round in rounds {
            let (ours, floor) = (round.get(i), round.first());
            let cost = |m: &Measured| m.counts.all() - if without { loading(&m.counts) } else { 0 };
            let (ours, floor) = (ours.map(cost), floor.map(cost));
            ratios.push(thousandths(ours.context("round")?, floor.context("round")?));
        }
        ratios.sort_unstable_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied().context("no rounds")
    };
    let first = rounds.first().and_then(|round| round.get(i)).context("no rounds")?;
    let counts = &first.counts;
    let parallel = contender.parallel;
    let by_kernel = contender.boot.initramfs.is_empty();
    let left_out = by_kernel.then(|| "/dev, /proc, /sys and /run are left to the root".to_owned());
    Ok(Row {
        job: job.name(),
        name: contender.name,
        ratio: if by_kernel { None } else { Some(all(false)?) },
        ratio_without_loading: if parallel { None } else { Some(all(true)?) },
        whole: counts.before + counts.all(),
        user: counts.user,
        kernel: counts.kernel,
        loading: loading(counts),
        system_calls: counts.system_calls(),
        peak_kib: first.peak_kib,
        program: contender.program,
        initramfs: contender.initramfs,
        left: first.left(),
        missing: judge(job, first).err().map(|why| format!("{why:#}")).or(left_out),
    })
}

/// A quotient of two counts, to three places.
pub(crate) fn thousandths(a: u64, b: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of instructions are below 2^53")]
    let quotient = a as f64 / b.max(1) as f64;
    (quotient * 1000.0).round() / 1000.0
}

/// Writes `boot.json` and `boot.md` and gives the latter.
pub(crate) fn write(world: &World, rows: &[Row], map: &Map) -> Result<String> {
    let text = format!("{}\n{}", markdown(rows), map.largest());
    fs::write(world.directory.join("boot.json"), serde_json::to_vec_pretty(rows)?)?;
    fs::write(world.directory.join("boot.md"), &text)?;
    Ok(text)
}

fn markdown(rows: &[Row]) -> String {
    let mut text = "| job | init | times the floor | without loading modules | kernel's start to root | user instructions | kernel instructions | system calls \
                    | peak RSS | program | initramfs | files left |\n\
                    |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for row in rows {
        let ratio = row.ratio.map_or(String::new(), |r| format!("{r:.3}"));
        let without = row.ratio_without_loading.map_or("".into(), |r| format!("{r:.2}"));
        let left = row
            .missing
            .as_ref()
            .map_or(row.left.to_string(), |why| format!("{} ({why})", row.left));
        text.push_str(&format!(
            "| {} | {} | {ratio} | {without} | {} M | {} | {} M | {} | {} KiB | {} | {} | {left} |\n",
            row.job,
            row.name,
            millions(row.whole),
            grouped(row.user),
            millions(row.kernel),
            grouped(row.system_calls as u64),
            grouped(row.peak_kib),
            if row.program > 0 { grouped(row.program) } else { String::new() },
            grouped(row.initramfs),
        ));
    }
    text
}

/// `12,345`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `57.7`
pub(crate) fn millions(number: u64) -> String {
    let tenths = (number + 50_000) / 100_000;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::super::plugin::Call;
    use super::*;

    #[test]
    fn numbers_as_people_write_them() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(millions(57_749_999), "57.7");
        assert_eq!(millions(1_234_560_000), "1,234.6");
        assert!((thousandths(1055, 1000) - 1.055).abs() < 1e-9);
        assert!(thousandths(1, 0).is_finite());
    }

    #[test]
    fn what_loads_modules_is_told_apart() {
        let call = |number, kernel| Call { number, user: 1, kernel };
        let calls = vec![call(-1, 5), call(273, 100), call(57, 7), call(105, 1000)];
        assert_eq!(loading(&Counts { calls, ..Counts::default() }), 1100);
    }
}
