// SPDX-License-Identifier: MIT OR Apache-2.0
//! What fails, and what the device does then: the table of ARCHITECTURE, row by row.

use anyhow::{Context, Result, ensure};

use super::case::{Base, Case, Initrd, Seen};
use super::checks::{boots_without, entered, fact, healthy, rescue, trial_failed};
use super::disk::{DiskCopy, REVISION};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = revisions();
    cases.extend(data_partition());
    cases.extend(devices());
    cases.extend(command_lines());
    cases
}

/// Where the clock jumps over idle time it does so while a disk works, too: no deadline may matter then.
const UNHURRIED: &str = "pivot.watchdog=off pivot.timeout=86400";

/// The modules image of the booted kernel, the first of the image's two.
fn modules_image(disk: &DiskCopy) -> Result<String> {
    let names = disk.revision_files("modules_")?;
    let name = names.into_iter().find(|name| !name.contains("16k"));
    name.context("the revision has no modules image for the ordinary kernel")
}

/// Takes a file out of the revision, and out of its manifest.
fn forget(disk: &DiskCopy, name: &str) -> Result<()> {
    disk.remove(&format!("{REVISION}/{name}"))?;
    let without = |text: &str| {
        text.lines().filter(|line| !line.ends_with(name)).map(|line| format!("{line}\n")).collect()
    };
    disk.edit(&format!("{REVISION}/manifest"), without)
}

fn without_modules(disk: &DiskCopy) -> Result<()> {
    forget(disk, &modules_image(disk)?)
}

/// The manifest names it and it is not there.
fn without_root(disk: &DiskCopy) -> Result<()> {
    disk.remove(&format!("{REVISION}/root.squashfs"))
}

/// Length and magic are right, the rest of the superblock is not.
fn corrupt_root(disk: &DiskCopy) -> Result<()> {
    let path = format!("{REVISION}/root.squashfs");
    let mut image = disk.read(&path)?;
    image.iter_mut().skip(4).take(92).for_each(|byte| *byte = 0xa5);
    disk.write(&path, &image)
}

fn truncated_modules(disk: &DiskCopy) -> Result<()> {
    let path = format!("{REVISION}/{}", modules_image(disk)?);
    let mut image = disk.read(&path)?;
    image.truncate(image.len() / 2);
    disk.write(&path, &image)
}

fn corrupt_firmware(disk: &DiskCopy) -> Result<()> {
    let path = format!("{REVISION}/firmware.squashfs");
    let mut image = disk.read(&path)?;
    image.iter_mut().skip(4).take(92).for_each(|byte| *byte = 0xa5);
    disk.write(&path, &image)
}

/// The first boot asks for the other slot, once; the second has no way left.
fn other_slot_then_rescue(
    name: &str,
    prepare: fn(&DiskCopy) -> Result<()>,
    why: &'static str,
) -> Case {
    let case = Case { prepare, icount: true, ..Case::new(name) };
    case.boot(UNHURRIED, move |seen| {
        seen.says(why)?;
        seen.says("starting the other slot once")?;
        seen.says("reboot: Restarting system with command '0 tryboot'")?;
        seen.ended_by("guest-reset")
    })
    .boot(UNHURRIED, |seen| rescue(seen, ""))
}

fn revisions() -> Vec<Case> {
    let lost = |seen: &Seen<'_>| {
        boots_without(seen, "no modules image for 6.")?;
        let attached = seen.report()?.images();
        ensure!(attached == ["firmware.squashfs", "root.squashfs"], "attached: {attached:?}");
        ensure!(seen.report()?.lib_modules.is_empty(), "/lib/modules is not empty");
        Ok(())
    };
    vec![
        // The other kernel's image is there and must not be taken.
        Case { prepare: without_modules, ..Case::new("wrong-release-only") }.boot("", lost),
        Case {
            prepare: without_modules,
            after: logged_trial,
            ..Case::new("wrong-release-in-trial")
        }
        .boot("pivot.trial", |seen| trial_failed(seen, "no modules image for 6.")),
        other_slot_then_rescue("missing-root-image", without_root, "root.squashfs"),
        other_slot_then_rescue("corrupt-root-image", corrupt_root, "root.squashfs"),
        Case { prepare: corrupt_root, icount: true, ..Case::new("corrupt-root-unknown-slot") }
            .boot(format!("pivot.slot=_ {UNHURRIED}"), |seen| rescue(seen, "")),
        Case { prepare: corrupt_root, ..Case::new("corrupt-root-in-trial") }
            .boot("pivot.trial", |seen| trial_failed(seen, "root.squashfs")),
        // The root is usable: better than nothing once the other slot was tried.
        Case { prepare: truncated_modules, icount: true, ..Case::new("truncated-modules-image") }
            .boot(UNHURRIED, |seen| {
                seen.says("starting the other slot once")?;
                seen.ended_by("guest-reset")
            })
            .boot(UNHURRIED, |seen| boots_without(seen, "bytes instead of")),
        Case { prepare: corrupt_firmware, ..Case::new("corrupt-firmware-in-trial") }
            .boot("pivot.trial", |seen| trial_failed(seen, "firmware.squashfs")),
        // Another revision is complete: it boots instead.
        Case::new("missing-revision").boot("pivot.revision=2", |seen| {
            boots_without(seen, "; revision 1 instead")?;
            fact(seen, "revision", "1")
        }),
    ]
}

fn logged_trial(disk: &DiskCopy) -> Result<()> {
    let log = disk.log()?;
    ensure!(log.contains("event=trial-failed message=after stage grow_data: "), "the log: {log}");
    ensure!(log.contains("no modules image"), "the log: {log}");
    // How far it came is there even where it could not have said so.
    let before = log.split("event=trial-failed").next().unwrap_or_default();
    ensure!(before.contains("event=trial message=grow_data"), "the log: {log}");
    disk.check_clean()
}

fn data_partition() -> Vec<Case> {
    let full: fn(&DiskCopy) -> Result<()> = DiskCopy::fill;
    vec![
        Case { read_only: true, ..Case::new("data-read-only") }
            .boot("", |seen| boots_without(seen, "can only be mounted read-only")),
        Case { read_only: true, ..Case::new("data-read-only-persistent") }.boot(
            "pivot.overlay=persistent witness.write=/etc/mark",
            |seen| {
                boots_without(seen, "no persistent overlay: the data partition is read-only")?;
                fact(seen, "overlay", "volatile")
            },
        ),
        Case { read_only: true, ..Case::new("data-read-only-in-trial") }
            .boot("pivot.trial", |seen| trial_failed(seen, "can only be mounted read-only")),
        Case { prepare: full, ..Case::new("data-full") }.boot("", healthy),
        Case { prepare: full, after: logged_rescue, icount: true, ..Case::new("data-full-rescue") }
            .boot(format!("pivot.slot=_ pivot.init=/nothing {UNHURRIED}"), |seen| rescue(seen, "")),
        Case { prepare: DiskCopy::set_error_flag, ..Case::new("data-error-flag") }
            .boot("", |seen| boots_without(seen, "the initramfs has no /sbin/e2fsck")),
        Case {
            prepare: DiskCopy::set_error_flag,
            initrd: Initrd::Tools,
            after: |disk| {
                ensure!(!disk.error_flag()?, "ext4's error flag is still set");
                disk.check_clean()
            },
            ..Case::new("data-error-flag-e2fsck")
        }
        .boot("", |seen| {
            seen.says("/sbin/e2fsck -p /dev/vda4: errors mended")?;
            healthy(seen)
        }),
    ]
}

/// There is no free block, and the reason is in the preallocated log all the same.
fn logged_rescue(disk: &DiskCopy) -> Result<()> {
    let log = disk.log()?;
    ensure!(log.contains("rescue") && log.contains("/nothing"), "the log: {log}");
    disk.check_clean()
}

fn devices() -> Vec<Case> {
    let nowhere = "PARTUUID=12345678-1111-4222-8333-444455556666";
    // In real time: with a clock that jumps over idle time a slow disk would look like none.
    let plain = |name: &str| Case { base: Base::RootsGpt, ..Case::new(name) };
    vec![
        Case::new("missing-data-partition").boot(
            format!("pivot.data={nowhere} pivot.timeout=5"),
            move |seen| {
                rescue(seen, &format!("no device {nowhere} after "))?;
                seen.says(" s; there are: vda vda1 vda2 vda3 vda4")
            },
        ),
        // The same card twice: never the first that was found.
        Case { twin: true, icount: true, ..Case::new("two-data-partitions") }
            .boot(UNHURRIED, |seen| rescue(seen, "cannot choose between /dev/vda4 and /dev/vdb4")),
        plain("missing-root-device").boot("root=/dev/vdz9 rootwait=3", |seen| {
            rescue(seen, "no device /dev/vdz9 after ")?;
            seen.says(" s; there are: vda vda1 vda2 vda3 vda4")
        }),
        plain("no-root-given").boot("", |seen| rescue(seen, "no root file system")),
        plain("no-init-in-root").boot("root=/dev/vda4", |seen| {
            rescue(
                seen,
                "no init in the root file system: tried /sbin/init /etc/init /bin/init /bin/sh",
            )
        }),
        plain("no-filesystem").boot("root=/dev/vda", |seen| rescue(seen, "cannot mount /dev/vda ")),
        plain("wrong-rootfstype").boot("root=/dev/vda1 rootfstype=squashfs", |seen| {
            rescue(seen, "cannot mount /dev/vda1 on /sysroot (squashfs)")
        }),
        plain("wrong-root-name")
            .boot("root=PARTUUID=", |seen| rescue(seen, "cannot use root=PARTUUID=")),
        // The kernel finds none of its own modules in the initramfs: no disk driver, no watchdog.
        Case {
            pages_16k: true,
            initrd: Initrd::Foreign,
            icount: true,
            ..Case::new("early-modules-of-another-release")
        }
        .boot("pivot.timeout=5", |seen| {
            seen.says("there is no watchdog to arm")?;
            rescue(seen, "no device PARTUUID=")?;
            seen.says(" s; there are: none")
        }),
        Case { icount: true, ..Case::new("no-init-in-revision") }.boot(
            format!("pivot.slot=_ pivot.init=/nothing {UNHURRIED}"),
            |seen| {
                rescue(seen, "")?;
                seen.says("no init in the root file system: tried /nothing")
            },
        ),
        // A directory: it is there, and the kernel refuses to execute it, when the old root is gone.
        Case { icount: true, ..Case::new("exec-fails") }
            .boot(format!("pivot.init=/lib/modules {UNHURRIED}"), |seen| {
                rescue(seen, "cannot execute /lib/modules: Permission denied")
            }),
    ]
}

fn command_lines() -> Vec<Case> {
    let garbage: Vec<u8> = (0..1500u32).map(garbage_byte).collect();
    let many = "pivot.overlay=none root=/dev/nothing ".repeat(30);
    vec![
        Case::new("unknown-parameter").boot("pivot.nonsense=1", |seen| {
            seen.says("pivot: pivot.nonsense=1 is not a parameter of this version")?;
            healthy(seen)
        }),
        Case::new("many-complaints").boot(many_words(), |seen| {
            // The kernel's default keeps ten lines of five seconds.
            for number in 0..COMPLAINTS {
                seen.says(&format!("pivot: pivot.x{number}=1 is not a parameter of this version"))?;
            }
            seen.says(&format!("pivot: pivot.{}", "y".repeat(800)))?;
            healthy(seen)
        }),
        Case::new("garbage").boot(garbage, healthy),
        Case::new("not-utf8")
            .boot(b"pivot.rescue=\xff\xfe pivot.\xc3=\x80 \xf0\x9f".to_vec(), healthy),
        Case::new("duplicates").boot(format!("{many} pivot.overlay=volatile"), |seen| {
            healthy(seen)?;
            fact(seen, "overlay", "volatile")
        }),
        // The kernel takes 2048 bytes and drops the rest.
        Case::new("too-long").boot("x".repeat(20_000), entered),
        Case::new("early-watchdog-value").boot("pivot.watchdog=20", |seen| {
            seen.says("; using 15")?;
            healthy(seen)
        }),
        Case::new("unknown-module").boot("pivot.modules=no_such_module,dummy", |seen| {
            boots_without(seen, "no_such_module")?;
            let modules = &seen.report()?.modules;
            ensure!(modules.iter().any(|name| name == "dummy"), "{modules:?}");
            Ok(())
        }),
    ]
}

const COMPLAINTS: u32 = 40;

/// More unknown parameters than the kernel logs by default, and one that is longer than a record may be.
fn many_words() -> String {
    let many: String = (0..COMPLAINTS).map(|number| format!("pivot.x{number}=1 ")).collect();
    format!("{many} pivot.{}", "y".repeat(1000))
}

/// Any byte but the one that ends a C string. Blanks are rare: the kernel itself panics where a command line has more
/// than 32 words that it does not know (`MAX_INIT_ARGS`).
fn garbage_byte(index: u32) -> u8 {
    match index.wrapping_mul(2_654_435_761).to_be_bytes() {
        _ if index % 61 == 60 => b' ',
        [0, ..] | [b' ', ..] => b'"',
        [byte, ..] => byte,
    }
}
