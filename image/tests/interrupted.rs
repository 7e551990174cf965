// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is interrupted, or meets a full disk, leaves nothing half-written.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where something is wrong")]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{Project, output, pivot_image, refusal};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[track_caller]
fn wait(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain");
        sleep(Duration::from_millis(20));
    }
}

/// A mksquashfs that writes half of a file and then sleeps.
fn slow_writer(project: &Project) {
    project.write(
        "bin/mksquashfs",
        b"#!/bin/sh\necho half >\"$2\"\necho $$ >../pid\nmv ../pid ../began\nexec sleep 600\n",
    );
    output(Command::new("chmod").arg("+x").arg(project.path("bin/mksquashfs")));
    for directory in ["out", "tmp", "cache"] {
        fs::create_dir(project.path(directory)).unwrap();
    }
    fs::write(project.path("out/firmware.squashfs"), "before").unwrap();
}

fn firmware(project: &Project) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pivot-image"));
    command.arg("--cache").arg(project.path("cache")).arg("firmware").arg(project.path("firmware"));
    command.args(["--writer", "mksquashfs", "-o", "firmware.squashfs"]);
    command.current_dir(project.path("out")).env("TMPDIR", project.path("tmp"));
    command.env("PATH", format!("{}:/usr/bin:/bin", project.path("bin").display()));
    command.stderr(Stdio::piped());
    command
}

#[test]
fn signals_leave_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let project = Project::new();
        slow_writer(&project);
        let child = firmware(&project).spawn().unwrap();
        wait(|| project.path("began").exists());
        assert!(names(&project.path("out")).len() > 1, "{signal}");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let found = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&found.stderr);
        assert_eq!(found.status.signal(), Some(signal as i32), "{said}");
        assert!(!said.contains("failed"), "{said}");
        assert_eq!(names(&project.path("out")), ["firmware.squashfs"], "{signal}");
        assert_eq!(fs::read(project.path("out/firmware.squashfs")).unwrap(), b"before");
        for directory in ["tmp", "cache"] {
            assert_eq!(names(&project.path(directory)), [""; 0], "{signal} {directory}");
        }
        let writer = fs::read_to_string(project.path("began")).unwrap();
        wait(|| !Path::new("/proc").join(writer.trim()).exists());
    }
}

/// As nohup starts it.
#[test]
fn ignored_signals_stay_ignored() {
    let project = Project::new();
    slow_writer(&project);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    let command = firmware(&project);
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(project.path("out"));
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = shell.stderr(Stdio::null()).spawn().unwrap();
    wait(|| project.path("began").exists());
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    kill(pid, Signal::SIGHUP).unwrap();
    sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
}

/// Runs a command with files of no more than so many blocks: what follows is as on a full disk.
fn limited(blocks: u32, command: &Command) -> (String, i32) {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
    refusal(shell.arg(command.get_program()).args(command.get_args()))
}

#[test]
fn full_disks_leave_nothing() {
    let project = Project::new();
    fs::create_dir(project.path("out")).unwrap();
    let out = project.path("out/initramfs");
    let mut initramfs = pivot_image();
    initramfs.args(["initramfs", "--compression", "none", "--init"]).arg(project.path("init"));
    initramfs.arg("-o").arg(&out);
    let mut firmware = pivot_image();
    firmware.arg("firmware").arg(project.path("firmware")).arg("-o").arg(&out);
    for command in [&initramfs, &firmware] {
        fs::write(&out, "before").unwrap();
        let (error, _) = limited(0, command);
        assert!(error.contains("cannot write ") && error.contains("initramfs"), "{error}");
        assert!(error.contains("File too large") && !error.contains("/.pivot"), "{error}");
        assert_eq!(names(&project.path("out")), ["initramfs"], "{error}");
        assert_eq!(fs::read(&out).unwrap(), b"before");
    }
}

#[test]
fn both_keys_or_none() {
    let project = Project::new();
    let keys = project.path("keys");
    let mut command = pivot_image();
    command.arg("keys").arg("-o").arg(&keys);
    let (error, _) = limited(0, &command);
    assert!(error.contains("pivot.key: File too large"), "{error}");
    assert_eq!(names(&keys), [""; 0]);
    // a link to nowhere: the second of the two cannot be made
    std::os::unix::fs::symlink("nowhere", keys.join("pivot.pub")).unwrap();
    let (error, _) = refusal(&mut command);
    assert!(error.contains("pivot.pub: File exists"), "{error}");
    assert_eq!(names(&keys), ["pivot.pub"]);
    fs::remove_file(keys.join("pivot.pub")).unwrap();
    output(&mut command);
}
