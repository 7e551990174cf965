// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test root: its init reports what it finds.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{Programs, Tree};
use crate::cargo;
use crate::fetch::{self, Store, Wanted};

/// How the directories lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// /lib and /sbin are links, /lib an absolute one: followed on the initramfs' side it would lead nowhere.
    Merged,
    /// No links: for file systems that have none.
    Plain,
}

pub(crate) fn tree(programs: Programs, layout: Layout) -> Result<Tree> {
    let common = ["dev", "etc", "mnt", "proc", "run", "sys", "tmp"];
    let tree = Tree::new(&common)?;
    let usr = if layout == Layout::Merged { "usr/" } else { "" };
    for directory in ["lib/firmware", "lib/modules", "sbin"] {
        fs::create_dir_all(tree.path().join(format!("{usr}{directory}")))?;
    }
    if layout == Layout::Merged {
        tree.link("lib", "/usr/lib")?;
        tree.link("sbin", "usr/sbin")?;
    }
    let program = match programs {
        Programs::Arm64 => cargo::WITNESS,
        Programs::EveryPi => cargo::WITNESS_ARMV6,
    };
    tree.program(&format!("{usr}sbin/init"), &program.shipped()?)?;
    if programs == Programs::EveryPi {
        tree.program(&format!("{usr}sbin/bootsel"), &cargo::BOOTSEL_ARMV6.shipped()?)?;
    }
    Ok(tree)
}

/// Where the device's root says which it is.
pub(crate) const IDENTITY: &str = "/etc/identity";

/// Feeds the watchdog while the witness works, and lets it go on.
const GUARD: &str = "#!/bin/sh
/usr/sbin/bootsel guard > /dev/console 2>&1 < /dev/null &
";

/// Keeps a trial, installs whichever bundle is not the one that runs, and tries it. It says how far it is, and when.
const UPDATES: &str = "#!/bin/sh
says() {
    read -r uptime rest < /proc/uptime
    echo \"updates: $1 $uptime\" > /dev/console
}
says commit
/usr/sbin/bootsel commit || exit 1
says install
for bundle in /run/pivot/data/*.bundle; do
    /usr/sbin/bootsel install --allow-downgrade \"$bundle\" && break
done
says try
/usr/sbin/bootsel try --force
";

/// The root of a device that is updated, without systemd: the witness, a shell, `bootsel`, and the key that bundles are
/// signed with.
pub(crate) fn device(programs: Programs, identity: &str, key: &Path) -> Result<Tree> {
    let tree = tree(programs, Layout::Merged)?;
    for directory in ["bin", "etc/pivot/keys"] {
        fs::create_dir_all(tree.path().join(directory))?;
    }
    let (bootsel, busybox) = match programs {
        Programs::Arm64 => (cargo::BOOTSEL, Wanted::Busybox),
        Programs::EveryPi => (cargo::BOOTSEL_ARMV6, Wanted::BusyboxArmel),
    };
    tree.program("usr/sbin/bootsel", &bootsel.shipped()?)?;
    let package = Store::open()?.get(busybox)?;
    fetch::unpack(&package, "bin/busybox", &tree.path().join("bin/busybox"))?;
    tree.link("bin/sh", "busybox")?;
    tree.file("etc/rc.guard", GUARD, 0o755)?;
    tree.file("etc/rc.updates", UPDATES, 0o755)?;
    tree.file(IDENTITY.trim_start_matches('/'), &format!("{identity}\n"), 0o644)?;
    fs::copy(key, tree.path().join("etc/pivot/keys/test.pub"))?;
    Ok(tree)
}
