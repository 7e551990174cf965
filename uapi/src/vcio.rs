// SPDX-License-Identifier: MIT OR Apache-2.0
//! `drivers/char/broadcom/vcio.c` of the Raspberry Pi kernels: `/dev/vcio`, the property interface of the firmware.
//!
//! A message is a buffer of 32-bit words in the machine's order: its bytes, 0, then tag, bytes of the value, 0, the
//! value, and a 0 at the end. The firmware answers in place: bit 31 of the second word says that it did, bit 31 of
//! the tag's third that it knows the tag. (Raspberry Pi utilities, `vcmailbox(7)`.)

use core::ffi::c_char;
use core::fmt;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// `IOCTL_MBOX_PROPERTY`, `_IOWR(100, 0, char *)`: its number holds the size of a pointer.
const PROPERTY: Opcode = opcode::read_write::<*mut c_char>(100, 0);

/// `RPI_FIRMWARE_GET_REBOOT_FLAGS`
const GET_REBOOT_FLAGS: u32 = 0x0003_0064;
/// `RPI_FIRMWARE_SET_REBOOT_FLAGS`
const SET_REBOOT_FLAGS: u32 = 0x0003_8064;

/// The bit of the reboot flags that makes the next boot a trial.
pub const TRYBOOT: u32 = 1;

/// The request's code, and the one that says that it was understood.
const REQUEST: u32 = 0;
const ANSWERED: u32 = 1 << 31;

/// A message with one tag whose value is one word, its bytes and those of the value.
type Message = [u32; 7];
const BYTES: u32 = 28;
const VALUE_BYTES: u32 = 4;
const _: () = assert!(size_of::<Message>() == 28);

/// The reboot flags as they are.
///
/// # Errors
/// Where the firmware does not know them, or the device is another one.
pub fn reboot_flags(vcio: BorrowedFd<'_>) -> Result<u32, Error> {
    property(vcio, GET_REBOOT_FLAGS, 0)
}

/// Sets all reboot flags. What the firmware made of it is to be read back: older ones answer and do nothing.
///
/// # Errors
/// As [`reboot_flags`].
pub fn set_reboot_flags(vcio: BorrowedFd<'_>, flags: u32) -> Result<(), Error> {
    property(vcio, SET_REBOOT_FLAGS, flags).map(drop)
}

fn property(vcio: BorrowedFd<'_>, tag: u32, value: u32) -> Result<u32, Error> {
    let mut message = encode(tag, value);
    // SAFETY: the driver reads the number of bytes in the first word, and writes as many: those of a `Message`.
    let call = unsafe { Updater::<PROPERTY, Message>::new(&mut message) };
    // SAFETY: the argument is a message as the opcode reads and writes it, and outlives the call.
    let done = unsafe { ioctl(vcio, call) };
    done.map_err(|why| Error::Call(tag, why))?;
    decode(tag, &message)
}

fn encode(tag: u32, value: u32) -> Message {
    [BYTES, REQUEST, tag, VALUE_BYTES, REQUEST, value, 0]
}

fn decode(asked: u32, message: &Message) -> Result<u32, Error> {
    let [_, status, tag, _, answer, value, _] = *message;
    if status != ANSWERED {
        return Err(Error::Status(asked, status));
    }
    if tag != asked || answer != ANSWERED | VALUE_BYTES {
        return Err(Error::Answer(asked, answer));
    }
    Ok(value)
}

/// Why a property could not be had; each with its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The call failed: the driver's way to say that the firmware refused the whole message is `EINVAL`.
    Call(u32, Errno),
    /// The code of the whole answer.
    Status(u32, u32),
    /// The code of the tag: the firmware does not know it, or its value has another length.
    Answer(u32, u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(tag, why) => write!(f, "firmware property {tag:#010x}: {why}"),
            Self::Status(tag, status) => {
                write!(f, "firmware property {tag:#010x}: refused with status {status:#010x}")
            }
            Self::Answer(tag, code) => {
                write!(f, "firmware property {tag:#010x}: not known, answer {code:#010x}")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    /// The buffer in its bytes, as the driver hands it to the firmware.
    fn bytes(message: &Message) -> [u8; 28] {
        let mut bytes = [0; 28];
        for (to, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(message) {
            *to = word.to_le_bytes();
        }
        bytes
    }

    #[test]
    fn ioctl_number() {
        let expected = if size_of::<usize>() == 8 { 0xc008_6400 } else { 0xc004_6400_u64 };
        assert_eq!(u64::from(PROPERTY), expected);
    }

    #[test]
    fn requests() {
        // vcmailbox(7): size, 0, tag, size of the value, 0, value, end
        let set = *b"\x1c\0\0\0\0\0\0\0\x64\x80\x03\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0";
        assert_eq!(bytes(&encode(SET_REBOOT_FLAGS, TRYBOOT)), set);
        let get = *b"\x1c\0\0\0\0\0\0\0\x64\0\x03\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(bytes(&encode(GET_REBOOT_FLAGS, 0)), get);
    }

    #[track_caller]
    fn check(message: Message, expected: Result<u32, &str>) {
        let got = decode(GET_REBOOT_FLAGS, &message).map_err(|why| why.to_string());
        assert_eq!(got, expected.map_err(ToString::to_string));
    }

    #[test]
    fn answers() {
        const TAG: u32 = GET_REBOOT_FLAGS;
        check([28, ANSWERED, TAG, 4, 0x8000_0004, 1, 0], Ok(1));
        check([28, ANSWERED, TAG, 4, 0x8000_0004, 0, 0], Ok(0));
        let refused = "firmware property 0x00030064: refused with status 0x80000001";
        check([28, 0x8000_0001, TAG, 4, 0, 0, 0], Err(refused));
        let silent = "firmware property 0x00030064: refused with status 0x00000000";
        check(encode(TAG, 0), Err(silent));
        let unknown = "firmware property 0x00030064: not known, answer 0x00000000";
        check([28, ANSWERED, TAG, 4, 0, 0, 0], Err(unknown));
        let long = "firmware property 0x00030064: not known, answer 0x80000008";
        check([28, ANSWERED, TAG, 4, 0x8000_0008, 1, 0], Err(long));
        let other = "firmware property 0x00030064: not known, answer 0x80000004";
        check([28, ANSWERED, SET_REBOOT_FLAGS, 4, 0x8000_0004, 1, 0], Err(other));
    }

    #[test]
    fn a_device_of_another_kind() {
        use rustix::fd::AsFd;
        use rustix::fs::{Mode, OFlags};
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        let why = reboot_flags(null.as_fd()).unwrap_err();
        assert_eq!(why, Error::Call(GET_REBOOT_FLAGS, Errno::NOTTY));
    }
}
