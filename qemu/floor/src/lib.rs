// SPDX-License-Identifier: MIT OR Apache-2.0
//! The least that an init of an initramfs can do: the system calls that the job demands, in their order, with every name
//! known beforehand. Nothing is read, parsed, decided, logged or checked. What pivot costs is measured against it.
//!
//! Its initramfs has the modules as `/00`, `/01`, ..., in load order; the first is the watchdog's driver, `/lo` is the loop
//! device's.

#![cfg_attr(all(target_arch = "aarch64", target_env = "musl"), no_std)]
#![cfg_attr(
    all(target_arch = "aarch64", target_env = "musl"),
    expect(unsafe_code, reason = "memcpy of the C library")
)]

extern crate alloc;

use core::convert::Infallible;
use core::ffi::CStr;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, OFlags, mkdirat, unlinkat};
use rustix::io::{Errno, Result};
use rustix::mount::MountFlags;
use rustix::net::netlink::SocketAddrNetlink;

/// Where the new root waits.
const SYSROOT: &CStr = c"/sysroot";
/// The new root's init.
const INIT: &CStr = c"/sbin/init";
/// Seconds of the watchdog.
const TIMEOUT: i32 = 15;

#[cfg(all(target_arch = "aarch64", target_env = "musl"))]
mod runtime {
    #[global_allocator]
    static HEAP: uapi::memory::Heap<{ 64 << 10 }> = uapi::memory::Heap::new();

    // memcpy and its family, which the compiler calls.
    #[link(name = "c")]
    unsafe extern "C" {}

    // core is built to unwind and refers to these two; with panic=abort nothing calls them.
    core::arch::global_asm!(
        ".globl rust_eh_personality",
        "rust_eh_personality:",
        ".globl _Unwind_Resume",
        "_Unwind_Resume:",
    );

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        uapi::process::exit(101)
    }
}

/// The kernel's file systems and the socket on which it tells of devices.
fn begin() -> Result<OwnedFd> {
    kernels_file_systems()?;
    let uevents = uapi::open::uevent_socket()?;
    rustix::net::bind(&uevents, &SocketAddrNetlink::new(0, 1))?;
    Ok(uevents)
}

/// `/dev`, `/proc`, `/sys` and `/run`.
pub fn kernels_file_systems() -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount(c"devtmpfs", c"/dev", c"devtmpfs", MountFlags::NOSUID, Some(c"mode=755"))?;
    mount(c"proc", c"/proc", c"proc", flags | MountFlags::NOEXEC, None)?;
    mount(c"sysfs", c"/sys", c"sysfs", flags | MountFlags::NOEXEC, None)?;
    let run = flags | MountFlags::STRICTATIME;
    mount(c"tmpfs", c"/run", c"tmpfs", run, Some(c"mode=755"))
}

/// Loads the modules; `after_first` when the first is in, or there is none: then the kernel has all drivers. The last is the one
/// that has an option.
fn modules(mut after_first: impl FnMut() -> Result<()>) -> Result<()> {
    'all: for tens in b'0'..=b'9' {
        for ones in b'0'..=b'9' {
            let loaded = module([b'/', tens, ones, 0], c"");
            if (tens, ones) == (b'0', b'0') {
                after_first()?;
            }
            match loaded {
                Err(Errno::NOENT) => break 'all,
                result => result?,
            }
        }
    }
    match module(*b"/lo\0", c"max_loop=0") {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// Loads a module and gives its memory back.
fn module(path: [u8; 4], options: &CStr) -> Result<()> {
    let path = CStr::from_bytes_with_nul(&path).unwrap_or_default();
    let file = open(path)?;
    // A driver without its hardware refuses.
    let _ = rustix::system::finit_module(&file, options, 0);
    drop(file);
    unlinkat(CWD, path, AtFlags::empty())
}

/// Arms the watchdog.
fn watchdog() -> Result<OwnedFd> {
    let device = uapi::open::open(c"/dev/watchdog0", OFlags::WRONLY | OFlags::CLOEXEC, 0)?;
    uapi::watchdog::set_timeout(device.as_fd(), TIMEOUT)?;
    Ok(device)
}

/// Mounts a disk's file system as soon as it is there.
fn mount_disk(uevents: &OwnedFd, device: &CStr, target: &CStr, flags: MountFlags) -> Result<()> {
    loop {
        match mount(device, target, c"ext4", flags, None) {
            Err(Errno::NOENT) => {
                let mut socket =
                    [rustix::event::PollFd::new(uevents, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut socket, None)?;
                uapi::netlink::receive(uevents.as_fd(), &mut [0; 64])?;
            }
            result => return result,
        }
    }
}

/// Mounts a squashfs from a file, which is read through its own page cache unless `direct`.
fn squashfs(image: &CStr, target: &CStr, direct: bool) -> Result<()> {
    let control = uapi::open::open(c"/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, 0)?;
    let number = uapi::loop_device::get_free(control.as_fd())?;
    let mut node = *b"/dev/loop0\0";
    if let Some(digit) = node.get_mut(9) {
        *digit = b'0' + u8::try_from(number).unwrap_or_default();
    }
    let node = CStr::from_bytes_with_nul(&node).unwrap_or_default();
    let (device, backing) = (open(node)?, open(image)?);
    let config = uapi::loop_device::Config {
        backing: backing.as_fd(),
        read_only: true,
        autoclear: true,
        direct_io: direct,
        offset: 0,
        size_limit: 0,
        block_size: 0,
        file_name: &[],
    };
    uapi::loop_device::configure(device.as_fd(), &config)?;
    mount(node, target, c"squashfs", MountFlags::RDONLY, None)
}

/// The whole job: watchdog, data partition, three images of a revision, everything where the booted system looks for it.
pub fn device(direct: bool) -> Result<Infallible> {
    let uevents = begin()?;
    let mut armed = None;
    modules(|| {
        armed = Some(watchdog()?);
        Ok(())
    })?;
    directory(c"/run/pivot")?;
    directory(c"/run/pivot/data")?;
    mount_disk(&uevents, c"/dev/vda4", c"/run/pivot/data", MountFlags::empty())?;
    squashfs(c"/run/pivot/data/pivot/revisions/1/root.squashfs", SYSROOT, direct)?;
    directory(c"/run/pivot/modules")?;
    // A link of the initramfs that leads to the kernel's own image.
    squashfs(c"/modules.squashfs", c"/run/pivot/modules", direct)?;
    directory(c"/run/pivot/firmware")?;
    let firmware = c"/run/pivot/data/pivot/revisions/1/firmware.squashfs";
    squashfs(firmware, c"/run/pivot/firmware", direct)?;
    write(c"/sys/module/firmware_class/parameters/path", b"/run/pivot/firmware")?;
    bind(c"/run/pivot/modules", c"/sysroot/usr/lib/modules")?;
    bind(c"/run/pivot/firmware", c"/sysroot/usr/lib/firmware")?;
    enter(&[c"modules.squashfs"])?;
    if let Some(watchdog) = armed {
        uapi::watchdog::keepalive(watchdog.as_fd())?;
    }
    Err(become_init())
}

/// The smaller job: one root device.
pub fn root() -> Result<Infallible> {
    let uevents = begin()?;
    modules(|| Ok(()))?;
    mount_disk(&uevents, c"/dev/vda1", SYSROOT, MountFlags::RDONLY)?;
    enter(&[])?;
    Err(become_init())
}

/// Moves the kernel's file systems into the new root, moves that onto `/`, and takes away what the initramfs has left.
fn enter(files: &[&CStr]) -> Result<()> {
    // The first and `root` are the kernel's own (usr/default_cpio_list).
    let mine = [c"dev/console", c"init", c"begin"];
    let directories = [c"dev", c"proc", c"root", c"run", c"sys", c"sysroot"];
    let moves = [
        (c"/dev", c"/sysroot/dev"),
        (c"/sys", c"/sysroot/sys"),
        (c"/run", c"/sysroot/run"),
        (c"/proc", c"/sysroot/proc"),
    ];
    for (from, to) in moves {
        rustix::mount::mount_move(from, to)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let initramfs = uapi::open::open(c"/", flags, 0)?;
    rustix::process::chdir(SYSROOT)?;
    rustix::mount::mount_move(c".", c"/")?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")?;
    for file in files.iter().copied().chain(mine) {
        unlinkat(&initramfs, file, AtFlags::empty())?;
    }
    for directory in directories {
        unlinkat(&initramfs, directory, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// Becomes the new root's init.
fn become_init() -> Errno {
    uapi::process::execve(INIT, &[INIT], &[])
}

/// Makes a directory.
fn directory(path: &CStr) -> Result<()> {
    mkdirat(CWD, path, rustix::fs::Mode::from_raw_mode(0o755))
}

/// Shows a directory at a second place.
fn bind(from: &CStr, to: &CStr) -> Result<()> {
    rustix::mount::mount_bind(from, to)
}

/// Writes a file of the kernel's.
fn write(path: &CStr, text: &[u8]) -> Result<()> {
    let file = uapi::open::open(path, OFlags::WRONLY | OFlags::CLOEXEC, 0)?;
    rustix::io::write(file, text).map(|_| ())
}

fn open(path: &CStr) -> Result<OwnedFd> {
    uapi::open::open(path, OFlags::RDONLY | OFlags::CLOEXEC, 0)
}

fn mount(
    source: &CStr,
    target: &CStr,
    kind: &CStr,
    flags: MountFlags,
    data: Option<&CStr>,
) -> Result<()> {
    rustix::mount::mount(source, target, kind, flags, data)
}

/// Ends where a job failed: the kernel's panic shows the error's number as the exit status.
pub fn end(job: Result<Infallible>) -> ! {
    match job {
        Ok(never) => match never {},
        Err(why) => fail(why),
    }
}

/// The same.
pub fn fail(why: Errno) -> ! {
    uapi::process::exit(u8::try_from(why.raw_os_error()).unwrap_or(1))
}

/// The kernel's entry: a mark of `cargo verify --bench` or nothing, then `$main`, which does not return.
#[macro_export]
macro_rules! entry {
    ($mark:literal, $main:path) => {
        #[cfg(all(target_arch = "aarch64", target_env = "musl"))]
        core::arch::global_asm!(
            ".globl floor_start",
            concat!("floor_start: ", $mark),
            "mov x29, xzr",
            "mov x30, xzr",
            "b {start}",
            start = sym start,
        );

        #[cfg(all(target_arch = "aarch64", target_env = "musl"))]
        extern "C" fn start() -> ! {
            $main()
        }

        /// For the machine that is measured alone.
        #[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
        fn main() {
            let _ = $main as fn() -> !;
        }
    };
}
