// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool over real block devices: partitions of a loop device, found by the mounted data partition. As root.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::process::Command;

use device::{Device, PARTITIONS, revision};

/// A loop device.
struct Loop(String);

impl Loop {
    fn attach(image: &Path, options: &[&str]) -> Self {
        let mut losetup = Command::new("losetup");
        losetup.args(["--find", "--show"]).args(options).arg(image);
        let output = losetup.output().unwrap();
        assert!(output.status.success(), "losetup (these tests run as root): {output:?}");
        Self(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    }

    fn name(&self) -> &str {
        self.0.trim_start_matches("/dev/")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A loop device for each partition, and a sysfs in which they are those of one disk, beside the mounted data
/// partition: not every kernel makes partitions of loop devices.
fn partitions(device: &Device) -> [Loop; 3] {
    let loops = PARTITIONS.map(|(start, bytes)| {
        let [start, bytes] = [start, bytes].map(|n| n.to_string());
        Loop::attach(&device.disk, &["--offset", &start, "--sizelimit", &bytes])
    });
    symlink("/dev", device.path("dev")).unwrap();
    let put = |name: &str, file: &str, text: String| {
        device.put(&format!("sys/devices/disk/{name}/{file}"), text);
    };
    for (number, (one, (_, bytes))) in (1..).zip(loops.iter().zip(PARTITIONS)) {
        put(one.name(), "partition", format!("{number}\n"));
        put(one.name(), "size", format!("{}\n", bytes / 512));
    }
    put("data", "partition", "4\n".into());
    fs::create_dir_all(device.path("sys/dev/block")).unwrap();
    symlink("../../devices/disk/data", device.path("sys/dev/block/179:4")).unwrap();
    let line = "30 1 179:4 / /run/pivot/data rw - ext4 /dev/mmcblk0p4 rw\n";
    device.put("proc/self/mountinfo", line);
    loops
}

/// Without `--disk`.
fn run(device: &Device, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootsel"));
    let output = command.arg("--root").arg(device.root.path()).args(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[track_caller]
fn done(device: &Device, arguments: &[&str]) {
    let (code, said) = run(device, arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
}

fn life(device: &mut Device) {
    let bundle = device.bundle(&revision("2", 2));
    done(device, &["install", bundle.to_str().unwrap()]);
    done(device, &["verify"]);
    done(device, &["try", "--no-reboot", "--force"]);
    assert_eq!(device.boot(), 3);
    done(device, &["commit"]);
    assert_eq!(device.boot(), 3);
    done(device, &["verify"]);
}

#[test]
fn partitions_beside_the_data_partition() {
    let mut device = Device::new();
    let loops = partitions(&device);
    // somebody has the slot: nothing is written to it
    let taken = fs::OpenOptions::new()
        .write(true)
        .custom_flags(i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap())
        .open(&loops[2].0)
        .unwrap();
    let bundle = device.bundle(&revision("2", 2));
    let (code, said) = run(&device, &["install", bundle.to_str().unwrap()]);
    assert!(code == 3 && said.contains("it is mounted or in use"), "{said}");
    drop(taken);
    life(&mut device);
}

/// Blocks of 4096 bytes: the sector of autoboot.txt is changed, the rest of its block is as it was.
#[test]
fn large_blocks() {
    let device = Device::new();
    let disk = Loop::attach(&device.disk, &["--sector-size", "4096"]);
    let arguments = ["--disk", &disk.0, "rollback", "--no-reboot"];
    let before = device.peek(0, 9 << 20);
    done(&device, &arguments);
    File::open(&disk.0).unwrap().sync_all().unwrap();
    let after = device.peek(0, 9 << 20);
    let changed: Vec<_> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    assert_eq!(first / 512, last / 512);
    assert_eq!(device.autoboot().default(), 3);
}
