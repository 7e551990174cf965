// SPDX-License-Identifier: MIT OR Apache-2.0
//! The API filesystems: the kernel mounts none of them for an initramfs, not even devtmpfs.

use rustix::io::Errno;
use rustix::mount::MountFlags;

use crate::filesystem::mount2;
use crate::{Error, file};

// What systemd would mount them with; /run as its initrd interface asks for.
const DATA: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const MOUNTS: [(&str, &str, MountFlags, &str); 4] = [
    ("devtmpfs", "/dev", MountFlags::NOSUID, "mode=755"),
    ("proc", "/proc", DATA.union(MountFlags::NOEXEC), ""),
    ("sysfs", "/sys", DATA.union(MountFlags::NOEXEC), ""),
    ("tmpfs", "/run", DATA.union(MountFlags::STRICTATIME), "mode=755"),
];

/// Mounts /dev, /proc, /sys and /run below `root` ("" for the real ones). A /dev that the kernel has mounted stays.
pub fn filesystems(root: &str) -> Result<(), Error> {
    for (kind, path, flags, data) in &MOUNTS {
        let target = text!("{}{}", root, path);
        file::create_directories(target)?;
        match mount2(kind, target, kind, *flags, data) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(errno) => return Err(Error::mount(kind, target, kind, errno)),
        }
    }
    Ok(())
}
