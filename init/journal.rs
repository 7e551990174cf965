// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log on the data partition: what a person wants to know after a failed boot, and the count of the one-shot
//! fallback. A steady boot writes nothing.

use alloc::vec::Vec;

use bootsel::log::{self as records, Record};
use mount::Error;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::boot::Boot;
use crate::data::Data;
use crate::kmsg::say;
use mount::file;

/// 64 records, preallocated by the image builder; below [`crate::data::DATA`].
const LOG: &str = "/run/pivot/data/pivot/log/init.log";

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The boot came to its end, after a fallback.
    Booted,
    /// The reboot into the other slot, once.
    Fallback,
    /// A trial could not go on.
    TrialFailed,
    /// A committed slot could not go on.
    Rescue,
}

impl Event {
    fn word(self) -> &'static str {
        match self {
            Self::Booted => records::BOOTED,
            Self::Fallback => records::FALLBACK,
            Self::TrialFailed => "trial-failed",
            Self::Rescue => "rescue",
        }
    }
}

impl Data {
    /// Writes one record, synchronously, into the place of the oldest.
    pub(crate) fn journal(&self, event: Event, boot: &Boot, message: &str) -> Result<(), Error> {
        let log = read()?;
        let record = Record {
            counter: 0,
            boot_id: file::attribute("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
            slot: boot.cmdline.slot,
            revision: boot.revision.as_deref().or(boot.cmdline.revision).unwrap_or_default().into(),
            event: event.word().into(),
            message: message.into(),
        };
        let (offset, bytes) = records::next(&log, record)
            .ok_or_else(|| Error::new(format_args!("{LOG} is shorter than its records")))?;
        // Synchronous: the restart that follows must not overtake it. Never created: a full partition has no room.
        let flags = OFlags::WRONLY | OFlags::DSYNC | OFlags::NOFOLLOW;
        let open = file::open_raw(LOG, flags);
        let written = open.and_then(|file| rustix::io::pwrite(file, &bytes, offset));
        let complete =
            written.and_then(|count| if count == bytes.len() { Ok(()) } else { Err(Errno::IO) });
        complete.map_err(|why| Error::call("write a record to", LOG, why))
    }

    /// Whether the one-shot fallback was used and no boot came to its end since. Also where the log cannot be
    /// written: what is not counted must not be done.
    pub(crate) fn fallback_used(&self) -> bool {
        match read() {
            Ok(log) => self.read_only || records::fallback_used(&records::parse(&log)),
            Err(_) => true,
        }
    }
}

impl Boot {
    /// After a fallback the first boot that comes to its end is recorded: the next fallback may happen again.
    pub(crate) fn journal_booted(&self) {
        let Some(data) = &self.data else { return };
        let log = read().unwrap_or_default();
        if !data.read_only
            && records::fallback_used(&records::parse(&log))
            && let Err(why) = data.journal(Event::Booted, self, "after a fallback")
        {
            say!(Warn, "{why}");
        }
    }
}

fn read() -> Result<Vec<u8>, Error> {
    file::read(LOG, records::BYTES)
}
