// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root file system: the revision's image or a device, and what is laid over it.

use alloc::string::String;

use bootsel::format;
use mount::Error;
use mount::filesystem::{self, Options};
use mount::new_root::Root;
use mount::{overlay, wait};

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
        let (parameter, value) = given.ok_or_else(|| Error::new(format_args!("{NO_ROOT}")))?;
        let name = device_name(parameter, value)?;
        let delay = i64::from(self.cmdline.rootdelay).min(self.deadline.left().tv_sec);
        crate::rescue::sleep(delay);
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
        filesystem::mount(&device.node, target, &options)?;
        say!(Info, "root: {} ({parameter}={value})", device.node);
        self.report.fact("root", &device.node);
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
        let revision = self.revision.as_deref().unwrap_or("none");
        let upper = format!("{DATA}/pivot/state/overlay/{revision}");
        let failed: String = match why {
            Some(why) => why.into(),
            None => match self.mount_overlay(&upper) {
                Ok(()) => {
                    self.report.fact("overlay", "persistent");
                    return Ok(());
                }
                Err(why) => String::from(&*why),
            },
        };
        self.degraded(Error::new(format_args!(
            "no persistent overlay: {failed}; changes will be lost"
        )))?;
        self.mount_volatile()
    }

    fn mount_overlay(&self, base: &str) -> Result<(), Error> {
        let (upper, work) = (format!("{base}/upper"), format!("{base}/work"));
        overlay::mount(LOWER, &upper, &work, SYSROOT)
    }

    /// Takes the mounts of a revision that turned out to be unusable away again.
    pub(crate) fn unmount_images(&mut self) {
        for image in self.images.drain(..).rev() {
            if let Err(why) = filesystem::unmount(image.target, true) {
                say!(Warn, "{why}");
            }
        }
    }
}
