// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watchdog and the early modules, which belong together: a watchdog whose driver is a module is armed as soon as
//! that module is in, before the next one can hang.

use alloc::format;
use alloc::string::String;

use crate::boot::Boot;
use crate::cmdline::WatchdogWish;
use crate::error::Error;
use crate::file;
use crate::watchdog::Watchdog;

/// The `early` list of a release is a few KiB; this bounds a damaged one.
const LIST: usize = 64 << 10;

impl Boot {
    /// Arms the watchdog, or takes a running one over. Not there yet is no failure: its driver may be a module.
    pub(crate) fn open_watchdog(&mut self) -> Result<(), Error> {
        if self.watchdog.is_some() {
            return Ok(());
        }
        match Watchdog::open(self.cmdline.watchdog, &self.deadline) {
            Ok(Some(watchdog)) => {
                self.report.fact("watchdog", &watchdog.description);
                self.watchdog = Some(watchdog);
            }
            Ok(None) => {}
            Err(why) => {
                // Not tried again: it is there and cannot be used.
                self.cmdline.watchdog = WatchdogWish::Off;
                self.degraded(why)?;
            }
        }
        Ok(())
    }

    /// Loads the modules of the initramfs' list for this release, in its order. A driver that refuses to load (no
    /// such hardware) is no failure; what it would have brought is missed where it is needed.
    pub(crate) fn load_early_modules(&mut self) -> Result<(), Error> {
        let directory = format!("/lib/modules/{}", self.release);
        let list = file::read(&format!("{directory}/early"), LIST).unwrap_or_default();
        let list = String::from_utf8_lossy(&list).into_owned();
        let mut count = 0u32;
        for path in modules::early(&list) {
            let options = self.cmdline.module_options(&modules::module_name(path));
            match modules::insert(&format!("{directory}/{path}"), &options) {
                Ok(_) => count = count.saturating_add(1),
                Err(why) => log::warn!("{why}"),
            }
            self.open_watchdog()?;
        }
        log::debug!("{count} early modules of {directory}");
        if self.watchdog.is_none() && matches!(self.cmdline.watchdog, WatchdogWish::Arm(_)) {
            self.degraded(Error::new(format_args!(
                "there is no watchdog to arm: no /dev/watchdog0 after the early modules"
            )))?;
        }
        self.report.stage("early_modules");
        Ok(())
    }
}
