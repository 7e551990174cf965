// SPDX-License-Identifier: MIT OR Apache-2.0
//! Power cuts while `bootsel` works: the shipped program runs in a guest, every request to the card is recorded, and
//! every state that a cut could have left is put together again and judged by a model of what boots it, by the kernel's
//! ext4, by `bootsel` itself and by rules that are written by hand. Some of the states are booted. All of that in two
//! worlds: a Raspberry Pi's, and UEFI's with GRUB.

mod booted;
mod card;
mod device;
mod grub;
mod guest;
mod judge;
mod look;
mod mutations;
mod operations;
mod pi;
mod session;
mod states;
mod story;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};

use super::case::{Base, Case};
use super::fixture::Fixture;
use crate::{cargo, tool};
pub(crate) use device::Device;
use look::Bench;
pub(crate) use look::sparse_copy;
use operations as of;
use session::{Session, tamper};
use states::{Count, Effort};
pub(crate) use world::World;

/// Chooses what is sampled.
const SEED: u64 = 1;
/// What is left free beside the place of the old revision, in 4 KiB blocks: less than a revision needs.
const LEFT: u64 = 2048;

/// What the worlds have in common is mutated in the first alone, but with `all`.
pub(crate) fn cases(all: bool) -> Vec<Case> {
    let case =
        |name, world, run| Case { base: Base::Cuts(world), custom: Some(run), ..Case::new(name) };
    let mut cases = vec![
        case("power-cuts", World::Pi, |fixture, directory| {
            everywhere(fixture, directory, World::Pi)
        }),
        case("power-barriers", World::Pi, |fixture, directory| {
            mutations::case(fixture, directory, World::Pi)
        }),
        case("power-cuts-grub", World::Grub, |fixture, directory| {
            everywhere(fixture, directory, World::Grub)
        }),
    ];
    if all {
        cases.push(case("power-barriers-grub", World::Grub, |fixture, directory| {
            mutations::case(fixture, directory, World::Grub)
        }));
    }
    cases
}

/// How much is looked at, in the ordinary run and in the long one. What the worlds have in common is looked at longer in
/// the first.
fn effort(world: World, all: bool) -> Effort {
    match (world, all) {
        (World::Pi, false) => Effort { torn: 6, single: 32, chance: 80 },
        (World::Grub, false) => Effort { torn: 1, single: 16, chance: 24 },
        // every sector of every write
        (_, true) => Effort { torn: usize::MAX, single: 400, chance: 2500 },
    }
}

/// Sessions that others go on from, recorded once in a run.
#[derive(Debug)]
struct Beginning {
    first: Session,
    /// The card after it, with no room for a third revision beside the second, and a damaged selector.
    crowded: PathBuf,
}

/// The first session, which both cases need.
fn beginning(device: &Device) -> Result<Arc<Beginning>> {
    static PI: Mutex<Option<Arc<Beginning>>> = Mutex::new(None);
    static GRUB: Mutex<Option<Arc<Beginning>>> = Mutex::new(None);
    let made = match device.world {
        World::Pi => &PI,
        World::Grub => &GRUB,
    };
    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(made) = &*made {
        return Ok(Arc::clone(made));
    }
    let directory = device.directory.join("beginning");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let factory = directory.join("factory.img");
    tool::copy_sparse(&device.factory.disk, &factory)?;
    let garbage = format!("/pivot/revisions/{}", of::GARBAGE);
    tamper(&factory, &directory, |data| data.debugfs(&[format!("mkdir {garbage}")]).map(drop))?;
    let first = Session::record(
        device,
        &factory,
        false,
        device.world.story().first,
        &directory.join("first"),
    )?;
    let crowded = directory.join("crowded.img");
    tool::copy_sparse(&first.end, &crowded)?;
    device.damage(&crowded)?;
    tamper(&crowded, &directory, |data| data.fill_up_to(LEFT))?;
    let beginning = Arc::new(Beginning { first, crowded });
    *made = Some(Arc::clone(&beginning));
    Ok(beginning)
}

fn everywhere(fixture: &Fixture, directory: &Path, world: World) -> Result<String> {
    let device = fixture.cuts(world)?;
    let story = world.story();
    let bootsel = cargo::BOOTSEL_HOST.shipped()?;
    let beginning = beginning(device)?;
    let effort = effort(world, fixture.all);
    let later = |name: &str, start: &Path, tryboot, steps| {
        Session::record(device, start, tryboot, steps, &directory.join(name))
    };
    let sessions = [
        later("kept", &beginning.first.end, true, story.kept)?,
        later("given-up", &beginning.first.end, true, story.given_up)?,
        later("crowded", &beginning.crowded, false, story.crowded)?,
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
