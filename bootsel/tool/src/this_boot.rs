// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be found out of this boot without looking at the slots, and what ends it: for what must work where a disk
//! or half the system does not.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bootsel::Slot;
use bootsel::log::TRIAL_FAILED;
use bootsel::state::{self, Selector};
use rustix::mount::{MountFlags, mount_remount};

use crate::disk::Disk;
use crate::error::{Error, Result, failed};
use crate::journal::Journal;
use crate::root::{Root, word};
use crate::selector::{Found, is_efi};
use crate::{machine, say};

/// The command line's and the device tree's word, the log's, and the selector's.
#[derive(Debug)]
pub(crate) struct ThisBoot {
    pub(crate) default: Option<Slot>,
    pub(crate) booted: Option<Slot>,
    /// See [`state::Facts::tryboot`].
    pub(crate) tryboot: Option<bool>,
    /// See [`state::Facts::pending`].
    pending: bool,
    pub(crate) boot_id: String,
    pub(crate) revision: String,
    pub(crate) journal: Journal,
}

/// The slot whose command line the kernel was given.
pub(crate) fn booted(root: &Root) -> Option<Slot> {
    word(&root.cmdline(), "pivot.slot")?.parse().ok()
}

/// Whether this was started as a trial: the command line's word, as of GRUB, which passes it in a trial and never else,
/// or the firmware's.
pub(crate) fn tryboot(root: &Root) -> Option<bool> {
    let asked =
        word(&root.cmdline(), "pivot.trial").map(|value| ["", "1", "yes", "on"].contains(&value));
    let told = root.tree_number("chosen/bootloader/tryboot").map(|value| value != 0);
    asked.filter(|asked| *asked).or(told).or_else(|| is_efi(root).then_some(false))
}

/// Which boot this is.
pub(crate) fn boot_id(root: &Root) -> String {
    root.text("proc/sys/kernel/random/boot_id").unwrap_or_default()
}

impl ThisBoot {
    pub(crate) fn look(root: &Root, named: Option<&Path>) -> Self {
        Self::on(root, Disk::find(root, named).ok().as_ref())
    }

    pub(crate) fn on(root: &Root, disk: Option<&Disk>) -> Self {
        let found = disk.map(|disk| Found::read(root, disk));
        let default = match found.as_ref().map(|found| &found.selector) {
            Some(Selector::Set { default, .. }) => Some(*default),
            Some(Selector::Broken(_)) | None => None,
        };
        Self {
            default,
            booted: booted(root),
            tryboot: tryboot(root),
            pending: found.and_then(|found| found.pending).unwrap_or_default(),
            boot_id: boot_id(root),
            revision: word(&root.cmdline(), "pivot.revision").unwrap_or_default().to_owned(),
            journal: Journal::read(root),
        }
    }

    /// Hands the facts to a decision.
    pub(crate) fn with<T>(&self, decision: impl FnOnce(&state::ThisBoot<'_>) -> T) -> T {
        decision(&state::ThisBoot {
            default: self.default,
            booted: self.booted,
            tryboot: self.tryboot,
            pending: self.pending,
            boot_id: &self.boot_id,
            log: &self.journal.records(),
        })
    }

    /// See [`state::ThisBoot::uncommitted`].
    pub(crate) fn uncommitted(&self) -> Option<Slot> {
        self.with(|boot| boot.uncommitted())
    }

    /// Says in the log that the trial failed. Where that cannot be written it failed all the same.
    pub(crate) fn overdue(&mut self, slot: Slot, seconds: u64) {
        let why = format!("not committed within {seconds} s");
        say(&format!("the trial of slot {slot} failed: {why}"));
        let Self { revision, boot_id, .. } = self;
        if let Err(why) = self.journal.write(TRIAL_FAILED, slot, revision, boot_id, &why) {
            say(&format!("warning: {why}"));
        }
        rustix::fs::sync();
    }
}

/// There until the next boot: the system that runs is committed, whatever becomes of its disk.
const COMMITTED: &str = "run/pivot/committed";

/// Where this cannot be noted, a disk that hangs at the deadline looks like a trial.
pub(crate) fn remember_commit(root: &Root) {
    let path = root.path(COMMITTED);
    if let Err(why) = std::fs::write(&path, "") {
        say(&format!("warning: cannot write {}: {why}", path.display()));
    }
}

/// Whether [`remember_commit`] was here.
pub(crate) fn is_committed(root: &Root) -> bool {
    root.path(COMMITTED).exists()
}

/// Seconds since the kernel started.
pub(crate) fn uptime() -> u64 {
    uapi::clock::boottime() / 1_000_000_000
}

/// What a function gives, if it comes to its end in time. Where it does not, its thread stays behind: one that waits
/// for a disk that does not answer cannot be ended.
pub(crate) fn within<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // nobody waits any more where it took too long
        let _ = sender.send(work());
    });
    receiver.recv_timeout(time).ok()
}

/// Restarts without the help of an init: everything is written, and file systems are marked clean where they can be.
/// Returns only where the system is another one, or the kernel refuses.
pub(crate) fn restart(root: &Root, argument: bool) -> Result<&'static str> {
    const LONG: Duration = Duration::from_secs(10);
    if !root.is_real() {
        return Ok("not restarted: --root is another system");
    }
    // a disk that does not answer must not keep it from restarting
    within(LONG, rustix::fs::sync);
    let of_root = root.clone();
    within(LONG, move || unmount(&of_root));
    at_once(argument)
}

/// Restarts and does nothing else.
pub(crate) fn at_once(argument: bool) -> Result<&'static str> {
    let restarted = match argument {
        true => uapi::reboot::restart2(c"0 tryboot"),
        false => uapi::reboot::restart(),
    };
    restarted.map_err(failed("cannot restart"))?;
    Err(Error::Failed("the kernel does not restart".to_owned()))
}

/// Makes the data partition read-only, by force where it is in use: all file systems are then. What finds it clean in
/// the next boot knows that nobody was reset.
fn unmount(root: &Root) {
    let read_only = || machine::data(root).is_none_or(|data| data.read_only);
    if read_only() || mount_remount("/run/pivot/data", MountFlags::RDONLY, "").is_ok() {
        return;
    }
    // "u", the emergency remount, which the kernel does in the background (Linux, admin-guide/sysrq.rst)
    if std::fs::write("/proc/sysrq-trigger", "u").is_ok() {
        while !read_only() {
            thread::sleep(Duration::from_millis(50));
        }
    }
}
