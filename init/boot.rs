// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot story: facts once, then one stage after the other.

use core::convert::Infallible;

use bootsel::list::List;
use bootsel::slot::Slot;
use bootsel::text::of;
use mount::block::Roots;
use mount::device::{DeviceName, NO_NAME};
use mount::text::decimal32;
use mount::uevent::Uevents;
use mount::wait::Deadline;
use mount::{Error, error, text};
use uapi::memory;

use crate::cmdline::Cmdline;
use crate::data::Data;
use crate::kmsg::{say, warn};
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
    pub(crate) cmdline: Cmdline<'static>,
    pub(crate) firmware: Firmware,
    /// Who says that this is a trial; also `None` as long as that is not known.
    pub(crate) trial: Option<&'static str>,
    pub(crate) release: &'static str,
    pub(crate) deadline: Deadline,
    pub(crate) report: Report,
    /// Bound before any module is loaded, so that no device is missed. `None` on a kernel without netlink.
    pub(crate) uevents: Option<Uevents>,
    pub(crate) watchdog: Option<Watchdog>,
    /// There is one, and nobody asked for it.
    pub(crate) watchdog_rests: bool,
    pub(crate) data: Option<Data>,
    /// The revision that was chosen, which may be another than the command line's.
    pub(crate) revision: Option<&'static str>,
    /// The decision is to start the other slot once.
    pub(crate) other_slot: bool,
    /// The mounted images of the revision: root, modules, firmware.
    pub(crate) images: List<Image, 3>,
}

/// From the kernel's first program to the new system's init. What fails ends in [`rescue::end`].
pub(crate) fn boot(start: &Start) -> ! {
    let mut boot = Boot::begin();
    match boot.run(start) {
        Ok(never) => match never {},
        Err(why) => rescue::end(&mut boot, why),
    }
}

impl Boot {
    fn run(&mut self, start: &Start) -> Result<Infallible, Error> {
        self.open_watchdog()?;
        self.load_early_modules()?;
        self.mount_data()?;
        self.open_revision()?;
        self.load_modules()?;
        let root = self.mount_root()?;
        self.update_eeprom(&root);
        let init = switch_root::find_init(&root, self.cmdline.init)?;
        switch_root::exec(self, start, &root, init)
    }

    /// The kernel's file systems, the log, and the facts that everything else is decided from.
    fn begin() -> Self {
        let mut report = Report::start();
        let api = mount::api::filesystems("");
        kmsg::open();
        let line = mount::file::peek("/proc/cmdline", memory::bytes(CMDLINE));
        let cmdline = Cmdline::parse(ascii(line), &mut warn);
        let release = text!("{}", of(rustix::system::uname().release().to_bytes()));
        let deadline = Deadline::new(cmdline.timeout.into());
        let uevents = Uevents::open();
        report.debug = cmdline.debug;
        say!(
            Info,
            "version {}, kernel {}, slot {}, revision {}, {} s to boot",
            env!("PIVOT_VERSION"),
            release,
            cmdline.slot.map_or("none", Slot::as_str),
            cmdline.revision.unwrap_or("none"),
            decimal32(cmdline.timeout)
        );
        if let Err(why) = api {
            warn(&why);
        }
        let uevents = match uevents {
            Ok(uevents) => Some(uevents),
            Err(why) => {
                warn(&why);
                None
            }
        };
        let mut boot = Self {
            trial: None,
            firmware: Firmware::read("/proc/device-tree/chosen/bootloader"),
            cmdline,
            release,
            deadline,
            report,
            uevents,
            watchdog: None,
            watchdog_rests: false,
            data: None,
            revision: None,
            other_slot: false,
            images: List::new(Image { target: "", inside: None }),
        };
        boot.report_facts();
        boot
    }

    fn report_facts(&mut self) {
        self.report.fact("release", self.release);
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
        say!(Warn, "{}; booting on", what);
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
fn ascii(line: &'static [u8]) -> &'static str {
    let text = of(line);
    if !text.is_empty() {
        return text;
    }
    let plain = memory::bytes(line.len());
    for (to, from) in plain.iter_mut().zip(line) {
        *to = if from.is_ascii() { *from } else { b'?' };
    }
    of(plain)
}

/// Understands a device name of the command line.
pub(crate) fn device_name<'a>(parameter: &str, value: &'a str) -> Result<DeviceName<'a>, Error> {
    DeviceName::parse(value)
        .ok_or_else(|| error!("cannot use {}={}: {}", parameter, value, NO_NAME))
}
