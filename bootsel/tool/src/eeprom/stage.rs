// SPDX-License-Identifier: MIT OR Apache-2.0
//! Staging. Everything that an update needs is on the disk and was read back, and the attempt is counted, before the one
//! sector is written that makes the files an update; wherever the power is cut, either all of them have their names or none.

use std::time::{SystemTime, UNIX_EPOCH};

use bootsel::eeprom::bootconf::is_chosen;
use bootsel::eeprom::decide::Update;
use bootsel::eeprom::image::Image;
use bootsel::eeprom::signature;
use bootsel::eeprom::stage::{File, shipped};
use sha2::{Digest, Sha256};

use super::attempts;
use super::classic::Classic;
use super::files::Files;
use super::look::Look;
use crate::error::{Error, Result, failed};

/// No recovery.bin is larger.
const RECOVERY: u32 = 1 << 20;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// In the files that partition 1 has for it.
pub(super) fn stage(look: &mut Look, update: &Update) -> Result<()> {
    let none = |what: &str| Error::Failed(format!("partition 1 has no {what}"));
    let files = Files::write(look.partition())?;
    let mut files = files.ok_or_else(|| none("files for an update"))?;
    let (chip, name) = (update.chip, shipped(update.chip));
    let bytes = files.content(name, chip.image_bytes())?.ok_or_else(|| none(name))?;
    let (image, signature) = prepare(look, name, &bytes, update)?;
    // the block that makes an update of them, and the program, before anything is written
    let block = files.staged(chip)?;
    files.content(File::Recovery.at_rest(chip), RECOVERY)?;
    files.overwrite(File::Image.at_rest(chip), &image)?;
    files.overwrite(File::Signature.at_rest(chip), &signature)?;
    count(look, update)?;
    files.rename(&block)
}

/// Through a mounted file system.
pub(super) fn stage_classic(look: &mut Look, classic: &Classic, update: &Update) -> Result<()> {
    let (name, bytes) = classic.image();
    let (image, signature) = prepare(look, name, bytes, update)?;
    classic.put_image(&image, &signature)?;
    count(look, update)?;
    classic.put_recovery()
}

/// The image as it was shipped, every part of it verified, with the configuration that runs; and its signature.
fn prepare(
    look: &Look,
    name: &str,
    bytes: &[u8],
    update: &Update,
) -> Result<(Vec<u8>, [u8; signature::BYTES])> {
    let image = Image::parse(bytes).map_err(failed(name))?;
    if image.build_timestamp != update.to || image.chip != update.chip {
        return Err(Error::Failed(format!("{name} changes")));
    }
    image.verify_parts(sha256).map_err(failed(name))?;
    let bootconf = look.bootconf.as_ref().map_err(|why| Error::Failed(why.clone()))?;
    let chosen = is_chosen(&String::from_utf8_lossy(&bootconf.bytes));
    let image = match chosen {
        true => image.replace_bootconf(&bootconf.bytes).map_err(failed(name))?,
        false => bytes.to_vec(),
    };
    // what will be written is read as the bootloader reads it
    let back = Image::parse(&image).map_err(failed(name))?;
    if chosen && back.bootconf() != bootconf.bytes || back.build_timestamp != update.to {
        return Err(Error::Failed(format!("{name} does not take the bootloader's configuration")));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = signature::time(u32::try_from(now).unwrap_or(0), look.updated, update.to);
    let signature = signature::write(&sha256(&image), time, update.chip);
    let signature = signature.ok_or_else(|| Error::Failed(format!("{time} is no time")))?;
    Ok((image, signature))
}

/// An attempt that is not counted must not be made: two are all that there are.
fn count(look: &mut Look, update: &Update) -> Result<()> {
    look.log(&update.to_string())?;
    let last = look.attempts();
    let last =
        last.ok_or_else(|| Error::Failed("how often it was tried is not known".to_owned()))?;
    let next = last.next(update.to, &look.boot.boot_id);
    attempts::write(&look.root, &next)
}
