// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the initramfs into the new root: mounts moved, `/sysroot` moved onto `/`, the initramfs emptied, init started.
//!
//! `pivot_root` cannot be used: the initramfs is the kernel's rootfs, which cannot be unmounted. The MS_MOVE before
//! the chroot is not decoration: without it the booted system lives in a chroot and the kernel refuses it every user
//! namespace (`current_chrooted()` in kernel/user_namespace.c).

use core::convert::Infallible;
use core::ffi::CStr;

use bootsel::list::List;
use bootsel::text::of;
use mount::file::c_string;
use mount::new_root::Root;
use mount::{Error, error, text};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, OFlags};

use crate::boot::Boot;
use crate::kmsg::{Level, say, warn};
use crate::{file, kmsg, report, systemd};

/// Where the new root waits.
pub(crate) const SYSROOT: &str = "/sysroot";
/// The kernel's own list (`kernel_init` in init/main.c), for a command line without `init=`.
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];
/// Deeper than this nothing is deleted: the initramfs of ours has six levels.
const DEPTH: usize = 32;

/// Which program of the new root is its init. Found before anything is moved, so that rescue still has a system.
pub(crate) fn find_init(root: &Root, wanted: Option<&str>) -> Result<&'static CStr, Error> {
    let wanted = wanted.as_slice();
    let candidates = if wanted.is_empty() { &INITS } else { wanted };
    let mut tried = "";
    for path in candidates {
        if root.exists(path) {
            return c_string(path).map_err(|why| Error::call("execute", path, why));
        }
        tried = text!("{} {}", tried, path);
    }
    Err(error!("no init in the root file system: tried{}", tried))
}

/// Enters `root` and becomes its `init`. Returns only the reason why that failed.
pub(crate) fn exec(
    boot: &mut Boot,
    start: &Start,
    root: &Root,
    init: &CStr,
) -> Result<Infallible, Error> {
    boot.bind_images(root)?;
    boot.finish_report();
    boot.journal_booted();
    for (source, inside) in [("/dev", "dev"), ("/sys", "sys"), ("/run", "run"), ("/proc", "proc")] {
        let moved = root.move_into(source, inside);
        boot.tolerate(moved)?;
    }
    let initramfs = enter()?;
    delete(initramfs);
    boot.trace("exec");
    if let Some(watchdog) = &mut boot.watchdog {
        watchdog.hand_over();
    }
    let mut arguments = Strings::new(init);
    arguments.push(init);
    for argument in start.arguments.iter().skip(1) {
        arguments.push(argument);
    }
    if let Some(state) = systemd::state(init, boot.report.began()) {
        for argument in systemd::ARGUMENTS {
            arguments.push(argument);
        }
        arguments.push(state);
    }
    let cause = uapi::process::execve(init, &arguments, &start.environment);
    Err(Error::call("execute", of(init.to_bytes()), cause))
}

/// Moves `/sysroot` onto `/` and goes there; the initramfs stays reachable by the descriptor alone.
fn enter() -> Result<OwnedFd, Error> {
    let initramfs = mount::file::open_with("/", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let sysroot = c"/sysroot";
    let moved = rustix::process::chdir(sysroot)
        .and_then(|()| rustix::mount::mount_move(c".", c"/"))
        .and_then(|()| rustix::process::chroot(c"."))
        .and_then(|()| rustix::process::chdir(c"/"));
    moved.map_err(|why| Error::call("move onto /", SYSROOT, why))?;
    Ok(initramfs)
}

/// Deletes what the initramfs holds, to give its memory back. Never the content of a disk: only on the kernel's
/// ramfs or tmpfs, and never across a mount. Any failure costs memory and nothing else.
fn delete(initramfs: OwnedFd) {
    /// `RAMFS_MAGIC` and `TMPFS_MAGIC` of linux/magic.h: rootfs is one of them.
    const IN_MEMORY: [u32; 2] = [0x8584_58f6, 0x0102_1994];
    let kind = rustix::fs::fstatfs(&initramfs).ok().and_then(|fs| u32::try_from(fs.f_type).ok());
    let device = uapi::stat::status(initramfs.as_fd()).ok().map(|found| found.device);
    let (Some(kind), Some(device)) = (kind, device) else { return };
    if IN_MEMORY.contains(&kind) {
        empty(initramfs.as_fd(), device, DEPTH);
    } else {
        say!(Warn, "the initramfs is kept: its file system is not in memory");
    }
}

fn empty(directory: BorrowedFd<'_>, device: (u32, u32), depth: usize) {
    mount::file::each_entry(directory, &mut |name, is_directory| {
        if is_directory && depth > 0 {
            descend(directory, name, device, depth);
        }
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        // A mount point (EBUSY) stays.
        let _ = rustix::fs::unlinkat(directory, name, flags);
    });
}

fn descend(directory: BorrowedFd<'_>, name: &CStr, device: (u32, u32), depth: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(inner) = uapi::open::openat(directory, name, flags, 0) else { return };
    if uapi::stat::status(inner.as_fd()).is_ok_and(|found| found.device == device) {
        empty(inner.as_fd(), device, depth.saturating_sub(1));
    }
}

impl Boot {
    /// Writes the report for the booted system and says on kmsg how long the stages took.
    fn finish_report(&mut self) {
        self.stage("new_root");
        kmsg::record(Level::Info, self.report.summary());
        let written = mount::file::create_directories("/run/pivot").and_then(|()| {
            file::create(report::PATH, self.report.json().as_bytes())
                .map_err(|why| Error::call("write", report::PATH, why))
        });
        if let Err(why) = written {
            warn(&why);
        }
    }

    /// Shows the images where the booted system looks for them. A root without the directory boots all the same:
    /// the kernel finds firmware by its own path, and modules are under `/run/pivot` too.
    fn bind_images(&mut self, root: &Root) -> Result<(), Error> {
        let images = self.images;
        for image in images.iter() {
            let Some(inside) = image.inside else { continue };
            let bound = root.bind_into(image.target, inside);
            self.tolerate(bound)?;
        }
        Ok(())
    }
}

/// What PID 1 was started with and hands on: the kernel makes arguments and environment of the words that it does not
/// know.
#[derive(Debug)]
pub(crate) struct Start {
    /// The program's own name and what follows it.
    pub(crate) arguments: Strings<'static>,
    /// `NAME=value`.
    pub(crate) environment: Strings<'static>,
}

/// More arguments or variables the kernel never gives (`MAX_INIT_ARGS`, `MAX_INIT_ENVS`: 32 each), and a few of ours.
pub(crate) type Strings<'a> = List<&'a CStr, 48>;
