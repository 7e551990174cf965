// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shipped source of `init`, built for this machine, started by hand: it must do nothing at all.

use std::path::PathBuf;
use std::process::{Command, Output};

/// `PIVOT_INIT` names it, as `cargo verify` built it.
fn init() -> PathBuf {
    let path = std::env::var_os("PIVOT_INIT");
    path.expect("PIVOT_INIT must name an init for this machine: use cargo verify --only init")
        .into()
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
