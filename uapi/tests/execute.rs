// SPDX-License-Identifier: MIT OR Apache-2.0
//! A fork that is followed by an exec. The only test of its program: no other thread may hold a lock at the fork.
#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::ffi::CStr;

use rustix::fs::OFlags;
use rustix::process::{WaitOptions, waitpid};
use uapi::process::{Fork, execute, exit, fork};

fn run(path: &CStr, command: &CStr) -> Option<i32> {
    let program = uapi::open::open(path, OFlags::PATH | OFlags::CLOEXEC, 0).unwrap();
    match fork().unwrap() {
        Fork::Child => {
            execute(&program, &[c"sh", c"-c", command]);
            exit(127)
        }
        Fork::Parent(child) => {
            waitpid(Some(child), WaitOptions::empty()).unwrap().unwrap().1.exit_status()
        }
    }
}

/// By its descriptor alone, and without an environment.
#[test]
fn an_open_program_is_executed() {
    assert_eq!(run(c"/bin/sh", c"exit 4"), Some(4));
    assert_eq!(run(c"/bin/sh", c"test -z \"$HOME\""), Some(0));
    assert_eq!(run(c"/etc/passwd", c""), Some(127));
}
