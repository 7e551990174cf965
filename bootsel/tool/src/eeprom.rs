// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bootloader in the EEPROM of a Raspberry Pi 4 or 5: `bootsel eeprom`. What is done is decided in
//! [`bootsel::eeprom::decide`].

mod attempts;
mod bootconf;
mod classic;
mod files;
mod look;
mod show;
mod stage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bootsel::eeprom::decide::{Decision, Want};
use bootsel::eeprom::stage::State;
use bootsel::log;
use clap::Subcommand;

use crate::disk::Disk;
use crate::error::{Error, Result, refused};
use crate::root::Root;
use crate::say;
use crate::this_boot::ThisBoot;
use classic::Classic;
use files::Files;
pub(crate) use look::Look;
pub(crate) use show::{as_json, line};

/// The exit code of `boot` that asks for a restart.
const RESTART: u8 = 4;
/// Another bootsel that runs while init waits is none of init's.
const LOCK: Duration = Duration::from_secs(5);

/// What to do with the bootloader.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Act {
    /// Let the next restart write the bootloader that was shipped, if it is newer than the one that runs.
    Stage {
        /// Where partition 1 has no files for it: a directory with pieeprom-*.bin and recovery.bin.
        #[arg(long, value_name = "DIR", requires = "to")]
        from: Option<PathBuf>,
        /// Where partition 1 is mounted, writable.
        #[arg(long, value_name = "DIR", requires = "from")]
        to: Option<PathBuf>,
    },
    /// Call that off.
    Cancel {
        /// Where partition 1 is mounted, to remove the files of `stage --from` and what is left of them.
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// For init: tidy up after an update, and stage one where the bootloader is too old for trials. Exits with 4 where a
    /// restart is wanted now.
    Boot,
}

/// `bootsel eeprom`
pub(crate) fn eeprom(
    root: &Root,
    named: Option<&Path>,
    json: bool,
    act: Option<&Act>,
) -> Result<ExitCode> {
    let disk = Disk::find(root, named)?;
    let Some(act) = act else {
        show::show(&Look::new(root, &disk), json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let _lock = root.lock_within(if *act == Act::Boot { LOCK } else { Duration::ZERO })?;
    match act {
        Act::Stage { from: Some(from), to: Some(to) } => {
            finished(stage_classic(root, &disk, &Classic::new(from, to, &disk.bootsel)?)?)?;
        }
        Act::Stage { .. } => {
            finished(self::act(Look::new(root, &disk), root, &disk, Want::Shipped)?)?;
        }
        Act::Cancel { to: Some(to) } => cancel_classic(root, &disk, to)?,
        Act::Cancel { to: None } => cancel(root, &disk)?,
        Act::Boot => return boot(root, &disk),
    }
    Ok(ExitCode::SUCCESS)
}

/// `bootsel try`: recovery.bin, whoever put it there, resets the machine on the way, and the flag would be lost.
pub(crate) fn refuse_while_staged(disk: &Disk) -> Result<()> {
    if !files::has_recovery(&disk.bootsel)? {
        return Ok(());
    }
    refused(
        "an update of the bootloader is staged: restart first, or `bootsel eeprom cancel` calls it off",
    )
}

/// What `stage` says at its end.
fn finished(decision: Decision) -> Result<()> {
    match decision {
        Decision::Update(_) | Decision::Staged(_) => {
            say("a restart writes it; the power must not be cut meanwhile");
            Ok(())
        }
        Decision::Refused(why) => refused(Decision::Refused(why).to_string()),
        decision => {
            say(&format!("nothing to do: {decision}"));
            Ok(())
        }
    }
}

fn boot(root: &Root, disk: &Disk) -> Result<ExitCode> {
    let look = Look::at_boot(root, disk);
    let Some(chip) = look.chip() else { return Ok(ExitCode::SUCCESS) };
    // somebody asked for it in this very boot
    if let Decision::Staged(_) = look.decide(Want::Shipped) {
        return Ok(ExitCode::from(RESTART));
    }
    match act(look, root, disk, Want::Least(chip.least()))? {
        Decision::Update(_) | Decision::Staged(_) => Ok(ExitCode::from(RESTART)),
        Decision::Refused(why) => refused(Decision::Refused(why).to_string()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Does what is decided, and says what that was.
fn act(mut look: Look, root: &Root, disk: &Disk, want: Want) -> Result<Decision> {
    let mut decision = look.decide(want);
    if decision == Decision::Restore {
        put_back(&look)?;
        look = Look::new(root, disk);
        decision = look.decide(want);
    }
    settle(&mut look)?;
    match decision {
        Decision::Update(update) => {
            stage::stage(&mut look, &update)?;
            say(&format!("staged: {update}"));
        }
        Decision::Restore => {
            return Err(Error::Failed("the eeprom's files cannot be put back".to_owned()));
        }
        _ => {}
    }
    Ok(decision)
}

/// Likewise, through a mounted file system.
fn stage_classic(root: &Root, disk: &Disk, classic: &Classic) -> Result<Decision> {
    let look_again = || -> Result<(Look, Decision)> {
        let mut look = Look::new(root, disk);
        if let Some(chip) = look.chip() {
            classic.show_to(&mut look, chip)?;
        }
        let decision = look.decide(Want::Shipped);
        Ok((look, decision))
    };
    let (mut look, mut decision) = look_again()?;
    if decision == Decision::Restore {
        classic.clear(&disk.bootsel)?;
        (look, decision) = look_again()?;
    }
    settle(&mut look)?;
    if let Decision::Update(update) = decision {
        classic.clear(&disk.bootsel)?;
        stage::stage_classic(&mut look, classic, &update)?;
        say(&format!("staged: {update}"));
    }
    Ok(decision)
}

/// Gives the files their names at rest.
fn put_back(look: &Look) -> Result<()> {
    let files = Files::write(look.partition())?;
    let mut files = files.ok_or_else(|| Error::Failed("partition 1 changes".to_owned()))?;
    let left = match files.state() {
        Ok(State::Recovered(_)) => "recovery.bin ran; ",
        Ok(State::Staged(_)) => "recovery.bin did not run, or did not come to its end; ",
        _ => "",
    };
    files.restore()?;
    say(&format!("{left}the eeprom's files have their names at rest again"));
    match look.attempts() {
        Some(last) if last.count > 0 && !look.runs(last.version) => {
            let running = &look.running;
            let message = format!(
                "the update to {}, attempt {}, did not take: {running} runs",
                last.version, last.count
            );
            look.record(&message);
        }
        _ => {}
    }
    Ok(())
}

/// Forgets the attempts where what was tried runs.
fn settle(look: &mut Look) -> Result<()> {
    let version = look.attempts().map_or(0, |last| last.version);
    if version == 0 || !look.runs(version) {
        return Ok(());
    }
    look.record(&format!("the bootloader of {version} runs"));
    attempts::remove(&look.root)?;
    look.attempts = attempts::read(&look.root);
    Ok(())
}

fn cancel(root: &Root, disk: &Disk) -> Result<()> {
    let mut files = match Files::write(&disk.bootsel)? {
        Some(files) if files.state() != Ok(State::AtRest) => files,
        _ => {
            say("nothing to do: no update of the bootloader is staged");
            return Ok(());
        }
    };
    let staged = files.is_staged();
    files.restore()?;
    let look = Look::new(root, disk);
    if staged {
        look.record("called off");
        attempts::uncount(&look)?;
    }
    say("called off: the bootloader stays as it is");
    Ok(())
}

fn cancel_classic(root: &Root, disk: &Disk, to: &Path) -> Result<()> {
    if !classic::clear(to, &disk.bootsel)? {
        say("nothing to do: no update of the bootloader is there");
        return Ok(());
    }
    let look = Look::new(root, disk);
    look.record("called off");
    attempts::uncount(&look)?;
    say("called off: the bootloader stays as it is");
    Ok(())
}

impl Look {
    /// Writes to the log. Without it a device must still be able to leave what it staged.
    fn record(&self, message: &str) {
        if let Err(why) = self.log(message) {
            say(&format!("warning: {why}"));
        }
    }

    fn log(&self, message: &str) -> Result<()> {
        let ThisBoot { booted, boot_id, revision, .. } = &self.boot;
        let slot = booted.unwrap_or(bootsel::Slot::A);
        let mut journal = crate::journal::Journal::read(&self.root);
        journal.write(log::EEPROM, slot, revision, boot_id, message)
    }
}
