// SPDX-License-Identifier: MIT OR Apache-2.0
//! overlayfs: a read-only root that can be written to.

use rustix::fd::AsFd;
use rustix::fs::OFlags;
use rustix::mount::MountFlags;
use uapi::open::chmod;
use uapi::stat::status;

use crate::filesystem::mount2;
use crate::{Error, file};

/// Mounts the overlay of `upper` over `lower` on `target`. `upper` and `work` lie on one filesystem; all but `lower`
/// are created where they are missing.
pub fn mount(lower: &str, upper: &str, work: &str, target: &str) -> Result<(), Error> {
    create_upper(lower, upper)?;
    file::create_directories(work)?;
    file::create_directories(target)?;
    // The paths are ours: none has a comma or a colon, which would have to be escaped.
    let data = text!("lowerdir={},upperdir={},workdir={}", lower, upper, work);
    mount2("overlay", target, "overlay", MountFlags::empty(), data)
        .map_err(|errno| Error::mount(upper, target, "overlay", errno))
}

// The merged root has the mode of the upper one: a new one takes it from below, or a root of mode 700 would be open.
fn create_upper(lower: &str, upper: &str) -> Result<(), Error> {
    let is_new = !file::exists(upper);
    file::create_directories(upper)?;
    if is_new {
        let below = file::open_raw(lower, OFlags::PATH)
            .and_then(|lower| status(lower.as_fd()))
            .map_err(|errno| Error::call("stat", lower, errno))?;
        chmod(upper, below.permissions).map_err(|errno| Error::call("chmod", upper, errno))?;
    }
    Ok(())
}
