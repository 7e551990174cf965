// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that PID 1 runs before the new init.

use mount::wait::Deadline;
use rustix::fs::Timespec;
use rustix::process::{Pid, Signal, WaitOptions};

/// What the program gave at its end. One that does not come to it in time is killed: nothing that it writes to may be
/// written by the boot that goes on.
pub(crate) fn wait(child: Pid, deadline: &Deadline) -> Result<i32, &'static str> {
    while !deadline.passed() {
        match rustix::process::waitpid(Some(child), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => return status.exit_status().ok_or("was killed"),
            Ok(None) => {
                let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                let _ = rustix::thread::nanosleep(&tick);
            }
            Err(_) => break,
        }
    }
    // Not waited for: it may hang in a driver. The new init takes it over.
    let _ = rustix::process::kill_process(child, Signal::KILL);
    Err("did not end in time")
}
