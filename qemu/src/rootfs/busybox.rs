// SPDX-License-Identifier: MIT OR Apache-2.0
//! The smallest system that a person can type into.

use anyhow::Result;

use super::{Programs, Tree};
use crate::fetch::{self, Store, Wanted};

/// pivot has mounted /dev, /proc, /sys and /run; nothing is mounted again. Applets go to /run, which is always
/// writable.
const START: &str = "#!/bin/sh
mkdir -p /run/bin /dev/pts
/bin/busybox --install -s /run/bin
PATH=/run/bin
hostname pivot
mount -t devpts devpts /dev/pts
# pivot hands the watchdog over running: who does not feed it is reset. One that does not run is left alone.
[ \"$(cat /sys/class/watchdog/watchdog0/state)\" = active ] && watchdog -T 15 -t 5 /dev/watchdog0
echo
echo \"This is busybox on Linux $(uname -r), started by pivot.\"
echo 'dmesg | grep pivot         what pivot did
cat /run/pivot/boot.json   the same with times
ls /run/pivot/data         the data partition
poweroff                   the end'
echo
";

/// The data partition is left clean. The root first: an overlay's files may lie there.
const STOP: &str = "#!/bin/sh
PATH=/run/bin
sync
mount -o remount,ro /
mount -o remount,ro /run/pivot/data
";

const INITTAB: &str = "::sysinit:/etc/rc.start
ttyAMA0::respawn:-/bin/sh
::ctrlaltdel:/bin/busybox reboot
::shutdown:/etc/rc.stop
";

const PROFILE: &str = "export PATH=/run/bin:/bin:/sbin HOME=/root PS1='pivot:\\w# '\ncd\n";

pub(super) fn tree(programs: Programs) -> Result<Tree> {
    let directories = [
        "bin",
        "dev",
        "etc",
        "lib/firmware",
        "lib/modules",
        "mnt",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
    ];
    let tree = Tree::new(&directories)?;
    let package = Store::open()?.get(match programs {
        Programs::Arm64 => Wanted::Busybox,
        Programs::EveryPi => Wanted::BusyboxArmel,
    })?;
    fetch::unpack(&package, "bin/busybox", &tree.path().join("bin/busybox"))?;
    for shell in ["bin/sh", "bin/mkdir"] {
        tree.link(shell, "busybox")?;
    }
    tree.link("sbin/init", "../bin/busybox")?;
    tree.file("etc/inittab", INITTAB, 0o644)?;
    tree.file("etc/profile", PROFILE, 0o644)?;
    tree.file("etc/passwd", "root::0:0:root:/root:/bin/sh\n", 0o644)?;
    tree.file("etc/rc.start", START, 0o755)?;
    tree.file("etc/rc.stop", STOP, 0o755)?;
    Ok(tree)
}
