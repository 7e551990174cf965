// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same on a computer with UEFI: a trial is a variable in `grubenv`, which stays until GRUB takes it out.

use super::{A, B, Barrier, ENDED, LOG, Operation, SELECTOR, TWO, barrier};

/// No slot.
const NONE: u32 = 0;
const NOT_TRIED: [u32; 2] = [NONE, NONE];

/// Of what is announced last.
const LATE: &[Barrier] = &[
    barrier("fdatasync", 1, SELECTOR, "is announced before it is done"),
    barrier("fdatasync", 2, LOG, ENDED),
];

pub(in super::super) const INSTALL: Operation =
    Operation { words: "install,/dev/vdb", trial: NOT_TRIED, ..super::INSTALL };
pub(in super::super) const ARM: Operation = Operation {
    words: "try,--no-reboot",
    trial: [NONE, B],
    outcome: ["", "never-started", "running"],
    barriers: TWO,
    ..super::ARM
};
pub(in super::super) const CANCEL: Operation = Operation {
    trial: [B, NONE],
    acts_first: true,
    outcome: ["running", "never-started", "cancelled"],
    barriers: LATE,
    ..super::CANCEL
};
pub(in super::super) const GC: Operation = Operation { trial: NOT_TRIED, ..super::GC };
pub(in super::super) const TRY: Operation = Operation {
    words: "try",
    trial: [NONE, B],
    outcome: ["cancelled", "never-started", "running"],
    ..super::TRY
};
/// GRUB takes the trial out and starts it, up to where the root runs: our script is what is cut here, and our init.
pub(in super::super) const TRIAL: Operation = Operation {
    name: "GRUB and init in a trial",
    trial: [B, NONE],
    announced: Some("trial"),
    acts_first: true,
    outcome: ["running", "never-started", "failed"],
    ..super::NOTHING
};
pub(in super::super) const COMMIT: Operation = Operation { trial: NOT_TRIED, ..super::COMMIT };
pub(in super::super) const LEAVE: Operation = Operation { trial: NOT_TRIED, ..super::LEAVE };
pub(in super::super) const REPAIR: Operation = Operation { trial: NOT_TRIED, ..super::REPAIR };
pub(in super::super) const GIVE_UP: Operation = Operation { trial: NOT_TRIED, ..super::GIVE_UP };

/// Both sectors of `grubenv` were lost.
pub(in super::super) const RENEW: Operation = Operation {
    name: "repair of grubenv",
    words: "repair",
    default: [NONE, A],
    trial: NOT_TRIED,
    announced: Some("repair"),
    outcome: ["never-started", "never-started", "never-started"],
    ..super::NOTHING
};
pub(in super::super) const INSTALL_IN_ITS_PLACE: Operation =
    Operation { words: "install,/dev/vdc", trial: NOT_TRIED, ..super::INSTALL_IN_ITS_PLACE };
/// Of another revision in the place of the one before.
pub(in super::super) const ARM_ANEW: Operation = Operation {
    name: "try of what came in its place",
    words: "try,--no-reboot",
    trial: [NONE, B],
    outcome: ["never-started", "never-started", "running"],
    ..super::ARM_ANEW
};
