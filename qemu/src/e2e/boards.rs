// SPDX-License-Identifier: MIT OR Apache-2.0
//! One image file, and every Raspberry Pi that QEMU has; where it has none, the board's kernel on the nearest machine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::case::{Base, Case, OnBoard, Seen};
use super::checks::{boots_without, degraded, entered, fact, revision};
use super::disk::{DiskCopy, REVISION};
use super::success::page_size;
use super::trials;

/// What a board must boot. Written by hand from the Raspberry Pi documentation (config_txt/boot.adoc, `kernel`), and
/// from what the processors are.
#[derive(Clone, Copy, Debug)]
struct Expected {
    kernel: &'static str,
    /// The early modules of that kernel, and of no other.
    early: &'static str,
    /// How Debian's name of the kernel ends.
    release: &'static str,
    page_size: u64,
    /// The program of the shared initramfs that the kernel runs.
    init: &'static str,
    /// Where the machine has the card.
    data: &'static str,
    watchdog: Watchdog,
}

/// The machine's watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watchdog {
    /// There, and left alone: QEMU's would reset the machine.
    Bcm2835,
    /// Armed.
    I6300esb,
    /// Debian's 32-bit kernels have no driver for the one of `virt`.
    None,
}

const ARMV6: Expected = Expected {
    kernel: "kernel.img",
    early: "early.img",
    release: "-rpi",
    page_size: 4096,
    init: "armv6",
    data: "/dev/mmcblk0p4",
    watchdog: Watchdog::Bcm2835,
};
const ARMV7: Expected =
    Expected { kernel: "kernel7.img", early: "early7.img", release: "-armmp", ..ARMV6 };
const LPAE: Expected = Expected {
    kernel: "kernel7l.img",
    early: "early7l.img",
    release: "-armmp-lpae",
    data: "/dev/vda4",
    watchdog: Watchdog::None,
    ..ARMV6
};
const ARM64: Expected = Expected {
    kernel: "kernel8.img",
    early: "early8.img",
    release: "-arm64",
    init: "aarch64",
    ..ARMV6
};
const ARM64_16K: Expected = Expected {
    kernel: "kernel_2712.img",
    early: "early16k.img",
    release: "-arm64-16k",
    page_size: 16 << 10,
    watchdog: Watchdog::I6300esb,
    ..ARM64
};

pub(crate) fn cases() -> Vec<Case> {
    let one = |name, expected| case(&format!("board-{name}"), OnBoard::new(name), expected, "a");
    let lpae = OnBoard { arm_64bit: Some(false), ..OnBoard::new("pi4b") };
    vec![
        with_tool("pi0", ARMV6),
        one("pi1a+", ARMV6),
        one("pi2b", ARMV7),
        case("board-pi4b-32bit", lpae, LPAE, "a"),
        one("pi3b", ARM64),
        one("pi4b", ARM64),
        one("pi5", ARM64_16K),
        trials::on_board(|seen| boots(seen, ARM64_16K, "a")),
        other_slot(),
    ]
}

/// The tool runs there, too, and finds that all is as it was made.
fn with_tool(name: &'static str, expected: Expected) -> Case {
    let board = Base::Board(OnBoard::new(name));
    let limit = Duration::from_secs(240);
    Case { base: board, limit, ..Case::new(&format!("board-{name}")) }.boot(
        "witness.run=bootsel,status,--json",
        move |seen| {
            boots(seen, expected, "a")?;
            let ran = seen.report()?.ran.first().context("bootsel was not run")?;
            ensure!(ran.status == Some(0), "{ran:?}");
            let status: Value = serde_json::from_str(&ran.stdout)?;
            let is = |path, expected: Value| {
                let found = status.pointer(path);
                ensure!(found == Some(&expected), "{path} is {found:?}, not {expected}: {status}");
                Ok(())
            };
            is("/booted", "a".into())?;
            is("/default", "a".into())?;
            is("/trial", false.into())?;
            is("/slots/a/complete", true.into())?;
            is("/slots/b/complete", true.into())
        },
    )
}

fn case(name: &str, board: OnBoard, expected: Expected, slot: &'static str) -> Case {
    Case { base: Base::Board(board), limit: Duration::from_secs(240), ..Case::new(name) }
        .boot("", move |seen| boots(seen, expected, slot))
}

/// The modules image of the booted kernel is cut off: init asks for the other slot, once. Its argument of the restart
/// makes the next start a trial, where the kernel is taken for a vendor's.
fn other_slot() -> Case {
    let prepare = |disk: &DiskCopy| {
        let names = disk.revision_files("modules_")?;
        let name = names.iter().find(|name| name.contains("16k")).context("no modules image")?;
        let path = format!("{REVISION}/{name}");
        let mut image = disk.read(&path)?;
        image.truncate(image.len() / 2);
        disk.write(&path, &image)
    };
    let base = Base::Board(OnBoard::new("pi5"));
    Case { base, prepare, ..Case::new("board-other-slot") }
        .boot("", |seen| {
            seen.says("reboot: Restarting system with command '0 tryboot'")?;
            seen.ended_by("guest-reset")
        })
        .boot("", |seen| {
            ensure!(seen.chosen.is_some_and(|boot| boot.tryboot), "no trial: {:?}", seen.chosen);
            fact(seen, "slot", "b")?;
            // The firmware calls it a trial, and then nothing would be left that boots.
            fact(seen, "trial", "no")?;
            boots_without(seen, "bytes instead of")
        })
}

fn boots(seen: &Seen<'_>, expected: Expected, slot: &str) -> Result<()> {
    chosen(seen, expected, slot)?;
    entered(seen)?;
    revision(seen, expected.data)?;
    let report = seen.report()?;
    ensure!(report.release.ends_with(expected.release), "Linux {}", report.release);
    page_size(seen, expected.page_size)?;
    fact(seen, "init", expected.init)?;
    fact(seen, "slot", slot)?;
    watchdog(seen, expected.watchdog)?;
    let lacks = |what: &String| !what.starts_with("there is no watchdog to arm");
    let armed = expected.watchdog != Watchdog::None;
    let degraded: Vec<_> =
        degraded(seen)?.into_iter().filter(|what| armed || lacks(what)).collect();
    ensure!(degraded.is_empty(), "it is degraded: {degraded:?}");
    Ok(())
}

/// What the firmware would have loaded.
fn chosen(seen: &Seen<'_>, expected: Expected, slot: &str) -> Result<()> {
    let boot = seen.chosen.context("no board has chosen")?;
    ensure!(boot.kernel == expected.kernel, "kernel {}", boot.kernel);
    ensure!(boot.initramfs == ["initrd", expected.early], "initramfs {:?}", boot.initramfs);
    ensure!(boot.partition == if slot == "a" { 2 } else { 3 }, "partition {}", boot.partition);
    ensure!(boot.missing.is_empty(), "a board would stop: {:?}", boot.missing);
    Ok(())
}

fn watchdog(seen: &Seen<'_>, expected: Watchdog) -> Result<()> {
    let found = &seen.report()?.watchdog;
    let (identity, state) = match expected {
        Watchdog::None => {
            ensure!(found.is_none(), "{found:?}");
            return Ok(());
        }
        Watchdog::Bcm2835 => ("Broadcom BCM2835", "inactive"),
        Watchdog::I6300esb => ("i6300ESB", "active"),
    };
    let found = found.as_ref().context("there is no watchdog")?;
    ensure!(found.identity.starts_with(identity) && found.state == state, "{found:?}");
    Ok(())
}
