// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot left, kept and shown, and whether the network is there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::Command;

use bootsel::Slot;
use device::Device;

const STORE: &str = "run/pivot/data/pivot/log/pstore";
const PANIC: &str =
    "Panic#1 Part1\n<0>[    3.119245] Kernel panic - not syncing: No working init found.\n";
const SYSFS: &str = "sys/class/watchdog/watchdog0";

fn stored(device: &Device) -> Vec<String> {
    let entries = fs::read_dir(device.path(STORE)).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn left(device: &Device) -> usize {
    fs::read_dir(device.path("sys/fs/pstore")).unwrap().count()
}

/// The trial of slot b that came to its init, and is over.
fn after_trial() -> Device {
    let mut device = Device::new();
    device.done(&["try", "--no-reboot", "--force"]);
    device.boot();
    for stage in ["data", "modules"] {
        device.init_writes("trial", Slot::B, stage);
    }
    device.boot();
    device
}

#[track_caller]
fn reason(device: &Device, expected: &str) {
    let status = device.status();
    assert_eq!(status["attempt"]["outcome"], "failed", "{status}");
    assert_eq!(status["attempt"]["reason"], expected);
}

#[test]
fn a_trial_that_panicked() {
    let mut device = after_trial();
    reason(&device, "not committed; it came as far as: modules");
    device.put("sys/fs/pstore/dmesg-ramoops-0", PANIC);
    device.put("sys/fs/pstore/console-ramoops-0", format!("[ 0.0] Booting Linux\n{PANIC}"));
    device.put("sys/fs/pstore/dmesg-efi-1.enc.z", b"\x78\x9c\x00");
    device.put("sys/fs/pstore/other", "somebody else's");
    let said = device.done(&["collect"]).err;
    assert!(said.contains("slot b: Kernel panic"), "{said}");
    let expected =
        ["000001.console-ramoops-0", "000001.dmesg-efi-1.enc.z", "000001.dmesg-ramoops-0"];
    assert_eq!(stored(&device), expected);
    assert_eq!(fs::read_to_string(device.path(STORE).join(expected[2])).unwrap(), PANIC);
    assert_eq!(left(&device), 1);
    let why = "Kernel panic - not syncing: No working init found; it came as far as: modules";
    reason(&device, why);
    let log = device.done(&["log"]).out;
    assert_eq!(log.matches(" panic Kernel panic").count(), 1, "{log}");
    assert!(log.contains("slot=b revision=1 returned"), "{log}");
    let status = device.status();
    assert_eq!(status["records"]["count"], 3);
    assert_eq!(status["records"]["newest"], expected[2]);
    // again, and in later boots of the default: the trial's reason stays
    device.done(&["collect"]);
    assert_eq!(log, device.done(&["log"]).out);
    device.boot();
    device.put("sys/fs/pstore/dmesg-ramoops-0", PANIC.replace("No working", "Another"));
    device.done(&["collect"]);
    assert!(stored(&device).contains(&"000002.dmesg-ramoops-0".to_owned()));
    assert!(device.done(&["log"]).out.contains("slot=a revision=1 panic"));
    reason(&device, why);
}

#[test]
fn a_trial_that_the_watchdog_ended() {
    let device = after_trial();
    device.put(&format!("{SYSFS}/identity"), "i6300ESB timer\n");
    device.put(&format!("{SYSFS}/timeout"), "30\n");
    device.put(&format!("{SYSFS}/state"), "active\n");
    device.put(&format!("{SYSFS}/bootstatus"), "32\n");
    for _ in 0..2 {
        device.done(&["collect"]);
        let log = device.done(&["log"]).out;
        assert_eq!(log.matches("revision=1 watchdog the watchdog").count(), 1, "{log}");
    }
    reason(&device, "the watchdog reset the machine (bootstatus 0x20); it came as far as: modules");
    let watchdog = &device.status()["watchdog"];
    assert_eq!((&watchdog["bootstatus"], &watchdog["timeout"]), (&32.into(), &30.into()));
    assert!(device.done(&["status"]).out.contains("watchdog: i6300ESB timer, 30 s, active\n"));
}

/// A Raspberry Pi restarts by its watchdog, too: the data partition tells.
#[test]
fn a_reset_of_a_raspberry_pi() {
    let device = after_trial();
    device.put("proc/device-tree/chosen/bootloader/rsts", 0x1020_u32.to_be_bytes());
    let mount = "24 20 179:4 / /run/pivot/data rw,noatime shared:3 - ext4 /dev/mmcblk0p4 rw\n";
    device.put("proc/self/mountinfo", mount);
    device.put("dev/kmsg", "6,8,2,-;EXT4-fs (mmcblk0p3): recovery complete\n");
    device.done(&["collect"]);
    reason(&device, "not committed; it came as far as: modules");
    let device = after_trial();
    device.put("proc/device-tree/chosen/bootloader/rsts", 0x1020_u32.to_be_bytes());
    device.put("proc/self/mountinfo", mount);
    device.put("dev/kmsg", "6,8,2,-;EXT4-fs (mmcblk0p4): recovery complete\n");
    device.done(&["collect"]);
    let why = "the watchdog or a panic reset the machine (reset status 0x1020, and nothing was unmounted); it came as \
        far as: modules";
    reason(&device, why);
}

/// Nothing is believed of what memory held over a reset.
#[test]
fn hostile_records() {
    let device = Device::new();
    let pstore = "sys/fs/pstore";
    device.put(&format!("{pstore}/dmesg-\n{}", "ä".repeat(70)), "BUG: \x1b[31m\0bad\u{7}\n");
    device.put(&format!("{pstore}/dmesg-directory/file"), "");
    symlink("/etc/passwd", device.path(pstore).join("dmesg-link")).unwrap();
    device.put(&format!("{pstore}/console-large"), vec![b'x'; 3 << 20]);
    device.done(&["collect"]);
    let names = stored(&device);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[1].starts_with("000001.dmesg-__") && names[1].is_ascii(), "{names:?}");
    assert_eq!(fs::metadata(device.path(STORE).join(&names[0])).unwrap().len(), 1 << 20);
    assert!(device.done(&["log"]).out.contains(" panic BUG: [31mbad\n"));
    assert_eq!(left(&device), 2);
}

#[test]
fn the_oldest_go() {
    let device = Device::new();
    for boot in 1..=5 {
        for record in 0..10 {
            device
                .put(&format!("sys/fs/pstore/dmesg-ramoops-{record}"), format!("{boot} {record}"));
        }
        device.done(&["collect"]);
    }
    let names = stored(&device);
    assert_eq!(names.len(), 32);
    assert_eq!(
        (names[0].as_str(), names[31].as_str()),
        ("000002.dmesg-ramoops-8", "000005.dmesg-ramoops-9")
    );
    for boot in 0..6 {
        device.put("sys/fs/pstore/console-ramoops-0", vec![boot; 1 << 20]);
        device.done(&["collect"]);
    }
    let bytes: u64 = stored(&device)
        .iter()
        .map(|name| fs::metadata(device.path(STORE).join(name)).unwrap().len())
        .sum();
    assert!(bytes <= 4 << 20, "{bytes}");
    // a cut of power left the original and half of a copy
    let device = Device::new();
    device.put(&format!("{STORE}/000004.dmesg-ramoops-0"), "the same");
    device.put(&format!("{STORE}/.new"), "the sa");
    device.put("sys/fs/pstore/dmesg-ramoops-0", "the same");
    device.done(&["collect"]);
    assert_eq!((stored(&device).len(), left(&device)), (1, 0));
}

#[test]
fn no_room() {
    let device = Device::new();
    device.put("sys/fs/pstore/dmesg-ramoops-0", PANIC);
    device.put(STORE, "in the way");
    let said = device.done(&["collect"]).err;
    assert!(said.contains("warning: ") && said.contains("stay in /sys/fs/pstore"), "{said}");
    assert_eq!(left(&device), 1);
    assert!(device.done(&["log"]).out.contains(" panic Kernel panic"));
    // a full data partition: as root, on a tmpfs of its own
    let device = Device::new();
    device.put("sys/fs/pstore/dmesg-ramoops-0", PANIC);
    let script = format!(
        "mkdir -p {store} && mount -t tmpfs -o size=16k none {store} && head -c 16384 /dev/zero > {store}/000001.dmesg-x \
         && {tool} --root {root} --disk {disk} collect && ls {store}",
        store = device.path(STORE).display(),
        tool = env!("CARGO_BIN_EXE_bootsel"),
        root = device.root.path().display(),
        disk = device.disk.display(),
    );
    let output = Command::new("unshare").args(["-m", "sh", "-ec", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "000002.dmesg-ramoops-0\n");
}

#[test]
fn status_of_the_machine() {
    let device = Device::new();
    device.put("run/pivot/boot.json", r#"{"revision":"0","degraded":["no firmware.squashfs"]}"#);
    device.put(
        "proc/self/mountinfo",
        "24 20 179:4 / /run/pivot/data ro - ext4 /dev/mmcblk0p4 ro,errors=remount-ro\n",
    );
    device.put("sys/fs/ext4/mmcblk0p4/errors_count", "2\n");
    device.put("proc/device-tree/chosen/bootloader/partition", 3_u32.to_be_bytes());
    let text = device.done(&["status"]).out;
    for line in [
        "slot a: revision 1, complete\n        default, booted\n",
        "bootloader: built on 2023-11-14\n",
        "watchdog: none\n",
        "degraded: no firmware.squashfs\n",
        "warning: the data partition (mmcblk0p4) is read-only: ext4 counted 2 errors; a restart mends it",
        "warning: revision 0 runs, the booted slot is one for 1, which was missing or broken\n",
        "warning: the firmware says that it booted partition 3, the command line is that of slot a\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    let status = device.status();
    assert_eq!(status["firmware"]["build_date"], "2023-11-14");
    assert_eq!(status["data"]["errors"], 2);
    assert_eq!(status["data"]["read_only"], true);
    assert_eq!(status["boot"]["degraded"][0], "no firmware.squashfs");
    assert_eq!(status["boot"]["partition"], 3);
    assert_eq!(status["watchdog"], serde_json::Value::Null);
}

#[test]
fn reachable() {
    let device = Device::new();
    let fails = |arguments: &[&str], why: &str| {
        let outcome = device.run(&[&["reachable", "--timeout", "1"], arguments].concat());
        assert!(outcome.code == 3 && outcome.err.contains(why), "{outcome:?}");
        assert!(outcome.err.contains("not reachable within 1 s: "), "{outcome:?}");
    };
    fails(&[], "there is no default route");
    let head =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    let route = "eth0\t00000000\t0202000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    device.put("proc/net/route", format!("{head}{route}"));
    assert!(device.done(&["reachable"]).err.contains("a default route over eth0"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap().to_string();
    device.done(&["reachable", &peer]);
    drop(listener);
    fails(&[&peer], "Connection refused");
    assert_eq!(device.run(&["reachable", "no-port"]).code, 2);
}
