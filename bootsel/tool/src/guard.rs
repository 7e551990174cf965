// SPDX-License-Identifier: MIT OR Apache-2.0
//! Feeds the watchdog and ends a trial that is not committed in time, for a root without systemd.
//!
//! Two threads. One feeds, and touches nothing but the watchdog: a card that is busy for longer than the watchdog's
//! timeout must not reset a good system. The other looks at the disk, as long as a trial is not committed and no longer.
//! So a disk that does not answer any more has two ends. In a trial nobody can commit, and at the deadline the feeding
//! stops whether the second thread came back or not: a driver that hangs is a reason to go back. In a committed system
//! it is none: the next boot would have the same disk, and what still runs may be of use.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::mm::{MlockAllFlags, mlockall};

use crate::error::{Result, refused};
use crate::root::{Root, word};
use crate::say;
use crate::this_boot::{self, ThisBoot, uptime};

const WATCHDOG: &str = "dev/watchdog0";
const SYSFS: &str = "sys/class/watchdog/watchdog0";
/// Where the timeout cannot be asked for: that of a Raspberry Pi.
const TIMEOUT: u32 = 15;
/// How often it is looked whether the trial was committed: some sectors are read.
const POLL: Duration = Duration::from_secs(5);
/// From the deadline on, for the record and the restart, before the restart comes without a record.
const GRACE: u64 = 20;

/// The watchdog, as far as there is one.
#[derive(Debug)]
struct Watchdog {
    root: Root,
    device: Option<File>,
    third: Duration,
    warned: bool,
}

impl Watchdog {
    fn new(root: &Root) -> Self {
        let third = Duration::from_secs(TIMEOUT.into()) / 3;
        Self { root: root.clone(), device: None, third, warned: false }
    }

    /// The rule that init has: one that was asked for, or that runs already.
    fn is_wanted(&self) -> bool {
        match word(&self.root.cmdline(), "pivot.watchdog") {
            Some("off") => false,
            Some(_) => true,
            None => self.root.text(&format!("{SYSFS}/state")).as_deref() == Some("active"),
        }
    }

    /// Feeds it, and opens it first where that was not possible before: its driver may come late, or another may have
    /// let go of it.
    fn feed(&mut self) {
        if self.device.is_none() && self.is_wanted() {
            self.open();
        }
        // any byte but the magic V: the watchdog runs on when this program ends
        if let Some(device) = &mut self.device
            && let Err(why) = device.write_all(b".")
        {
            say(&format!("warning: cannot feed /{WATCHDOG}: {why}"));
            self.device = None;
        }
    }

    fn open(&mut self) {
        match OpenOptions::new().write(true).open(self.root.path(WATCHDOG)) {
            Ok(device) => {
                let asked = uapi::watchdog::get_timeout(device.as_fd()).ok();
                let told = || self.root.text(&format!("{SYSFS}/timeout"))?.parse().ok();
                let timeout = asked.map(i32::unsigned_abs).or_else(told).unwrap_or(TIMEOUT);
                say(&format!("feeding the watchdog, whose timeout is {timeout} s"));
                self.third = Duration::from_secs(timeout.max(1).into()) / 3;
                self.device = Some(device);
            }
            Err(why) if !self.warned => {
                say(&format!(
                    "warning: cannot open /{WATCHDOG}: {why}; a hang will not be noticed"
                ));
                self.warned = true;
            }
            Err(_) => {}
        }
    }
}

/// What the second thread found out.
#[derive(Debug, Default)]
struct Found {
    /// Nothing is to be guarded but the watchdog.
    safe: AtomicBool,
    /// The restart was asked for, and this system is not the one that runs.
    over: AtomicBool,
}

/// `bootsel guard`: ends with the system.
pub(crate) fn guard(root: &Root, named: Option<&Path>, deadline: u64) -> Result<()> {
    let _alone = alone(root)?;
    if root.is_real() {
        // its own pages must not have to be read from a disk that hangs; without, it is fed as long as they are there
        let _ = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    }
    let found = Arc::new(Found::default());
    let (of_root, named, told) = (root.clone(), named.map(PathBuf::from), Arc::clone(&found));
    thread::spawn(move || watch(&of_root, named.as_deref(), deadline, &told));
    let mut watchdog = Watchdog::new(root);
    loop {
        let (safe, late) = (found.safe.load(Ordering::Relaxed), uptime().checked_sub(deadline));
        match late.filter(|_| !safe) {
            None => watchdog.feed(),
            Some(_) if found.over.load(Ordering::Relaxed) => return Ok(()),
            Some(late) if late > GRACE && root.is_real() => {
                say("the disk does not answer: restarting without a record");
                // if the kernel refuses, the watchdog does it
                let _ = this_boot::at_once(false);
            }
            Some(_) => {}
        }
        thread::sleep(watchdog.third);
    }
}

/// One is enough: two would end a trial twice.
fn alone(root: &Root) -> Result<Option<File>> {
    let path = root.path("run/pivot/guard.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let locked =
        file.ok().map(|file| (flock(&file, FlockOperation::NonBlockingLockExclusive), file));
    match locked {
        Some((Err(rustix::io::Errno::WOULDBLOCK), _)) => {
            refused("another bootsel guard is at work")
        }
        // better unguarded against a second one than without a first
        locked => Ok(locked.map(|(_, file)| file)),
    }
}

/// Looks until the trial is over.
fn watch(root: &Root, named: Option<&Path>, deadline: u64, found: &Found) {
    let mut running = None;
    loop {
        let boot = look(root, named, &mut running);
        if boot.uncommitted().is_none() {
            break;
        }
        let left = Duration::from_secs(deadline.saturating_sub(uptime()));
        if left.is_zero() && end(root, named, deadline, &mut running) {
            found.over.store(true, Ordering::Relaxed);
            return;
        }
        thread::sleep(left.clamp(Duration::from_millis(100), POLL));
    }
    found.safe.store(true, Ordering::Relaxed);
}

/// A trial that was seen to run is one until it is committed or given up: a log that cannot be read any more, by which
/// it was known, changes nothing.
fn look(root: &Root, named: Option<&Path>, running: &mut Option<bool>) -> ThisBoot {
    let mut boot = ThisBoot::look(root, named);
    boot.tryboot = running.or(boot.tryboot);
    if boot.uncommitted().is_some() {
        *running = Some(true);
    }
    boot
}

/// Ends the trial, if it is still not committed when no other command is at work. Whether it did.
fn end(root: &Root, named: Option<&Path>, deadline: u64, running: &mut Option<bool>) -> bool {
    // a commit that takes longer than this hangs
    let lock = root.lock_within(Duration::from_secs(10));
    if let Err(why) = &lock {
        say(&format!("warning: {why}"));
    }
    let mut boot = look(root, named, running);
    let Some(slot) = boot.uncommitted() else { return false };
    boot.overdue(slot, deadline);
    match this_boot::restart(root, false) {
        Ok(what) => say(what),
        Err(why) => say(&format!("{why}: the watchdog is left to do it")),
    }
    true
}
