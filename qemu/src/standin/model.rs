// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of QEMU's machines runs what a board has chosen.

use rpifw::{Board, Chip};

/// A machine of QEMU.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Model {
    /// Of `-machine`.
    pub(crate) name: &'static str,
    /// The board that it is.
    is: &'static str,
    /// Of `-cpu`, where the machine does not say.
    pub(crate) cpu: Option<&'static str>,
    /// Of `-m`, where the machine does not say.
    pub(crate) memory: Option<&'static str>,
    pub(crate) card: Card,
}

/// How the SD card is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Card {
    /// In the board's own slot.
    Slot,
    /// In an SD host controller on PCIe.
    Pci,
    /// It is a virtio disk.
    Virtio,
}

impl Model {
    /// Whether it is QEMU's generic machine, which has no device tree of a board.
    pub(crate) fn is_virt(&self) -> bool {
        self.name == "virt"
    }
}

/// QEMU: docs/system/arm/raspi.rst.
const fn raspi(name: &'static str, is: &'static str) -> Model {
    Model { name, is, cpu: None, memory: None, card: Card::Slot }
}

pub(crate) const RASPI0: &Model = &raspi("raspi0", "pi0");
pub(crate) const RASPI1AP: &Model = &raspi("raspi1ap", "pi1a+");
pub(crate) const RASPI2B: &Model = &raspi("raspi2b", "pi2b");
pub(crate) const RASPI3B: &Model = &raspi("raspi3b", "pi3b");
pub(crate) const RASPI4B: &Model = &Model { memory: Some("2G"), ..raspi("raspi4b", "pi4b") };
/// A Cortex-A15 has large physical addresses. Debian's 32-bit kernels have no driver for an SD host on PCIe.
pub(crate) const VIRT_LPAE: &Model = &virt("cortex-a15", Card::Virtio);
/// The processor of a Pi 5, which has pages of 16 KiB.
pub(crate) const VIRT_A76: &Model = &virt("cortex-a76", Card::Pci);

const fn virt(cpu: &'static str, card: Card) -> Model {
    Model { name: "virt", is: "", cpu: Some(cpu), memory: Some("2G"), card }
}

/// The machine that is the board, or that is nearest to it for such a kernel. QEMU starts a 64-bit processor in 64-bit
/// mode only (hw/arm/boot.c), so 32-bit kernels run on 32-bit processors.
pub(crate) fn nearest(board: &Board, arm_64bit: bool) -> &'static Model {
    match (board.chip, arm_64bit) {
        (Chip::Bcm2835, _) if board.filters.contains(&"pi0") => RASPI0,
        (Chip::Bcm2835, _) => RASPI1AP,
        (Chip::Bcm2836, _) | (Chip::Bcm2837, false) => RASPI2B,
        (Chip::Bcm2837, true) => RASPI3B,
        (Chip::Bcm2711, true) => RASPI4B,
        (Chip::Bcm2711, false) => VIRT_LPAE,
        (Chip::Bcm2712, _) => VIRT_A76,
    }
}

/// A sentence for a person, where the machine is not the board itself.
pub(crate) fn difference(board: &Board, model: &Model) -> Option<String> {
    let Board { model: wanted, .. } = board;
    let cpu = model.cpu.map(|cpu| format!(" with a {cpu}")).unwrap_or_default();
    (model.is != board.name).then(|| {
        format!(
            "QEMU cannot run this on a {wanted}: the nearest is its machine {}{cpu}",
            model.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(board: &str, arm_64bit: bool, expected: &Model, is_the_board: bool) {
        let board = rpifw::board(board).unwrap();
        assert_eq!(nearest(board, arm_64bit), expected);
        assert_eq!(difference(board, expected).is_none(), is_the_board);
    }

    #[test]
    fn machines_of_boards() {
        check("pi0", false, RASPI0, true);
        check("pi0w", false, RASPI0, false);
        check("pi1a+", false, RASPI1AP, true);
        check("pi1b", false, RASPI1AP, false);
        check("cm1", false, RASPI1AP, false);
        check("pi2b", false, RASPI2B, true);
        check("pi2b-1.2", false, RASPI2B, false);
        check("pi3b", true, RASPI3B, true);
        check("pi3b", false, RASPI2B, false);
        check("pi02w", true, RASPI3B, false);
        check("pi4b", true, RASPI4B, true);
        check("pi4b", false, VIRT_LPAE, false);
        check("cm4", true, RASPI4B, false);
        check("pi5", true, VIRT_A76, false);
        check("pi500+", true, VIRT_A76, false);
    }
}
