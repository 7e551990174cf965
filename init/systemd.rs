// SPDX-License-Identifier: MIT OR Apache-2.0
//! systemd is told when the initrd began, so that `systemd-analyze` shows its time.
//!
//! There is no interface for a foreign initrd; what systemd's own initrd hands over is a serialized state in a
//! descriptor (`--deserialize`), of which one line is enough: `initrd-timestamp=REALTIME MONOTONIC`, in microseconds
//! (`dual_timestamp_deserialize`). Seen to work with systemd 252 and 257; a version that does not know it ignores it.

use core::ffi::CStr;

use bootsel::text::of;
use mount::file::c_string;
use mount::text;
use mount::text::{decimal, decimal32};
use rustix::fd::{AsFd, AsRawFd, IntoRawFd};
use rustix::fs::{CWD, OFlags};

/// The arguments that go before the descriptor's number.
pub(crate) const ARGUMENTS: [&CStr; 3] = [c"--switched-root", c"--system", c"--deserialize"];

/// The number of a descriptor that holds the state, open over the exec; `began` is in microseconds since the kernel
/// started. `None` where `init` is not systemd. What fails costs a figure in a report and nothing else.
pub(crate) fn state(init: &CStr, began: u64) -> Option<&'static CStr> {
    let program =
        uapi::open::open_text(of(init.to_bytes()), OFlags::PATH | OFlags::CLOEXEC, 0).ok()?;
    // Links end here: /sbin/init leads to /lib/systemd/systemd.
    let link = text!("/proc/self/fd/{}", decimal32(program.as_raw_fd().unsigned_abs()));
    let mut path = [0; 256];
    let length = rustix::fs::readlinkat_raw(CWD, c_string(link).ok()?, &mut path).ok()?;
    if !path.get(..length)?.ends_with(b"/systemd") {
        return None;
    }
    let age = (uapi::clock::boottime() / 1000).saturating_sub(began);
    let realtime = (uapi::clock::realtime() / 1000).saturating_sub(age);
    let state = uapi::open::memfd_create(c"systemd-state").ok()?;
    let line = text!("initrd-timestamp={} {}\n", decimal(realtime), decimal(began));
    uapi::file::pwrite(state.as_fd(), line.as_bytes(), 0).ok()?;
    c_string(decimal32(state.into_raw_fd().unsigned_abs())).ok()
}
