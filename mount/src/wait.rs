// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for a block device, never for ever.

use core::time::Duration;

use rustix::thread::nanosleep;
use rustix::time::Timespec;

use crate::Error;
use crate::block::{self, BlockDevice, Roots};
use crate::device::DeviceName;
use crate::uevent::Uevents;

// Belt to the uevents' braces: a medium that becomes readable late announces nothing.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A moment after which nothing is waited for any more.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Duration);

impl Deadline {
    /// `seconds` from now.
    pub fn new(seconds: u64) -> Deadline {
        Deadline(now().saturating_add(Duration::from_secs(seconds)))
    }

    pub(crate) fn after(time: Timespec) -> Deadline {
        Deadline(now().saturating_add(Duration::try_from(time).unwrap_or_default()))
    }

    /// What is left until then; zero when it has passed.
    pub fn left(&self) -> Timespec {
        let forever = Timespec { tv_sec: i64::MAX, tv_nsec: 0 };
        self.0.saturating_sub(now()).try_into().unwrap_or(forever)
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        now() >= self.0
    }
}

/// The device that `name` names, as soon as it is there. Without `uevents` it is looked for every 100 ms.
///
/// # Errors
/// At the deadline, with the devices that are there, and at once where two devices answer to the name.
pub fn device(
    roots: &Roots<'_>,
    name: &DeviceName,
    uevents: Option<&Uevents>,
    deadline: &Deadline,
) -> Result<BlockDevice, Error> {
    let began = now();
    loop {
        if let Some(device) = block::find(roots, name)? {
            return Ok(device);
        }
        if deadline.passed() {
            // Rounded: it is a little more than was asked for.
            let seconds =
                now().saturating_sub(began).saturating_add(Duration::from_millis(500)).as_secs();
            let mut seen = block::list(roots).join(" ");
            if seen.is_empty() {
                seen = "none".into();
            }
            return Err(Error::new(format_args!(
                "no device {name} after {seconds} s; there are: {seen}"
            )));
        }
        let tick = TICK.min(deadline.left());
        // Whatever ends the pause, the answer is to look again.
        match uevents {
            Some(uevents) => _ = uevents.wait(tick),
            None => _ = nanosleep(&tick),
        }
    }
}

// CLOCK_BOOTTIME runs on in suspend and is the new init's clock too.
fn now() -> Duration {
    Duration::from_nanos(uapi::clock::boottime())
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::time::Instant;

    use super::*;
    use crate::block::tests::Tree;

    #[test]
    fn there_already() {
        let tree = Tree::new();
        tree.disk("vda", 0, &[]);
        let name = "/dev/vda".parse().unwrap();
        let found = device(&tree.roots(), &name, None, &Deadline::new(0)).unwrap();
        assert_eq!(found.name, "vda");
    }

    #[test]
    fn appears_while_waited_for() {
        let tree = Tree::new();
        let name = "/dev/vda1".parse().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                tree.disk("vda", 0, &[]);
                tree.partition("vda", "vda1", 1, "", &[]);
            });
            let uevents = Uevents::open().unwrap();
            let found = device(&tree.roots(), &name, Some(&uevents), &Deadline::new(10)).unwrap();
            assert_eq!((found.major, found.minor), (254, 1));
        });
    }

    #[test]
    fn names_what_was_awaited_and_what_was_there() {
        let tree = Tree::new();
        for name in ["vdb", "vda", "loop0", "ram7", "zram0"] {
            tree.disk(name, 0, &[]);
        }
        let began = Instant::now();
        let name = "PARTLABEL=DATA".parse().unwrap();
        let error = device(&tree.roots(), &name, None, &Deadline::new(1)).unwrap_err();
        assert_eq!(error.to_string(), "no device PARTLABEL=DATA after 1 s; there are: vda vdb");
        assert!((1000..10_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}
