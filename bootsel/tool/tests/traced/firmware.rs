// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a Raspberry Pi's firmware answers over `/dev/vcio`, byte by byte, and what a broken one does.
//! (Raspberry Pi utilities: `vcmailbox(7)`, `vcgencmd.c`.)

use std::ops::Range;

/// Where the words of a message are.
const STATUS: Range<usize> = 4..8;
const TAG: Range<usize> = 8..12;
const LENGTH: Range<usize> = 12..16;
const CODE: Range<usize> = 16..20;
const VALUE: usize = 20;
const ANSWERED: u32 = 1 << 31;
const FAILED: u32 = ANSWERED | 1;

/// How a firmware, or a driver, can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The driver's call fails with that number.
    Call(i64),
    /// The whole answer has this status.
    Status(u32),
    /// Another tag comes back.
    Tag,
    /// The tag is not answered.
    Silent,
    /// A command fails with that code.
    Code(u32),
    /// A command is not known: the text says so.
    Unknown,
    /// The text does not end.
    Cut,
}

/// The firmware of a board.
#[derive(Clone, Debug)]
pub(crate) struct Firmware {
    pub(crate) board: u32,
    pub(crate) version: String,
    pub(crate) config: String,
    pub(crate) flags: u32,
    pub(crate) fault: Option<Fault>,
    /// What was asked for.
    pub(crate) asked: Vec<String>,
}

impl Firmware {
    pub(crate) fn new(board: u32, timestamp: u32, config: &str) -> Self {
        let version = format!(
            "2020/09/13 13:26:40\nversion c3f8c388aa7082e33b6e9cd2b4a5d6b6e2a7d0f1 (release)\ntimestamp {timestamp}\n\
             update-time 0\ncapabilities 0x0000001f\n"
        );
        Self { board, version, config: config.into(), flags: 0, fault: None, asked: Vec::new() }
    }

    /// Answers in place; what the call gives.
    pub(crate) fn property(&mut self, message: &mut [u8]) -> i64 {
        let word = |at: Range<usize>| u32::from_le_bytes(message[at].try_into().unwrap());
        let (tag, length) = (word(TAG), word(LENGTH) as usize);
        assert_eq!((word(STATUS), word(CODE)), (0, 0), "a request");
        assert!(VALUE + length + 4 <= message.len(), "the value fits");
        assert_eq!(message[message.len() - 4..], [0; 4], "the end tag");
        // where a command's text begins: its error code is not counted
        let text = VALUE + 4;
        let value = match tag {
            0x0001_0002 => self.board.to_le_bytes().to_vec(),
            0x0003_0064 => self.flags.to_le_bytes().to_vec(),
            0x0003_8064 => {
                self.flags = word(VALUE..VALUE + 4);
                self.flags.to_le_bytes().to_vec()
            }
            0x0003_0080 => {
                let command = message[text..].split(|byte| *byte == 0).next().unwrap();
                let command = std::str::from_utf8(command).unwrap().to_owned();
                let said = self.command(&command);
                self.asked.push(command);
                let mut value = vec![0; 4 + length];
                value[4..4 + said.len()].copy_from_slice(said.as_bytes());
                value
            }
            _ => Vec::new(),
        };
        let known = !value.is_empty();
        message[VALUE..VALUE + value.len()].copy_from_slice(&value);
        let mut put =
            |at: Range<usize>, word: u32| message[at].copy_from_slice(&word.to_le_bytes());
        put(STATUS, if known { ANSWERED } else { FAILED });
        let answered = if known { ANSWERED | u32::try_from(length).unwrap() } else { 0 };
        put(CODE, answered);
        if !known {
            // the driver's word for it
            return -22;
        }
        match self.fault.filter(|_| tag == 0x0003_0080) {
            Some(Fault::Call(number)) => return -number,
            Some(Fault::Status(status)) => put(STATUS, status),
            Some(Fault::Tag) => put(TAG, tag + 1),
            Some(Fault::Silent) => put(CODE, 0),
            Some(Fault::Code(code)) => put(VALUE..text, code),
            Some(Fault::Cut) => message[text..text + length].fill(b'x'),
            Some(Fault::Unknown) | None => {}
        }
        0
    }

    fn command(&self, command: &str) -> String {
        match command {
            _ if self.fault == Some(Fault::Unknown) => {
                "error=1 error_msg=\"Command not registered\"".to_owned()
            }
            "bootloader_version" => self.version.clone(),
            "bootloader_config" => self.config.clone(),
            other => panic!("{other}"),
        }
    }
}
