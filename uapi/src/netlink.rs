// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/netlink.h`: who sent a message. rustix has it too, for every kind of socket there is, in two KiB.

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr;

use linux_raw_sys::general::__NR_recvmsg;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Result;

use crate::syscall::syscall;

/// `struct sockaddr_nl`
#[repr(C)]
struct Address {
    family: u16,
    pad: u16,
    port: u32,
    groups: u32,
}

/// `struct iovec`
#[repr(C)]
struct Part {
    base: *mut u8,
    length: usize,
}

/// `struct user_msghdr` of linux/socket.h.
#[repr(C)]
struct Message {
    name: *mut Address,
    name_length: u32,
    parts: *mut Part,
    parts_count: usize,
    control: *mut c_void,
    control_length: usize,
    flags: u32,
}

const _: () = assert!(size_of::<Address>() == 12);
const _: () = assert!(size_of::<Message>() == if size_of::<usize>() == 8 { 56 } else { 28 });

/// Receives a message: its length, cut at that of the buffer, and the port of its sender, which is 0 for the kernel.
///
/// # Errors
/// `EAGAIN` where there is none and the socket does not block, `ENOBUFS` where messages were lost.
#[doc(alias = "recvmsg")]
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, u32)> {
    let mut from = Address { family: 0, pad: 0, port: u32::MAX, groups: 0 };
    let mut part = Part { base: buffer.as_mut_ptr(), length: buffer.len() };
    let mut message = Message {
        name: &raw mut from,
        name_length: 12,
        parts: &raw mut part,
        parts_count: 1,
        control: ptr::null_mut(),
        control_length: 0,
        flags: 0,
    };
    let socket = socket.as_raw_fd().unsigned_abs() as usize;
    let arguments = [socket, (&raw mut message).expose_provenance(), 0, 0, 0];
    // SAFETY: recvmsg reads the message (size asserted above) and writes into what it points to: one address and the
    // bytes of the buffer, all of which outlive the call.
    let length = unsafe { syscall(__NR_recvmsg, arguments) }?;
    Ok((length, from.port))
}
