// SPDX-License-Identifier: MIT OR Apache-2.0
//! What QEMU needs and a real board does not. Everything of it is here, each with its reason; nothing of it is in an
//! image. As of QEMU 10.0.

use super::model::Model;

/// How what was loaded from the image, or QEMU itself, is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A word at the end of the kernel's command line.
    Word(&'static str),
    /// In place of a word of the command line that begins with the first.
    Replaced(&'static str, &'static str),
    /// Options of QEMU.
    Options(&'static [&'static str]),
    /// A node of the device tree gets `status = "disabled"`.
    Disabled(&'static str),
    /// A property of a node is deleted.
    WithoutProperty(&'static str, &'static str),
    /// A node is deleted.
    WithoutNode(&'static str),
}

/// One need.
#[derive(Debug)]
pub(crate) struct Need {
    /// The machines that have it.
    machines: &'static [&'static str],
    pub(crate) change: Change,
    pub(crate) why: &'static str,
}

const RASPI: &[&str] = &["raspi0", "raspi1ap", "raspi2b", "raspi3b", "raspi4b"];
const ARMV6: &[&str] = &["raspi0", "raspi1ap"];
const QUAD: &[&str] = &["raspi2b", "raspi3b", "raspi4b"];
const PI4: &[&str] = &["raspi4b"];
const VIRT: &[&str] = &["virt"];
/// The SD host that a Pi 4 has its WLAN on.
const WLAN: &str = "/soc/mmc@7e300000";

use Change::{Disabled, Options, Replaced, WithoutNode, WithoutProperty, Word};

const fn need(machines: &'static [&'static str], change: Change, why: &'static str) -> Need {
    Need { machines, change, why }
}

const NEEDS: &[Need] = &[
    need(
        &["raspi0", "raspi1ap", "raspi2b", "raspi3b", "raspi4b", "virt"],
        Replaced("console=serial0", "console=ttyAMA0"),
        "the firmware puts the board's serial port there; QEMU shows the PL011 of every machine",
    ),
    need(
        RASPI,
        WithoutNode("/soc/serial@7e201000/bluetooth"),
        "many a board has its Bluetooth on that port: the kernel would let no program open it",
    ),
    need(
        RASPI,
        Word("pivot.watchdog=off"),
        "the model of the watchdog resets the machine the moment it is armed (hw/misc/bcm2835_powermgt.c)",
    ),
    need(RASPI, Word("systemd.watchdog_sec=0"), "the same, armed by systemd"),
    need(
        RASPI,
        Word("systemd.watchdog_device=/dev/null"),
        "the same, armed by systemd when it restarts or powers off",
    ),
    need(
        ARMV6,
        Word("initcall_blacklist=bcm2835_power_driver_init"),
        "the power domains' ASB registers are not there: the driver would get an external abort",
    ),
    need(
        ARMV6,
        Options(&["-icount", "shift=auto"]),
        "a timer that is set too late waits for 71 minutes (hw/timer/bcm2835_systmr.c): the guest's clock must stand \
         still while the host has no processor for it",
    ),
    need(
        &["raspi2b"],
        Word("maxcpus=1"),
        "one thread for all processors, and the kernel hangs waiting for the second one",
    ),
    need(
        QUAD,
        Options(&["-accel", "tcg,thread=single"]),
        "four threads that wait for each other are three times slower than one",
    ),
    need(PI4, Disabled("/soc/clock@7ef00000"), "registers of the DVP clocks are not there"),
    need(PI4, Disabled("/soc/interrupt-controller@7ef00100"), "nor of the display's interrupts"),
    need(PI4, Disabled("/soc/i2c@7ef04500"), "nor of the first HDMI port's I2C"),
    need(PI4, Disabled("/soc/i2c@7ef09500"), "nor of the second one's"),
    need(
        PI4,
        WithoutProperty(WLAN, "mmc-pwrseq"),
        "the SD card is on the host of the WLAN, where nobody has to switch it on",
    ),
    need(PI4, WithoutProperty(WLAN, "non-removable"), "the same: it is a card, no chip"),
    need(PI4, WithoutNode("/soc/mmc@7e300000/wifi@1"), "the same: no WLAN is there"),
    need(
        VIRT,
        Options(&["-nic", "none", "-device", "i6300esb", "-action", "watchdog=reset"]),
        "a watchdog in place of the board's",
    ),
];

/// What a machine needs.
pub(crate) fn of(model: &Model) -> impl Iterator<Item = &'static Need> {
    let name = model.name;
    NEEDS.iter().filter(move |need| need.machines.contains(&name))
}

impl Need {
    /// What is done, for a person.
    pub(crate) fn what(&self) -> String {
        match self.change {
            Word(word) => word.to_owned(),
            Replaced(from, to) => format!("{to} for {from}"),
            Options(options) => options.join(" "),
            Disabled(node) => format!("{node} disabled"),
            WithoutProperty(node, property) => format!("{node} without {property}"),
            WithoutNode(node) => format!("no {node}"),
        }
    }
}

/// The command line that a machine gets for a board's. A word ends at a blank, or at the comma where it has options.
pub(crate) fn cmdline(model: &Model, line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for need in of(model) {
        match need.change {
            Word(word) => words.push(word.to_owned()),
            Replaced(from, to) => words.iter_mut().for_each(|word| {
                let options =
                    word.strip_prefix(from).filter(|o| o.is_empty() || o.starts_with(','));
                if let Some(options) = options {
                    *word = format!("{to}{options}");
                }
            }),
            _ => {}
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::model::{RASPI1AP, RASPI3B, VIRT_A76};
    use super::*;

    #[track_caller]
    fn check(model: &Model, line: &str, expected: &str) {
        assert_eq!(cmdline(model, line), expected);
    }

    #[test]
    fn what_is_changed_of_a_command_line() {
        let raspi = "pivot.watchdog=off systemd.watchdog_sec=0 systemd.watchdog_device=/dev/null";
        check(
            RASPI3B,
            "console=serial0,115200 panic=5",
            &format!("console=ttyAMA0,115200 panic=5 {raspi}"),
        );
        check(
            RASPI1AP,
            "console=serial0 console=tty1",
            &format!(
                "console=ttyAMA0 console=tty1 {raspi} initcall_blacklist=bcm2835_power_driver_init"
            ),
        );
        check(VIRT_A76, "a console=serial01 console=serial1", "a console=serial01 console=serial1");
    }

    #[test]
    fn every_need_is_of_a_machine_and_has_a_reason() {
        for need in NEEDS {
            assert!(!need.machines.is_empty() && need.why.len() > 10, "{}", need.what());
        }
    }
}
