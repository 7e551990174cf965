// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a boot that cannot go on: say why, keep the reason, and restart, or give a shell where one is wished.

use bootsel::log;
use mount::{Error, errno, text};
use rustix::fs::{OFlags, Timespec};
use uapi::process::Fork;

use crate::boot::Boot;
use crate::cmdline::Rescue;
use crate::grub;
use crate::kmsg::{say, warn};

/// How long the reason stays on the screen before the restart, in seconds.
const READING_TIME: i64 = 10;
/// What makes Raspberry Pi kernels set the firmware's one-shot flag (`strstr(arg, " tryboot")` in the vendor's
/// drivers/firmware/raspberrypi.c).
const TRYBOOT: &core::ffi::CStr = c"0 tryboot";

/// Ends the boot. A trial restarts at once: the firmware goes back to the committed slot.
pub(crate) fn end(boot: &mut Boot, why: Error) -> ! {
    let record = text!("after stage {}: {}", boot.report.reached(), why);
    if boot.ends_trial() {
        say!(Error, "trial failed: {}; rebooting", why);
        boot.journal(log::TRIAL_FAILED, record);
        restart(boot)
    }
    if boot.other_slot {
        say!(Error, "rescue: {}; starting the other slot once", why);
        // The count must be on the disk first: a fallback that is not counted could go on for ever.
        if boot.journal(log::FALLBACK, &why) {
            let cannot = start_other_slot(boot);
            say!(Error, "rescue: cannot start the other slot: {}", cannot);
        } else {
            say!(Error, "rescue: the fallback could not be counted in the log, so it is not done");
        }
    } else {
        say!(Error, "rescue: {}", why);
        boot.journal(log::RESCUE, record);
    }
    if boot.cmdline.rescue != Rescue::Reboot {
        shell(boot);
    }
    say!(Error, "rescue: rebooting in 10 s");
    sleep(READING_TIME);
    restart(boot)
}

/// Restarts the machine; where the kernel cannot, the armed watchdog does.
pub(crate) fn restart(boot: &Boot) -> ! {
    boot.settle_disks();
    if let Err(why) = uapi::reboot::restart() {
        say!(Error, "cannot restart: {}", errno::text(why));
    }
    halt()
}

/// Comes back where it cannot be asked for.
fn start_other_slot(boot: &Boot) -> Error {
    if grub::is_here() {
        match boot.ask_grub_for_other_slot() {
            Ok(()) => restart(boot),
            Err(why) => return why,
        }
    }
    boot.settle_disks();
    match uapi::reboot::restart2(TRYBOOT) {
        Err(why) => Error::call("restart", "the machine", why),
        Ok(()) => halt(),
    }
}

/// PID 1 must not end: that would be a kernel panic, which hides the reason.
pub(crate) fn halt() -> ! {
    loop {
        sleep(3600);
    }
}

pub(crate) fn sleep(seconds: i64) {
    // An interrupted sleep is only shorter.
    let _ = rustix::thread::nanosleep(&Timespec { tv_sec: seconds, tv_nsec: 0 });
}

/// Gives a person at the console the initramfs' shell, and comes back when it ends.
fn shell(boot: &mut Boot) {
    if let Some(watchdog) = &mut boot.watchdog {
        if boot.cmdline.rescue == Rescue::ShellFeed {
            if let Err(why) = watchdog.feed_for_ever() {
                warn(&why);
            }
        } else {
            watchdog.stop_feeding();
            warn(
                "the watchdog is not fed any more and will reset the machine; pivot.rescue=shell-feed feeds it",
            );
        }
    }
    say!(Error, "rescue: /bin/sh on the console; the machine restarts when it ends");
    if let Err(why) = run_shell() {
        say!(Error, "rescue: no shell: {}", why);
    }
}

fn run_shell() -> Result<(), Error> {
    let shell = c"/bin/sh";
    rustix::fs::access(c"/bin/sh", rustix::fs::Access::EXEC_OK)
        .map_err(|why| Error::call("execute", "/bin/sh", why))?;
    match uapi::process::fork().map_err(|why| Error::call("fork for", "/bin/sh", why))? {
        Fork::Parent(child) => loop {
            match rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => {}
                _ => return Ok(()),
            }
        },
        Fork::Child => {
            console();
            let why = uapi::process::execve(
                shell,
                &[c"sh"],
                &[c"PATH=/bin:/sbin", c"HOME=/", c"TERM=linux"],
            );
            say!(Error, "cannot execute /bin/sh: {}", errno::text(why));
            uapi::process::exit(127)
        }
    }
}

/// Makes the console this process's terminal, so that Ctrl-C works. What fails only takes comfort away.
fn console() {
    let _ = rustix::process::setsid();
    let Ok(tty) = uapi::open::open_text("/dev/console", OFlags::RDWR, 0) else { return };
    let _ = rustix::process::ioctl_tiocsctty(&tty);
    let _ = rustix::stdio::dup2_stdin(&tty);
    let _ = rustix::stdio::dup2_stdout(&tty);
    let _ = rustix::stdio::dup2_stderr(&tty);
}

impl Boot {
    /// Leaves the data partition clean.
    pub(crate) fn settle_disks(&self) {
        rustix::fs::sync();
        if let Some(data) = &self.data {
            data.remount_read_only();
        }
    }
}
