// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes an image to the boot partition that is not active. The sector without which it is none is zeroed first and
//! written last, when everything else was read back; the partition is writable only meanwhile.

use bootsel::emmc::{Boot, SECTOR};
use rustix::process::Signal;

use super::card::Card;
use super::content::{Image, each};
use crate::area::Area;
use crate::error::{Error, Result, failed};
use crate::say;

/// What would end this program, or stop it, with the partition writable.
const SIGNALS: [Signal; 5] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::TSTP];

/// On the disk, and read back, when it returns.
pub(super) fn write(card: &Card, to: Boot, image: &Image) -> Result<()> {
    writable(card, to, || {
        // nobody made it active since it was chosen, by other means than this program
        if card.ext_csd()?.inactive() != Ok(to) {
            return Err(Error::Failed(format!("{} is active now", card.name_of(to))));
        }
        let area = card.partition(to).open_to_write()?;
        put(&area, image)
    })
}

/// Does it with the partition writable, and ends that whatever happens: signals that would end this program come when it
/// is done. Nothing but SIGKILL leaves it writable, until the next command that changes something.
fn writable(card: &Card, boot: Boot, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let _held = uapi::signal::block(&SIGNALS).map_err(failed("cannot hold back signals"))?;
    let done = card.set_force_ro(boot, false).and_then(|()| act());
    let closed = card.set_force_ro(boot, true);
    if let (Err(_), Err(why)) = (&done, &closed) {
        say(&format!("warning: {why}"));
    }
    done.and(closed)
}

fn put(area: &Area, image: &Image) -> Result<()> {
    let [before, first, behind] = image.parts();
    let at = before.len() as u64;
    let zeros = [0; SECTOR];
    let nothing = zeros.get(..first.len()).unwrap_or_default();
    area.write(at, nothing)?;
    area.sync()?;
    compare(area, at, nothing)?;
    area.write(0, before)?;
    area.write(at + first.len() as u64, behind)?;
    area.sync()?;
    compare(area, 0, before)?;
    compare(area, at + first.len() as u64, behind)?;
    area.write(at, first)?;
    area.sync()?;
    compare(area, at, first)
}

/// Reads around the page cache.
fn compare(area: &Area, at: u64, expected: &[u8]) -> Result<()> {
    let (mut left, mut place) = (expected, at);
    each(area, at, expected.len() as u64, |part| {
        let (wanted, rest) = left.split_at(left.len().min(part.len()));
        if wanted != part {
            return Err(Error::Failed(format!(
                "what was written from byte {place} on reads back differently: the eMMC fails; the image is not whole, and \
                 its partition not active"
            )));
        }
        (left, place) = (rest, place + part.len() as u64);
        Ok(())
    })
}
