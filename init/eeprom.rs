// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bootloader in the EEPROM of a Raspberry Pi 4 or 5, where it is too old to try slots.
//!
//! Whether it is takes two small reads. All else is the root's own `bootsel`: it decides, stages the update and counts the
//! attempt. Then the machine is restarted, and the ROM writes the EEPROM. A failure costs a line and never a boot.

use bootsel::eeprom::Chip;
use mount::new_root::Root;
use mount::text::decimal32;
use mount::wait::Deadline;
use mount::{Error, error, file, text};
use uapi::memory;
use uapi::process::Fork;

use crate::boot::Boot;
use crate::kmsg::say;
use crate::watchdog::Watchdog;
use crate::{child, kmsg, rescue};

const BOOTSEL: &str = "/usr/sbin/bootsel";
/// Its exit code where it staged an update: see bootsel(8).
const RESTART: i32 = 4;
/// It reads and writes some MiB of the card. In seconds.
const PATIENCE: u64 = 20;
/// What it counts attempts in; there until an update is known to have been made. [`bootsel::eeprom::attempts`]
const ATTEMPTS: &str = "/run/pivot/data/pivot/state/eeprom";
const TREE: &str = "/proc/device-tree";
/// Below it, when the bootloader was built, in seconds since 1970.
const BUILT: &str = "chosen/bootloader/build-timestamp";
/// `compatible` of the device tree is a few names.
const COMPATIBLE: usize = 256;

/// Whether there is something to do: the bootloader is older than slots can be tried with, or an update was begun.
fn is_due(compatible: &[u8], built: &[u8], was_tried: bool, is_allowed: bool) -> bool {
    let is = |name: &[u8]| compatible.split(|byte| *byte == 0).any(|found| found == name);
    let chip = if is(b"brcm,bcm2711") {
        Chip::Bcm2711
    } else if is(b"brcm,bcm2712") {
        Chip::Bcm2712
    } else {
        return false;
    };
    // Old firmware does not say it.
    let built = built.try_into().map_or(0, u32::from_be_bytes);
    was_tried || is_allowed && built < chip.least()
}

impl Boot {
    /// Brings the EEPROM up to date. Returns where it is, or where that is not possible.
    #[inline(never)]
    pub(crate) fn update_eeprom(&mut self, root: &Root) {
        if !self.may_write_eeprom() {
            return;
        }
        let read = |name| file::peek(text!("{}/{}", TREE, name), memory::bytes(COMPATIBLE));
        let (compatible, built) = (read("compatible"), read(BUILT));
        if !is_due(compatible, built, file::exists(ATTEMPTS), self.cmdline.eeprom) {
            return;
        }
        match self.run_bootsel(root) {
            Ok(true) => self.restart_for_eeprom(),
            Ok(false) => {}
            Err(why) => say!(Warn, "eeprom: {}", why),
        }
        self.stage("eeprom");
    }

    /// Never in a trial, which a reset would end, nor in what the one-shot fallback started; and attempts have to be
    /// counted. What the selector says is looked at by `bootsel`.
    fn may_write_eeprom(&self) -> bool {
        let writable = self.data.as_ref().is_some_and(|data| !data.read_only);
        writable && self.trial.is_none() && !self.firmware.is_tryboot()
    }

    /// `bootsel eeprom boot`, with the file systems of this one: whether it wants a restart.
    fn run_bootsel(&self, root: &Root) -> Result<bool, Error> {
        let program = root.program(BOOTSEL)?;
        let child = match uapi::process::fork() {
            Ok(Fork::Parent(child)) => child,
            Ok(Fork::Child) => {
                kmsg::become_stderr();
                uapi::process::execute(&program, &[c"bootsel", c"eeprom", c"boot"]);
                uapi::process::exit(127)
            }
            Err(why) => return Err(Error::call("fork", BOOTSEL, why)),
        };
        let left = self.deadline.left().tv_sec.unsigned_abs();
        match child::wait(child, &Deadline::new(left.min(PATIENCE))) {
            // It said why where it refuses.
            Ok(status @ (0 | 1 | RESTART)) => Ok(status == RESTART),
            Ok(status) => Err(error!(
                "{} eeprom boot failed (exit status {})",
                BOOTSEL,
                decimal32(status.unsigned_abs())
            )),
            Err(how) => Err(error!("{} eeprom boot {}", BOOTSEL, how)),
        }
    }

    /// The attempt is counted, the files have their names: a reset of any kind is as good as another.
    fn restart_for_eeprom(&mut self) -> ! {
        say!(Info, "eeprom: an update is staged; restarting");
        self.settle_disks();
        if self.watchdog.is_none() {
            self.watchdog = Watchdog::open_for_restart(self.cmdline.watchdog, &self.deadline);
        }
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.reset_by();
        }
        rescue::restart(self)
    }
}

#[cfg(test)]
mod tests {
    use super::is_due;

    #[track_caller]
    fn check(compatible: &[u8], built: Option<u32>, was_tried: bool, expected: bool) {
        let built = built.map(u32::to_be_bytes);
        let built = built.as_ref().map_or(&[][..], |built| built);
        assert_eq!(is_due(compatible, built, was_tried, true), expected, "{built:?}");
        // what was begun is brought to its end, and nothing new is
        let without = expected && was_tried;
        assert_eq!(is_due(compatible, built, was_tried, false), without, "{built:?}");
    }

    #[test]
    fn only_boards_with_an_eeprom_that_is_too_old() {
        let (pi4, pi5): (&[u8], &[u8]) =
            (b"raspberrypi,4-model-b\0brcm,bcm2711\0", b"raspberrypi,5-model-b\0brcm,bcm2712\0");
        // 2022-11-25 and 2024-05-13, of rpi-eeprom's release notes
        for (board, least) in [(pi4, 1_669_373_653), (pi5, 1_715_613_301)] {
            check(board, Some(least), false, false);
            check(board, Some(least - 1), false, true);
            check(board, Some(u32::MAX), false, false);
            // an update is to be tidied up after
            check(board, Some(least), true, true);
            check(board, None, false, true);
        }
        for other in [&b"raspberrypi,3-model-b\0brcm,bcm2837\0"[..], b"", b"linux,dummy-virt\0"] {
            check(other, None, true, false);
            check(other, Some(1), false, false);
        }
        check(b"brcm,bcm27112\0xbrcm,bcm2711\0", None, true, false);
        for no_number in [&b"\x70\0\0"[..], b"\x70\0\0\0\0"] {
            assert!(is_due(pi4, no_number, false, true));
        }
    }
}
