// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root file system: the revision's image or a device, and what is laid over it.

use mount::filesystem::{self, Options};
use mount::new_root::Root;
use mount::{Error, error, overlay, text, wait};

use crate::boot::{Boot, device_name};
use crate::cmdline::Overlay;
use crate::data::DATA;
use crate::kmsg::{say, warn};
use crate::switch_root::SYSROOT;
use mount::file;

/// The read-only root under an overlay.
const LOWER: &str = "/run/pivot/lower";
const NO_ROOT: &str = "no root file system: the command line has no root=, pivot.root= or pivot.data= with a revision";
/// The tmpfs of a volatile overlay.
const VOLATILE: &str = "/run/pivot/volatile";

impl Boot {
    /// Where the root's own file system is mounted: on the new root, or below the overlay.
    pub(crate) fn root_target(&self) -> &'static str {
        if self.cmdline.overlay == Overlay::None { SYSROOT } else { LOWER }
    }

    /// Mounts the root, unless the revision's image is mounted already, and lays the overlay over it.
    pub(crate) fn mount_root(&mut self) -> Result<Root, Error> {
        file::create_directories(SYSROOT)?;
        if !self.images.iter().any(|image| image.inside.is_none()) {
            self.mount_root_device()?;
        }
        match self.cmdline.overlay {
            Overlay::None => {}
            Overlay::Volatile => self.mount_volatile()?,
            Overlay::Persistent => self.mount_persistent()?,
        }
        self.stage("mount_root");
        Root::open(SYSROOT)
    }

    /// `pivot.root=` or `root=`, as the kernel mounts it.
    fn mount_root_device(&mut self) -> Result<(), Error> {
        let ours = self.cmdline.pivot_root.map(|value| ("pivot.root", value));
        let given = ours.or_else(|| self.cmdline.root.map(|value| ("root", value)));
        let (parameter, value) = given.ok_or(Error::from(NO_ROOT))?;
        let name = device_name(parameter, value)?;
        let delay = i64::from(self.cmdline.rootdelay).min(self.deadline.left().tv_sec);
        if delay > 0 {
            crate::rescue::sleep(delay);
        }
        let device = wait::device(&self.roots(), &name, self.uevents.as_ref(), &self.deadline)?;
        let target = self.root_target();
        file::create_directories(target)?;
        let options = Options {
            kinds: self.cmdline.rootfstype,
            // Nothing is written below an overlay.
            read_only: self.cmdline.read_only || self.cmdline.overlay != Overlay::None,
            data: self.cmdline.rootflags,
            warn,
        };
        filesystem::mount(device.node, target, &options)?;
        say!(Info, "root: {} ({}={})", device.node, parameter, value);
        self.report.fact("root", device.node);
        Ok(())
    }

    fn mount_volatile(&mut self) -> Result<(), Error> {
        file::create_directories(VOLATILE)?;
        filesystem::tmpfs(VOLATILE, "mode=0755")?;
        self.mount_overlay(VOLATILE)?;
        self.report.fact("overlay", "volatile");
        Ok(())
    }

    /// The upper layer lies on the data partition, one per revision: a trial never writes into the committed one's.
    fn mount_persistent(&mut self) -> Result<(), Error> {
        let why = match &self.data {
            None => Some("there is no data partition (pivot.data=)"),
            Some(data) if data.read_only => Some("the data partition is read-only"),
            Some(_) => None,
        };
        let revision = self.revision.unwrap_or("none");
        let upper = text!("{}/pivot/state/overlay/{}", DATA, revision);
        let mounted = match why {
            Some(why) => Err(Error::from(why)),
            None => self.mount_overlay(upper),
        };
        let Err(failed) = mounted else {
            self.report.fact("overlay", "persistent");
            return Ok(());
        };
        self.degraded(error!("no persistent overlay: {}; changes will be lost", failed))?;
        self.mount_volatile()
    }

    fn mount_overlay(&self, base: &str) -> Result<(), Error> {
        overlay::mount(LOWER, text!("{}/upper", base), text!("{}/work", base), SYSROOT)
    }

    /// Takes the mounts of a revision that turned out to be unusable away again.
    pub(crate) fn unmount_images(&mut self) {
        while let Some(image) = self.images.last() {
            if let Err(why) = filesystem::unmount(image.target, true) {
                warn(&why);
            }
            self.images.pop();
        }
    }
}
