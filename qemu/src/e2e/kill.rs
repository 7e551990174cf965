// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device that is updated for ever, and its machine killed at random moments: whatever was under way, the firmware's
//! next choice boots, and verifies to its last byte.
//!
//! This is the end of a process, not a cut of power: what the guest wrote is in the host's memory, and stays.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::case::{Base, Case};
use super::life::{BOOTSEL, Device, Firmware, Start, looks, restarts};
use crate::random::Random;
use crate::run::{self, Ended, Kill};
use crate::uefi::Uefi;

/// Kills of each machine. The ordinary run has one, another in each run; the long one two at a time, each with a card of its own.
const KILLS: u32 = 13;
/// No boot takes longer, even under a busy host.
const LIMIT: Duration = Duration::from_secs(240);
/// The seed of a run before, to see it again.
const SEED: &str = "PIVOT_KILL_SEED";

/// Through UEFI and GRUB, where a start takes longer, in the long run alone.
pub(crate) fn cases(all: bool) -> Vec<Case> {
    let case = |name, base, custom| Case { base, custom: Some(custom), ..Case::new(name) };
    let mut cases = vec![case("kill-updates", Base::Life, |fixture, directory| {
        let life = fixture.life()?;
        kills(fixture.all, directory, |directory| {
            let files = [(life.second_for_pi5()?, "/2.bundle"), (&life.third, "/3.bundle")];
            let mut device = Device::new("pi5", &life.factory, &files, directory)?;
            device.standin.quick = true;
            Ok(device)
        })
    })];
    if all {
        cases.push(case("uefi-kill-updates", Base::Uefi, |fixture, directory| {
            let life = fixture.uefi()?;
            kills(fixture.all, directory, |directory| {
                let files = [(life.second.as_path(), "/2.bundle"), (&life.third, "/3.bundle")];
                Device::with(Uefi::new(&life.factory.disk, directory)?, &files)
            })
        }));
    }
    cases
}

fn kills<F: Firmware>(
    all: bool,
    directory: &Path,
    device: impl Fn(&Path) -> Result<Device<F>> + Sync,
) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    let told = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = told.unwrap_or(u64::try_from(now & u128::from(u32::MAX))?);
    let one = |chain: u32| {
        let directory = directory.join(chain.to_string());
        fs::create_dir(&directory)?;
        let random = Random(seed.wrapping_add(u64::from(chain) << 32));
        Chain::new(device(&directory)?, random).run()
    };
    let run = || -> Result<Vec<String>> {
        thread::scope(|scope| {
            let chains = if all { 2 } else { 1 };
            let chains: Vec<_> = (0..chains).map(|chain| scope.spawn(move || one(chain))).collect();
            let ended = chains.into_iter().map(|chain| chain.join());
            ended.map(|chain| chain.unwrap_or_else(|_| Err(anyhow!("a chain panicked")))).collect()
        })
    };
    let notes = run().with_context(|| format!("{SEED}={seed}"))?;
    Ok(format!("seed {seed}: {}", notes.join("; ")))
}

/// What the device's script says, each at the beginning of what it names.
const PHASES: [&str; 3] = [BEGIN, INSTALL, TRY];
const BEGIN: &str = "updates: commit";
const INSTALL: &str = "updates: install";
const TRY: &str = "updates: try";

/// One device.
struct Chain<F> {
    device: Device<F>,
    random: Random,
    /// How long a boot takes at most, and each of the phases.
    times: [Duration; 4],
    /// Kills in the boot, and in each of the phases.
    hits: [u32; 4],
    /// Starts with the flag.
    trials: u32,
    /// The default when it was last looked at, and whether a trial ran since.
    default: (String, bool),
}

impl<F: Firmware> Chain<F> {
    fn new(device: Device<F>, random: Random) -> Self {
        let default = ("a".to_owned(), false);
        Self { device, random, times: [Duration::ZERO; 4], hits: [0; 4], trials: 0, default }
    }

    fn run(mut self) -> Result<String> {
        // How long the parts take, here and now: that of a commit is known in the trial of what was installed.
        self.start(None)?;
        self.start(None)?;
        while self.hits.iter().sum::<u32>() < KILLS {
            self.round()?;
        }
        // What the last kill left.
        self.device.boot(&checks(), |start| sound(start).map(|_| ()))?;
        let Self { hits: [boot, commit, install, attempt], trials, .. } = self;
        Ok(format!(
            "{trials} trials, killed in the boot {boot}, in commit {commit}, in install {install}, in try {attempt}"
        ))
    }

    /// One start: killed in the boot or in a phase, or not at all, so that a trial follows. Only in a trial a commit has
    /// something to do, and that is soon done.
    fn round(&mut self) -> Result<()> {
        let [boot, commit, install, attempt] = self.times;
        let (after, within) = match (self.device.tries()?, self.random.of(4)) {
            (_, 0) => ("", boot),
            (true, 1 | 2) => (BEGIN, commit),
            (false, 1) => (INSTALL, install),
            (false, 2) => (TRY, attempt),
            _ => return self.start(None),
        };
        let most = usize::try_from(within.as_millis())?;
        let delay = Duration::from_millis(self.random.of(most) as u64);
        self.start(Some(Kill { after, delay }))
    }

    /// Starts it, and judges what can be.
    fn start(&mut self, kill: Option<Kill>) -> Result<()> {
        let start = self.device.start(&updates(), |qemu, one_port| match (kill, one_port) {
            (Some(kill), false) => run::run_and_kill(qemu, kill, LIMIT),
            (Some(kill), true) => run::run_on_one_port_and_kill(qemu, kill, LIMIT),
            (None, false) => run::run(qemu, &[], LIMIT),
            (None, true) => run::run_on_one_port(qemu, LIMIT),
        })?;
        let judged = self.judge(&start).with_context(|| self.device.told(&start));
        if kill.is_none() && judged.is_ok() {
            let times = times(&start.outcome.console).context("the console shows no times")?;
            self.times.iter_mut().zip(times).for_each(|(most, time)| *most = time.max(*most));
        }
        judged
    }

    fn judge(&mut self, start: &Start) -> Result<()> {
        let trial = start.choice().is_some_and(|(_, trial)| trial);
        self.trials += u32::from(trial);
        let console = &start.outcome.console;
        let phase = PHASES.iter().rposition(|phase| console.contains(phase));
        match start.outcome.ended {
            Ended::AtLimit => bail!("it did not end within {LIMIT:?}"),
            Ended::Itself => start.seen().says(restarts::<F>())?,
            Ended::Killed => {
                let hit = self.hits.get_mut(phase.map_or(0, |phase| phase + 1));
                *hit.context("no such phase")? += 1;
            }
        }
        if phase.is_some() {
            let (default, (before, tried)) = (sound(start)?, &self.default);
            ensure!(default == *before || *tried, "slot {default} is the default without a trial");
            self.default = (default, false);
        }
        self.default.1 |= trial;
        Ok(())
    }
}

/// What the kernel says at its end, whatever it is told.
const RESTARTS: &str = "reboot: Restarting system";

/// How long the boot and the phases took, from the times since the start of the kernel.
fn times(console: &str) -> Option<[Duration; 4]> {
    let seconds = |text: &str| text.trim().parse::<f64>().ok().map(Duration::from_secs_f64);
    let begins = |phase| seconds(console.split_once(phase)?.1.lines().next()?);
    let [commit, install, attempt] = [begins(BEGIN)?, begins(INSTALL)?, begins(TRY)?];
    let end = console.split_once(RESTARTS)?.0.rsplit_once('[')?.1;
    let end = seconds(end.trim_end().strip_suffix(']')?)?;
    let times = [(Duration::ZERO, commit), (commit, install), (install, attempt), (attempt, end)];
    Some(times.map(|(from, to)| to.saturating_sub(from)))
}

/// Everything is looked at.
fn checks() -> String {
    format!("{} witness.run={BOOTSEL},verify", looks())
}

/// And then the updates begin.
fn updates() -> String {
    format!("{} witness.last=/bin/sh,/etc/rc.updates", checks())
}

/// What the firmware has chosen is what runs, the status tells the truth, and what runs and what would run without the
/// flag are whole. The other slot may be half written. Gives the default.
fn sound(start: &Start) -> Result<String> {
    let (status, verified) = (start.status(0)?, start.ran(&format!("{BOOTSEL} verify"), 0)?);
    let letter = |name: &str| status.get(name).and_then(Value::as_str).unwrap_or_default();
    let (booted, default) = (letter("booted"), letter("default"));
    let (slot, tried) = start.choice().context("nothing was chosen")?;
    ensure!(slot == booted, "slot {slot} was chosen, the status: {status}");
    let trial = status.get("trial").and_then(Value::as_bool);
    ensure!(trial == Some(tried) && trial == Some(booted != default), "{status}");
    for slot in [booted, default] {
        let revision = status.pointer(&format!("/slots/{slot}/revision")).and_then(Value::as_str);
        let revision = revision.with_context(|| format!("slot {slot}: {status}"))?;
        let line = format!("slot {slot}: revision {revision} is as its manifest says\n");
        ensure!(verified.stdout.contains(&line), "slot {slot}: {verified:?}");
        if slot == booted {
            start.runs(revision.parse()?)?;
        }
    }
    Ok(default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_tells_the_times() {
        let console = "x\nupdates: commit 4.50\nupdates: install 5.00\n[    7.1] a\nupdates: try 9.00\n\
                       [    9.750000] reboot: Restarting system with command '0 tryboot'\n";
        let expected = [4500, 500, 4000, 750].map(Duration::from_millis);
        assert_eq!(times(console), Some(expected));
        assert_eq!(times("updates: commit 4.50\n"), None);
    }
}
