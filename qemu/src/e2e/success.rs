// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots that come to their end.

use anyhow::{Context, Result, ensure};

use super::case::{Base, Case, Initrd, Seen};
use super::checks::{degraded, entered, fact, healthy, watchdog};
use super::disk::DiskCopy;
use super::{roots, trials};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case { after: trials::untouched, ..Case::new("gpt") }.boot("", |seen| {
            healthy(seen)?;
            fact(seen, "slot", "a")?;
            fact(seen, "trial", "no")?;
            fact(seen, "init", "aarch64")?;
            page_size(seen, 4096)?;
            stages(seen)
        }),
        Case { base: Base::Mbr, ..Case::new("mbr") }.boot("", healthy),
        Case { pages_16k: true, ..Case::new("16k-pages") }.boot("", |seen| {
            healthy(seen)?;
            page_size(seen, 16 << 10)
        }),
        // CONFIG_COMPAT: 64-bit kernels run the oldest boards' init, too.
        Case { initrd: Initrd::Armv6, ..Case::new("armv6-init") }.boot("", |seen| {
            healthy(seen)?;
            fact(seen, "init", "armv6")
        }),
        Case { initrd: Initrd::Armv6, pages_16k: true, ..Case::new("armv6-init-on-16k-pages") }
            .boot("", |seen| {
                healthy(seen)?;
                page_size(seen, 16 << 10)?;
                fact(seen, "init", "armv6")
            }),
        Case::new("module-from-image").boot(
            "pivot.modules=dummy dummy.numdummies=3 witness.read=/sys/class/net/dummy2/flags",
            |seen| {
                healthy(seen)?;
                let report = seen.report()?;
                ensure!(report.modules.iter().any(|name| name == "dummy"), "{:?}", report.modules);
                let third = report.read.values().all(Option::is_some);
                ensure!(third, "the module's option was lost: {:?}", report.read);
                Ok(())
            },
        ),
        Case::new("arguments").boot("plain NAME=value pivot.init=/sbin/init -- one two", |seen| {
            healthy(seen)?;
            let report = seen.report()?;
            ensure!(
                report.arguments.ends_with(&["one".into(), "two".into()]),
                "{:?}",
                report.arguments
            );
            let value = report.environment.get("NAME").map(String::as_str);
            ensure!(value == Some("value"), "{:?}", report.environment);
            Ok(())
        }),
    ];
    cases.extend(overlays());
    cases.extend(root_syntax());
    cases
}

pub(super) fn page_size(seen: &Seen<'_>, expected: u64) -> Result<()> {
    let found = seen.report()?.page_size;
    ensure!(found == expected, "pages of {found} bytes");
    Ok(())
}

/// Every stage is in boot.json, one after the other.
fn stages(seen: &Seen<'_>) -> Result<()> {
    let boot = seen.report()?.boot.as_ref().context("boot.json")?;
    let stages = boot.get("stages").and_then(|s| s.as_array()).context("no stages")?;
    let field = |stage: &serde_json::Value, name: &str| stage.get(name).and_then(|v| v.as_u64());
    let mut last = 0;
    for stage in stages {
        let (start, end) = (field(stage, "start_us"), field(stage, "end_us"));
        let (start, end) = (start.context("start_us")?, end.context("end_us")?);
        ensure!(last <= start && start <= end, "stages: {stages:?}");
        last = end;
    }
    let names: Vec<_> =
        stages.iter().filter_map(|stage| stage.get("name").and_then(|n| n.as_str())).collect();
    for name in ["api", "early_modules", "mount_data", "mount_root"] {
        ensure!(names.contains(&name), "stages: {names:?}");
    }
    Ok(())
}

fn overlays() -> Vec<Case> {
    let write = "witness.write=/etc/mark witness.read=/etc/mark";
    vec![
        Case::new("overlay-none").boot(format!("pivot.overlay=none {write}"), |seen| {
            healthy(seen)?;
            root(seen, "squashfs", "/dev/loop")?;
            let written = &seen.report()?.written;
            let refused = written.values().all(|outcome| outcome.contains("Read-only"));
            ensure!(refused, "{written:?}");
            Ok(())
        }),
        // Two boots: what the first wrote is gone in the second.
        Case::new("overlay-volatile")
            .boot(write, |seen| {
                healthy(seen)?;
                fact(seen, "overlay", "volatile")?;
                root(seen, "overlay", "")?;
                mark(seen, true)
            })
            .boot("witness.read=/etc/mark", |seen| {
                healthy(seen)?;
                mark(seen, false)
            }),
        // Two boots: what the first wrote is there in the second.
        Case { after: lies_per_revision, ..Case::new("overlay-persistent") }
            .boot(format!("pivot.overlay=persistent {write}"), |seen| {
                healthy(seen)?;
                fact(seen, "overlay", "persistent")?;
                mark(seen, true)
            })
            .boot("pivot.overlay=persistent witness.read=/etc/mark", |seen| {
                healthy(seen)?;
                mark(seen, true)
            }),
    ]
}

/// What another revision writes must not be mixed with it.
fn lies_per_revision(disk: &DiskCopy) -> Result<()> {
    let mark = disk.read("/pivot/state/overlay/1/upper/etc/mark")?;
    ensure!(!mark.is_empty(), "the file is not in the upper directory of revision 1");
    Ok(())
}

fn mark(seen: &Seen<'_>, there: bool) -> Result<()> {
    let read = &seen.report()?.read;
    ensure!(read.values().all(|content| content.is_some() == there), "{read:?}");
    Ok(())
}

fn root(seen: &Seen<'_>, kind: &str, source: &str) -> Result<()> {
    let root = seen.report()?.mount("/").context("nothing is mounted on /")?;
    ensure!(root.kind == kind && root.source.starts_with(source), "{root:?}");
    Ok(())
}

/// Every way to name a root device: the words, the device and the file system that must be found.
fn root_syntax() -> Vec<Case> {
    use Base::{RootsGpt as Gpt, RootsMbr as Mbr};
    let (partuuid, signature) = (roots::PARTUUID, roots::SIGNATURE);
    let (uuid, fat) = (roots::EXT4_UUID, roots::FAT_UUID);
    let upper = uuid.to_uppercase();
    let (label, fat_label) = (roots::EXT4_LABEL, roots::FAT_LABEL);
    let escaped = label.replace(' ', "\\x20");
    let table: Vec<(&str, Base, String, &str, &str)> = vec![
        ("partuuid", Gpt, format!("root=PARTUUID={partuuid}"), "vda1", "ext4"),
        (
            "partuuid-upper",
            Gpt,
            format!("root=PARTUUID={}", partuuid.to_uppercase()),
            "vda1",
            "ext4",
        ),
        ("partnroff", Gpt, format!("root=PARTUUID={partuuid}/PARTNROFF=2"), "vda3", "squashfs"),
        ("partlabel", Gpt, "root=PARTLABEL=three".into(), "vda3", "squashfs"),
        ("partlabel-blank", Gpt, "\"root=PARTLABEL=root one\"".into(), "vda1", "ext4"),
        ("mbr-partuuid", Mbr, format!("root=PARTUUID={signature}-01"), "vda1", "ext4"),
        (
            "mbr-partnroff",
            Mbr,
            format!("root=PARTUUID={signature}-01/PARTNROFF=2"),
            "vda3",
            "squashfs",
        ),
        ("uuid", Gpt, format!("root=UUID={uuid}"), "vda1", "ext4"),
        ("uuid-upper", Mbr, format!("root=UUID={upper}"), "vda1", "ext4"),
        ("uuid-fat", Mbr, format!("root=UUID={fat}"), "vda2", "vfat"),
        ("label", Mbr, format!("root=\"LABEL={label}\""), "vda1", "ext4"),
        ("label-fat", Gpt, format!("root=LABEL={fat_label}"), "vda2", "vfat"),
        ("dev", Gpt, "root=/dev/vda3".into(), "vda3", "squashfs"),
        ("by-uuid", Gpt, format!("root=/dev/disk/by-uuid/{uuid}"), "vda1", "ext4"),
        ("by-label", Gpt, format!("root=/dev/disk/by-label/{escaped}"), "vda1", "ext4"),
        ("by-partuuid", Gpt, format!("root=/dev/disk/by-partuuid/{partuuid}"), "vda1", "ext4"),
        ("by-partlabel", Gpt, "root=/dev/disk/by-partlabel/three".into(), "vda3", "squashfs"),
        ("major-minor", Gpt, "root=254:1".into(), "vda1", "ext4"),
        ("hexadecimal", Mbr, "root=fe01".into(), "vda1", "ext4"),
        ("pivot-root", Gpt, "root=/dev/nothing pivot.root=/dev/vda1".into(), "vda1", "ext4"),
        ("rootwait", Gpt, "root=/dev/vda1 rootwait rootdelay=1".into(), "vda1", "ext4"),
        ("rootfstype", Gpt, "root=/dev/vda1 rootfstype=xfs,ext4".into(), "vda1", "ext4"),
        ("last-wins", Gpt, "root=/dev/vda3 root=/dev/vda1".into(), "vda1", "ext4"),
    ];
    let mut cases: Vec<_> =
        table.into_iter().map(|row| plain_root(row.0, row.1, row.2, row.3, row.4)).collect();
    cases.extend([root_options(), root_volatile()]);
    cases
}

/// Without any parameter of ours: no data partition, no watchdog of its own, the root as the kernel would mount it.
fn plain_root(
    name: &str,
    base: Base,
    words: String,
    device: &'static str,
    kind: &'static str,
) -> Case {
    Case { base, ..Case::new(&format!("root-{name}")) }.boot(words, move |seen| {
        entered(seen)?;
        root(seen, kind, &format!("/dev/{device}"))?;
        let report = seen.report()?;
        watchdog(report, "inactive")?;
        ensure!(report.loops.is_empty(), "{:?}", report.loops);
        let options = &report.mount("/").context("/")?.options;
        ensure!(options.split(',').any(|option| option == "ro"), "mounted {options}");
        ensure!(degraded(seen)?.is_empty(), "{:?}", degraded(seen)?);
        Ok(())
    })
}

fn root_options() -> Case {
    let words = "root=/dev/vda1 rw rootflags=noatime,data=journal witness.write=/mark";
    Case { base: Base::RootsGpt, ..Case::new("root-rw-rootflags") }.boot(words, |seen| {
        entered(seen)?;
        let root = seen.report()?.mount("/").context("/")?;
        let all = format!("{},{}", root.options, root.super_options);
        for option in ["rw", "noatime", "data=journal"] {
            ensure!(all.split(',').any(|found| found == option), "{option} is not among {all}");
        }
        let written = &seen.report()?.written;
        ensure!(written.values().all(|outcome| outcome == "ok"), "{written:?}");
        Ok(())
    })
}

fn root_volatile() -> Case {
    let words = "root=/dev/vda1 pivot.overlay=volatile witness.write=/mark witness.read=/mark";
    Case { base: Base::RootsGpt, ..Case::new("root-overlay") }.boot(words, |seen| {
        entered(seen)?;
        root(seen, "overlay", "")?;
        let lower = seen.report()?.mount("/run/pivot/lower").context("the lower root")?;
        ensure!(lower.source == "/dev/vda1", "{lower:?}");
        mark(seen, true)
    })
}
