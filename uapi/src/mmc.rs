// SPDX-License-Identifier: MIT OR Apache-2.0
//! `linux/mmc/ioctl.h`: commands to an eMMC, through the node of the whole device. `CAP_SYS_RAWIO` is needed.
//!
//! The kernel waits for the card with the timeouts that its driver reckons, so every call comes to an end.

use core::fmt;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// `MMC_BLOCK_MAJOR` of `linux/major.h`
const BLOCK_MAJOR: u8 = 179;
/// `MMC_IOC_CMD`
const COMMAND: Opcode = opcode::read_write::<Command>(BLOCK_MAJOR, 0);

// `linux/mmc/mmc.h`
/// `MMC_SWITCH`
const SWITCH: u32 = 6;
/// `MMC_SEND_EXT_CSD`
const SEND_EXT_CSD: u32 = 8;

// `linux/mmc/core.h`
/// `MMC_RSP_R1`: present, with a CRC, with the opcode.
const R1: u32 = 1 << 0 | 1 << 2 | 1 << 4;
/// `MMC_RSP_R1B`: the card may be busy after it, and the kernel waits.
const R1B: u32 = R1 | 1 << 3;
/// `MMC_RSP_SPI_R1`
const SPI_R1: u32 = 1 << 7;
/// `MMC_RSP_SPI_R1B`
const SPI_R1B: u32 = SPI_R1 | 1 << 10;
/// `MMC_CMD_AC`: addressed, without data.
const AC: u32 = 0 << 5;
/// `MMC_CMD_ADTC`: addressed, with data.
const ADTC: u32 = 1 << 5;

/// Bits of a response that say that something went wrong: `R1_STATUS`, and `R1_SWITCH_ERROR`.
const ERRORS: u32 = 0xfff9_a000 | 1 << 7;
/// `MMC_BLK_TIMEOUT_MS` of `drivers/mmc/core/block.c`: how long a card may be busy, where nothing else is said. The standard's
/// longest time for a switch of partitions is a fourth of it.
const BUSY_MS: u32 = 10_000;

/// Bytes of the register.
const BLOCK: usize = 512;
/// No EXT_CSD is all of these: its revision is a small number.
const UNTOUCHED: u8 = 0xff;

/// `struct mmc_ioc_cmd`
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Command {
    write_flag: i32,
    is_acmd: i32,
    opcode: u32,
    arg: u32,
    response: [u32; 4],
    flags: u32,
    blksz: u32,
    blocks: u32,
    postsleep_min_us: u32,
    postsleep_max_us: u32,
    data_timeout_ns: u32,
    cmd_timeout_ms: u32,
    pad: u32,
    data_ptr: u64,
}

// The same on 32- and 64-bit: the pad sees to it.
const _: () = assert!(size_of::<Command>() == 72 && COMMAND == 0xc048_b300);

const NOTHING: Command = Command {
    write_flag: 0,
    is_acmd: 0,
    opcode: 0,
    arg: 0,
    response: [0; 4],
    flags: 0,
    blksz: 0,
    blocks: 0,
    postsleep_min_us: 0,
    postsleep_max_us: 0,
    data_timeout_ns: 0,
    cmd_timeout_ms: 0,
    pad: 0,
    data_ptr: 0,
};

/// CMD8: the register EXT_CSD.
///
/// # Errors
/// Where the kernel, its driver or the card does not do it, or says that it did and gives nothing.
#[doc(alias = "MMC_IOC_CMD")]
pub fn send_ext_csd(device: BorrowedFd<'_>) -> Result<[u8; BLOCK], Error> {
    let mut data = [UNTOUCHED; BLOCK];
    // SAFETY: the command reads one block of 512 bytes, which `data` has, and it outlives the call.
    unsafe { call(device, read_ext_csd((&raw mut data).expose_provenance() as u64)) }?;
    // some kernels drop a command at times and say that all is well (Linux 6.1.76 to 6.1.83 and others of that spring)
    if data == [UNTOUCHED; BLOCK] { Err(Error::Silent(SEND_EXT_CSD)) } else { Ok(data) }
}

/// CMD6: changes EXT_CSD as the argument says. Whether it did is to be read back: the card tells an error only with the
/// response to the next command.
///
/// # Errors
/// Where the kernel, its driver or the card does not do it.
#[doc(alias = "MMC_IOC_CMD")]
pub fn switch(device: BorrowedFd<'_>, argument: u32) -> Result<(), Error> {
    // SAFETY: the command has no data.
    unsafe { call(device, write_switch(argument)) }
}

fn read_ext_csd(data_ptr: u64) -> Command {
    let flags = SPI_R1 | R1 | ADTC;
    Command { opcode: SEND_EXT_CSD, flags, blksz: 512, blocks: 1, data_ptr, ..NOTHING }
}

fn write_switch(arg: u32) -> Command {
    let flags = SPI_R1B | R1B | AC;
    Command { write_flag: 1, opcode: SWITCH, arg, flags, cmd_timeout_ms: BUSY_MS, ..NOTHING }
}

/// # Safety
/// `data_ptr` leads to as many bytes as the command has blocks, or it has none.
unsafe fn call(device: BorrowedFd<'_>, mut command: Command) -> Result<(), Error> {
    let opcode = command.opcode;
    // SAFETY: MMC_IOC_CMD reads and writes one `struct mmc_ioc_cmd`, whose layout `Command` has (asserted above).
    let call = unsafe { Updater::<COMMAND, Command>::new(&mut command) };
    // SAFETY: the argument is of the type that the opcode reads and writes, and outlives the call; the caller vouches for
    // what its pointer leads to.
    let done = unsafe { ioctl(device, call) };
    done.map_err(|why| Error::Call(opcode, why))?;
    judge(&command)
}

fn judge(command: &Command) -> Result<(), Error> {
    let [status, ..] = command.response;
    if status & ERRORS == 0 { Ok(()) } else { Err(Error::Status(command.opcode, status)) }
}

/// Why a command was not done; each with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The call failed: `EPERM` without the capability and for a partition, `ENOTTY` for what is no such card.
    Call(u32, Errno),
    /// The card's response has bits of errors.
    Status(u32, u32),
    /// The call says that all is well, and nothing came.
    Silent(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(command, why) => write!(f, "CMD{command}: {why}"),
            Self::Status(command, status) => {
                write!(f, "CMD{command}: the card answers with an error, status {status:#010x}")
            }
            Self::Silent(command) => {
                write!(f, "CMD{command}: the kernel says that it was done, and no data came")
            }
        }
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    /// As mmc-utils sends them.
    #[test]
    fn commands() {
        let read = read_ext_csd(0x1234);
        assert_eq!((read.opcode, read.flags, read.write_flag), (8, 0xb5, 0));
        assert_eq!((read.blksz, read.blocks, read.data_ptr), (512, 1, 0x1234));
        let write = write_switch(0x03b3_5001);
        assert_eq!((write.opcode, write.flags, write.write_flag), (6, 0x49d, 1));
        assert_eq!((write.arg, write.blocks, write.data_ptr), (0x03b3_5001, 0, 0));
    }

    #[test]
    fn responses() {
        let with = |status| judge(&Command { opcode: 6, response: [status, 0, 0, 0], ..NOTHING });
        // ready for data, in the state tran: what a card answers to CMD6
        assert_eq!(with(0x900), Ok(()));
        assert_eq!(with(0), Ok(()));
        // SWITCH_ERROR, ILLEGAL_COMMAND, WP_VIOLATION, ERROR
        for bit in [7, 22, 26, 19] {
            assert_eq!(with(0x900 | 1 << bit), Err(Error::Status(6, 0x900 | 1 << bit)));
        }
    }

    #[test]
    fn what_is_no_card() {
        let null = crate::open::open(c"/dev/null", rustix::fs::OFlags::RDONLY, 0).unwrap();
        let fd = rustix::fd::AsFd::as_fd(&null);
        assert_eq!(send_ext_csd(fd), Err(Error::Call(8, Errno::NOTTY)));
        assert_eq!(switch(fd, 0), Err(Error::Call(6, Errno::NOTTY)));
        let said = Error::Status(6, 0x980).to_string();
        assert_eq!(said, "CMD6: the card answers with an error, status 0x00000980");
    }
}
