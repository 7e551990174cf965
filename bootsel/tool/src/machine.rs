// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the running machine says of itself. All of it is shown, and nothing of it decides.

use std::path::PathBuf;

use serde_json::Value;

use crate::root::{Root, names};

/// The data partition as it is mounted.
#[derive(Debug)]
pub(crate) struct Data {
    /// The kernel's name: mmcblk0p4.
    pub(crate) device: String,
    pub(crate) read_only: bool,
    /// Errors that ext4 counted since e2fsck was run, in this boot or before.
    pub(crate) errors: u64,
}

/// From its line in mountinfo.
pub(crate) fn data(root: &Root) -> Option<Data> {
    let mounts = root.text("proc/self/mountinfo")?;
    let line =
        mounts.lines().rev().find(|line| line.split(' ').nth(4) == Some("/run/pivot/data"))?;
    let mut source = line.split(" - ").nth(1)?.split(' ');
    let device = source.nth(1)?.rsplit('/').next()?.to_owned();
    let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
    let read_only = line.split(' ').nth(5).is_some_and(has_ro) || source.next().is_some_and(has_ro);
    let errors = root.text(&format!("sys/fs/ext4/{device}/errors_count"));
    let errors = errors.and_then(|text| text.parse().ok()).unwrap_or_default();
    Some(Data { device, read_only, errors })
}

impl Data {
    /// What is wrong with it, and what to do.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self { device, errors, .. } = self;
        let what = match (self.read_only, errors) {
            (false, 0) => return None,
            (true, 0) => format!("the data partition ({device}) is read-only"),
            (false, _) => {
                format!("the data partition ({device}) has errors: ext4 counted {errors}")
            }
            (true, _) => {
                format!("the data partition ({device}) is read-only: ext4 counted {errors} errors")
            }
        };
        Some(format!(
            "{what}; a restart mends it where the initramfs has e2fsck, otherwise run e2fsck -f on it in another machine"
        ))
    }
}

/// The hardware watchdog.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pub(crate) identity: String,
    pub(crate) timeout: Option<u32>,
    pub(crate) state: Option<String>,
    /// `WDIOF_*` of `linux/watchdog.h`: why the machine was reset, where the driver can tell.
    pub(crate) bootstatus: Option<u32>,
}

/// From sysfs: opening it would start it.
pub(crate) fn watchdog(root: &Root) -> Option<Watchdog> {
    let read = |name: &str| root.text(&format!("sys/class/watchdog/watchdog0/{name}"));
    let number = |name| read(name)?.parse().ok();
    Some(Watchdog {
        identity: read("identity")?,
        timeout: number("timeout"),
        state: read("state"),
        bootstatus: number("bootstatus"),
    })
}

/// What init says of this boot.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The revision that runs: not the one of the slot where that was missing or broken.
    pub(crate) revision: Option<String>,
    /// What is missing although the boot went on.
    pub(crate) degraded: Vec<String>,
}

/// From its report, which is not there where another init booted.
pub(crate) fn report(root: &Root) -> Report {
    let text = root.text("run/pivot/boot.json").unwrap_or_default();
    let Ok(report) = serde_json::from_str::<Value>(&text) else { return Report::default() };
    let texts = report.get("degraded").and_then(Value::as_array).into_iter().flatten();
    Report {
        revision: report.get("revision").and_then(Value::as_str).map(str::to_owned),
        degraded: texts.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}

/// The directory of the kernel's last words, kept from earlier boots.
pub(crate) fn store(root: &Root) -> PathBuf {
    root.pivot("log/pstore")
}

/// How many there are, and the newest.
pub(crate) fn kept(root: &Root) -> (usize, Option<String>) {
    let mut kept = names(&store(root));
    kept.retain(|name| !name.starts_with('.'));
    (kept.len(), kept.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_partition() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let put = |name: &str, text: &str| {
            let path = root.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert!(data(&root).is_none());
        let line = |options: &str, of_super: &str| {
            format!(
                "20 1 0:5 / /run rw - tmpfs x rw\n24 20 179:4 / /run/pivot/data {options} shared:3 - ext4 /dev/mmcblk0p4 {of_super}\n"
            )
        };
        put("proc/self/mountinfo", &line("rw,noatime", "rw"));
        let found = data(&root).unwrap();
        assert_eq!((found.device.as_str(), found.problem()), ("mmcblk0p4", None));
        put("proc/self/mountinfo", &line("rw", "ro"));
        assert!(data(&root).unwrap().problem().unwrap().contains("is read-only; a restart"));
        put("sys/fs/ext4/mmcblk0p4/errors_count", "3\n");
        assert!(data(&root).unwrap().problem().unwrap().contains("ext4 counted 3 errors"));
    }
}
