// SPDX-License-Identifier: MIT OR Apache-2.0

//! `bootconf.txt`, the bootloader's configuration inside its EEPROM: what the mailbox's `bootloader_config` prints.
//! (Raspberry Pi documentation, `raspberry-pi/eeprom-bootloader.adoc`.)

use crate::text::split_once;

/// What the release of 2019-05-10, with which boards were first sold, was configured to. Settings since then come with
/// the releases; these are nobody's choice. (rpi-eeprom-update: `prepareImage`; `test/bootconf-2019-05-10.txt`)
const OF_2019: [(&str, &str); 2] = [("BOOT_UART", "0"), ("WAKE_ON_GPIO", "0")];

/// Whether its owner forbids every update: "Custom EEPROM update scripts must also check this flag." In whatever
/// section it stands, as rpi-eeprom-update has it: which of them hold is the firmware's to know.
pub fn is_frozen(bootconf: &str) -> bool {
    settings(bootconf).any(|setting| setting == ("FREEZE_VERSION", "1"))
}

/// Whether the bootloader takes updates by itself, from the partition that it boots. It does so unless it is told
/// otherwise. That is not what is used here, and what it is set to forbids nothing. (rpi-eeprom-update takes
/// recovery.bin where it is off)
pub fn self_update(bootconf: &str) -> bool {
    !settings(bootconf).any(|setting| setting == ("ENABLE_SELF_UPDATE", "0"))
}

/// Whether it is to be carried over into the image: there is something in it that somebody can have chosen.
pub fn is_chosen(bootconf: &str) -> bool {
    settings(bootconf).any(|setting| !OF_2019.contains(&setting))
}

/// Names and values, in all sections.
fn settings(bootconf: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = bootconf.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| split_once(line, b'=')).map(|(name, value)| (name.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::{is_chosen, is_frozen, self_update};

    /// imager/2711-config/boot-conf-sd.txt
    const PI4: &str = "[all]\nBOOT_UART=0\nWAKE_ON_GPIO=1\nENABLE_SELF_UPDATE=1\nBOOT_ORDER=0xf41\nNET_INSTALL_AT_POWER_ON=1\n";
    /// test/bootconf-2019-05-10.txt
    const FIRST: &str = "BOOT_UART=0\nWAKE_ON_GPIO=0\n";

    #[track_caller]
    fn check(bootconf: &str, frozen: bool, update: bool, chosen: bool) {
        assert_eq!(is_frozen(bootconf), frozen, "{bootconf}");
        assert_eq!(self_update(bootconf), update, "{bootconf}");
        assert_eq!(is_chosen(bootconf), chosen, "{bootconf}");
    }

    #[test]
    fn configurations() {
        check(PI4, false, true, true);
        check(FIRST, false, true, false);
        check("", false, true, false);
        check("[all]\n# nothing\n\n", false, true, false);
        check("[all]\nBOOT_ORDER=0xf1", false, true, true);
        check("[all]\nFREEZE_VERSION=1\n", true, true, true);
        check("[0x12345678]\r\nFREEZE_VERSION = 1\r\n[all]\n", true, true, true);
        check("FREEZE_VERSION=0\n#FREEZE_VERSION=1\nXFREEZE_VERSION=1\n", false, true, true);
        check("FREEZE_VERSION=10\nFREEZE_VERSION\n", false, true, true);
        check("ENABLE_SELF_UPDATE=0", false, false, true);
    }
}
