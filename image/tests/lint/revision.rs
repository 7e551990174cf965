// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels, initramfs and revision, and what boards make of them.

use super::image::{BASE, Image, RELEASES, TREES, UPDATES, bare_root, elf, modules, root};
use super::{check, check_clean};

#[test]
fn systemd() {
    let at = "revision r1, root.squashfs";
    let config = "etc/systemd/system.conf";
    let dropin = "usr/lib/systemd/system.conf.d/10-x.conf";
    let image = |files: &[(&str, &str)]| {
        let root = root(&[files, &UPDATES].concat());
        move |i: &mut Image| i.revision_file("root.squashfs", root)
    };
    let bin = ("usr/lib/systemd/systemd", "x");
    check(image(&[bin]), &["reboot-watchdog"], at, "RebootWatchdogSec=10min");
    check(
        image(&[
            bin,
            (config, "[Manager]\nRebootWatchdogSec=15\n"),
            (dropin, "RebootWatchdogSec=20\n"),
        ]),
        &["reboot-watchdog"],
        at,
        "RebootWatchdogSec=20",
    );
    check_clean(image(&[
        bin,
        (config, "RebootWatchdogSec=600\n"),
        (dropin, "RebootWatchdogSec=15\n"),
    ]));
    check_clean(image(&[bin, (config, "#RebootWatchdogSec=10min\nRebootWatchdogSec=off\n")]));
    check_clean(image(&[("sbin/init", "busybox")]));
    // what [bootsel] ships
    let shipped = include_str!("../../units/50-pivot.conf");
    check_clean(image(&[bin, ("usr/lib/systemd/system.conf.d/50-pivot.conf", shipped)]));
}

#[test]
fn what_init_needs() {
    let at = "revision r1, root.squashfs";
    let image = |files: &[(&str, &str)]| {
        let root = bare_root(&[files, &UPDATES].concat());
        move |i: &mut Image| i.revision_file("root.squashfs", root)
    };
    let rule = ["root-directories"];
    check(image(&BASE[1..]), &rule, at, "no directory /dev: init mounts there");
    let usr = [("usr/lib/modules/", ""), ("lib", "-> usr/lib"), ("sbin/init", "-> ../bin/sh")];
    let merged = [&BASE[..4], &BASE[6..], &usr].concat();
    check(image(&merged), &rule, at, "no directory /lib/firmware: init");
    check_clean(image(&[&merged[..], &[("usr/lib/firmware/", "")]].concat()));
    let nowhere = [&merged[..], &[("usr/lib/firmware", "-> /data/firmware")]].concat();
    let what = "no directory /lib/firmware: a link leads to /data, which is not there: init";
    check(image(&nowhere), &rule, at, what);

    let rule = ["root-init"];
    check(image(&BASE[..6]), &rule, at, "no init in it: none of /sbin/init /etc/init /bin/init");
    let dangling = [&BASE[..6], &[("sbin/init", "-> /lib/systemd/systemd")]].concat();
    check(image(&dangling), &rule, at, "no init in it");
    check_clean(image(&[&dangling[..], &[("lib/systemd/systemd", "x")], &[LATE]].concat()));
    let asks = |words: &'static str| {
        let change = image(&BASE);
        move |i: &mut Image| {
            change(i);
            i.cmdline = i.cmdline.replace("quiet", words);
        }
    };
    check_clean(asks("pivot.init=/./bin//sh"));
    let what = "pivot.init=/no: no such program in it";
    check(asks("pivot.init=/no init=/bin/sh"), &["root-init", "cmdline-init"], at, what);
}

/// systemd's default at a reboot is another rule's.
const LATE: (&str, &str) = ("etc/systemd/system.conf", "RebootWatchdogSec=15\n");

#[test]
fn updates() {
    let at = "revision r1, root.squashfs";
    let image = |files: &[(&str, &str)]| {
        let root = root(files);
        move |i: &mut Image| i.revision_file("root.squashfs", root)
    };
    let [program, key] = UPDATES;
    check(image(&[key]), &["bootsel-program"], at, "has no bootsel: no update can be installed");
    check(image(&[program]), &["bootsel-keys"], at, "has no public key in /etc/pivot/keys");
    let bad = ("etc/pivot/keys/b.pub", "untrusted comment: b\nx\n");
    check(image(&[program, key, bad]), &["bootsel-keys"], at, "/etc/pivot/keys/b.pub: ");
    check_clean(image(&[("usr/bin/bootsel", "x"), key]));
    check_clean(|i| i.keys.push(("requires_bootsel", "1".to_owned())));
    check(
        |i| i.keys.push(("requires_bootsel", "2".to_owned())),
        &["requires-bootsel"],
        "revision r1, manifest",
        "requires_bootsel=2: bootsel knows 1 and refuses it",
    );
}

#[test]
fn revisions() {
    check(
        |i| i.cmdline = i.cmdline.replace("revision=r1", "revision=r2"),
        &["revision"],
        "revision r2",
        "is not on the data partition, partition 2 needs it",
    );
    check(
        |i| i.cmdline = i.cmdline.replace(" pivot.revision=r1", ""),
        &["revision"],
        "partition 3, cmdline.txt",
        "no pivot.revision=",
    );
    check(
        |i| i.missing = Some("firmware.squashfs"),
        &["revision"],
        "revision r1, firmware.squashfs",
        "is missing",
    );
    check(
        |i| i.longer = Some("firmware.squashfs"),
        &["revision"],
        "revision r1, firmware.squashfs",
        " bytes of ",
    );
    let name = format!("modules_{}.squashfs", RELEASES[3].1);
    check(
        |i| i.revision.retain(|(file, _)| *file != name),
        &["modules-missing"],
        &format!("revision r1, {name}"),
        "is missing, kernel8.img needs it",
    );
}

#[test]
fn kernels() {
    let at = "partition 2, kernels.txt";
    check(
        |i| i.append("kernels.txt", "6.0 kernel6.img initrd early6.img\n"),
        &["kernel-listed", "modules-missing"],
        at,
        "early6.img of 6.0 is missing",
    );
    check(
        |i| i.both("kernel7.img", b"Linux version 6.13-v7 (x) tryboot\0"),
        &["kernel-listed"],
        at,
        "kernel7.img is 6.13-v7, and listed as 6.12-v7",
    );
    let release = RELEASES[1].1;
    let name = format!("modules_{release}.squashfs");
    check(
        |i| i.revision_file(&name, modules(release, &["bcm2835_wdt"], "xz_dec_run\0zlib_inflate")),
        &["codec", "emulation-only"],
        "revision r1, root.squashfs",
        "is zstd, which the kernel 6.12-v7 cannot read",
    );
}

#[test]
fn initramfs() {
    check(
        |i| i.both("early8.img", b"garbage"),
        &["initramfs", "initramfs-part"],
        "partition 2, early8.img",
        "",
    );
    check(
        |i| i.both("early8.img", &[0; 513]),
        &["initramfs-part"],
        "partition 2, early8.img",
        "has 513 bytes, no multiple of 512",
    );
    check(
        |i| i.set_initrd(&[("sbin/init", elf(0x10000))]),
        &["initramfs"],
        "partition 2",
        "no part of the initramfs has a program /init",
    );
    check(
        |i| i.set_initrd(&[("init", elf(0x1000)), ("sbin/init", elf(0x10000))]),
        &["init-alignment"],
        "partition 3, initrd",
        "/init segments are aligned to 0x1000",
    );
}

#[test]
fn boards() {
    let tree = "bcm2711-rpi-400.dtb";
    let what = "partition 2: bcm2711-rpi-400.dtb is missing: no device tree";
    assert!(TREES.contains(&tree));
    check(|i| i.remove(tree), &["board-stops"], "pi400", what);
    check(
        |i| {
            i.remove(tree);
            i.claims = String::new();
        },
        &["board-unserved"],
        "pi400",
        what,
    );
    let release = RELEASES[4].1;
    let name = format!("modules_{release}.squashfs");
    let calls = "zstd_init_dstream";
    check(
        |i| i.revision_file(&name, modules(release, &["vcio", "sdhci_iproc"], calls)),
        &["emulation-only"],
        "cm5 cm5l pi5 pi5-d0 pi500 pi500+",
        "emulation only: the kernel has no sdhci_brcmstb",
    );
    check(
        |i| {
            i.revision_file(&name, modules(release, &["sdhci_brcmstb"], calls));
            i.both("kernel_2712.img", format!("Linux version {release} (x)").as_bytes());
        },
        &["emulation-only"],
        "cm5 cm5l pi5 pi5-d0 pi500 pi500+",
        "cannot pass the tryboot flag on",
    );
    check_clean(|i| {
        i.both("kernel_2712.img", format!("Linux version {release} (x)").as_bytes());
    });
}

#[test]
fn drivers_of_the_card() {
    let (name, release, early) = (RELEASES[4].0, RELEASES[4].1, RELEASES[4].2);
    let late = |i: &mut Image| i.drivers(release, &["vcio"], "sdhci-brcmstb");
    let boards = "cm5 cm5l pi5 pi5-d0 pi500 pi500+";
    let on_card =
        "emulation only: sdhci_brcmstb, the driver of the SD card, is not in the initramfs";
    let what = "sdhci_brcmstb, the driver of the SD card, is not in the initramfs of 6.12-16k: machines = ";
    check(late, &["medium-driver"], boards, what);
    check_clean(|i| {
        late(i);
        i.set_early(early, release, "kernel/drivers/sdhci-brcmstb.ko\n");
    });
    // nor does it need that card
    let other = |i: &mut Image| i.drivers(release, &["vcio", "nvme"], "sdhci-brcmstb");
    check(other, &["emulation-only"], boards, on_card);
    // a kernel that passes no flag on is for emulation, too
    let rules = ["medium-driver", "emulation-only"];
    check(
        |i| {
            i.drivers(release, &["x"], "sdhci-brcmstb");
            i.both(name, format!("Linux version {release} (x)").as_bytes());
        },
        &rules,
        boards,
        what,
    );
    // one that is for other boards is for emulation on this one, and an error where no board has any
    let none = |i: &mut Image| i.drivers(release, &["vcio"], "nothing");
    check(none, &["emulation-only"], boards, "the kernel has no sdhci_brcmstb");
    let nowhere = |i: &mut Image| RELEASES.iter().for_each(|r| i.drivers(r.1, &["vcio"], "x"));
    let what = "the kernel 6.12-16k has no sdhci_brcmstb, the driver of the SD card";
    check(nowhere, &["medium-driver"], boards, what);
    // nothing is known of what is built in
    check_clean(|i| i.drivers(release, &[], "nothing"));
}

#[test]
fn bootloaders() {
    let at = "revision r1, manifest";
    let soc = |soc: &str| {
        let soc = soc.to_owned();
        move |i: &mut Image| i.keys.push(("soc", soc))
    };
    let ships = |i: &mut Image| i.revision.push(("bootloader.img".to_owned(), vec![7; 4096]));
    check_clean(soc("generic"));
    check_clean(|i| {
        soc("imx8mp")(i);
        ships(i);
    });
    let rule = ["bootloader-shipped"];
    check(ships, &rule, at, "lists bootloader.img and has no soc=: no device takes it");
    check(soc("imx9"), &rule, at, "soc=: \"imx9\" is not known here: expected generic");
    // nothing at byte 33792, and the first partition at 1 MiB
    let rules = ["bootloader-missing", "bootloader-overlap"];
    check(soc("imx8mm"), &rules, "byte 33792", "zeros, where soc=imx8mm looks for a bootloader");
    check(
        |i| {
            soc("imx8mm")(i);
            i.patch_disk(33 << 10, b"boot");
        },
        &rules[1..],
        "partition 1",
        "begins at byte 1048576, and soc=imx8mm needs what is before byte 8388608",
    );
}
