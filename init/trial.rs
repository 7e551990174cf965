// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether this boot is a trial, and the trace that a trial leaves in the log.
//!
//! The same command line serves the trial of a slot and its later boots, so the firmware is asked, and where it says
//! nothing the log, in which `bootsel` announced the trial.

use bootsel::log::{self, Record};
use bootsel::slot::Slot;
use bootsel::state;
use mount::text::decimal32;
use mount::{Error, file, text};
use uapi::memory;

use crate::boot::Boot;
use crate::cmdline::Cmdline;
use crate::journal;
use crate::kmsg::say;

/// What the firmware says of this boot. Boards differ: some leave `tryboot` out, some say that partition 0 was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Firmware {
    partition: Option<u32>,
    tryboot: Option<u32>,
}

impl Firmware {
    /// From `/proc/device-tree/chosen/bootloader`, which other firmware than a Raspberry Pi's does not make.
    pub(crate) fn read(directory: &str) -> Self {
        let number = |name| cell(file::peek(text!("{}/{}", directory, name), &mut [0; 5]));
        Self { partition: number("partition"), tryboot: number("tryboot") }
    }

    /// Whether it says that its one-shot flag led here.
    pub(crate) fn is_tryboot(&self) -> bool {
        self.tryboot.is_some_and(|flag| flag != 0)
    }

    /// The partition that it booted, where that is the other slot's. Any other number says nothing of the slots.
    fn contradicts(&self, slot: Option<Slot>) -> Option<u32> {
        let other = slot?.other().partition();
        self.partition.filter(|partition| *partition == other)
    }
}

/// One number of a device tree: 32 bits, big-endian.
fn cell(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Who says that this boot is a trial, if anybody does: GRUB by a `word` of the command line. In the boot after the one-shot
/// fallback firmware and GRUB say so, too; there is no slot to go back to, and what can be booted is.
fn source(
    word: bool,
    firmware: &Firmware,
    slot: Option<Slot>,
    boot_id: &str,
    log: &[Record<&str>],
) -> Option<&'static str> {
    let unless_fallback = |who| (!log::fallback_used(log)).then_some(who);
    match firmware.tryboot {
        _ if word => unless_fallback("command line"),
        Some(0) => None,
        Some(_) => unless_fallback("firmware"),
        None => state::expected_in(log, boot_id, slot?).then_some("log"),
    }
}

impl Boot {
    /// Finds out whether this is a trial, as soon as the log can be read or it is known that there is none.
    pub(crate) fn find_trial(&mut self) -> Result<(), Error> {
        let mut log = None;
        if let Some(data) = &mut self.data {
            log = journal::read(memory::bytes(log::BYTES)).ok().map(log::parse);
            data.fallback_used = log.as_deref().map(log::fallback_used);
        }
        let log = log.as_deref().unwrap_or_default();
        let boot_id = if log.is_empty() { "" } else { journal::boot_id() };
        let Cmdline { trial, slot, .. } = self.cmdline;
        self.trial = source(trial, &self.firmware, slot, boot_id, log);
        // What nobody minded while it was not known counts now.
        if let (Some(_), Some(what)) = (self.trial, self.report.missing()) {
            return Err(Error::from(what));
        }
        self.report_trial();
        Ok(())
    }

    /// Whether the end of this boot is that of a trial. Before the log could be read the firmware's or GRUB's word is enough.
    pub(crate) fn ends_trial(&self) -> bool {
        let told = self.cmdline.trial || self.firmware.is_tryboot();
        self.trial.is_some() || self.data.is_none() && told
    }

    fn report_trial(&mut self) {
        self.report.fact("trial", if self.trial.is_some() { "yes" } else { "no" });
        if let Some(source) = self.trial {
            say!(Info, "a trial, says the {}", source);
            self.report.fact("trial_source", source);
        }
        let Firmware { partition, tryboot } = self.firmware;
        for (name, number) in [("firmware_partition", partition), ("firmware_tryboot", tryboot)] {
            if let Some(number) = number {
                self.report.fact(name, decimal32(number));
            }
        }
        if let Some(partition) = self.firmware.contradicts(self.cmdline.slot) {
            let line = text!("the firmware booted partition {}", decimal32(partition));
            say!(Warn, "pivot.slot= does not fit: {}", line);
            self.report.fact("slot_mismatch", line);
        }
    }

    /// The stage that ends here. In a trial the log tells a later boot how far this one came.
    pub(crate) fn stage(&mut self, name: &'static str) {
        self.report.stage(name);
        self.trace(name);
    }

    /// A record of a trial. One that cannot be written ends no trial.
    pub(crate) fn trace(&self, reached: &str) {
        if self.trial.is_some() {
            self.journal(log::TRIAL, reached);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use bootsel::log::{ARMED, BOOTED, FALLBACK, TRIAL};

    fn firmware(partition: Option<u32>, tryboot: Option<u32>) -> Firmware {
        Firmware { partition, tryboot }
    }

    fn record<'a>(boot_id: &'a str, slot: Slot, event: &'a str) -> Record<&'a str> {
        Record { counter: 0, boot_id, slot: Some(slot), revision: "1", event, message: "" }
    }

    /// As the firmware writes them: 32 bits, big-endian. Files are missing where it is old, or no Raspberry Pi's.
    #[test]
    fn what_the_firmware_says() {
        let directory =
            std::env::temp_dir().join(std::format!("pivot-trial-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let read = || Firmware::read(directory.to_str().unwrap());
        let write = |name: &str, bytes: &[u8]| fs::write(directory.join(name), bytes).unwrap();
        assert_eq!(read(), firmware(None, None));
        write("partition", &[0, 0, 0, 3]);
        assert_eq!(read(), firmware(Some(3), None));
        write("tryboot", &[0, 0, 1, 0]);
        assert_eq!(read(), firmware(Some(3), Some(256)));
        for no_number in [&b""[..], b"\0\0\x01", b"\0\0\0\0\x01", b"tryboot\0"] {
            write("tryboot", no_number);
            assert_eq!(read(), firmware(Some(3), None), "{no_number:?}");
        }
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(read(), firmware(None, None));
    }

    #[track_caller]
    fn check_partition(partition: Option<u32>, slot: Option<Slot>, expected: Option<u32>) {
        assert_eq!(firmware(partition, None).contradicts(slot), expected);
    }

    #[test]
    fn only_the_other_slot_contradicts() {
        for (slot, own, other) in [(Slot::A, 2, 3), (Slot::B, 3, 2)] {
            check_partition(Some(own), Some(slot), None);
            check_partition(Some(other), Some(slot), Some(other));
            // Pi 3 and older may say 0, a Pi 5 before 2024-05 too; 1 and 4 are no slots.
            for none in [None, Some(0), Some(1), Some(4), Some(u32::MAX)] {
                check_partition(none, Some(slot), None);
            }
        }
        check_partition(Some(3), None, None);
    }

    #[track_caller]
    fn check(
        tryboot: Option<u32>,
        slot: Option<Slot>,
        log: &[Record<&str>],
        expected: Option<&str>,
    ) {
        let firmware = firmware(None, tryboot);
        assert_eq!(source(false, &firmware, slot, "this", log), expected, "{log:?}");
        let word = (!log::fallback_used(log)).then_some("command line");
        assert_eq!(source(true, &firmware, slot, "this", log), word, "{log:?}");
    }

    #[test]
    fn the_firmware_is_believed_and_the_log_where_it_says_nothing() {
        let (a, b) = (Some(Slot::A), Some(Slot::B));
        let armed = [record("before", Slot::A, BOOTED), record("before", Slot::B, ARMED)];
        check(Some(1), b, &[], Some("firmware"));
        check(Some(1), None, &[], Some("firmware"));
        check(Some(1), a, &armed, Some("firmware"));
        check(Some(0), b, &armed, None);
        check(None, b, &armed, Some("log"));
        check(None, a, &armed, None);
        check(None, None, &armed, None);
        check(None, b, &[], None);
        // It was tried already: the firmware went through the partitions, or a person chose this one.
        check(None, b, &[armed[1], record("between", Slot::B, TRIAL)], None);
        // Armed in this very boot, as a log could say that was restored from a copy.
        check(None, b, &[record("this", Slot::B, ARMED)], None);
    }

    /// The flag that led here was set by the fallback.
    #[test]
    fn after_the_fallback_it_is_no_trial() {
        let fallback = record("before", Slot::A, FALLBACK);
        check(Some(1), Some(Slot::B), &[fallback], None);
        check(None, Some(Slot::B), &[record("earlier", Slot::B, ARMED), fallback], None);
        let booted = record("before", Slot::A, BOOTED);
        check(Some(1), Some(Slot::B), &[fallback, booted], Some("firmware"));
    }
}
