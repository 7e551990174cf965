// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a kernel sees the disk that its modules lie on.

use std::fs;

use modules::module_name;
use rpifw::BOARDS;

use crate::boards::evidence;
use crate::config::Config;
use crate::kernel::Kernel;
use crate::load::Line;
use crate::machines::{Machine, is_disk};
use crate::progress::Progress;

/// One that does not waits for it until the deadline. `uefi`: GRUB starts it.
pub(super) fn warn(
    config: &Config,
    kernel: &Kernel,
    uefi: bool,
    early: &[Line],
    progress: Progress,
) {
    let release = &kernel.release;
    // without that file it may have any driver built in
    let file = kernel.modules.join(release).join("modules.builtin");
    let builtin = fs::read_to_string(file).unwrap_or_default();
    if builtin.is_empty() {
        return;
    }
    let early = early.iter().map(|line| line.path.as_str());
    let there: Vec<_> = builtin.lines().chain(early).map(module_name).collect();
    let disk = there.iter().any(|name| is_disk(name));
    let card = BOARDS
        .iter()
        .flat_map(|board| evidence::medium(board.chip))
        .any(|name| there.iter().any(|known| known == name));
    let pi = config.rpi.is_some();
    let lacks = [
        (pi && !card && !disk, "the SD card of any Raspberry Pi", Machine::Raspi),
        (uefi && !disk, "a disk", Machine::Uefi),
        (!pi && config.uefi.is_none() && !disk && !card, "a disk", Machine::Virt),
    ];
    for (_, what, machine) in lacks.into_iter().filter(|(lacks, ..)| *lacks) {
        progress.note(&format!(
            "warning: kernel {release} has no driver of {what} built in or in the initramfs, and waits for it in vain: machines = \
             [\"{machine}\"] in its [[kernel]] puts them there"
        ));
    }
}
