// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole life of a device on one card: a revision installed, tried and kept, trials that fail in every way that a
//! system can fail in, and the way back each time.

mod device;
mod firmware;
mod make;

use std::path::Path;

use anyhow::{Result, ensure};

use super::case::{Base, Case};
use super::checks::{trial_failed, watchdog_reset};
use crate::rootfs::IDENTITY;
pub(crate) use device::{BOOTSEL, Device, Start};
pub(crate) use device::{Expected, tamper};
pub(crate) use firmware::{Beginning, Firmware};
pub(crate) use make::{Life, MODULES, Maker, identity, loaders, unpack};

/// What of a life depends on the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Story {
    /// The second revision's kernel.
    pub(crate) second_linux: (&'static str, &'static str),
    /// Whether the machine has a watchdog that works.
    pub(crate) watchdog: bool,
    /// Whether it can keep its memory over a restart.
    pub(crate) memory: bool,
    /// Whether the trials that fail are left to other boards.
    pub(crate) short: bool,
    /// The reason of a trial that a reset ended, where nothing else is known of it.
    pub(crate) was_reset: fn(&str) -> bool,
}

const FIRST_LINUX: (&str, &str) = ("6.12.", "-arm64");

/// QEMU's model of its watchdog resets the machine as soon as it is armed.
const PI3: Story = Story {
    second_linux: ("6.1.0-", "-arm64"),
    watchdog: false,
    memory: false,
    short: false,
    was_reset,
};
const PI5: Story = Story {
    second_linux: ("6.12.", "-arm64-16k"),
    watchdog: true,
    memory: true,
    short: false,
    was_reset,
};

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, custom| Case { base: Base::Life, custom: Some(custom), ..Case::new(name) };
    vec![
        case("life-pi3b", |fixture, directory| {
            let life = fixture.life()?;
            let story = Story { short: !fixture.all, ..PI3 };
            live("pi3b", life, &life.second, directory, &story)
        }),
        case("life-pi5", |fixture, directory| {
            let life = fixture.life()?;
            live("pi5", life, life.second_for_pi5()?, directory, &PI5)
        }),
    ]
}

const A1: Expected = Expected { slot: "a", revision: 1, linux: FIRST_LINUX, trial: false };
/// Revision 3 takes the place of revision 1.
const A3: Expected = Expected { revision: 3, ..A1 };
const A3_ON_TRIAL: Expected = Expected { trial: true, ..A3 };

fn live(
    board: &'static str,
    life: &Life,
    second: &Path,
    directory: &Path,
    story: &Story,
) -> Result<String> {
    let files = [(second, "/2.bundle"), (&life.third, "/3.bundle")];
    let mut device = Device::new(board, &life.factory, &files, directory)?;
    // board-pi5 boots from an SD card.
    device.standin.quick = true;
    live_on(&mut device, story)
}

/// The whole story.
pub(crate) fn live_on<F: Firmware>(device: &mut Device<F>, story: &Story) -> Result<String> {
    let b2 = Expected { slot: "b", revision: 2, linux: story.second_linux, trial: false };
    second_is_kept(device, &b2)?;
    device.boot(&installs::<F>("3"), |start| {
        start.is(&b2)?;
        start.says(0, "b", "b")?;
        start.worked(&format!("{BOOTSEL} install"), 0)?;
        start.seen().says(restarts::<F>())
    })?;
    if !story.short {
        fails(device, &b2, story)?;
    }
    third_is_kept(device)?;
    device.card()?.check_clean()?;
    Ok(String::new())
}

/// In every way that a system can fail in.
fn fails(device: &mut Device<impl Firmware>, b2: &Expected, story: &Story) -> Result<()> {
    panics(device, b2, story)?;
    if story.watchdog {
        hangs(device, b2, story)?;
    }
    is_not_committed_in_time(device, b2)?;
    lacks_modules(device, b2)
}

/// What a kernel that knows nothing of the flag prints; the stand-in takes it for one that passes it on.
pub(crate) const TRYBOOT: &str = "reboot: Restarting system with command '0 tryboot'";

/// The words that make the witness look, with what a system does at its start.
pub(crate) fn looks() -> String {
    let runs =
        ["/etc/rc.guard".into(), format!("{BOOTSEL},collect"), format!("{BOOTSEL},status,--json")];
    format!("witness.read={IDENTITY}{}", runs.map(|run| format!(" witness.run={run}")).concat())
}

/// What it prints when it restarts for a trial.
pub(crate) fn restarts<F: Firmware>() -> &'static str {
    if F::IS_ASSUMED { TRYBOOT } else { "reboot: Restarting system\n" }
}

fn tries<F: Firmware>() -> String {
    format!("witness.last={BOOTSEL},try{}", if F::IS_ASSUMED { ",--force" } else { "" })
}

fn installs<F: Firmware>(number: &str) -> String {
    let bundle = format!("/run/pivot/data/{number}.bundle");
    format!("{} witness.run={BOOTSEL},install,{bundle} {}", looks(), tries::<F>())
}

/// A rev 1 installs revision 2 and starts it; B rev 2 commits itself, and stays after a plain restart.
fn second_is_kept<F: Firmware>(device: &mut Device<F>, b2: &Expected) -> Result<()> {
    let mut asks = installs::<F>("2");
    if F::IS_ASSUMED {
        asks.push_str(&format!(" witness.run={BOOTSEL},try"));
    }
    device.boot(&asks, |start| {
        start.is(&A1)?;
        let status = start.says(0, "a", "a")?;
        ensure!(status.get("attempt").is_some_and(serde_json::Value::is_null), "{status}");
        start.worked(&format!("{BOOTSEL} install"), 0)?;
        if F::IS_ASSUMED {
            let refused = start.ran(&format!("{BOOTSEL} try"), 0)?;
            let reason = "nothing shows that this kernel passes the tryboot flag on";
            ensure!(refused.status == Some(1) && refused.stderr.contains(reason), "{refused:?}");
        }
        start.seen().says(restarts::<F>())
    })?;
    let words = format!(
        "{} witness.run={BOOTSEL},commit witness.run={BOOTSEL},status,--json witness.reboot",
        looks()
    );
    device.boot(&words, |start| {
        start.is(&Expected { trial: true, ..*b2 })?;
        start.says(0, "a", "b")?;
        ensure!(start.last_trial("b", 2, "running")?.is_empty(), "a reason");
        start.worked(&format!("{BOOTSEL} commit"), 0)?;
        start.says(1, "b", "b")?;
        start.seen().says("reboot: Restarting system\n")
    })
}

/// The device is back on what it was on, and knows why; it tries once more.
fn is_back<F: Firmware>(
    device: &mut Device<F>,
    b2: &Expected,
    reason: fn(&str) -> bool,
) -> Result<()> {
    is_back_with(device, "", b2, reason)
}

fn is_back_with<F: Firmware>(
    device: &mut Device<F>,
    words: &str,
    b2: &Expected,
    reason: impl FnOnce(&str) -> bool,
) -> Result<()> {
    device.boot(&format!("{} {} {words}", looks(), tries::<F>()), |start| {
        start.is(b2)?;
        start.says(0, "b", "b")?;
        let told = start.last_trial("a", 3, "failed")?;
        ensure!(reason(&told), "the reason: {told:?}");
        start.seen().says(restarts::<F>())
    })
}

const PANIC: &str = "Kernel panic - not syncing: sysrq triggered crash";

/// Where memory survives the restart, the kernel's last words say why, and are kept.
fn panics(device: &mut Device<impl Firmware>, b2: &Expected, story: &Story) -> Result<()> {
    let memory = story.memory;
    device.standin.keep_memory(memory)?;
    let ramoops = if memory { "pivot.modules=ramoops" } else { "" };
    device.boot(&format!("{} witness.panic {ramoops}", looks()), |start| {
        start.is(&A3_ON_TRIAL)?;
        start.says(0, "b", "a")?;
        start.seen().says(PANIC)?;
        start.seen().ended_by("guest-reset")
    })?;
    if !memory {
        return is_back(device, b2, story.was_reset);
    }
    is_back_with(device, ramoops, b2, |reason| reason.starts_with(PANIC))?;
    device.standin.keep_memory(false)?;
    let card = device.card()?;
    let kept = card.read("/pivot/log/pstore/000001.dmesg-ramoops-0")?;
    ensure!(String::from_utf8_lossy(&kept).contains(PANIC), "a record of something else");
    Ok(())
}

fn hangs(device: &mut Device<impl Firmware>, b2: &Expected, story: &Story) -> Result<()> {
    let words = format!("witness.read={IDENTITY} witness.hang");
    device.boot(&words, |start| {
        start.is(&A3_ON_TRIAL)?;
        watchdog_reset(&start.seen())
    })?;
    is_back(device, b2, story.was_reset)
}

/// On these boards a panic and the watchdog look alike where the kernel's last words are not kept: the machine was
/// reset, and nothing was unmounted. That its root was entered is known.
fn was_reset(reason: &str) -> bool {
    reason.starts_with("the watchdog or a panic reset the machine (reset status 0x20")
        && reason.ends_with("; it came as far as: exec")
}

fn is_not_committed_in_time(device: &mut Device<impl Firmware>, b2: &Expected) -> Result<()> {
    let words = format!("witness.read={IDENTITY} witness.last={BOOTSEL},guard,--deadline,8");
    device.boot(&words, |start| {
        start.is(&A3_ON_TRIAL)?;
        start.seen().ended_by("guest-reset")?;
        ensure!(!start.seen().watchdog_fired(), "the watchdog was faster");
        start.seen().says("reboot: Restarting system\n")
    })?;
    is_back(device, b2, |reason| reason == "not committed within 8 s")
}

/// Its modules image went between the start of the trial and its boot.
fn lacks_modules(device: &mut Device<impl Firmware>, b2: &Expected) -> Result<()> {
    let directory = "/pivot/revisions/3";
    let manifest = device.card()?.read(&format!("{directory}/manifest"))?;
    let manifest = String::from_utf8_lossy(&manifest);
    let mut names = manifest.split_ascii_whitespace();
    let name = names.find(|word| word.starts_with("modules_")).unwrap_or_default();
    let path = format!("{directory}/{name}");
    let mut kept = Vec::new();
    tamper(device, |card| {
        kept = card.read(&path)?;
        card.remove(&path)
    })?;
    device.boot("", |start| {
        start.was_chosen(&A3_ON_TRIAL)?;
        trial_failed(&start.seen(), name)
    })?;
    tamper(device, |card| card.add(&path, &kept))?;
    is_back_with(device, "", b2, |reason| reason.contains(name))
}

/// The last trial is a good one.
fn third_is_kept(device: &mut Device<impl Firmware>) -> Result<()> {
    let words = format!("{} witness.run={BOOTSEL},commit witness.reboot", looks());
    device.boot(&words, |start| {
        start.is(&A3_ON_TRIAL)?;
        start.worked(&format!("{BOOTSEL} commit"), 0).map(|_| ())
    })?;
    let verifies = format!("{} witness.run={BOOTSEL},verify", looks());
    device.boot(&verifies, |start: &Start| {
        start.is(&A3)?;
        start.says(0, "a", "a")?;
        start.last_trial("a", 3, "committed")?;
        start.worked(&format!("{BOOTSEL} verify"), 0)?;
        start.seen().ended_by("guest-shutdown")
    })
}
