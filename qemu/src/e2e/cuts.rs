// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power cuts while `bootsel` works: the shipped program runs in a guest, every request to the card is recorded, and
//! every state that a cut could have left is put together again and judged by the firmware's model, by the kernel's ext4,
//! by `bootsel` itself and by rules that are written by hand. Some of the states are booted.

mod booted;
mod card;
mod device;
mod guest;
mod judge;
mod look;
mod mutations;
mod operations;
mod random;
mod session;
mod states;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};

use super::case::{Base, Case};
use super::fixture::Fixture;
use crate::cargo;
pub(crate) use device::Device;
use look::Bench;
pub(crate) use look::sparse_copy;
use operations as of;
use session::{Session, Step, tamper};
use states::{Count, Effort};

/// Chooses what is sampled.
const SEED: u64 = 1;
/// What is left free beside the place of the old revision, in 4 KiB blocks: less than a revision needs.
const LEFT: u64 = 2048;

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, custom| Case { base: Base::Cuts, custom: Some(custom), ..Case::new(name) };
    vec![case("power-cuts", everywhere), case("power-barriers", mutations::case)]
}

/// How much is looked at, in the ordinary run and in the long one.
fn effort(all: bool) -> Effort {
    match all {
        false => Effort { torn: 6, single: 32, chance: 80 },
        // every sector of every write
        true => Effort { torn: usize::MAX, single: 400, chance: 2500 },
    }
}

/// Sessions that others go on from, recorded once in a run.
#[derive(Debug)]
struct Beginning {
    first: Session,
    /// The card after it, with no room for a third revision beside the second, and a selector that leads a trial to the
    /// default itself.
    crowded: PathBuf,
}

/// Slot a runs revision 1; slot b gets revision 2 and is to be tried.
const FIRST: &[Step] = &[
    Step::Word(of::SYSTEMD),
    Step::Cut(&of::INSTALL),
    Step::Cut(&of::ARM),
    Step::Cut(&of::CANCEL),
    Step::Settled(&of::GC),
    Step::Word(of::NO_SYSTEMD),
    Step::Last(&of::TRY),
];
/// Slot b is on trial, is kept, and left; then slot a is lost.
const KEPT: &[Step] = &[
    Step::Word(of::BOOT),
    Step::Cut(&of::COMMIT),
    Step::Cut(&of::LEAVE),
    Step::Word(of::ROT),
    Step::Cut(&of::REPAIR),
];
/// Slot b is on trial and given up.
const GIVEN_UP: &[Step] = &[Step::Word(of::BOOT), Step::Cut(&of::GIVE_UP)];
/// Slot a runs again.
const CROWDED: &[Step] = &[
    Step::Word(of::LAZY),
    Step::Word(of::SYSTEMD),
    Step::Cut(&of::INSTALL_IN_ITS_PLACE),
    Step::Cut(&of::ARM_ANEW),
];

/// The first session, which both cases need.
fn beginning(device: &Device) -> Result<Arc<Beginning>> {
    static MADE: Mutex<Option<Arc<Beginning>>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = &*made {
        return Ok(Arc::clone(made));
    }
    let directory = device.directory.join("beginning");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let factory = directory.join("factory.img");
    card::copy(&device.factory.disk, &factory)?;
    let garbage = format!("/pivot/revisions/{}", of::GARBAGE);
    tamper(&factory, &directory, |data| data.debugfs(&[format!("mkdir {garbage}")]).map(drop))?;
    let first = Session::record(device, &factory, false, FIRST, &directory.join("first"))?;
    let crowded = directory.join("crowded.img");
    card::copy(&first.end, &crowded)?;
    guest::mislead(&crowded)?;
    tamper(&crowded, &directory, |data| data.fill_up_to(LEFT))?;
    let beginning = Arc::new(Beginning { first, crowded });
    *made = Some(Arc::clone(&beginning));
    Ok(beginning)
}

fn everywhere(fixture: &Fixture, directory: &Path) -> Result<String> {
    let device = fixture.cuts()?;
    let bootsel = cargo::BOOTSEL_HOST.shipped()?;
    let beginning = beginning(device)?;
    let effort = effort(fixture.all);
    let later = |name: &str, start: &Path, tryboot, steps| {
        Session::record(device, start, tryboot, steps, &directory.join(name))
    };
    let sessions = [
        later("kept", &beginning.first.end, true, KEPT)?,
        later("given-up", &beginning.first.end, true, GIVEN_UP)?,
        later("crowded", &beginning.crowded, false, CROWDED)?,
    ];
    let work = |name: &str, sessions: &[&Session]| {
        let directory = directory.join(name);
        fs::create_dir_all(&directory)?;
        let mut bench = Bench::new(device, bootsel.clone(), &directory)?;
        let mut counts = Vec::new();
        for session in sessions {
            counts.extend(session.judge(&mut bench, effort, &directory)?);
        }
        Ok::<_, anyhow::Error>(counts)
    };
    let [kept, given_up, crowded] = &sessions;
    let counts = thread::scope(|scope| {
        let other = scope.spawn(|| work("two", &[kept, given_up, crowded]));
        // the mount namespace is a thread's
        let one = scope.spawn(|| work("one", &[&beginning.first]));
        let panicked = |_| anyhow!("a thread panicked");
        let one = one.join().map_err(panicked)??;
        Ok::<_, anyhow::Error>([one, other.join().map_err(panicked)??].concat())
    })?;
    let booted = booted::some(device, &beginning.first, &sessions, fixture.all, directory)?;
    let all: u32 = counts.iter().map(|(_, count)| count.all()).sum();
    let each = counts.iter().map(|(operation, count)| {
        let Count { prefixes, torn, reordered } = count;
        format!("{} {prefixes}+{torn}+{reordered}", operation.name)
    });
    let each = each.collect::<Vec<_>>().join(", ");
    Ok(format!("seed {SEED}: {all} states (prefixes+torn+reordered: {each}); {booted} booted"))
}
