// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the device does while it is recorded, in either world.

use super::operations as of;
use super::operations::grub as on_grub;
use super::session::Step;
use super::world::World;

/// The sessions.
#[derive(Debug)]
pub(super) struct Story {
    /// Slot a runs revision 1; slot b gets revision 2 and is to be tried.
    pub(super) first: &'static [Step],
    /// Slot b is on trial, is kept, and left; then slot a is lost.
    pub(super) kept: &'static [Step],
    /// Slot b is on trial and given up.
    pub(super) given_up: &'static [Step],
    /// Slot a runs again, there is no room, and the selector is damaged.
    pub(super) crowded: &'static [Step],
}

const PI: Story = Story {
    first: &[
        Step::Word(of::SYSTEMD),
        Step::Cut(&of::INSTALL),
        Step::Cut(&of::ARM),
        Step::Cut(&of::CANCEL),
        Step::Settled(&of::GC),
        Step::Word(of::NO_SYSTEMD),
        Step::Last(&of::TRY),
    ],
    kept: &[
        Step::Word(of::BOOT),
        Step::Cut(&of::COMMIT),
        Step::Cut(&of::LEAVE),
        Step::Word(of::ROT),
        Step::Cut(&of::REPAIR),
    ],
    given_up: &[Step::Word(of::BOOT), Step::Cut(&of::GIVE_UP)],
    crowded: &[
        Step::Word(of::LAZY),
        Step::Word(of::SYSTEMD),
        Step::Cut(&of::INSTALL_IN_ITS_PLACE),
        Step::Cut(&of::ARM_ANEW),
    ],
};

const GRUB: Story = Story {
    first: &[
        Step::Word(of::BOOT),
        Step::Cut(&on_grub::INSTALL),
        Step::Cut(&on_grub::ARM),
        Step::Cut(&on_grub::CANCEL),
        Step::Settled(&on_grub::GC),
        Step::Last(&on_grub::TRY),
    ],
    kept: &[
        Step::Boot(&on_grub::TRIAL),
        Step::Cut(&on_grub::COMMIT),
        Step::Cut(&on_grub::LEAVE),
        Step::Word(of::ROT),
        Step::Cut(&on_grub::REPAIR),
    ],
    given_up: &[Step::Word(of::BOOT), Step::Cut(&on_grub::GIVE_UP)],
    crowded: &[
        Step::Word(of::LAZY),
        // not for `mutations`: the barrier between the two sectors orders states that no rule tells apart
        Step::Settled(&on_grub::RENEW),
        Step::Cut(&on_grub::INSTALL_IN_ITS_PLACE),
        Step::Cut(&on_grub::ARM_ANEW),
    ],
};

impl World {
    pub(super) fn story(self) -> &'static Story {
        match self {
            Self::Pi => &PI,
            Self::Grub => &GRUB,
        }
    }
}
