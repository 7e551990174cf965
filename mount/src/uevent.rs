// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's uevents: they say when to look again, never what is there.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{bind, sockopt};
use uapi::netlink::receive;

use crate::Error;
use crate::wait::Deadline;

// Kernel messages go to group 1; 2 is udev's.
const KERNEL: u32 = 1;
// In bytes; the default of 208 KiB overran on machines with many devices. 4 MiB is what Alpine's nlplug-findfs takes.
const RECEIVE_BUFFER: usize = 4 << 20;
// The kernel's own limit of a message, UEVENT_BUFFER_SIZE, is 2048, behind a header with the path.
const MESSAGE: usize = 8192;

/// The socket on which the kernel tells of devices. To miss none it is opened before modules are loaded.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A block device came or changed.
    BlockAdded,
    /// Messages were lost: look at everything.
    Overrun,
    /// Nothing happened in time.
    Timeout,
}

impl Uevents {
    /// Opens the socket.
    pub fn open() -> Result<Uevents, Error> {
        let failed = |errno| Error::call("open", "uevent socket", errno);
        let socket = uapi::open::uevent_socket().map_err(failed)?;
        // Refused without CAP_NET_ADMIN, which process 1 has: then the default size has to do.
        let _ = sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL)).map_err(failed)?;
        Ok(Uevents(socket))
    }

    /// Waits until a block device comes, messages are lost, or `timeout` has passed. Other messages are dropped.
    pub fn wait(&self, timeout: Timespec) -> Wake {
        self.wait_until(&Deadline::after(timeout))
    }

    pub(crate) fn wait_until(&self, deadline: &Deadline) -> Wake {
        let mut message = [0; MESSAGE];
        let mut wake = None;
        loop {
            match receive(self.0.as_fd(), &mut message) {
                Ok((length, from)) => {
                    let text = message.get(..length).unwrap_or_default();
                    // Any process with CAP_NET_ADMIN can send to the group.
                    if from == 0 && is_block(text) {
                        wake = wake.or(Some(Wake::BlockAdded));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => wake = Some(Wake::Overrun),
                // Nothing more to read: one look around is the answer to all that came.
                Err(_) if wake.is_some() || deadline.passed() => {
                    return wake.unwrap_or(Wake::Timeout);
                }
                Err(_) => {
                    // Whatever ends it, the next round looks at the socket and at the clock.
                    let mut socket = [PollFd::new(&self.0, PollFlags::IN)];
                    let _ = poll(&mut socket, Some(&deadline.left()));
                }
            }
        }
    }
}

// "add@/devices/..." and then KEY=value, each ended by a zero byte.
fn is_block(message: &[u8]) -> bool {
    let has = |wanted: &str| {
        let mut fields = message.split(|byte| *byte == 0);
        fields.any(|field| field == wanted.as_bytes())
    };
    has("SUBSYSTEM=block") && !has("ACTION=remove")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_block_devices_that_come_or_change() {
        let add = b"add@/devices/x/block/vda\0ACTION=add\0DEVPATH=/devices/x/block/vda\0SUBSYSTEM=block\0";
        assert!(is_block(add));
        assert!(is_block(b"change@/devices/x\0ACTION=change\0SUBSYSTEM=block\0MAJOR=8\0"));
        assert!(!is_block(b"remove@/devices/x\0ACTION=remove\0SUBSYSTEM=block\0"));
        assert!(!is_block(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=blocks\0"));
        assert!(!is_block(b""));
    }
}
