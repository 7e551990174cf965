// SPDX-License-Identifier: MIT OR Apache-2.0
//! Some of the states are left to the device itself: it boots, says what is the case, and can be updated.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::card;
use super::device::Device;
use super::guest::{self, Orders, Recording};
use super::operations::Operation;
use super::random::Random;
use super::session::Session;

/// How many are booted, in the ordinary run and in the long one.
const BOOTED: [usize; 2] = [6, 26];
const STATUS: &str = "/usr/sbin/bootsel,status,--json";
const VERIFY: &str = "/usr/sbin/bootsel,verify";

/// A state: after so many requests of a session, the next one torn.
struct Cut<'a> {
    session: &'a Session,
    operation: &'static Operation,
    requests: usize,
}

/// Boots them; the first one is updated and kept, too.
pub(super) fn some(
    device: &Device,
    first: &Session,
    others: &[Session],
    all: bool,
    directory: &Path,
) -> Result<usize> {
    let directory = directory.join("booted");
    fs::create_dir_all(&directory)?;
    let [few, many] = BOOTED;
    let count = if all { many } else { few };
    let mut ranges = Vec::new();
    for session in [first].into_iter().chain(others) {
        for (step, range) in session.ranges() {
            if let Some(operation) = step.operation().filter(|_| !range.is_empty()) {
                ranges.push((session, operation, range));
            }
        }
    }
    let mut random = Random(super::SEED);
    for number in 0..count {
        // every command in turn
        let (session, operation, range) =
            ranges.get(number % ranges.len().max(1)).context("nothing was recorded")?;
        let requests = range.start + random.of(range.len());
        let cut = Cut { session, operation, requests };
        let booted = cut.boot(device, number == 0, &directory);
        booted.with_context(|| format!("{} cut at request {requests}", operation.name))?;
    }
    Ok(count)
}

impl Cut<'_> {
    fn boot(&self, device: &Device, update: bool, directory: &Path) -> Result<()> {
        let path = directory.join("card.img");
        card::copy(&self.session.start, &path)?;
        let file = File::options().write(true).open(&path)?;
        let requests = &self.session.recording.requests;
        requests.iter().take(self.requests).try_for_each(|request| request.apply(&file))?;
        if let Some(part) = requests.get(self.requests).and_then(|request| request.torn(1)) {
            part.apply(&file)?;
        }
        drop(file);
        let orders = Orders { run: &[STATUS], ..Orders::default() };
        if !update {
            let chosen = guest::firmware(&File::open(&path)?, false)?;
            let run = guest::record(&path, &device.bundles, orders, directory)?;
            return self.is_sane(&run, chosen.partition, false);
        }
        // slot b may hold revision 2 already: the other bundle is right in any state
        let install = "/usr/sbin/bootsel,install,--force,/dev/vdc";
        let try_it = Some("/usr/sbin/bootsel,try,--force");
        let orders = Orders { run: &[STATUS, install], last: try_it, ..orders };
        let run = guest::record(&path, &device.bundles, orders, directory)?;
        self.is_sane(&run, 2, false)?;
        let asked = "reboot: Restarting system with command '0 tryboot'";
        ensure!(run.console.contains(asked), "it did not restart for a trial");
        let commit = "/usr/sbin/bootsel,commit";
        let orders = Orders { tryboot: true, run: &[STATUS, commit], last: None };
        let run = guest::record(&path, &device.bundles, orders, directory)?;
        self.is_sane(&run, 3, true)?;
        let orders = Orders { run: &[STATUS, VERIFY], ..Orders::default() };
        let run = guest::record(&path, &device.bundles, orders, directory)?;
        self.is_sane(&run, 3, false)
    }

    /// The witness was reached, in the slot that was to boot, with the revision of its own command line.
    fn is_sane(&self, run: &Recording, partition: u32, trial: bool) -> Result<()> {
        let status = run.report.ran.iter().find(|ran| ran.command.join(",") == STATUS);
        let status = &status.context("status was not run")?.stdout;
        let status: Value = serde_json::from_str(status).context("status")?;
        let slot = if partition == 2 { "a" } else { "b" };
        let field = |pointer: &str| status.pointer(pointer).cloned().unwrap_or_default();
        ensure!(field("/booted") == slot, "slot {slot} was to boot: {status}");
        ensure!(field("/trial") == trial && field("/armed") == false, "{status}");
        ensure!(field("/selector_problem").is_null(), "{status}");
        ensure!(field(&format!("/slots/{slot}/complete")) == true, "{status}");
        ensure!(trial || self.operation.rotten || field("/default") == slot, "{status}");
        let boot = run.report.boot.as_ref().context("there is no boot.json")?;
        let revision = boot.get("revision").cloned().unwrap_or_default();
        ensure!(revision == field(&format!("/slots/{slot}/revision")), "{boot} {status}");
        Ok(())
    }
}
