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

// `include/soc/bcm2835/raspberrypi-firmware.h` of the Raspberry Pi kernels
/// `RPI_FIRMWARE_GET_FIRMWARE_REVISION`
const GET_FIRMWARE_REVISION: u32 = 0x0000_0001;
/// `RPI_FIRMWARE_GET_BOARD_REVISION`
const GET_BOARD_REVISION: u32 = 0x0001_0002;
/// `RPI_FIRMWARE_GET_BOARD_SERIAL`
const GET_BOARD_SERIAL: u32 = 0x0001_0004;
/// `RPI_FIRMWARE_GET_REBOOT_FLAGS`
const GET_REBOOT_FLAGS: u32 = 0x0003_0064;
/// `RPI_FIRMWARE_SET_REBOOT_FLAGS`
const SET_REBOOT_FLAGS: u32 = 0x0003_8064;
/// `GET_GENCMD_RESULT` (Raspberry Pi utilities, `vcgencmd.c`)
const GET_GENCMD_RESULT: u32 = 0x0003_0080;
/// `GET_RSTS`, in the list of tags that `/dev/vcio_ab` lets pass
const GET_RSTS: u32 = 0x0004_0011;

/// The bit of the reboot flags that makes the next boot a trial.
pub const TRYBOOT: u32 = 1;

/// The request's code, and the one that says that it was understood.
const REQUEST: u32 = 0;
const ANSWERED: u32 = 1 << 31;

/// A message with one tag, whose value has `N` words.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message<const N: usize> {
    bytes: u32,
    status: u32,
    tag: u32,
    value_bytes: u32,
    answer: u32,
    value: [u32; N],
    end: u32,
}
const _: () = assert!(size_of::<Message<1>>() == 28 && size_of::<Message<2>>() == 32);

/// Room for a command and for its output, as `vcgencmd` has it. A bootloader's configuration has at most 4076 bytes.
/// (rpi-eeprom-config: `MAX_FILE_SIZE`)
const TEXT_BYTES: usize = 4096;
/// The same for the message, whose error code `vcgencmd` does not count.
const TEXT: u32 = 4096;

/// The message of [`gencmd`].
#[repr(C)]
struct Command {
    bytes: u32,
    status: u32,
    tag: u32,
    value_bytes: u32,
    answer: u32,
    error: u32,
    text: [u8; TEXT_BYTES],
    end: u32,
}
const _: () = assert!(size_of::<Command>() == 28 + TEXT_BYTES && TEXT_BYTES == TEXT as usize);

/// When the firmware in `start.elf` was built, in seconds since 1970.
///
/// # Errors
/// Where the firmware does not know the property, or the device is another one.
pub fn firmware_revision(vcio: BorrowedFd<'_>) -> Result<u32, Error> {
    word(vcio, GET_FIRMWARE_REVISION, 0)
}

/// The board's revision code.
///
/// # Errors
/// As [`firmware_revision`].
pub fn board_revision(vcio: BorrowedFd<'_>) -> Result<u32, Error> {
    word(vcio, GET_BOARD_REVISION, 0)
}

/// The board's serial number.
///
/// # Errors
/// As [`firmware_revision`].
pub fn board_serial(vcio: BorrowedFd<'_>) -> Result<u64, Error> {
    let [low, high] = property(vcio, GET_BOARD_SERIAL, [0; 2])?;
    Ok(u64::from(high) << 32 | u64::from(low))
}

/// The register `PM_RSTS` as it was when the firmware began: why the machine was reset.
///
/// # Errors
/// As [`firmware_revision`].
pub fn rsts(vcio: BorrowedFd<'_>) -> Result<u32, Error> {
    word(vcio, GET_RSTS, 0)
}

/// The reboot flags as they are.
///
/// # Errors
/// As [`firmware_revision`].
pub fn reboot_flags(vcio: BorrowedFd<'_>) -> Result<u32, Error> {
    word(vcio, GET_REBOOT_FLAGS, 0)
}

/// Sets all reboot flags. What the firmware made of it is to be read back: older ones answer and do nothing.
///
/// # Errors
/// As [`firmware_revision`].
pub fn set_reboot_flags(vcio: BorrowedFd<'_>, flags: u32) -> Result<(), Error> {
    word(vcio, SET_REBOOT_FLAGS, flags).map(drop)
}

/// What the firmware says to a command: what `vcgencmd` prints.
///
/// # Errors
/// As [`firmware_revision`], for a command that has a NUL or is too long, and for an output that is.
pub fn gencmd(vcio: BorrowedFd<'_>, command: &str) -> Result<Output, Error> {
    let mut message = encode_command(command).ok_or(Error::Command)?;
    // SAFETY: the driver reads the number of bytes in the first word, and writes as many: those of a `Command`.
    let call = unsafe { Updater::<PROPERTY, Command>::new(&mut message) };
    // SAFETY: the argument is a message as the opcode reads and writes it, and outlives the call.
    let done = unsafe { ioctl(vcio, call) };
    done.map_err(|why| Error::Call(GET_GENCMD_RESULT, why))?;
    decode_command(&message)
}

/// The output of a command.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    text: [u8; TEXT_BYTES],
    length: usize,
}

impl Output {
    /// Without the NUL at its end.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

/// Bytes of the message for a property with a value of one word, and of that for a command.
pub const PROPERTY_BYTES: usize = size_of::<Message<1>>();
/// See [`PROPERTY_BYTES`].
pub const COMMAND_BYTES: usize = size_of::<Command>();

/// What bytes mean as the answer to a request for a property of one word; for judging them without a device.
///
/// # Errors
/// Where they do not say that they are the answer.
pub fn property_answer(asked: u32, bytes: &[u8; PROPERTY_BYTES]) -> Result<u32, Error> {
    let word = |at| word_at(bytes, at);
    let message = Message {
        bytes: word(0),
        status: word(4),
        tag: word(8),
        value_bytes: word(12),
        answer: word(16),
        value: [word(20)],
        end: word(24),
    };
    decode(asked, &message).map(|[value]| value)
}

/// The same for the answer to a command.
///
/// # Errors
/// As [`gencmd`].
pub fn command_answer(bytes: &[u8; COMMAND_BYTES]) -> Result<Output, Error> {
    let word = |at| word_at(bytes, at);
    let text = bytes.get(24..).and_then(|rest| rest.first_chunk()).copied();
    decode_command(&Command {
        bytes: word(0),
        status: word(4),
        tag: word(8),
        value_bytes: word(12),
        answer: word(16),
        error: word(20),
        text: text.unwrap_or([0; TEXT_BYTES]),
        end: word(COMMAND_BYTES - 4),
    })
}

fn word_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u32::from_ne_bytes(*word))
}

fn word(vcio: BorrowedFd<'_>, tag: u32, value: u32) -> Result<u32, Error> {
    property(vcio, tag, [value]).map(|[value]| value)
}

fn property<const N: usize>(
    vcio: BorrowedFd<'_>,
    tag: u32,
    value: [u32; N],
) -> Result<[u32; N], Error> {
    let mut message = encode(tag, value);
    // SAFETY: the driver reads the number of bytes in the first word, and writes as many: those of a `Message`.
    let call = unsafe { Updater::<PROPERTY, Message<N>>::new(&mut message) };
    // SAFETY: the argument is a message as the opcode reads and writes it, and outlives the call.
    let done = unsafe { ioctl(vcio, call) };
    done.map_err(|why| Error::Call(tag, why))?;
    decode(tag, &message)
}

#[expect(clippy::cast_possible_truncation, reason = "a message has a few words")]
const fn value_bytes<const N: usize>() -> u32 {
    size_of::<[u32; N]>() as u32
}

fn encode<const N: usize>(tag: u32, value: [u32; N]) -> Message<N> {
    let value_bytes = const { value_bytes::<N>() };
    let bytes = value_bytes + 24;
    Message { bytes, status: REQUEST, tag, value_bytes, answer: REQUEST, value, end: 0 }
}

fn decode<const N: usize>(asked: u32, message: &Message<N>) -> Result<[u32; N], Error> {
    if message.status != ANSWERED {
        return Err(Error::Status(asked, message.status));
    }
    if message.tag != asked || message.answer != ANSWERED | const { value_bytes::<N>() } {
        return Err(Error::Answer(asked, message.answer));
    }
    Ok(message.value)
}

/// `None` for what could not be told from the end of the text.
fn encode_command(command: &str) -> Option<Command> {
    let mut text = [0; TEXT_BYTES];
    if command.contains('\0') || command.len() >= TEXT_BYTES {
        return None;
    }
    for (to, from) in text.iter_mut().zip(command.bytes()) {
        *to = from;
    }
    Some(Command {
        bytes: TEXT + 28,
        status: REQUEST,
        tag: GET_GENCMD_RESULT,
        value_bytes: TEXT,
        answer: REQUEST,
        error: 0,
        text,
        end: 0,
    })
}

fn decode_command(message: &Command) -> Result<Output, Error> {
    const TAG: u32 = GET_GENCMD_RESULT;
    if message.status != ANSWERED {
        return Err(Error::Status(TAG, message.status));
    }
    // its length is not documented
    if message.tag != TAG || message.answer & ANSWERED == 0 {
        return Err(Error::Answer(TAG, message.answer));
    }
    if message.error != 0 {
        return Err(Error::Failed(TAG, message.error));
    }
    let text = message.text;
    let length = text.iter().position(|byte| *byte == 0).ok_or(Error::Output(TAG))?;
    Ok(Output { text, length })
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
    /// The command's own error code.
    Failed(u32, u32),
    /// Its output does not end where its room does: what there is of it may be cut off.
    Output(u32),
    /// The command cannot be sent.
    Command,
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
            Self::Failed(tag, code) => {
                write!(f, "firmware property {tag:#010x}: the command failed with code {code}")
            }
            Self::Output(tag) => {
                write!(f, "firmware property {tag:#010x}: more output than {TEXT_BYTES} bytes")
            }
            Self::Command => f.write_str("firmware command: too long, or with a nul in it"),
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests;
