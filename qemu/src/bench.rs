// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo verify --bench`: what a boot costs, in the guest's instructions, compared with the least that it can cost.
//!
//! QEMU counts them between two marks (`qemu/plugin`, `qemu/floor`); under `-icount` a run is the same as the last but for some
//! thousandths.

mod compare;
mod contenders;
pub(crate) mod figures;
mod growth;
mod levers;
mod map;
mod measure;
mod packaged;
pub(crate) mod plugin;
mod profile;
pub(crate) mod world;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::verify::Step;
use crate::{cargo, progress, tool};
use map::Map;
use measure::Job;
pub(crate) use world::FLOOR_DEVICE as FLOOR;
use world::World;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum What {
    /// pivot beside the floor and other inits
    Boot,
    /// What pivot spends its instructions on: functions and system calls
    Profile,
    /// The kernel's share, and what of it is ours to set
    Levers,
    /// How pivot's own cost grows with modules, revisions, disks and the size of images
    Growth,
    /// An install of 300 MiB beside dd and sha256sum of the same bytes
    Install,
    /// Sizes and the ratio, into ci/floor.toml
    Record,
}

/// The step of `cargo verify`.
pub(crate) fn steps() -> Vec<Step> {
    vec![Step { name: "floor", run: figures::compare }]
}

/// Measures, or says why that cannot be done here.
pub(crate) fn run(what: What, all: bool, kernel: Option<&Path>) -> Result<ExitCode> {
    if what == What::Install {
        // it needs no guest: the program that ships, but for this machine
        let mut test = cargo::cargo();
        test.args(["test", "--quiet", "--locked", "--release", "--package", "bootsel-tool"]);
        test.args(["--test", "speed", "--", "--ignored", "--nocapture"]);
        return tool::show(&mut test).map(|()| ExitCode::SUCCESS);
    }
    let directory = World::directory()?;
    let plugin = match plugin::build(&directory) {
        Ok(plugin) => plugin,
        Err(why) => {
            progress::note(&format!("skipped: {why:#}"));
            return Ok(ExitCode::SUCCESS);
        }
    };
    let world = World::build(directory, plugin, kernel)?;
    match what {
        What::Boot => boot(&world, all)?,
        What::Profile => profile::show(&world)?,
        What::Levers => levers::measure(&world)?,
        What::Growth => growth::measure(&world)?,
        What::Install => {}
        What::Record => figures::record(&world)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn boot(world: &World, all: bool) -> Result<()> {
    let map = Map::of(&cargo::INIT.shipped()?)?;
    let mut rows = Vec::new();
    for job in [Job::Device, Job::Root] {
        rows.extend(compare::job(world, job, &world.contenders(job, all)?)?);
    }
    print!("{}", compare::write(world, &rows, &map)?);
    progress::note(&format!("also in {}/boot.md and boot.json", world.directory.display()));
    Ok(())
}
