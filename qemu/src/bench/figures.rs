// SPDX-License-Identifier: MIT OR Apache-2.0
//! The figures that a change must not move unnoticed: `ci/floor.toml` has those of the last change that did, and CHANGELOG.md
//! says them. What is measured now may be off by a twentieth.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::compare::{grouped, loading, thousandths};
use super::contenders::Contender;
use super::measure::{Job, judge};
use super::plugin::{self, Counts};
use super::world::World;
use crate::cargo::workspace;
use crate::verify::{Note, sizes};

const FILE: &str = "ci/floor.toml";
const CHANGELOG: &str = "CHANGELOG.md";
/// How often each is booted.
const ROUNDS: usize = 3;
/// How far a figure may be from the recorded one, as a divisor of that.
const TOLERANCE: u64 = 20;

/// What is watched.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figures {
    /// Instructions of a whole boot, in thousandths of the floor's.
    thousandths_of_floor: u64,
    /// The same without the system calls that load modules.
    thousandths_without_loading: u64,
    /// Instructions of init itself in a boot.
    user_instructions: u64,
    /// That it makes in a boot.
    system_calls: u64,
    /// Bytes of each program and archive.
    init: u64,
    init_armv6: u64,
    bootsel: u64,
    bootsel_armv6: u64,
    initramfs: u64,
    initramfs_both: u64,
}

impl Figures {
    /// Every figure by its name.
    fn each(&self) -> [(&'static str, u64); 10] {
        [
            ("thousandths_of_floor", self.thousandths_of_floor),
            ("thousandths_without_loading", self.thousandths_without_loading),
            ("user_instructions", self.user_instructions),
            ("system_calls", self.system_calls),
            ("init", self.init),
            ("init_armv6", self.init_armv6),
            ("bootsel", self.bootsel),
            ("bootsel_armv6", self.bootsel_armv6),
            ("initramfs", self.initramfs),
            ("initramfs_both", self.initramfs_both),
        ]
    }

    /// What CHANGELOG.md has to say of them.
    fn line(&self) -> String {
        format!(
            "- Measured: init {} and {} bytes (AArch64, ARMv6), bootsel {} and {}, initramfs {} and with both {}; a boot is {} times \
             the floor ({} without loading modules), {} instructions and {} system calls are init's.",
            grouped(self.init),
            grouped(self.init_armv6),
            grouped(self.bootsel),
            grouped(self.bootsel_armv6),
            grouped(self.initramfs),
            grouped(self.initramfs_both),
            decimal(self.thousandths_of_floor),
            decimal(self.thousandths_without_loading),
            grouped(self.user_instructions),
            grouped(self.system_calls),
        )
    }

    fn recorded() -> Result<Self> {
        let text = fs::read_to_string(workspace().join(FILE)).context(FILE)?;
        toml::from_str(&text).context(FILE)
    }

    /// The sizes of what was built, and a boot of pivot's beside one of the floor's.
    fn measured(world: &World) -> Result<Self> {
        let sizes = sizes()?;
        let [init, init_armv6, bootsel, bootsel_armv6, initramfs, initramfs_both] =
            sizes.map(|(_, bytes, _)| bytes);
        let floor = &least(world, &world.floor(Job::Device)?)?;
        let pivot = &least(world, &world.pivot(Job::Device)?)?;
        let quotient = |a: u64, b: u64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small number"
            )]
            let whole = (thousandths(a, b) * 1000.0).round() as u64;
            whole
        };
        Ok(Self {
            thousandths_of_floor: quotient(pivot.all(), floor.all()),
            thousandths_without_loading: quotient(
                pivot.all() - loading(pivot),
                floor.all() - loading(floor),
            ),
            user_instructions: pivot.user,
            system_calls: pivot.system_calls() as u64,
            init,
            init_armv6,
            bootsel,
            bootsel_armv6,
            initramfs,
            initramfs_both,
        })
    }
}

/// Of some boots the one that took least: what a busy host makes the guest do while it waits for its disk is only ever more.
fn least(world: &World, contender: &Contender) -> Result<Counts> {
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        let measured = world.measure(&contender.boot, false)?;
        judge(Job::Device, &measured)?;
        ensure!(measured.left() == 0, "left in memory: {:?}", measured.report.initramfs);
        all.push(measured.counts);
    }
    all.into_iter().min_by_key(Counts::all).context("no boots")
}

/// `1.055`
fn decimal(thousandths: u64) -> String {
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// The step of `cargo verify`: measured now and recorded then.
pub(crate) fn compare() -> Result<Note> {
    let directory = World::directory()?;
    let plugin = match plugin::build(&directory) {
        Ok(plugin) => plugin,
        Err(why) => return Ok(format!("SKIPPED, nothing was measured: {why:#}")),
    };
    let measured = Figures::measured(&World::build(directory, plugin, None)?)?;
    within(&measured, &Figures::recorded()?)?;
    Ok(measured.line().trim_start_matches("- Measured: ").to_owned())
}

fn within(measured: &Figures, recorded: &Figures) -> Result<()> {
    let mut moved = Vec::new();
    for ((name, now), (_, then)) in measured.each().into_iter().zip(recorded.each()) {
        if now.abs_diff(then) > then / TOLERANCE {
            moved.push(format!("{name} is {now}, {FILE} has {then}"));
        }
    }
    ensure!(
        moved.is_empty(),
        "{}\nWhere that is meant: cargo verify --bench=record, and its line into {CHANGELOG}",
        moved.join("\n")
    );
    Ok(())
}

/// The other step: whoever changes the recorded figures says so.
pub(crate) fn told() -> Result<Note> {
    let changelog = fs::read_to_string(workspace().join(CHANGELOG)).context(CHANGELOG)?;
    says(&changelog, &Figures::recorded()?)?;
    Ok(Note::new())
}

fn says(changelog: &str, recorded: &Figures) -> Result<()> {
    // the newest section: behind the first heading of the second level, up to the next
    let newest = changelog.split("\n## ").nth(1).unwrap_or_default();
    let line = recorded.line();
    ensure!(
        newest.lines().any(|found| found == line),
        "{FILE} has figures that {CHANGELOG} does not say: its newest section needs the line\n{line}"
    );
    Ok(())
}

/// Measures and records.
pub(crate) fn record(world: &World) -> Result<()> {
    let measured = Figures::measured(world)?;
    let head = "# What `cargo verify` compares its measurements with (step `floor`). Written by cargo verify --bench=record;\n\
                # CHANGELOG.md says these figures, too.\n";
    fs::write(workspace().join(FILE), format!("{head}{}", toml::to_string(&measured)?))?;
    println!("{}", measured.line());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            thousandths_of_floor: 1020,
            thousandths_without_loading: 1200,
            user_instructions: 60_000,
            system_calls: 400,
            init: 64_000,
            init_armv6: 70_000,
            bootsel: 1_100_000,
            bootsel_armv6: 900_000,
            initramfs: 40_000,
            initramfs_both: 64_000,
        }
    }

    #[test]
    fn a_twentieth_is_borne_and_no_more_in_either_direction() {
        let then = figures();
        within(&Figures { user_instructions: 63_000, init: 60_800, ..figures() }, &then).unwrap();
        for off in [
            Figures { user_instructions: 63_001, ..figures() },
            Figures { user_instructions: 56_999, ..figures() },
            Figures { thousandths_of_floor: 1072, ..figures() },
            Figures { initramfs_both: 60_000, ..figures() },
        ] {
            let why = within(&off, &then).unwrap_err().to_string();
            assert_eq!(why.lines().count(), 2, "{why}");
        }
    }

    #[test]
    fn every_figure_is_compared() {
        let text = toml::to_string(&figures()).unwrap();
        assert_eq!(text.lines().count(), figures().each().len());
        for (name, value) in figures().each() {
            assert!(text.lines().any(|line| line == format!("{name} = {value}")), "{name}");
        }
    }

    #[test]
    fn figures_are_told_in_the_newest_section() {
        let line = figures().line();
        says(&format!("# Changelog\n\n## Unreleased\n\n### Changed\n{line}\n"), &figures())
            .unwrap();
        says(&format!("# Changelog\n\n## Unreleased\n{line}\n\n## 0.1\n"), &figures()).unwrap();
        let old = format!("# Changelog\n\n## Unreleased\n- x\n\n## 0.1\n{line}\n");
        says(&old, &figures()).unwrap_err();
        let other = Figures { init: 64_001, ..figures() };
        says(&format!("# Changelog\n\n## Unreleased\n{line}\n"), &other).unwrap_err();
        says("", &figures()).unwrap_err();
    }
}
