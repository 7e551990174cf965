// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is cut, and what must be true then: written by hand, command by command, from what each promises.

pub(super) mod grub;

/// Partitions of slot a and slot b.
pub(super) const A: u32 = 2;
pub(super) const B: u32 = 3;

/// A barrier of a command, and what goes wrong without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Barrier {
    /// The system call, and which of its calls.
    pub(super) call: &'static str,
    pub(super) number: u32,
    /// What is synced.
    pub(super) path: &'static str,
    /// What the rule says that is broken where this barrier is missing.
    pub(super) breaks: &'static str,
}

/// A command of `bootsel` that a cut may interrupt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// Its words.
    pub(super) words: &'static str,
    /// What the selector says before and after: the default, and where a trial goes (`autoboot.txt`), or which slot is
    /// to be tried (`grubenv`). 0 is none.
    pub(super) default: [u32; 2],
    pub(super) trial: [u32; 2],
    /// The event that is in the log before anything else is changed.
    pub(super) announced: Option<&'static str>,
    /// It is in the log only when all is changed.
    pub(super) acts_first: bool,
    /// What it writes to slot b: the revision before, and the one after.
    pub(super) install: Option<[u32; 2]>,
    /// The revision that it may remove.
    pub(super) removes: Option<u32>,
    /// How the next boot sees the last trial: before the announcement, after it, and when all is done; where the
    /// announcement comes last: before the act, after it, and when it is announced, too.
    pub(super) outcome: [&'static str; 3],
    /// Slot a is lost: not by this command, which is there to mend that.
    pub(super) rotten: bool,
    /// All that it has, in their order.
    pub(super) barriers: &'static [Barrier],
}

const LOG: &str = "/run/pivot/data/pivot/log/init.log";
const SELECTOR: &str = "/dev/vda1";
const SLOT_B: &str = "/dev/vda3";
const DATA: &str = "/run/pivot/data/pivot/revisions";
const fn barrier(
    call: &'static str,
    number: u32,
    path: &'static str,
    breaks: &'static str,
) -> Barrier {
    Barrier { call, number, path, breaks }
}

const ENDED: &str = "the command has ended, and a cut of power takes back what it did";
const ONE: &[Barrier] = &[barrier("fdatasync", 1, LOG, ENDED)];
const TWO: &[Barrier] =
    &[barrier("fdatasync", 1, LOG, "is not in the log"), barrier("fdatasync", 2, SELECTOR, ENDED)];
const FIVE: &[Barrier] = &[
    barrier("fdatasync", 1, LOG, "has begun, and the log does not say so"),
    barrier("fdatasync", 2, SLOT_B, "is to boot and holds Other"),
    barrier("syncfs", 1, DATA, "partition 3"),
    barrier("fdatasync", 3, SLOT_B, "the log says installed"),
    barrier("fdatasync", 4, LOG, ENDED),
];

/// Slot a is booted and the default, and nothing is changed.
const NOTHING: Operation = Operation {
    name: "",
    words: "",
    default: [A, A],
    trial: [B, B],
    announced: None,
    acts_first: false,
    install: None,
    removes: None,
    outcome: ["", "", ""],
    rotten: false,
    barriers: &[],
};

pub(super) const INSTALL: Operation = Operation {
    name: "install",
    words: "install,--force,/dev/vdb",
    announced: Some("install"),
    install: Some([1, 2]),
    barriers: FIVE,
    ..NOTHING
};
/// systemd would restart the machine; it is not there.
pub(super) const ARM: Operation = Operation {
    name: "try",
    words: "try,--no-reboot,--force",
    announced: Some("armed"),
    outcome: ["", "never-started", "never-started"],
    barriers: ONE,
    ..NOTHING
};
pub(super) const CANCEL: Operation = Operation {
    name: "cancel",
    words: "cancel",
    announced: Some("cancelled"),
    outcome: ["never-started", "cancelled", "cancelled"],
    barriers: ONE,
    ..NOTHING
};
/// What an earlier life left on the data partition.
pub(super) const GARBAGE: u32 = 0;
pub(super) const GC: Operation = Operation {
    name: "gc",
    words: "gc",
    removes: Some(GARBAGE),
    outcome: ["cancelled", "cancelled", "cancelled"],
    ..NOTHING
};
/// Up to the restart.
pub(super) const TRY: Operation = Operation {
    name: "try and restart",
    words: "try,--force",
    announced: Some("armed"),
    outcome: ["cancelled", "never-started", "never-started"],
    ..NOTHING
};

pub(super) const COMMIT: Operation = Operation {
    name: "commit",
    words: "commit",
    default: [A, B],
    trial: [B, A],
    announced: Some("commit"),
    outcome: ["failed", "failed", "committed"],
    barriers: TWO,
    ..NOTHING
};
pub(super) const LEAVE: Operation = Operation {
    name: "rollback",
    words: "rollback,--no-reboot",
    default: [B, A],
    trial: [A, B],
    announced: Some("rollback"),
    outcome: ["committed", "committed", "rolled-back"],
    barriers: TWO,
    ..NOTHING
};
pub(super) const REPAIR: Operation = Operation {
    name: "repair",
    words: "repair",
    default: [A, B],
    trial: [B, A],
    announced: Some("repair"),
    outcome: ["rolled-back", "rolled-back", "committed"],
    rotten: true,
    barriers: TWO,
    ..NOTHING
};
pub(super) const GIVE_UP: Operation = Operation {
    name: "rollback in a trial",
    words: "rollback,--no-reboot",
    announced: Some("rollback"),
    outcome: ["failed", "rolled-back", "rolled-back"],
    barriers: ONE,
    ..NOTHING
};

/// There is room only where revision 2 was.
pub(super) const INSTALL_IN_ITS_PLACE: Operation = Operation {
    name: "install for want of room",
    words: "install,--force,/dev/vdc",
    trial: [A, A],
    announced: Some("install"),
    install: Some([2, 3]),
    removes: Some(2),
    outcome: ["never-started", "never-started", "never-started"],
    barriers: FIVE,
    ..NOTHING
};
/// `autoboot.txt` led a trial to the default itself.
pub(super) const ARM_ANEW: Operation = Operation {
    name: "try with a wrong selector",
    words: "try,--no-reboot,--force",
    trial: [A, B],
    announced: Some("armed"),
    outcome: ["never-started", "never-started", "never-started"],
    barriers: TWO,
    ..NOTHING
};

/// What the tests do between: nothing, which ends the boot; everything is written back, or nothing because of its age;
/// systemd keeps the argument of a reboot to come, or is not there; slot a is lost.
pub(super) const BOOT: &str = "/bin/busybox,true";
pub(super) const SYNC: &str = "/bin/busybox,sync";
pub(super) const LAZY: &str = "/etc/lazy";
pub(super) const SYSTEMD: &str = "/bin/busybox,mkdir,-p,/run/systemd/system";
pub(super) const NO_SYSTEMD: &str = "/bin/busybox,rm,-r,/run/systemd";
pub(super) const ROT: &str = "/etc/rot";
