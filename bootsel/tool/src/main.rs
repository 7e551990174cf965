// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bootsel`: the device's tool for its two boot slots. What it does is decided in [`bootsel::state`]; here the facts
//! are read and the acts done.
#![forbid(unsafe_code)]

mod area;
mod cli;
mod deadline;
mod disk;
mod eeprom;
mod emmc;
mod error;
mod evidence;
mod firmware;
mod flag;
mod gc;
mod guard;
mod install;
mod journal;
mod machine;
mod preflight;
mod reachable;
mod report;
mod root;
mod selector;
mod slot;
mod state_file;
mod system;
mod this_boot;
mod timing;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bootsel::Slot;
use bootsel::state::{self, Act};
use clap::Parser;

use cli::{Cli, Command};
use disk::Disk;
use error::{Error, Result};
use root::Root;
use slot::Depth;
use system::System;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        Err(why) => {
            say(&why.to_string());
            ExitCode::from(match why {
                Error::Refused(_) => 1,
                Error::Failed(_) => 3,
            })
        }
    }
}

/// A line for a person: progress, and what was done. In one write: to `/dev/kmsg`, which init gives its children as
/// standard error, each write is a record.
fn say(line: &str) {
    // nobody is left to tell that standard error is closed
    let _ = io::stderr().write_all(format!("bootsel: {line}\n").as_bytes());
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let (root, named) = (Root::new(&cli.root), cli.disk.as_deref());
    if let Command::Eeprom { json, command } = &cli.command {
        return eeprom::eeprom(&root, named, *json, command.as_ref());
    }
    without_eeprom(cli, &root, named).map(|()| ExitCode::SUCCESS)
}

fn without_eeprom(cli: &Cli, root: &Root, named: Option<&Path>) -> Result<()> {
    // what needs no slots, or must work where they cannot be read
    match &cli.command {
        Command::Log => return report::log(&journal::Journal::read(root)),
        Command::Timing(form) => return timing::timing(root, *form),
        Command::Deadline => return deadline::deadline(root, named),
        Command::Guard { deadline } => return guard::guard(root, named, *deadline),
        Command::Collect => return evidence::collect(root, named),
        Command::Emmc { device, command } => {
            return emmc::emmc(root, device.as_deref(), named, command);
        }
        Command::Reachable { timeout, peer } => {
            return reachable::reachable(root, Duration::from_secs(*timeout), peer.as_ref());
        }
        _ => {}
    }
    let disk = Disk::find(root, named)?;
    on_disk(cli, root, disk)
}

fn on_disk(cli: &Cli, root: &Root, disk: Disk) -> Result<()> {
    let look = |depth: Depth| System::look(root, disk.clone(), |_| depth);
    let (command, reboot) = match &cli.command {
        Command::Status { json } => return report::status(&look(Depth::Quick), *json),
        Command::Verify => return report::verify(&look(Depth::Hashed)),
        Command::Gc => {
            let _lock = root.lock()?;
            return gc::collect(&look(Depth::Quick));
        }
        Command::Install { bundle, keys, allow_downgrade, force } => {
            let _lock = root.lock()?;
            let options = install::Options {
                bundle,
                keys: keys.clone().unwrap_or_else(|| root.path("etc/pivot/keys")),
                allow_downgrade: *allow_downgrade,
                force: *force,
            };
            return install::install(look(Depth::Quick), &options);
        }
        Command::Try { no_reboot, force } => (state::Command::Try { force: *force }, !no_reboot),
        Command::Commit => (state::Command::Commit, false),
        Command::Rollback { no_reboot } => (state::Command::Rollback, !no_reboot),
        Command::Cancel => (state::Command::Cancel, false),
        Command::Repair => (state::Command::Repair, false),
        Command::Log
        | Command::Timing(_)
        | Command::Deadline
        | Command::Guard { .. }
        | Command::Collect
        | Command::Eeprom { .. }
        | Command::Emmc { .. }
        | Command::Reachable { .. } => return Ok(()),
    };
    let _lock = root.lock()?;
    change(root, &disk, command, reboot)
}

/// Decides and does.
fn change(root: &Root, disk: &Disk, command: state::Command, reboot: bool) -> Result<()> {
    if let state::Command::Try { .. } = command {
        eeprom::refuse_while_staged(disk)?;
    }
    let mut system = System::look(root, disk.clone(), |_| Depth::Quick);
    // leaving a trial leads back to what was the default all the time, and is not to take long
    if !system.status().trial {
        system = System::look(root, disk.clone(), |slot| depth(root, command, slot));
    }
    let plan = system.plan(command)?;
    if plan.contains(&Act::SetFlag) && !reboot {
        system.environment.can_wait()?;
    }
    let nothing = plan.is_empty();
    for act in plan {
        system.act(act, reboot)?;
    }
    let mut followed = false;
    if command == state::Command::Commit {
        this_boot::remember_commit(root);
    }
    if let state::Command::Commit | state::Command::Repair = command {
        followed = emmc::follow(root, disk)?;
    }
    if nothing && !followed {
        say("nothing to do: it is so already");
    }
    Ok(())
}

/// A slot that is to boot next is verified to its last byte first; one that runs and is committed was, before its
/// trial, and nothing wrote to it since.
fn depth(root: &Root, command: state::Command, slot: Slot) -> Depth {
    let booted = root::word(&root.cmdline(), "pivot.slot") == Some(slot.as_str());
    match command {
        state::Command::Repair => Depth::Hashed,
        state::Command::Try { .. } | state::Command::Rollback if !booted => Depth::Hashed,
        _ => Depth::Quick,
    }
}
