// SPDX-License-Identifier: MIT OR Apache-2.0

extern crate std;

use super::*;
use std::string::{String, ToString};
use std::vec::Vec;

/// The buffer in its bytes, as the driver hands it to the firmware.
fn bytes<const N: usize>(message: &Message<N>) -> Vec<u8> {
    let Message { bytes, status, tag, value_bytes, answer, value, end } = *message;
    let words = [bytes, status, tag, value_bytes, answer].into_iter().chain(value).chain([end]);
    words.flat_map(u32::to_le_bytes).collect()
}

#[test]
fn ioctl_number() {
    let expected = if size_of::<usize>() == 8 { 0xc008_6400 } else { 0xc004_6400_u64 };
    assert_eq!(u64::from(PROPERTY), expected);
}

#[test]
fn requests() {
    // vcmailbox(7): size, 0, tag, size of the value, 0, value, end
    let set = b"\x1c\0\0\0\0\0\0\0\x64\x80\x03\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0";
    assert_eq!(bytes(&encode(SET_REBOOT_FLAGS, [TRYBOOT])), set);
    let get = b"\x1c\0\0\0\0\0\0\0\x64\0\x03\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(bytes(&encode(GET_REBOOT_FLAGS, [0])), get);
    let serial = b"\x20\0\0\0\0\0\0\0\x04\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(bytes(&encode(GET_BOARD_SERIAL, [0; 2])), serial);
}

/// A message of these words.
fn message([bytes, status, tag, value_bytes, answer, value, end]: [u32; 7]) -> Message<1> {
    Message { bytes, status, tag, value_bytes, answer, value: [value], end }
}

#[track_caller]
fn check(words: [u32; 7], expected: Result<u32, &str>) {
    let got = decode(GET_REBOOT_FLAGS, &message(words)).map(|[value]| value);
    assert_eq!(got.map_err(|why| why.to_string()), expected.map_err(ToString::to_string));
}

#[test]
fn answers() {
    const TAG: u32 = GET_REBOOT_FLAGS;
    check([28, ANSWERED, TAG, 4, 0x8000_0004, 1, 0], Ok(1));
    check([28, ANSWERED, TAG, 4, 0x8000_0004, 0, 0], Ok(0));
    let refused = "firmware property 0x00030064: refused with status 0x80000001";
    check([28, 0x8000_0001, TAG, 4, 0, 0, 0], Err(refused));
    let silent = "firmware property 0x00030064: refused with status 0x00000000";
    check([28, REQUEST, TAG, 4, REQUEST, 0, 0], Err(silent));
    let unknown = "firmware property 0x00030064: not known, answer 0x00000000";
    check([28, ANSWERED, TAG, 4, 0, 0, 0], Err(unknown));
    let long = "firmware property 0x00030064: not known, answer 0x80000008";
    check([28, ANSWERED, TAG, 4, 0x8000_0008, 1, 0], Err(long));
    let other = "firmware property 0x00030064: not known, answer 0x80000004";
    check([28, ANSWERED, SET_REBOOT_FLAGS, 4, 0x8000_0004, 1, 0], Err(other));
}

#[test]
fn values_of_two_words() {
    let mut message = encode(GET_BOARD_SERIAL, [0; 2]);
    (message.status, message.answer, message.value) = (ANSWERED, ANSWERED | 8, [7, 9]);
    assert_eq!(decode(GET_BOARD_SERIAL, &message), Ok([7, 9]));
    message.answer = ANSWERED | 4;
    assert_eq!(
        decode(GET_BOARD_SERIAL, &message),
        Err(Error::Answer(GET_BOARD_SERIAL, 0x8000_0004))
    );
}

#[test]
fn commands() {
    // vcgencmd.c: size, 0, tag, room, 0, error, the text in its room, end
    let message = encode_command("bootloader_version").unwrap();
    assert_eq!([message.bytes, message.status], [4096 + 28, 0]);
    assert_eq!([message.tag, message.value_bytes, message.answer], [0x30080, 4096, 0]);
    assert_eq!([message.error, message.end], [0, 0]);
    assert!(message.text.starts_with(b"bootloader_version\0\0"));
    assert!(encode_command("version\0").is_none());
    assert!(encode_command(&"x".repeat(4095)).is_some());
    assert!(encode_command(&"x".repeat(4096)).is_none());
}

/// What the firmware makes of a command.
#[track_caller]
fn check_command(answer: impl FnOnce(&mut Command), expected: Result<&str, &str>) {
    let mut message = encode_command("x").unwrap();
    (message.status, message.answer) = (ANSWERED, ANSWERED | TEXT);
    answer(&mut message);
    let got = decode_command(&message);
    let got = got.map(|output| String::from_utf8(output.as_bytes().to_vec()).unwrap());
    let expected = expected.map(ToString::to_string);
    assert_eq!(got.map_err(|why| why.to_string()), expected.map_err(ToString::to_string));
}

#[test]
fn outputs() {
    let say = |text: &'static [u8]| {
        move |message: &mut Command| {
            message.text[..text.len()].copy_from_slice(text);
        }
    };
    check_command(say(b"timestamp 0\n\0rest"), Ok("timestamp 0\n"));
    check_command(say(b"\0"), Ok(""));
    check_command(
        |message| message.text.fill(b'x'),
        Err("firmware property 0x00030080: more output than 4096 bytes"),
    );
    check_command(
        |message| message.error = 1,
        Err("firmware property 0x00030080: the command failed with code 1"),
    );
    check_command(
        |message| message.answer = REQUEST,
        Err("firmware property 0x00030080: not known, answer 0x00000000"),
    );
    check_command(
        |message| message.tag = GET_RSTS,
        Err("firmware property 0x00030080: not known, answer 0x80001000"),
    );
    check_command(
        |message| message.status = 0x8000_0001,
        Err("firmware property 0x00030080: refused with status 0x80000001"),
    );
}

#[test]
fn a_device_of_another_kind() {
    use rustix::fd::AsFd;
    use rustix::fs::{Mode, OFlags};
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
    let vcio = null.as_fd();
    let failed = |tag| Error::Call(tag, Errno::NOTTY);
    assert_eq!(reboot_flags(vcio), Err(failed(GET_REBOOT_FLAGS)));
    assert_eq!(set_reboot_flags(vcio, 0), Err(failed(SET_REBOOT_FLAGS)));
    assert_eq!(firmware_revision(vcio), Err(failed(GET_FIRMWARE_REVISION)));
    assert_eq!(board_revision(vcio), Err(failed(GET_BOARD_REVISION)));
    assert_eq!(board_serial(vcio), Err(failed(GET_BOARD_SERIAL)));
    assert_eq!(rsts(vcio), Err(failed(GET_RSTS)));
    assert_eq!(gencmd(vcio, "version").err(), Some(failed(GET_GENCMD_RESULT)));
    assert_eq!(gencmd(vcio, "a\0b").err(), Some(Error::Command));
}

/// Answers in their bytes, as a fake device or a fuzzer makes them.
#[test]
fn answers_in_bytes() {
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
    let answer = words(&[28, ANSWERED, GET_REBOOT_FLAGS, 4, ANSWERED | 4, 1, 0]);
    let answer: &[u8; PROPERTY_BYTES] = answer.as_slice().try_into().unwrap();
    assert_eq!(property_answer(GET_REBOOT_FLAGS, answer), Ok(1));
    assert!(property_answer(SET_REBOOT_FLAGS, answer).is_err());
    let mut answer = words(&[TEXT + 28, ANSWERED, GET_GENCMD_RESULT, TEXT, ANSWERED, 0]);
    answer.extend(b"timestamp 1");
    answer.resize(COMMAND_BYTES, 0);
    let mut answer: [u8; COMMAND_BYTES] = answer.try_into().unwrap();
    assert_eq!(command_answer(&answer).unwrap().as_bytes(), b"timestamp 1");
    answer[20] = 3;
    assert_eq!(command_answer(&answer).unwrap_err(), Error::Failed(GET_GENCMD_RESULT, 3));
}
