// SPDX-License-Identifier: MIT OR Apache-2.0
//! A container by Debian's runc in a booted Debian, as root and as an ordinary user.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Kernel, disk, judge, person};
use crate::e2e::disk::DiskCopy;
use crate::e2e::seen::Seen;
use crate::fetch::{self, Store, Wanted};
use crate::rootfs::{Programs, Rootfs};
use crate::run::Typed;

/// Runs in the container, by busybox.
const HELLO: &str = "#!/bin/sh
echo \"hello: uid $(id -u), process $$, on $(hostname)\"
echo hello: map $(cat /proc/self/uid_map)
echo \"hello: links $(ls /sys/class/net | tr '\\n' ' ')\"
echo hello: $(grep Seccomp: /proc/self/status)
echo hello: processes $(cat /sys/fs/cgroup/pids.max 2>/dev/null)
touch /file 2>/dev/null || echo hello: the root is read-only
";

/// Makes the bundle of an OCI container, and runs it; the options go to `runc spec`.
const CONTAINER: &str = "#!/bin/sh
set -e
name=$1; shift
mkdir -p bundle/rootfs/bin bundle/rootfs/proc bundle/rootfs/dev bundle/rootfs/sys
cp /run/pivot/data/busybox /run/pivot/data/hello bundle/rootfs/bin
chmod 755 bundle/rootfs/bin/*
for tool in sh cat grep hostname id ls touch tr; do ln -s busybox bundle/rootfs/bin/$tool; done
cd bundle
runc spec \"$@\"
sed -i -f /run/pivot/data/edit config.json
runc --root \"$HOME/runc\" run $name < /dev/null
";

/// What `runc spec` leaves open: a program of ours without a terminal, a filter of system calls, and, as root, a limit.
const EDIT: &str = r#"
s/"terminal": true/"terminal": false/
s|^\t\t\t"sh"|\t\t\t"/bin/hello"|
s/"linux": {/"linux": { "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [ { "names": [ "swapon" ], "action": "SCMP_ACT_ERRNO" } ] },/
s/"resources": {/"resources": { "pids": { "limit": 20 },/
"#;

/// All of it, in the guest.
const STORY: &str = "#!/bin/sh
install -m 755 /run/pivot/data/runc /usr/local/bin/runc
install -m 755 /run/pivot/data/container /usr/local/bin/container
useradd --create-home person
echo apparmor-$(cat /sys/module/apparmor/parameters/enabled)-end
cd /root && container first && echo root-done
su - person -c 'container second --rootless' && echo rootless-done
echo story-''end
";

const PERSON: &[Typed] = &[
    Typed { after: "login: ", text: "root\n" },
    Typed { after: "# ", text: "sh /run/pivot/data/story\n" },
    Typed { after: "story-end\n", text: "poweroff\n" },
];

pub(super) fn run(kernel: &Kernel, directory: &Path) -> Result<String> {
    let root = Rootfs::Debian.squashfs(Programs::Arm64, directory)?;
    let image = disk(kernel, &root, "console=ttyAMA0 panic=-1 quiet", directory)?;
    let copy = DiskCopy::make(&image, directory)?;
    put(&copy, directory)?;
    let outcome = person(&image, &copy, PERSON)?;
    judge(&outcome, Some(&copy), directory, check)?;
    Ok("runc as root and rootless".into())
}

/// Puts the programs on the data partition.
fn put(copy: &DiskCopy, directory: &Path) -> Result<()> {
    let file = |name: &str| directory.join(name);
    {
        let mut store = Store::open()?;
        fetch::unpack(&store.get(Wanted::Runc)?, "usr/sbin/runc", &file("runc"))?;
        fetch::unpack(&store.get(Wanted::Busybox)?, "bin/busybox", &file("busybox"))?;
    }
    for (name, text) in
        [("hello", HELLO), ("container", CONTAINER), ("edit", EDIT), ("story", STORY)]
    {
        fs::write(file(name), text)?;
    }
    let names = ["runc", "busybox", "hello", "container", "edit", "story"];
    let write = |name: &&str| format!("write {} /{name}", file(name).display());
    copy.debugfs(&names.iter().map(write).collect::<Vec<_>>()).map(drop)
}

fn check(seen: &Seen<'_>) -> Result<()> {
    seen.ended_by("guest-shutdown")?;
    seen.says("\napparmor-Y-end\n")?;
    seen.says("\nroot-done\n")?;
    seen.says("\nrootless-done\n")?;
    let console = &seen.outcome.console;
    let all: Vec<&str> =
        console.lines().filter_map(|line| line.strip_prefix("hello: ")).map(str::trim).collect();
    let (as_root, rootless) = all.split_at(all.len() / 2);
    for said in [as_root, rootless] {
        let has = |what: &str| {
            let there = said.iter().any(|line| line.starts_with(what));
            ensure!(there, "no container says {what:?}: {all:?}");
            Ok(())
        };
        has("uid 0, process 1, on runc")?;
        has("Seccomp: 2")?;
        has("the root is read-only")?;
    }
    let map = |said: &[&str]| {
        let line = said.iter().find_map(|line| line.strip_prefix("map "));
        line.map(str::to_owned).context("no container says its map")
    };
    ensure!(map(as_root)? == "0 0 4294967295", "as root: {as_root:?}");
    let mine = map(rootless)?;
    ensure!(mine.starts_with("0 100") && mine.ends_with(" 1"), "rootless: {rootless:?}");
    // as root it has a network of its own, with nothing in it but itself
    ensure!(as_root.contains(&"links lo"), "as root: {as_root:?}");
    ensure!(as_root.contains(&"processes 20"), "as root: {as_root:?}");
    Ok(())
}
