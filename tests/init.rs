// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shipped source of `init`, built for this machine, started by hand: it must do nothing at all.

use std::path::PathBuf;
use std::process::{Command, Output};

/// Builds it; cargo does nothing where it is built already.
fn init() -> PathBuf {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let directory = root.join("target/by-hand");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--package",
            "pivot",
            "--target",
            &target,
        ])
        .arg("--target-dir")
        .arg(&directory)
        .current_dir(&root)
        .status();
    assert!(status.expect("cannot run cargo").success(), "cannot build init for {target}");
    directory.join(target).join("release/init")
}

fn run(command: &str) -> Output {
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let output = Command::new("sh").args(["-c", command]).arg(init()).output().unwrap();
    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(before, after, "it mounted something");
    output
}

#[test]
fn it_refuses_to_run_where_it_is_not_process_1() {
    let output = run("\"$0\" pivot.rescue=shell");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("runs as process 1 only"), "{said}");
}

#[test]
fn it_ends_in_order_without_any_open_descriptor() {
    assert_eq!(run("exec \"$0\" <&- >&- 2>&-").status.code(), Some(1));
}
