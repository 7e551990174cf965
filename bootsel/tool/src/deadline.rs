// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ends a trial that is not committed, when somebody's timer says that it is time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::root::Root;
use crate::say;
use crate::this_boot::{self, ThisBoot, uptime, within};

/// Reading a selector and writing a record takes milliseconds; a card that is busy may take seconds.
const DISK: Duration = Duration::from_secs(30);
/// systemd-shutdown waits 90 s for what does not end, then unmounts. (`DEFAULT_TIMEOUT_SEC`)
const SYSTEMD: Duration = Duration::from_mins(3);

/// `bootsel deadline`
pub(crate) fn deadline(root: &Root, named: Option<&Path>) -> Result<()> {
    let (of_root, named) = (root.clone(), named.map(PathBuf::from));
    // Held until the restart: nobody commits what was said to have failed.
    let lock = root.lock_within(Duration::from_secs(10));
    if let Err(why) = &lock {
        say(&format!("warning: {why}"));
    }
    let overdue = within(DISK, move || {
        let mut boot = ThisBoot::look(&of_root, named.as_deref());
        let overdue = boot.uncommitted();
        overdue.inspect(|slot| boot.overdue(*slot, uptime())).is_some()
    });
    match overdue {
        Some(true) => restart(root),
        Some(false) => Ok(()),
        // a disk that does not answer is no commit, and the restart is the way back from a driver that hangs
        None if this_boot::tryboot(root) == Some(true) && !this_boot::is_committed(root) => {
            restart(root)
        }
        None => Err(Error::Failed(format!("the disk does not answer for {} s", DISK.as_secs()))),
    }
}

/// By systemd without ending services, which may hang in a trial that failed; by the kernel where that does not work.
fn restart(root: &Root) -> Result<()> {
    if root.is_real() && root.path("run/systemd/system").is_dir() {
        let asked =
            within(SYSTEMD, || Command::new("systemctl").args(["--force", "reboot"]).status());
        match asked {
            Some(Ok(status)) if status.success() => thread::sleep(SYSTEMD),
            Some(Ok(status)) => say(&format!("warning: systemctl --force reboot: {status}")),
            Some(Err(why)) => say(&format!("warning: cannot run systemctl: {why}")),
            None => say("warning: systemd does not answer"),
        }
    }
    say(this_boot::restart(root, false)?);
    Ok(())
}
