// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log on the data partition: what a person wants to know after a failed boot, the trace of a trial, and the count of
//! the one-shot fallback. A steady boot writes nothing.

use bootsel::log::{self, Record};
use mount::{Error, error, file};
use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::boot::Boot;
use crate::kmsg::say;

/// 64 records, preallocated by the image builder; below [`crate::data::DATA`].
const LOG: &str = "/run/pivot/data/pivot/log/init.log";

/// The log as it is on the disk.
pub(crate) fn read(room: &mut [u8]) -> Result<&[u8], Error> {
    file::read_to(LOG, room)
}

/// Which boot this is; empty where the kernel does not say.
pub(crate) fn boot_id() -> &'static str {
    file::attribute("/proc/sys/kernel/random/boot_id")
}

impl Boot {
    /// Writes one record into the place of the oldest; `false` where that is not possible.
    pub(crate) fn journal(&self, event: &str, message: &str) -> bool {
        if self.data.is_none() {
            return false;
        }
        let written = self.write_record(event, message);
        if let Err(why) = &written {
            say!(Warn, "the log of the data partition lacks a record: {}", why);
        }
        written.is_ok()
    }

    fn write_record(&self, event: &str, message: &str) -> Result<(), Error> {
        let record = Record {
            counter: 0,
            boot_id: boot_id(),
            slot: self.cmdline.slot,
            revision: self.revision.or(self.cmdline.revision).unwrap_or_default(),
            event,
            message,
        };
        let (offset, bytes) = log::next(read(&mut [0; log::BYTES])?, record)
            .ok_or_else(|| error!("{} is shorter than its records", LOG))?;
        // Synchronous: the restart that follows must not overtake it. Never created: a full partition has no room.
        let flags = OFlags::WRONLY | OFlags::DSYNC | OFlags::NOFOLLOW;
        let open = file::open_raw(LOG, flags);
        let written = open.and_then(|file| uapi::file::pwrite(file.as_fd(), &bytes, offset));
        let complete =
            written.and_then(|count| if count == bytes.len() { Ok(()) } else { Err(Errno::IO) });
        complete.map_err(|why| Error::call("write a record to", LOG, why))
    }

    /// After a fallback the first boot that comes to its end is recorded: the next fallback may happen again.
    pub(crate) fn journal_booted(&self) {
        if self
            .data
            .as_ref()
            .is_some_and(|data| !data.read_only && data.fallback_used == Some(true))
        {
            self.journal(log::BOOTED, "after a fallback");
        }
    }
}
