// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration that the bootloader runs with. The mailbox prints it; where the kernel has none, as mainline and
//! Debian kernels do, the firmware leaves it in memory, behind the nvmem device of the driver `nvmem-rmem`.

use std::fs::File;
use std::os::fd::AsFd;

use bootsel::eeprom::image::MAX_FILE_BYTES;
use uapi::vcio;

use crate::root::{Root, names};

/// Prefix of the device tree's paths in sysfs.
const TREE: &str = "/firmware/devicetree/base";
const DEVICES: &str = "sys/bus/nvmem/devices";

/// What it says, and who said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bootconf {
    pub(super) bytes: Vec<u8>,
    pub(super) source: &'static str,
}

/// From where it can be read, and why not where it cannot.
pub(super) fn read(root: &Root, vcio: Option<&File>) -> Result<Bootconf, String> {
    let by_mailbox = match vcio.map(gencmd) {
        Some(Ok(bytes)) => return Ok(Bootconf { bytes, source: "mailbox" }),
        Some(Err(why)) => why,
        None => "there is no /dev/vcio".to_owned(),
    };
    let bytes = nvmem(root).ok_or(format!(
        "{by_mailbox}, and no nvmem device of the device tree's alias blconfig (nvmem-rmem)"
    ))?;
    Ok(Bootconf { bytes, source: "nvmem" })
}

fn gencmd(vcio: &File) -> Result<Vec<u8>, String> {
    let output = vcio::gencmd(vcio.as_fd(), "bootloader_config").map_err(|why| why.to_string())?;
    let text = output.as_bytes();
    // what a firmware says that does not know the command (`vcgencmd nonsense`)
    if text.starts_with(b"error=") {
        return Err(format!("bootloader_config: {}", String::from_utf8_lossy(text).trim_end()));
    }
    plausible(text).ok_or("bootloader_config: longer than a configuration can be".to_owned())
}

/// As rpi-eeprom-update finds it: the device whose node in the device tree is the one that the alias names.
fn nvmem(root: &Root) -> Option<Vec<u8>> {
    let node = root.text("proc/device-tree/aliases/blconfig")?;
    let is_ours = |name: &String| {
        let link = root.path(&format!("{DEVICES}/{name}/of_node"));
        let link = link.canonicalize().unwrap_or_default();
        link.to_str()
            .is_some_and(|path| path.strip_suffix(&node).is_some_and(|base| base.ends_with(TREE)))
    };
    let name = names(&root.path(DEVICES)).into_iter().find(is_ours)?;
    let bytes = root.bytes(&format!("{DEVICES}/{name}/nvmem"))?;
    // the rest of its memory
    plausible(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn plausible(text: &[u8]) -> Option<Vec<u8>> {
    (text.len() <= MAX_FILE_BYTES).then(|| text.to_vec())
}
