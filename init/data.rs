// SPDX-License-Identifier: MIT OR Apache-2.0
//! The data partition: waited for, repaired where its superblock asks for it, mounted, and kept for the booted system.

use mount::block::BlockDevice;
use mount::file;
use mount::filesystem::{self, Options};
use mount::superblock::Kind;
use mount::text::decimal32;
use mount::{Error, errno, error, superblock, text, wait};
use rustix::mount::MountFlags;
use uapi::process::Fork;

use crate::boot::{Boot, device_name};
use crate::kmsg::{say, warn};

/// Where the data partition is mounted; `/run` moves with it into the new root.
pub(crate) const DATA: &str = "/run/pivot/data";
/// The static e2fsck that an initramfs may carry.
const E2FSCK: &str = "/sbin/e2fsck";

/// The mounted data partition.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) read_only: bool,
    pub(crate) device: BlockDevice,
    /// What the log says: whether the one-shot fallback was used and no boot came to its end since; `None` where it
    /// cannot be read.
    pub(crate) fallback_used: Option<bool>,
}

impl Data {
    /// Before a restart: everything written, and the file system marked clean.
    pub(crate) fn remount_read_only(&self) {
        if !self.read_only
            && let Err(why) =
                rustix::mount::mount_remount(c"/run/pivot/data", MountFlags::RDONLY, c"")
        {
            say!(Warn, "{} stays writable: {}", DATA, errno::text(why));
        }
    }
}

impl Boot {
    /// Waits for `pivot.data=` and mounts it. Read-only where it cannot be written: a full or failing card still
    /// boots, and says so.
    #[inline(never)]
    pub(crate) fn mount_data(&mut self) -> Result<(), Error> {
        let Some(given) = self.cmdline.data else { return self.find_trial() };
        let name = device_name("pivot.data", given)?;
        let device = wait::device(&self.roots(), &name, self.uevents.as_ref(), &self.deadline)?;
        self.stage("wait_for_data");
        let kind = self.repair(&device)?;
        let options = Options { kinds: kind.map(Kind::name), read_only: false, data: None, warn };
        let mounted = filesystem::mount(device.node, DATA, &options)?;
        self.data = Some(Data { read_only: mounted.read_only, device, fallback_used: None });
        self.report.fact("data", device.node);
        self.find_trial()?;
        if mounted.read_only {
            self.degraded(error!("{} ({}) can only be mounted read-only", device.node, given))?;
        }
        self.stage("mount_data");
        if !mounted.read_only {
            self.grow_data(&device);
        }
        Ok(())
    }

    /// An ext4 that saw errors is checked by the initramfs' e2fsck, where there is one. What is on the device, if it is
    /// known.
    fn repair(&mut self, device: &BlockDevice) -> Result<Option<Kind>, Error> {
        let found = superblock::read(device.node).ok().flatten();
        let kind = found.map(|found| found.kind);
        if !found.is_some_and(|found| found.errors) {
            return Ok(kind);
        }
        say!(Warn, "{} carries ext4's error flag", device.node);
        let outcome = if file::exists(E2FSCK) {
            self.e2fsck(device.node)
        } else {
            Err(error!(
                "{} has file system errors and the initramfs has no {}",
                device.node, E2FSCK
            ))
        };
        match outcome {
            Ok(()) => say!(Warn, "{} -p {}: errors mended", E2FSCK, device.node),
            Err(why) => self.degraded(why)?,
        }
        Ok(kind)
    }

    /// `e2fsck -p`: mends what can be mended without a person. Ended at the deadline.
    fn e2fsck(&self, node: &str) -> Result<(), Error> {
        let path = file::c_string(node).map_err(|why| Error::call("check", node, why))?;
        let failed = |how| Err(error!("{} -p {} {}", E2FSCK, node, how));
        let child = match uapi::process::fork() {
            Ok(Fork::Parent(child)) => child,
            Ok(Fork::Child) => {
                uapi::process::execve(c"/sbin/e2fsck", &[c"e2fsck", c"-p", path], &[]);
                uapi::process::exit(127)
            }
            Err(why) => return Err(Error::call("fork", E2FSCK, why)),
        };
        // e2fsck(8): 1 errors corrected, 2 and restart wanted (a root that is mounted), 4 errors left, 8 and up no check.
        match crate::child::wait(child, &self.deadline) {
            Ok(0..=3) => Ok(()),
            Ok(status) => {
                failed(text!("left errors (exit status {})", decimal32(status.unsigned_abs())))
            }
            Err(how) => failed(how),
        }
    }
}
