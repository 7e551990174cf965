// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot story: facts once, then one stage after the other.

use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;

use bootsel::slot::Slot;
use bootsel::text::Decimal;
use mount::Error;
use mount::block::Roots;
use mount::device::DeviceName;
use mount::uevent::Uevents;
use mount::wait::Deadline;

use crate::cmdline::Cmdline;
use crate::data::Data;
use crate::kmsg::say;
use crate::report::Report;
use crate::revision::Image;
use crate::switch_root::Start;
use crate::trial::Firmware;
use crate::watchdog::Watchdog;
use crate::{kmsg, rescue, switch_root};

/// A command line is at most 2 KiB on Arm64 and 1 KiB on Arm; this bounds what the kernel could ever give.
const CMDLINE: usize = 64 << 10;

/// Everything that the boot knows and holds.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) start: Start,
    pub(crate) cmdline: Cmdline<'static>,
    pub(crate) firmware: Firmware,
    /// Who says that this is a trial; also `None` as long as that is not known.
    pub(crate) trial: Option<&'static str>,
    pub(crate) release: String,
    pub(crate) deadline: Deadline,
    pub(crate) report: Report,
    /// Bound before any module is loaded, so that no device is missed. `None` on a kernel without netlink.
    pub(crate) uevents: Option<Uevents>,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) data: Option<Data>,
    /// The revision that was chosen, which may be another than the command line's.
    pub(crate) revision: Option<String>,
    /// The decision is to start the other slot once.
    pub(crate) other_slot: bool,
    /// The mounted images of the revision.
    pub(crate) images: Vec<Image>,
}

/// From the kernel's first program to the new system's init. What fails ends in [`rescue::end`].
pub(crate) fn boot(start: Start) -> ! {
    let mut boot = Boot::begin(start);
    match boot.run() {
        Ok(never) => match never {},
        Err(why) => rescue::end(boot, &why),
    }
}

impl Boot {
    fn run(&mut self) -> Result<Infallible, Error> {
        self.open_watchdog()?;
        self.load_early_modules()?;
        self.mount_data()?;
        self.open_revision()?;
        self.load_modules()?;
        let root = self.mount_root()?;
        self.update_eeprom(&root);
        let init = switch_root::find_init(&root, self.cmdline.init)?;
        switch_root::exec(self, &root, &init)
    }

    /// The kernel's file systems, the log, and the facts that everything else is decided from.
    fn begin(start: Start) -> Self {
        let mut report = Report::start();
        let api = mount::api::filesystems("");
        kmsg::open();
        let line = mount::file::read("/proc/cmdline", CMDLINE).unwrap_or_default();
        let cmdline = Cmdline::parse(text(line).leak());
        let release = rustix::system::uname().release().to_str().unwrap_or_default().into();
        let deadline = Deadline::new(cmdline.timeout.into());
        let uevents = Uevents::open();
        report.debug = cmdline.debug;
        say!(
            Info,
            "version {}, kernel {release}, slot {}, revision {}, {} s to boot",
            env!("PIVOT_VERSION"),
            cmdline.slot.map_or("none", Slot::as_str),
            cmdline.revision.unwrap_or("none"),
            Decimal(cmdline.timeout.into())
        );
        for complaint in &cmdline.complaints {
            say!(Warn, "{complaint}");
        }
        if let Err(why) = api {
            say!(Warn, "{why}");
        }
        let uevents = match uevents {
            Ok(uevents) => Some(uevents),
            Err(why) => {
                say!(Warn, "{why}");
                None
            }
        };
        let mut boot = Self {
            start,
            trial: cmdline.trial.then_some("command line"),
            firmware: Firmware::read("/proc/device-tree/chosen/bootloader"),
            cmdline,
            release,
            deadline,
            report,
            uevents,
            watchdog: None,
            data: None,
            revision: None,
            other_slot: false,
            images: Vec::new(),
        };
        boot.report_facts();
        boot
    }

    fn report_facts(&mut self) {
        self.report.fact("release", &self.release);
        if let Some(slot) = self.cmdline.slot {
            self.report.fact("slot", slot.as_str());
        }
        self.stage("api");
    }

    /// Where block devices are looked for.
    pub(crate) fn roots(&self) -> Roots<'static> {
        Roots { sys: "/sys", dev: "/dev" }
    }

    /// Something that a committed slot boots without. In a trial it is a failure: that is what a trial is for.
    pub(crate) fn degraded(&mut self, what: Error) -> Result<(), Error> {
        if self.trial.is_some() {
            return Err(what);
        }
        say!(Warn, "{what}; booting on");
        self.report.degraded(&what);
        Ok(())
    }

    /// The same for a call's result.
    pub(crate) fn tolerate<T>(&mut self, result: Result<T, Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(why) => self.degraded(why).map(|()| None),
        }
    }
}

/// A command line as text: one with bytes that are no UTF-8 keeps its ASCII, so that one bad word costs only itself.
fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap_or_else(|why| {
        let mut line = why.into_bytes();
        for byte in line.iter_mut().filter(|byte| !byte.is_ascii()) {
            *byte = b'?';
        }
        String::from_utf8(line).unwrap_or_default()
    })
}

/// Understands a device name of the command line.
pub(crate) fn device_name(parameter: &'static str, value: &str) -> Result<DeviceName, Error> {
    value.parse().map_err(|why| Error::new(format_args!("cannot use {parameter}={value}: {why}")))
}
