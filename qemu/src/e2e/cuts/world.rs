// SPDX-License-Identifier: MIT OR Apache-2.0
//! The worlds in which power is cut, and what a card makes each of them do.

use std::fs::File;
use std::path::Path;

use anyhow::Result;

use super::device::Device;
use super::operations::A;
use super::pi;
use crate::recorder::Request;

/// What chooses the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// A Raspberry Pi's firmware, by `autoboot.txt` and a flag of its own: on a disk with an MBR.
    Pi,
    /// UEFI and GRUB, by `grubenv`: on a disk with a GPT.
    Grub,
}

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) partition: u32,
    /// Whether it is told that it is a trial.
    pub(super) trial: bool,
    pub(super) cmdline: String,
}

/// What a card makes of a power-on.
#[derive(Debug)]
pub(super) struct PowerOn {
    /// See `Operation::default` and `Operation::trial`; of a `grubenv` that GRUB cannot read both are 0.
    pub(super) selector: [u32; 2],
    pub(super) boots: Chosen,
    /// Where a trial goes.
    pub(super) target: u32,
    /// What were started if a trial were asked for.
    pub(super) tries: Result<Chosen>,
    /// What is written before anything is started.
    pub(super) writes: Option<Request>,
}

impl World {
    /// The directory of what is built.
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::Pi => "cuts",
            Self::Grub => "cuts-grub",
        }
    }

    /// What the console says last when a trial is to follow.
    pub(super) fn restart(self) -> &'static str {
        match self {
            Self::Pi => "reboot: Restarting system with command '0 tryboot'",
            Self::Grub => "reboot: Restarting system\n",
        }
    }

    /// How `bootsel status` calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pi => "tryboot",
            Self::Grub => "grub",
        }
    }

    /// What must start with such a selector, and whether that is a trial.
    pub(super) fn due(self, selector: [u32; 2]) -> (u32, bool) {
        match (self, selector) {
            (Self::Grub, [0, _]) => (A, false),
            (Self::Pi, [default, _]) | (Self::Grub, [default, 0]) => (default, false),
            (Self::Grub, [_, trial]) => (trial, true),
        }
    }

    /// What init and the tool know a machine by: files below its root.
    pub(super) fn signs(self) -> Vec<(&'static str, Vec<u8>)> {
        let tree = |name: &'static str, bytes: &[u8]| (name, bytes.to_vec());
        match self {
            Self::Pi => vec![
                tree("proc/device-tree/compatible", b"raspberrypi,4-model-b\0brcm,bcm2711\0"),
                tree(
                    "proc/device-tree/chosen/bootloader/build-timestamp",
                    &1_700_000_000_u32.to_be_bytes(),
                ),
                tree("proc/device-tree/chosen/bootloader/tryboot", &[0; 4]),
            ],
            Self::Grub => vec![tree("sys/firmware/efi/fw_platform_size", b"64\n")],
        }
    }
}

impl Device {
    /// What a card of it makes of a power-on, and why nothing would start.
    pub(super) fn power_on(&self, card: &File) -> Result<PowerOn> {
        match &self.grub {
            None => pi::power_on(card),
            Some(grub) => grub.power_on(card),
        }
    }

    /// Damages the selector: in the one world it leads a trial to the default, in the other one it is lost.
    pub(super) fn damage(&self, card: &Path) -> Result<()> {
        match &self.grub {
            None => pi::mislead(card),
            Some(grub) => grub.lose(card),
        }
    }
}
