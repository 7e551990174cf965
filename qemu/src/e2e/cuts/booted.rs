// SPDX-License-Identifier: MIT OR Apache-2.0
//! Some of the states are left to the device itself: it boots, says what is the case, and can be updated.

use std::fs::{self, File};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::device::Device;
use super::guest::{self, Orders, Recording};
use super::operations::{A, B, Operation};
use super::session::Session;
use super::world::{PowerOn, World};
use crate::random::Random;
use crate::tool;

/// How many are booted, in the ordinary run and in the long one.
const BOOTED: [usize; 2] = [6, 26];
/// The same through UEFI and GRUB.
const BOOTED_BY_GRUB: [usize; 2] = [12, 40];
const STATUS: &str = "/usr/sbin/bootsel,status,--json";
const VERIFY: &str = "/usr/sbin/bootsel,verify";

/// A state: after so many requests of a session, the next one torn.
struct Cut<'a> {
    session: &'a Session,
    operation: &'static Operation,
    requests: usize,
}

/// Boots them, two at a time; the first one is updated and kept, too.
pub(super) fn some(
    device: &Device,
    first: &Session,
    others: &[Session],
    all: bool,
    directory: &Path,
) -> Result<usize> {
    let [few, many] = match device.world {
        World::Pi => BOOTED,
        World::Grub => BOOTED_BY_GRUB,
    };
    let count = if all { many } else { few };
    let cuts = choose(&[first].into_iter().chain(others).collect::<Vec<_>>(), count)?;
    let work = |which: usize| {
        let directory = directory.join(format!("booted{which}"));
        fs::create_dir_all(&directory)?;
        for (number, cut) in cuts.iter().enumerate().filter(|(number, _)| number % 2 == which) {
            let booted = cut.boot(device, number == 0, &directory);
            let told = || format!("{} cut at request {}", cut.operation.name, cut.requests);
            booted.with_context(told)?;
        }
        Ok::<_, anyhow::Error>(())
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| work(1));
        work(0)?;
        other.join().map_err(|_| anyhow!("a thread panicked"))?
    })?;
    Ok(count)
}

/// So many of them, of every command in turn.
fn choose<'a>(sessions: &[&'a Session], count: usize) -> Result<Vec<Cut<'a>>> {
    let mut ranges = Vec::new();
    for session in sessions {
        for (step, range) in session.ranges() {
            if let Some(operation) = step.operation().filter(|_| !range.is_empty()) {
                ranges.push((*session, operation, range));
            }
        }
    }
    let mut random = Random(super::SEED);
    let one = |number: usize| {
        let (session, operation, range) =
            ranges.get(number % ranges.len().max(1)).context("nothing was recorded")?;
        let requests = range.start + random.of(range.len());
        Ok(Cut { session, operation, requests })
    };
    (0..count).map(one).collect()
}

impl Cut<'_> {
    fn boot(&self, device: &Device, update: bool, directory: &Path) -> Result<()> {
        let path = directory.join("card.img");
        tool::copy_sparse(&self.session.start, &path)?;
        let file = File::options().write(true).open(&path)?;
        let requests = &self.session.recording.requests;
        requests.iter().take(self.requests).try_for_each(|request| request.apply(&file))?;
        if let Some(part) = requests.get(self.requests).and_then(|request| request.torn(1)) {
            part.apply(&file)?;
        }
        drop(file);
        let boot = |orders: Orders<'_>| {
            let power_on = device.power_on(&File::open(&path)?)?;
            let run = guest::record(device, &path, orders, directory)?;
            Ok::<_, anyhow::Error>((run, power_on))
        };
        let orders = Orders { run: &[STATUS], ..Orders::default() };
        if !update {
            let (run, PowerOn { selector, boots, .. }) = boot(orders)?;
            return self.is_sane(&run, (boots.partition, boots.trial), selector != [0, 0]);
        }
        // slot b may hold revision 2 already: the other bundle is right in any state
        let install = "/usr/sbin/bootsel,install,--force,/dev/vdc";
        let try_it = Some("/usr/sbin/bootsel,try,--force");
        let (run, _) = boot(Orders { run: &[STATUS, install], last: try_it, ..orders })?;
        self.is_sane(&run, (A, false), true)?;
        ensure!(run.console.contains(device.world.restart()), "it did not restart for a trial");
        let commit = "/usr/sbin/bootsel,commit";
        let (run, _) = boot(Orders { tryboot: true, run: &[STATUS, commit], last: None })?;
        self.is_sane(&run, (B, true), true)?;
        let (run, _) = boot(Orders { run: &[STATUS, VERIFY], ..Orders::default() })?;
        self.is_sane(&run, (B, false), true)
    }

    /// The witness was reached, in the slot that was to boot, with the revision of its own command line. `whole`: the
    /// selector can be read.
    fn is_sane(&self, run: &Recording, (partition, trial): (u32, bool), whole: bool) -> Result<()> {
        let status = run.report.ran.iter().find(|ran| ran.command.join(",") == STATUS);
        let status = &status.context("status was not run")?.stdout;
        let status: Value = serde_json::from_str(status).context("status")?;
        let slot = if partition == A { "a" } else { "b" };
        let field = |pointer: &str| status.pointer(pointer).cloned().unwrap_or_default();
        ensure!(field("/booted") == slot, "slot {slot} was to boot: {status}");
        ensure!(field("/trial") == trial && field("/armed") == false, "{status}");
        ensure!(field("/selector_problem").is_null() == whole, "{status}");
        ensure!(field(&format!("/slots/{slot}/complete")) == true, "{status}");
        let by_default = !trial && !self.operation.rotten && whole;
        ensure!(!by_default || field("/default") == slot, "{status}");
        let boot = run.report.boot.as_ref().context("there is no boot.json")?;
        let revision = boot.get("revision").cloned().unwrap_or_default();
        ensure!(revision == field(&format!("/slots/{slot}/revision")), "{boot} {status}");
        Ok(())
    }
}
