// SPDX-License-Identifier: MIT OR Apache-2.0

//! What config.txt can say.

use super::{CONFIG, NORMAL, boots, bootsel, disk, slot, stops};
use crate::{Start, Table};

/// The kernel of a board with this configuration, and whether it is started in 64-bit mode.
#[track_caller]
fn kernel(name: &str, config: &str, start: Start, expected: (&str, bool)) {
    let disk = disk(bootsel(), slot("a").with("config.txt", config), slot("b"));
    let found = boots(name, &disk, start);
    assert_eq!((found.kernel.as_str(), found.arm_64bit), expected);
}

#[test]
fn kernels() {
    // defaults, and arm_64bit
    kernel("pi0", "", NORMAL, ("kernel.img", false));
    kernel("pi2b", "", NORMAL, ("kernel7.img", false));
    kernel("pi3b", "", NORMAL, ("kernel7.img", false));
    kernel("pi02w", "", NORMAL, ("kernel7.img", false));
    kernel("pi4b", "", NORMAL, ("kernel8.img", true));
    kernel("pi5", "", NORMAL, ("kernel_2712.img", true));
    kernel("pi0", "arm_64bit=1", NORMAL, ("kernel.img", false));
    kernel("pi2b", "arm_64bit=1", NORMAL, ("kernel7.img", false));
    kernel("pi2b-1.2", "arm_64bit=1", NORMAL, ("kernel8.img", true));
    kernel("cm4", "arm_64bit=0", NORMAL, ("kernel7l.img", false));
    kernel("cm5", "arm_64bit=0", NORMAL, ("kernel_2712.img", true));
    // names that are known decide
    kernel("pi3b", "kernel=kernel8.img", NORMAL, ("kernel8.img", true));
    kernel("pi4b", "arm_64bit=1\nkernel=kernel7l.img", NORMAL, ("kernel7l.img", false));
    kernel("pi3b", "kernel=initrd", NORMAL, ("initrd", false));
    kernel("pi3b", "kernel=initrd\narm_64bit=1", NORMAL, ("initrd", true));
    kernel("pi5", "kernel=kernel8.img", NORMAL, ("kernel8.img", true));
    kernel("pi4b", "kernel=KERNEL7L.IMG", NORMAL, ("KERNEL7L.IMG", false));
    // from outside
    let narrow = Start { arm_64bit: Some(false), ..NORMAL };
    kernel("pi4b", CONFIG, narrow, ("kernel7l.img", false));
    kernel("pi4b", "kernel=kernel8.img", narrow, ("kernel7l.img", false));
    kernel("pi3b", "kernel=initrd", narrow, ("initrd", false));
    kernel("pi3b", "", Start { arm_64bit: Some(true), ..NORMAL }, ("kernel8.img", true));
}

#[test]
fn override_is_noted() {
    let disk = disk(bootsel(), slot("a"), slot("b"));
    let found = boots("pi4b", &disk, Start { tryboot: false, arm_64bit: Some(false) });
    assert!(found.notes.iter().any(|note| note == "arm_64bit=0 overrides config.txt"));
}

#[test]
fn kernel_of_a_pi_5() {
    let without = disk(bootsel(), slot("a").without("kernel_2712.img"), slot("b"));
    assert_eq!(boots("pi5", &without, NORMAL).kernel, "kernel8.img");
    let neither = slot("a").without("kernel_2712.img").without("kernel8.img");
    let neither = disk(bootsel(), neither, slot("b"));
    stops("pi5", &neither, NORMAL, "partition 2: kernel_2712.img is missing: no kernel");
}

#[track_caller]
fn config_stops(name: &str, config: &str, expected: &str) {
    let disk = disk(bootsel(), slot("a").with("config.txt", config), slot("b"));
    stops(name, &disk, NORMAL, expected);
}

#[test]
fn stops_of_a_configuration() {
    config_stops(
        "pi0",
        "kernel=kernel8.img",
        "partition 2: kernel8.img is a 64-bit kernel, the processor has 32 bits",
    );
    config_stops(
        "pi5",
        "kernel=kernel7l.img",
        "partition 2: kernel7l.img is a 32-bit kernel, a Pi 5 runs none",
    );
    config_stops("pi3b", "kernel=vmlinuz", "partition 2: vmlinuz is missing: no kernel");
    config_stops(
        "pi3b",
        "initramfs initrd,gone followkernel",
        "partition 2: gone is missing: no initramfs",
    );
    config_stops(
        "pi3b",
        "device_tree=gone.dtb",
        "partition 2: gone.dtb is missing: no device tree",
    );
    let without = disk(bootsel(), slot("a").without("bcm2710-rpi-3-b.dtb"), slot("b"));
    stops("pi3b", &without, NORMAL, "partition 2: bcm2710-rpi-3-b.dtb is missing: no device tree");
}

#[test]
fn device_trees() {
    let a = slot("a").with("bcm2837-rpi-3-b.dtb", "").with("config.txt", "upstream_kernel=1\n");
    let a = a.with("overlays/upstream.dtbo", "");
    let mut disk = disk(bootsel(), a, slot("b"));
    let found = boots("pi3b", &disk, NORMAL);
    assert_eq!(found.dtb.as_deref(), Some("bcm2837-rpi-3-b.dtb"));
    assert_eq!(found.overlays, Vec::<String>::new());
    // the downstream name, and the overlay with it
    let found = boots("pi3b+", &disk, NORMAL);
    assert_eq!(found.dtb.as_deref(), Some("bcm2710-rpi-3-b-plus.dtb"));
    assert_eq!(found.overlays, ["overlays/upstream.dtbo"]);
    // the names are the same there
    assert_eq!(boots("pi4b", &disk, NORMAL).overlays, Vec::<String>::new());
    disk.volumes[1] = Some(slot("a").with("config.txt", "device_tree=\ndtoverlay=x\n"));
    let found = boots("pi3b", &disk, NORMAL);
    assert_eq!((found.dtb, found.overlays), (None, vec![]));
    disk.volumes[1] = Some(slot("a").with("config.txt", "device_tree=bcm2711-rpi-4-b.dtb\n"));
    assert_eq!(boots("pi3b", &disk, NORMAL).dtb.as_deref(), Some("bcm2711-rpi-4-b.dtb"));
}

#[test]
fn prefixes() {
    let config = "os_prefix=new/\nkernel=k\ncmdline=/cmdline.txt\ndtoverlay=x,p=1\n";
    let a = slot("a").with("config.txt", config).with("new/k", "").with("overlays/x.dtbo", "");
    // no device tree there: not viable, and then no kernel
    let mut disk = disk(bootsel(), a, slot("b").with("config.txt", config));
    stops("pi3b", &disk, NORMAL, "partition 2: k is missing: no kernel");
    let a = slot("a").with("config.txt", config).with("new/k", "").with("overlays/x.dtbo", "");
    disk.volumes[1] = Some(a.with("new/bcm2710-rpi-3-b.dtb", ""));
    let found = boots("pi3b", &disk, NORMAL);
    assert_eq!(found.kernel, "new/k");
    assert_eq!(found.dtb.as_deref(), Some("new/bcm2710-rpi-3-b.dtb"));
    assert_eq!(found.cmdline, "pivot.slot=a panic=5");
    assert_eq!(found.overlays, ["overlays/x.dtbo"]);
    let a = disk.volumes[1].take().unwrap();
    disk.volumes[1] = Some(a.with("new/overlays/README", "").with("new/overlays/x.dtbo", ""));
    assert_eq!(boots("pi3b", &disk, NORMAL).overlays, ["new/overlays/x.dtbo"]);
    disk.volumes[1] = Some(slot("a").with("config.txt", "os_prefix=gone/\n"));
    let found = boots("pi3b", &disk, NORMAL);
    assert_eq!(found.notes, ["os_prefix=gone/ is ignored: no kernel and device tree there"]);
}

#[test]
fn command_lines() {
    let a = slot("a").with("config.txt", "cmdline=other.txt\n").with("other.txt", "x  y\r\n");
    let mut disk = disk(bootsel(), a, slot("b"));
    assert_eq!(boots("pi1b", &disk, NORMAL).cmdline, "x  y");
    disk.volumes[1] = Some(slot("a").without("cmdline.txt"));
    let found = boots("pi1b", &disk, NORMAL);
    assert_eq!(found.cmdline, "");
    assert_eq!(found.notes, ["cmdline.txt is missing: the command line is the firmware's alone"]);
    disk.table = Table::Gpt;
    assert!(boots("pi1b", &disk, NORMAL).notes[0].starts_with("gpt: "));
}
