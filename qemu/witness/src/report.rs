// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of a booted system, as the new init finds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything; each field is a record of its own on the way.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// `AT_PAGESZ`.
    pub page_size: u64,
    /// Of the process that reports.
    pub pid: u32,
    /// Without the program's own name.
    pub arguments: Vec<String>,
    /// As the kernel gave it.
    pub environment: BTreeMap<String, String>,
    /// `/proc/cmdline`, what is no UTF-8 replaced.
    pub cmdline: String,
    /// `/proc/self/mountinfo`.
    pub mounts: Vec<Mount>,
    /// Names in `/proc/modules`.
    pub modules: Vec<String>,
    /// Loop devices with a backing file.
    pub loops: Vec<Loop>,
    /// The first watchdog, if there is one.
    pub watchdog: Option<Watchdog>,
    /// Open descriptors before the report's own: number and target.
    pub descriptors: BTreeMap<String, String>,
    /// Processes beside this one and the kernel's threads.
    pub processes: Vec<String>,
    /// `ok`, or why a child may not have a user namespace of its own.
    pub user_namespace: String,
    /// `firmware_class.path`.
    pub firmware_path: String,
    /// What lies in `/lib/modules/RELEASE`.
    pub lib_modules: Vec<String>,
    /// What lies in `/lib/firmware`.
    pub lib_firmware: Vec<String>,
    /// `/run/pivot/boot.json`.
    pub boot: Option<Value>,
    /// Each `witness.write=PATH`: `ok` or the reason.
    pub written: BTreeMap<String, String>,
    /// Each `witness.read=PATH`: the content, or `None`.
    pub read: BTreeMap<String, Option<String>>,
    /// Each `witness.run=WORDS`, in their order.
    #[serde(default)]
    pub ran: Vec<Ran>,
    /// What happened to the mounts at the end: `ok` or the reason.
    pub remounted: BTreeMap<String, String>,
    /// What is left in the initramfs, paths relative to its root; `None` where it was not looked at.
    pub initramfs: Option<Vec<String>>,
    /// Sent last. A run without it failed.
    pub complete: bool,
}

/// A program that was run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Ran {
    /// Its words.
    pub command: Vec<String>,
    /// Its exit status; `None` where a signal ended it or it could not be started.
    pub status: Option<i32>,
    /// What it wrote.
    pub stdout: String,
    /// Likewise; or why it could not be started.
    pub stderr: String,
}

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Mount {
    /// The directory of the file system that is shown here.
    pub root: String,
    /// Where.
    pub target: String,
    /// Per mount.
    pub options: String,
    /// `ext4`.
    pub kind: String,
    /// `/dev/vda4`.
    pub source: String,
    /// Per superblock.
    pub super_options: String,
}

/// A loop device in use.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Loop {
    /// `loop0`.
    pub name: String,
    /// The path of its file, as the kernel sees it now.
    pub backing_file: String,
    /// Freed with the last mount.
    pub autoclear: bool,
    /// `/sys/block/loopN/ro`.
    pub read_only: bool,
}

/// `/sys/class/watchdog/watchdog0`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Watchdog {
    /// The driver's name for it.
    pub identity: String,
    /// `active` or `inactive`.
    pub state: String,
    /// Seconds.
    pub timeout: String,
    /// `1` where it cannot be stopped.
    pub nowayout: String,
}

impl Report {
    /// The mount on `target`: the topmost of several.
    #[must_use]
    pub fn mount(&self, target: &str) -> Option<&Mount> {
        self.mounts.iter().rev().find(|mount| mount.target == target)
    }

    /// File names of the images that loop devices show.
    #[must_use]
    pub fn images(&self) -> Vec<&str> {
        let mut names: Vec<_> =
            self.loops.iter().filter_map(|l| l.backing_file.rsplit('/').next()).collect();
        names.sort_unstable();
        names
    }
}
