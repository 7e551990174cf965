// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's uevents. One test: what one part of it sets off the other would receive.

use std::fs;
use std::time::{Duration, Instant};

use mount::uevent::{Uevents, Wake};
use rustix::event::Timespec;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, SendFlags, SocketType, sendto, socket};
use tests::{Loop, in_namespace};

const SECOND: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

#[test]
fn added_forged_and_overrun() {
    in_namespace(|scratch| {
        let device = Loop::attach(&scratch.zeros("image", 1 << 20), &[]);
        let file = format!("/sys/class/block/{}/uevent", device.name());
        if let Err(error) = fs::write(&file, "add") {
            eprintln!("SKIPPED: cannot trigger a uevent by {file}: {error}");
            return;
        }
        let uevents = Uevents::open().unwrap();
        fs::write(&file, "add").unwrap();
        assert_eq!(uevents.wait(SECOND), Wake::BlockAdded);
        forged(&uevents);
        // Thousands of messages that nobody reads.
        for _ in 0..20_000 {
            fs::write(&file, "add").unwrap();
        }
        assert_eq!(uevents.wait(SECOND), Wake::Overrun);
        fs::write(&file, "change").unwrap();
        assert_eq!(uevents.wait(SECOND), Wake::BlockAdded);
    });
}

// Other tests may set off real events at any moment: that one attempt of many is quiet shows that ours are dropped.
fn forged(uevents: &Uevents) {
    let socket = socket(AddressFamily::NETLINK, SocketType::DGRAM, Some(KOBJECT_UEVENT)).unwrap();
    let message = b"add@/devices/forged\0ACTION=add\0DEVPATH=/devices/forged\0SUBSYSTEM=block\0";
    let short = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let quiet = (0..100).any(|_| {
        let sent = sendto(&socket, message, SendFlags::empty(), &SocketAddrNetlink::new(0, 1));
        assert_eq!(sent, Ok(message.len()));
        let began = Instant::now();
        uevents.wait(short) == Wake::Timeout && began.elapsed() >= Duration::from_millis(50)
    });
    assert!(quiet, "messages that are not the kernel's are taken for its own");
}
