// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for a block device, never for ever.

use rustix::thread::nanosleep;
use rustix::time::Timespec;
use uapi::clock::boottime;

use crate::Error;
use crate::block::{self, BlockDevice, Roots};
use crate::device::DeviceName;
use crate::text::decimal;
use crate::uevent::Uevents;

// Belt to the uevents' braces: a medium that becomes readable late announces nothing.
const TICK: u64 = SECOND / 10;
const SECOND: u64 = 1_000_000_000;

/// A moment after which nothing is waited for any more, in nanoseconds of `CLOCK_BOOTTIME`: it runs on in suspend and
/// is the new init's clock too.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(u64);

impl Deadline {
    /// `seconds` from now.
    pub fn new(seconds: u64) -> Deadline {
        Deadline(boottime().saturating_add(seconds.saturating_mul(SECOND)))
    }

    pub(crate) fn after(time: Timespec) -> Deadline {
        let seconds = time.tv_sec.unsigned_abs().saturating_mul(SECOND);
        let nanoseconds = seconds.saturating_add(time.tv_nsec.unsigned_abs());
        Deadline(boottime().saturating_add(nanoseconds))
    }

    /// What is left until then; zero when it has passed.
    pub fn left(&self) -> Timespec {
        let left = self.0.saturating_sub(boottime());
        // Both fit: u64::MAX nanoseconds are less than 2^35 seconds.
        Timespec { tv_sec: (left / SECOND).cast_signed(), tv_nsec: (left % SECOND).cast_signed() }
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        boottime() >= self.0
    }
}

/// The device that `name` names, as soon as it is there. Without `uevents` it is looked for every 100 ms.
///
/// # Errors
/// At the deadline, with the devices that are there, and at once where two devices answer to the name.
pub fn device(
    roots: &Roots<'_>,
    name: &DeviceName<'_>,
    uevents: Option<&Uevents>,
    deadline: &Deadline,
) -> Result<BlockDevice, Error> {
    let began = boottime();
    loop {
        if let Some(device) = block::find(roots, name)? {
            return Ok(device);
        }
        if deadline.passed() {
            // Rounded: it is a little more than was asked for.
            let seconds = (boottime().saturating_sub(began) + SECOND / 2) / SECOND;
            let seen = block::list(roots);
            let seen = if seen.is_empty() { " none" } else { seen };
            let (name, seconds) = (name.as_str(), decimal(seconds));
            return Err(error!("no device {} after {} s; there are:{}", name, seconds, seen));
        }
        let tick = Deadline(boottime().saturating_add(TICK).min(deadline.0));
        // Whatever ends the pause, the answer is to look again.
        match uevents {
            Some(uevents) => _ = uevents.wait_until(&tick),
            None => _ = nanosleep(&tick.left()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::block::tests::Tree;

    #[test]
    fn there_already() {
        let tree = Tree::new();
        tree.disk("vda", 0, &[]);
        let name = DeviceName::parse("/dev/vda").unwrap();
        let found = device(&tree.roots(), &name, None, &Deadline::new(0)).unwrap();
        assert_eq!(found.name, "vda");
    }

    #[test]
    fn appears_while_waited_for() {
        let tree = Tree::new();
        let name = DeviceName::parse("/dev/vda1").unwrap();
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
        let name = DeviceName::parse("PARTLABEL=DATA").unwrap();
        let error = device(&tree.roots(), &name, None, &Deadline::new(1)).unwrap_err();
        assert_eq!(error.to_string(), "no device PARTLABEL=DATA after 1 s; there are: vda vdb");
        assert!((1000..10_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}
