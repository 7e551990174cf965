// SPDX-License-Identifier: MIT OR Apache-2.0
//! The watchdog and the modules, which belong together: a watchdog whose driver is a module is armed as soon as
//! that module is in, before the next one can hang.

use crate::boot::Boot;
use crate::cmdline::WatchdogWish;
use crate::kmsg::warn;
use crate::revision::MODULES;
use crate::watchdog::{NODE, Watchdog};
use bootsel::text::{of, pop};
use mount::{Error, error, file, text};
use uapi::memory;

/// A list of modules is a few KiB; this bounds a damaged one.
const LIST: usize = 64 << 10;

impl Boot {
    /// Arms the watchdog, or takes a running one over. Not there yet is no failure: its driver may be a module.
    pub(crate) fn open_watchdog(&mut self) -> Result<(), Error> {
        let take_over = self.cmdline.watchdog == WatchdogWish::TakeOver;
        // Asked after each module: one that is there and does not run is not asked again.
        if self.watchdog.is_some() || take_over && (self.watchdog_rests || !file::exists(NODE)) {
            return Ok(());
        }
        match Watchdog::open(self.cmdline.watchdog, &self.deadline) {
            Ok(Some(watchdog)) => {
                self.report.fact("watchdog", watchdog.description);
                self.watchdog = Some(watchdog);
            }
            Ok(None) => self.watchdog_rests = take_over,
            Err(why) => {
                // Not tried again: it is there and cannot be used.
                self.cmdline.watchdog = WatchdogWish::Off;
                self.degraded(why)?;
            }
        }
        Ok(())
    }

    /// Loads the modules of the initramfs' list for this release. What a driver that refuses to load would have
    /// brought (there is no such hardware) is missed where it is needed.
    pub(crate) fn load_early_modules(&mut self) -> Result<(), Error> {
        let directory = text!("/lib/modules/{}", self.release);
        if let Ok(list) = file::read_to(text!("{}/early", directory), memory::bytes(LIST)) {
            self.insert(directory, list)?;
        }
        if self.watchdog.is_none() && matches!(self.cmdline.watchdog, WatchdogWish::Arm(_)) {
            let why = "there is no watchdog to arm: no /dev/watchdog0 after the early modules";
            self.degraded(why.into())?;
        }
        self.stage("early_modules");
        Ok(())
    }

    /// Loads `pivot.modules=` with what they need. The image builder resolved that and left a list for each name, so
    /// that nothing has to be searched or parsed here.
    pub(crate) fn load_modules(&mut self) -> Result<(), Error> {
        let directory = text!("{}/{}", MODULES, self.release);
        let mut names = self.cmdline.modules;
        let room = memory::bytes(LIST);
        while let Some(name) = pop(&mut names, b',') {
            let path = text!("{}/load/{}", directory, modules::kernel_name(name));
            let refused = match file::read_to(path, room) {
                Ok(list) => self.insert(directory, list)?,
                Err(why) => Some(why),
            };
            if let Some(why) = refused {
                self.degraded(error!("module {}: {}", name, why))?;
            }
        }
        self.stage("modules");
        Ok(())
    }

    /// Inserts a list of modules in its order and arms the watchdog as soon as there is one. Every refusal is logged;
    /// what is returned is the last one of a module that is not optional.
    fn insert(&mut self, directory: &str, list: &[u8]) -> Result<Option<Error>, Error> {
        let mut refused = None;
        for module in modules::list(of(list)) {
            let options = self.cmdline.module_options(modules::stem(module.path));
            if let Err(why) = modules::insert(text!("{}/{}", directory, module.path), options) {
                warn(&why);
                if !module.optional {
                    refused = Some(why);
                }
            }
            self.open_watchdog()?;
        }
        Ok(refused)
    }
}
