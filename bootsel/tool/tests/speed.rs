// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an install costs: its memory, and its time beside dd and sha256sum that move the same bytes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test stops where something is wrong, and a benchmark prints"
)]

mod device;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bootsel::manifest::{self, Manifest};
use device::{Device, Made, revision, sha256};

/// Whatever the bundle's size is.
const MEMORY_KIB: u64 = 16 << 10;

/// A revision whose root has so many MiB that cannot be compressed.
fn large(mebibytes: usize) -> Made {
    let mut made = revision("2", 2);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut root = Vec::with_capacity(mebibytes << 20);
    while root.len() < mebibytes << 20 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        root.extend(state.to_le_bytes());
    }
    let mut listed = Manifest::parse(&made.manifest).unwrap();
    let file = listed.files.iter_mut().find(|file| file.name == manifest::ROOT).unwrap();
    (file.sha256, file.bytes) = (sha256(&root), root.len() as u64);
    made.manifest = listed.to_string().into_bytes();
    made.files.iter_mut().find(|(name, _)| name == manifest::ROOT).unwrap().1 = root;
    made
}

/// How long it took, and the most memory that it had, in KiB.
fn install(device: &Device, bundle: &Path) -> (Duration, u64) {
    let mut command = device.command(&["install", bundle.to_str().unwrap()]);
    let began = Instant::now();
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    // it counts what was the most; nothing can be read of a process that has ended
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = kib.unwrap_or(0).max(peak);
        thread::sleep(Duration::from_millis(2));
    }
    assert!(child.wait().unwrap().success());
    (began.elapsed(), peak)
}

#[test]
fn memory_does_not_grow_with_the_bundle() {
    let device = Device::new();
    let bundle = device.bundle(&large(48));
    let (_, peak) = install(&device, &bundle);
    assert!(peak > 0 && peak <= MEMORY_KIB, "{peak} KiB");
}

/// The same bytes by dd and sha256sum: hashed, written with a sync after every 16 MiB, read from the disk and hashed.
fn copy(from: &Path, to: &Path) -> Duration {
    const SCRIPT: &str = "set -e
bytes=$(stat -c %s \"$1\")
sha256sum \"$1\"
at=0
while test $((at * 1048576)) -lt $bytes; do
    dd if=\"$1\" of=\"$2\" bs=1M count=16 skip=$at seek=$at conv=notrunc,fdatasync status=none
    at=$((at + 16))
done
sync -f \"$2\"
dd if=\"$2\" iflag=nocache count=0 status=none
dd if=\"$2\" bs=1M status=none | sha256sum";
    let began = Instant::now();
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "sh"]).arg(from).arg(to).stdout(Stdio::null());
    assert!(shell.status().unwrap().success());
    began.elapsed()
}

/// `cargo verify --bench=install` runs it.
#[test]
#[ignore = "a benchmark: it writes 2 GB"]
fn an_install_beside_dd() {
    const MIB: usize = 300;
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let device = Device::new();
        let bundle = device.bundle(&large(MIB));
        let (ours, peak) = install(&device, &bundle);
        let dd = copy(&bundle, &device.path("copy"));
        let ratio = dd.as_secs_f64() / ours.as_secs_f64();
        println!(
            "| {round} | {:.2} s | {:.2} s | {ratio:.2} | {peak} KiB |",
            ours.as_secs_f64(),
            dd.as_secs_f64()
        );
        assert!(peak <= MEMORY_KIB, "{peak} KiB");
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("{MIB} MiB: {:.2} times as fast as dd and sha256sum (the median)", ratios[1]);
}
