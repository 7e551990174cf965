// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hardware watchdog: armed before anything that can hang, fed until the overall deadline, handed over running.
//!
//! The device is opened with `O_CLOEXEC` and closed without the magic `V`: it stays armed over the exec, and the new
//! init opens it anew. A feeder child holds the same open file, because mount(2) with a journal replay on a slow card
//! can block PID 1 for longer than the watchdog's timeout. The child stops at the deadline, so a boot that hangs
//! ends in a reset all the same.

use bootsel::text::of;
use mount::text::{decimal, decimal32};
use mount::wait::Deadline;
use mount::{Error, errno, file, text};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{OFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use uapi::process::Fork;

use crate::cmdline::WatchdogWish;
use crate::kmsg::{say, warn};

/// The node of the first watchdog.
pub(crate) const NODE: &str = "/dev/watchdog0";
/// And the older name of the same device.
const NODES: [&str; 2] = [NODE, "/dev/watchdog"];
/// What the parameter of the kernel's watchdog core is: -1 leaves it to the driver. (`drivers/watchdog/watchdog_core.c`, since
/// Linux 5.8)
const STOP_ON_REBOOT: &str = "/sys/module/watchdog/parameters/stop_on_reboot";
/// The timeout for a restart in seconds: the most that all of Raspberry Pi's kernels take.
const RESTART: u32 = 15;
/// For one that keeps a timeout of its own nobody waits longer, in seconds.
const PATIENCE: i64 = 60;
/// It may need a little longer than it says, in seconds.
const LATE: i64 = 5;
const STATE: &str = "/sys/class/watchdog/watchdog0/state";

/// An open, running watchdog and the child that feeds it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    device: OwnedFd,
    feeder: Option<Pid>,
    /// What it is, for the report: `i6300ESB timer, 15 s`.
    pub(crate) description: &'static str,
}

impl Watchdog {
    /// Arms the watchdog that the command line wishes, or takes a running one over.
    ///
    /// `Ok(None)`: there is none to arm yet, or none is wished.
    pub(crate) fn open(wish: WatchdogWish, deadline: &Deadline) -> Result<Option<Self>, Error> {
        let running = || file::attribute(STATE) == "active";
        let wanted = match wish {
            WatchdogWish::Off => return Ok(None),
            WatchdogWish::TakeOver if !running() => return Ok(None),
            WatchdogWish::TakeOver => None,
            WatchdogWish::Arm(seconds) => Some(seconds),
        };
        let Some(device) = open_node()? else { return Ok(None) };
        Self::arm(device, wanted, deadline).map(Some)
    }

    fn arm(device: OwnedFd, wanted: Option<u32>, deadline: &Deadline) -> Result<Self, Error> {
        if let Some(seconds) = wanted {
            if let Err(why) = uapi::watchdog::set_timeout(device.as_fd(), seconds.cast_signed()) {
                say!(
                    Warn,
                    "watchdog: cannot set {} s: {}; it keeps its own",
                    decimal32(seconds),
                    errno::text(why)
                );
            }
            // Opening the device starts most watchdogs; those that it does not start know this command,
            // the others refuse it.
            let _ = uapi::watchdog::enable_card(device.as_fd());
        }
        let seconds = uapi::watchdog::get_timeout(device.as_fd())
            .map_err(|why| Error::call("read the timeout of", "the watchdog", why))?;
        let set = decimal32(seconds.unsigned_abs());
        if let Some(asked) = wanted.map(decimal32).filter(|&asked| asked != set) {
            say!(Warn, "watchdog: asked for {} s, the driver works with {} s", asked, set);
        }
        let description = text!("{}, {} s", identity(&device), set);
        let feeder = feed(&device, seconds, Some(deadline))?;
        let left = decimal(deadline.left().tv_sec.unsigned_abs());
        say!(Info, "watchdog: {}, fed for {} s", description, left);
        Ok(Self { device, feeder: Some(feeder), description })
    }

    /// Ends the feeder and feeds a last time: the next program has the full timeout. The device stays armed when the
    /// descriptor closes.
    pub(crate) fn hand_over(&mut self) {
        self.stop_feeding();
        if let Err(why) = uapi::watchdog::keepalive(self.device.as_fd()) {
            say!(Warn, "watchdog: cannot feed it before the hand-over: {}", errno::text(why));
        }
    }

    /// Ends the feeder; the watchdog expires unless somebody else feeds it.
    pub(crate) fn stop_feeding(&mut self) {
        let Some(feeder) = self.feeder.take() else { return };
        // It may have ended by itself at the deadline.
        let _ = rustix::process::kill_process(feeder, Signal::KILL);
        let _ = rustix::process::waitpid(Some(feeder), WaitOptions::empty());
    }

    /// The one that resets the machine if a restart hangs: any that there is, unless it is not to be touched.
    pub(crate) fn open_for_restart(wish: WatchdogWish, deadline: &Deadline) -> Option<Self> {
        let wish = if wish == WatchdogWish::Off { wish } else { WatchdogWish::Arm(RESTART) };
        Self::open(wish, deadline).unwrap_or_else(|why| {
            warn(&why);
            None
        })
    }

    /// Leaves it running, unfed, for a restart that is to come whatever hangs. The kernel stops most watchdogs when it
    /// restarts the machine (`watchdog_stop_on_reboot`); unless `watchdog.stop_on_reboot=0` keeps it from that, this waits
    /// for the watchdog to do it. Returns where the kernel is to.
    pub(crate) fn reset_by(&mut self) {
        self.stop_feeding();
        let device = self.device.as_fd();
        // Where it cannot be set it has its own.
        let _ = uapi::watchdog::set_timeout(device, RESTART.cast_signed());
        let _ = uapi::watchdog::keepalive(device);
        if file::attribute(STOP_ON_REBOOT) != "0" {
            let seconds = uapi::watchdog::get_timeout(device).unwrap_or(0);
            say!(Info, "the watchdog resets the machine");
            crate::rescue::sleep(i64::from(seconds).min(PATIENCE).saturating_add(LATE));
        }
    }

    /// Feeds without a deadline from now on: a person works in a rescue shell and asked for it.
    pub(crate) fn feed_for_ever(&mut self) -> Result<(), Error> {
        self.stop_feeding();
        let seconds = uapi::watchdog::get_timeout(self.device.as_fd()).unwrap_or(1);
        self.feeder = Some(feed(&self.device, seconds, None)?);
        Ok(())
    }
}

fn open_node() -> Result<Option<OwnedFd>, Error> {
    for node in NODES {
        match file::open_raw(node, OFlags::WRONLY) {
            Ok(device) => return Ok(Some(device)),
            Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {}
            Err(why) => return Err(Error::call("open", node, why)),
        }
    }
    Ok(None)
}

fn identity(device: &OwnedFd) -> &'static str {
    let Ok(info) = uapi::watchdog::get_support(device.as_fd()) else { return "watchdog" };
    let name = info.identity.split(|byte| *byte == 0).next().unwrap_or_default();
    text!("{}", of(name).trim_ascii_end())
}

/// Forks the child that feeds three times per timeout until the deadline.
fn feed(device: &OwnedFd, seconds: i32, deadline: Option<&Deadline>) -> Result<Pid, Error> {
    match uapi::process::fork() {
        Ok(Fork::Parent(feeder)) => Ok(feeder),
        Ok(Fork::Child) => {
            while deadline.is_none_or(|deadline| !deadline.passed()) {
                // A failure cannot be mended here, and its consequence is a reset.
                let _ = uapi::watchdog::keepalive(device.as_fd());
                let third = Timespec { tv_sec: i64::from(seconds / 3), tv_nsec: 300_000_000 };
                let _ = rustix::thread::nanosleep(&third);
            }
            uapi::process::exit(0)
        }
        Err(why) => Err(Error::call("fork", "the watchdog's feeder", why)),
    }
}
