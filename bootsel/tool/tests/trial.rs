// SPDX-License-Identifier: MIT OR Apache-2.0
//! What ends a trial: the deadline and the guard, over the files of a device. The machine is never restarted: --root
//! says that it is another one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong"
)]

mod device;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use device::{Device, PARTITIONS};

const WATCHDOG: &str = "dev/watchdog0";
const SYSFS: &str = "sys/class/watchdog/watchdog0";

/// Slot b runs for trial, with a watchdog that is a file: what is written to it is what it would have been fed.
fn in_trial() -> Device {
    let mut device = Device::new();
    device.done(&["try", "--no-reboot", "--force"]);
    assert_eq!(device.boot(), 3);
    device.put(WATCHDOG, "");
    device.put(&format!("{SYSFS}/state"), "active\n");
    device.put(&format!("{SYSFS}/timeout"), "1\n");
    device.put(&format!("{SYSFS}/identity"), "a file\n");
    device
}

/// Seconds since the kernel started, which is when a deadline begins.
fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

/// Ends with the test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Guard {
    fn start(device: &Device, seconds: u64) -> Self {
        Self::with(device.command(&["guard", "--deadline", &(uptime() + seconds).to_string()]))
    }

    fn with(mut command: Command) -> Self {
        Self(command.stderr(Stdio::piped()).spawn().unwrap())
    }

    fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Its last words, once it ended by itself.
    fn ended(mut self) -> (i32, String) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.runs() {
            assert!(Instant::now() < end, "it does not end");
            sleep(Duration::from_millis(100));
        }
        let mut said = String::new();
        let mut pipe = self.0.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut pipe, &mut said).unwrap();
        (self.0.wait().unwrap().code().unwrap(), said)
    }
}

fn fed(device: &Device) -> usize {
    let fed = fs::read(device.path(WATCHDOG)).unwrap();
    assert!(!fed.contains(&b'V'), "the magic close");
    fed.len()
}

fn has_failed(device: &Device) -> bool {
    device.done(&["log"]).out.contains("trial-failed")
}

#[track_caller]
fn failed_within(device: &mut Device, seconds: &str) {
    device.boot();
    let status = device.status();
    let reason = status["attempt"]["reason"].as_str().unwrap_or_default();
    assert_eq!(status["attempt"]["outcome"], "failed", "{status}");
    assert!(reason.starts_with("not committed within ") && reason.contains(seconds), "{status}");
}

#[test]
fn a_guard_ends_a_trial() {
    let mut device = in_trial();
    let deadline = uptime() + 6;
    let guard = Guard::start(&device, 6);
    let (code, said) = guard.ended();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("timeout is 1 s") && said.contains("not restarted: --root"), "{said}");
    assert!(uptime() >= deadline);
    let fed = fed(&device);
    assert!((4..=22).contains(&fed), "three times in each of six seconds, not {fed}");
    failed_within(&mut device, &format!(" {deadline} s"));
}

#[test]
fn a_guard_of_a_committed_slot_feeds_on() {
    let device = in_trial();
    let mut guard = Guard::start(&device, 8);
    device.done(&["commit"]);
    sleep(Duration::from_secs(10));
    let before = fed(&device);
    sleep(Duration::from_secs(1));
    assert!(guard.runs() && fed(&device) > before);
    assert!(!has_failed(&device));
    // one is enough
    let (code, said) = Guard::start(&device, 1).ended();
    assert!(code == 1 && said.contains("another bootsel guard is at work"), "{said}");
}

#[test]
fn a_guard_waits_for_a_command_at_work() {
    let device = in_trial();
    let lock = fs::File::create(device.path("run/pivot/bootsel.lock")).unwrap();
    lock.lock().unwrap();
    let mut guard = Guard::start(&device, 1);
    sleep(Duration::from_secs(3));
    assert!(guard.runs() && !has_failed(&device));
    // the command was a commit
    let mut autoboot = device.autoboot();
    autoboot.set(3, 2).unwrap();
    overwrite(&device, &autoboot.to_bytes().unwrap());
    drop(lock);
    sleep(Duration::from_secs(2));
    assert!(guard.runs() && !has_failed(&device));
}

#[test]
fn a_guard_without_a_watchdog() {
    let mut device = in_trial();
    fs::remove_file(device.path(WATCHDOG)).unwrap();
    let (code, said) = Guard::start(&device, 4).ended();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("cannot open /dev/watchdog0"), "{said}");
    failed_within(&mut device, "");
}

#[test]
fn a_watchdog_that_nobody_asked_for() {
    let device = in_trial();
    device.put(&format!("{SYSFS}/state"), "inactive\n");
    assert_eq!(Guard::start(&device, 1).ended().0, 0);
    assert_eq!(fed(&device), 0, "opening it would have started it");
    let cmdline = fs::read_to_string(device.path("proc/cmdline")).unwrap();
    device.put("proc/cmdline", format!("{cmdline} pivot.watchdog=15"));
    assert_eq!(Guard::start(&device, 4).ended().0, 0);
    assert!(fed(&device) > 0);
}

/// A disk that does not answer: opening a pipe that nobody writes to waits for ever.
#[test]
fn a_disk_that_hangs() {
    let device = in_trial();
    let pipe = device.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootsel"));
    command.arg("--root").arg(device.root.path()).arg("--disk").arg(&pipe);
    command.args(["guard", "--deadline", &(uptime() + 7).to_string()]);
    let mut guard = Guard::with(command);
    sleep(Duration::from_secs(5));
    assert!(fed(&device) > 3, "fed although the disk hangs");
    sleep(Duration::from_secs(4));
    let at_the_deadline = fed(&device);
    sleep(Duration::from_secs(2));
    assert!(guard.runs());
    assert_eq!(fed(&device), at_the_deadline, "a watchdog resets it now");
}

/// A sector of partition 1 that holds autoboot.txt.
fn overwrite(device: &Device, bytes: &[u8; 512]) {
    let (start, length) = PARTITIONS[0];
    let volume = device.peek(start, length);
    let place = volume.windows(12).position(|window| window == b"tryboot_a_b=").unwrap();
    device.poke(start + (place - place % 512) as u64, bytes);
}

#[test]
fn the_deadline() {
    let mut device = in_trial();
    let said = device.done(&["deadline"]).err;
    assert!(said.contains("not restarted: --root"), "{said}");
    failed_within(&mut device, " s");
    // where the default runs, and where the trial was committed or given up
    let before = device.done(&["log"]).out;
    device.done(&["deadline"]);
    assert_eq!(before, device.done(&["log"]).out);
    for command in [&["commit"][..], &["rollback", "--no-reboot"]] {
        let device = in_trial();
        device.done(command);
        device.done(&["deadline"]);
        assert!(!has_failed(&device), "{command:?}");
    }
}

/// A selector that cannot be read is no commit.
#[test]
fn the_deadline_without_a_selector() {
    let device = in_trial();
    overwrite(&device, &[b'x'; 512]);
    assert!(device.status()["selector_problem"].is_string());
    device.done(&["deadline"]);
    assert!(has_failed(&device));
    // nothing is mounted either
    let device = in_trial();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootsel"));
    let output = command.arg("--root").arg(device.root.path()).arg("deadline").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(has_failed(&device));
}

/// In a trial it is a reason to go back, in a system that was committed none.
#[test]
fn the_deadline_and_a_disk_that_hangs() {
    let deadline = |device: &Device| {
        let pipe = device.path("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootsel"));
        command.arg("--root").arg(device.root.path()).arg("--disk").arg(pipe);
        let output = command.arg("deadline").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let on_trial = || {
        let (code, said) = deadline(&in_trial());
        assert!(code == Some(0) && said.contains("not restarted: --root"), "{said}");
    };
    let committed = || {
        let device = in_trial();
        device.done(&["commit"]);
        let (code, said) = deadline(&device);
        assert!(code == Some(3) && said.contains("does not answer"), "{said}");
    };
    std::thread::scope(|scope| {
        scope.spawn(on_trial);
        scope.spawn(committed);
    });
}

#[test]
fn a_log_that_cannot_be_written() {
    let device = in_trial();
    let log: PathBuf = device.path("run/pivot/data/pivot/log/init.log");
    fs::write(&log, "short").unwrap();
    let said = device.done(&["deadline"]).err;
    assert!(said.contains("warning: ") && said.contains("not restarted: --root"), "{said}");
}
