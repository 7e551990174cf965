// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bootloader on the boot partitions of an eMMC: `bootsel emmc`. What may be done is decided in [`bootsel::emmc`].
//!
//! The partition that is active is never written, and active is what the eMMC says. The other one is written and verified
//! first, and one byte of its register makes that active. There is no trial: what is active boots, whatever becomes of it.

mod card;
mod content;
mod shipped;
mod show;
mod write;

use std::path::{Path, PathBuf};

use bootsel::emmc::note::{Hash, Note, With};
use bootsel::emmc::{Boot, SECTOR};
use clap::Subcommand;

use crate::disk::Disk;
use crate::error::{Error, Result, refused};
use crate::root::Root;
use crate::say;
use card::Card;
use content::{Image, Wanted};
pub(crate) use shipped::{Incoming, follow, forget, overdue, plan};

/// What to do with the boot partitions.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Act {
    /// Show which partition is active, and whether the other one can be written.
    Status {
        /// For machines.
        #[arg(long)]
        json: bool,
    },
    /// Write an image to the boot partition that is not active, and read it back.
    Write {
        /// The file; - is the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Make the other boot partition active, if its content is the one that was written last, or that is named.
    Switch {
        /// What the content has to hash to.
        #[arg(long, value_name = "HEX")]
        sha256: Option<Hash>,
        /// How much of the partition that is; all of it, if not given.
        #[arg(long, value_name = "N", requires = "sha256", value_parser = clap::value_parser!(u64).range(1..))]
        bytes: Option<u64>,
    },
    /// Write an image, and make its partition active. Where the active one has it already, nothing is done.
    Update {
        /// The file; - is the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// `bootsel emmc`; `device` is the eMMC that was named, `disk` the disk with the slots.
pub(crate) fn emmc(
    root: &Root,
    device: Option<&Path>,
    disk: Option<&Path>,
    act: &Act,
) -> Result<()> {
    let disk = Disk::find(root, disk).ok();
    if let Act::Status { json } = act {
        return show::show(&Card::find(root, device)?, disk.as_ref(), *json);
    }
    let _lock = root.lock()?;
    let card = Card::find(root, device)?;
    card.close_what_is_open()?;
    shipped::refuse_in_trial(root, disk.as_ref())?;
    match act {
        Act::Status { .. } => Ok(()),
        Act::Write { file } => write_by_hand(&card, &Image::read(file, card.most()?)?),
        Act::Switch { sha256, bytes } => {
            switch(&card, &wanted(&card, *sha256, *bytes)?)?;
            shipped::forget_waiting(root).map(drop)
        }
        Act::Update { file } => update(&card, &Image::read(file, card.most()?)?),
    }
}

/// What `switch` has to find.
fn wanted(card: &Card, sha256: Option<Hash>, bytes: Option<u64>) -> Result<Wanted> {
    let note = content::read_note(&card.root);
    let Some(sha256) = sha256 else {
        return match note? {
            Some(Note { sha256, bytes, .. }) => Ok(Wanted { sha256, bytes }),
            None => refused(
                "it is not known what the other boot partition has to hold: `bootsel emmc write` notes it, --sha256 \
                 names it",
            ),
        };
    };
    let noted = note.ok().flatten().filter(|note| note.sha256 == sha256).map(|note| note.bytes);
    let all = || card.ext_csd().map(|ext_csd| ext_csd.boot_bytes());
    let bytes = bytes.or(noted).map_or_else(all, Ok)?;
    Ok(Wanted { sha256, bytes })
}

/// On the disk, read back, and said.
fn write(card: &Card, to: Boot, image: &Image) -> Result<()> {
    write::write(card, to, image)?;
    let Wanted { bytes, sha256 } = image.wanted();
    let name = card.name_of(to);
    say(&format!("{name} holds the image now, {bytes} bytes, sha256 {sha256}; it was read back"));
    Ok(())
}

fn write_by_hand(card: &Card, image: &Image) -> Result<()> {
    let to = card.ext_csd()?.may_write(image.bytes(), |boot| card.bytes(boot));
    let partition = to.map_err(|why| card.refusal(why))?;
    if let Some(With { slot, revision }) = shipped::forget_waiting(&card.root)? {
        say(&format!(
            "it takes the place of the bootloader of revision {revision}, which no commit of slot {slot} makes active then"
        ));
    }
    write(card, partition, image)?;
    let Wanted { bytes, sha256 } = image.wanted();
    let note = Note { partition, bytes, sha256, with: None };
    if let Err(why) = content::write_note(&card.root, &note) {
        say(&format!(
            "warning: {why}; `bootsel emmc switch` needs --sha256 {sha256} --bytes {bytes}"
        ));
    }
    Ok(())
}

/// Where an image goes that is to become active; nowhere, where the active partition has it.
fn target(card: &Card, wanted: &Wanted) -> Result<Option<Boot>> {
    let ext_csd = card.ext_csd()?;
    let active = ext_csd.inactive().map_err(|why| card.refusal(why))?.other();
    if wanted.bytes <= card.bytes(active)
        && content::hash(card, active, wanted.bytes)? == wanted.sha256
    {
        say(&format!("{}, which is active, has this bootloader", card.name_of(active)));
        return Ok(None);
    }
    // before anything is written
    let may = ext_csd.may_switch();
    let may = may.and_then(|_| ext_csd.may_write(wanted.bytes, |boot| card.bytes(boot)));
    may.map(Some).map_err(|why| card.refusal(why))
}

fn update(card: &Card, image: &Image) -> Result<()> {
    if target(card, &image.wanted())?.is_none() {
        say("nothing to do");
        return Ok(());
    }
    write_by_hand(card, image)?;
    switch(card, &image.wanted())
}

/// Both partitions are read from the disk, and the active one may be the one that was meant: then it was done before.
fn switch(card: &Card, wanted: &Wanted) -> Result<()> {
    let ext_csd = card.ext_csd()?;
    ext_csd.inactive().map_err(|why| card.refusal(why))?;
    let [boot0, boot1] = Boot::BOTH.map(|boot| content::hash(card, boot, wanted.bytes));
    let plan = ext_csd.decide_switch(&wanted.sha256, &[boot0?, boot1?]);
    let Some(switch) = plan.map_err(|why| card.refusal(why))? else {
        say("nothing to do: the active boot partition has this content");
        return Ok(());
    };
    card.switch(switch.argument())?;
    // an older kernel puts its own idea of the register back with the next access to a boot partition
    content::hash(card, switch.to, SECTOR as u64)?;
    let now = card.ext_csd()?;
    if !switch.is_done(&now) {
        return Err(Error::Failed(format!(
            "{}: PARTITION_CONFIG was set to {:#04x} and reads {:#04x}: {} is active",
            card.name(),
            switch.value,
            now.partition_config,
            now.active().as_str()
        )));
    }
    say(&format!("{} is active: the next start is from there", card.name_of(switch.to)));
    Ok(())
}
