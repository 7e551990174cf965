// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways to name a block device: those of the kernel's `root=`, and UUID= and LABEL= of a filesystem.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use bootsel::text::split_once;

/// A device as it was named; displays as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName {
    typed: String,
    by: By,
}

/// What a device is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// `PARTUUID=`: the GUID of a GPT entry or the `SSSSSSSS-NN` of an MBR partition, and how many partitions
    /// further on the same disk (`/PARTNROFF=`).
    PartUuid(String, i32),
    /// `PARTLABEL=`: the name of a GPT entry.
    PartLabel(String),
    /// `UUID=` of a filesystem.
    Uuid(String),
    /// `LABEL=` of a filesystem.
    Label(String),
    /// `/dev/NAME`: the node's name below /dev.
    Node(String),
    /// `MAJ:MIN`, or both in one hexadecimal number.
    Number(u32, u32),
}

impl DeviceName {
    /// What the device is found by.
    pub fn by(&self) -> &By {
        &self.by
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

impl FromStr for DeviceName {
    type Err = ParseError;

    fn from_str(typed: &str) -> Result<DeviceName, ParseError> {
        by(typed).map(|by| DeviceName { typed: typed.to_string(), by }).ok_or(ParseError)
    }
}

/// No way to name a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError;

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not PARTUUID=, PARTLABEL=, UUID=, LABEL=, /dev/NAME, MAJOR:MINOR or a hex number",
        )
    }
}

impl core::error::Error for ParseError {}

fn by(typed: &str) -> Option<By> {
    if let Some((key, value)) = split_once(typed, b'=')
        && split_once(key, b'/').is_none()
    {
        return tagged(key, value.into());
    }
    if let Some(rest) = typed.strip_prefix("/dev/disk/by-") {
        let (key, value) = split_once(rest, b'/')?;
        return tagged(&key.to_ascii_uppercase(), unescape(value)?);
    }
    match typed.strip_prefix("/dev/") {
        Some("") => None,
        Some(node) => Some(By::Node(node.into())),
        None => number(typed),
    }
}

fn tagged(key: &str, value: String) -> Option<By> {
    match key {
        _ if value.is_empty() => None,
        "PARTUUID" => partition_uuid(&value),
        "PARTLABEL" => Some(By::PartLabel(value)),
        "UUID" => Some(By::Uuid(value)),
        "LABEL" => Some(By::Label(value)),
        _ => None,
    }
}

fn partition_uuid(value: &str) -> Option<By> {
    let (uuid, offset) = match split_once(value, b'/') {
        Some((uuid, rest)) => (uuid, signed(rest.strip_prefix("PARTNROFF=")?)?),
        None => (value, 0),
    };
    // A GUID, or the "%08x-%02x" of disk signature and partition number.
    let known = [36, 11].contains(&uuid.len())
        && uuid.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    known.then(|| By::PartUuid(uuid.into(), offset))
}

fn number(typed: &str) -> Option<By> {
    if let Some((major, minor)) = split_once(typed, b':') {
        return Some(By::Number(decimal(major)?, decimal(minor)?));
    }
    let hex = typed.strip_prefix("0x").unwrap_or(typed);
    if !(1..=8).contains(&hex.len()) {
        return None;
    }
    let mut device: u32 = 0;
    for byte in hex.bytes() {
        device = device << 4 | u32::from(digit(byte)?);
    }
    // new_decode_dev of linux/kdev_t.h: 12 bits of major between 8 low and 12 high bits of minor.
    Some(By::Number((device & 0xf_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0xf_ff00)))
}

/// A decimal number of 32 bits. Every number is parsed as u64: each type has its own copy of core's parser.
pub fn decimal(text: &str) -> Option<u32> {
    u32::try_from(text.parse::<u64>().ok()?).ok()
}

fn signed(text: &str) -> Option<i32> {
    match text.strip_prefix('-') {
        Some(text) => 0_i32.checked_sub_unsigned(decimal(text)?),
        None => i32::try_from(decimal(text)?).ok(),
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

// udev writes what is not plain in a link's name as \xHH.
fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'\\', b'x', high, low, after @ ..] => digit(*high).zip(digit(*low)).zip(Some(after)),
            _ => None,
        };
        let (byte, after) = match escaped {
            Some(((high, low), after)) => (high << 4 | low, after),
            None => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, expected: Option<By>) {
        let name: Option<DeviceName> = typed.parse().ok();
        assert_eq!(name.as_ref().map(DeviceName::by), expected.as_ref(), "{typed}");
        if let Some(name) = name {
            assert_eq!(name.to_string(), typed);
        }
    }

    fn partition(uuid: &str, offset: i32) -> Option<By> {
        Some(By::PartUuid(uuid.into(), offset))
    }

    // Documentation/admin-guide/kernel-parameters.txt, root=, and early_lookup_bdev() of block/early-lookup.c.
    #[test]
    fn as_the_kernel_takes_them() {
        let guid = "0FC63DAF-8483-4772-8e79-3d69d8477de4";
        check(&alloc::format!("PARTUUID={guid}"), partition(guid, 0));
        check("PARTUUID=8a3f1c02-02", partition("8a3f1c02-02", 0));
        check("PARTUUID=8a3f1c02-02/PARTNROFF=1", partition("8a3f1c02-02", 1));
        check("PARTUUID=8a3f1c02-02/PARTNROFF=-1", partition("8a3f1c02-02", -1));
        check("PARTLABEL=root b", Some(By::PartLabel("root b".into())));
        check("/dev/mmcblk0p2", Some(By::Node("mmcblk0p2".into())));
        check("/dev/cciss/c0d0p1", Some(By::Node("cciss/c0d0p1".into())));
        check("179:2", Some(By::Number(179, 2)));
        check("0801", Some(By::Number(8, 1)));
        check("b302", Some(By::Number(179, 2)));
        // new_encode_dev(MKDEV(259, 0x10005))
        check("0x10010305", Some(By::Number(259, 0x10005)));
        check("254:1048575", Some(By::Number(254, 1_048_575)));
    }

    #[test]
    fn by_filesystem_and_as_udev_links_them() {
        check("UUID=ABCD-1234", Some(By::Uuid("ABCD-1234".into())));
        check("LABEL=a=b/c", Some(By::Label("a=b/c".into())));
        check("/dev/disk/by-uuid/ABCD-1234", Some(By::Uuid("ABCD-1234".into())));
        check("/dev/disk/by-partuuid/8a3f1c02-02", partition("8a3f1c02-02", 0));
        check("/dev/disk/by-partlabel/my\\x20data", Some(By::PartLabel("my data".into())));
        check("/dev/disk/by-label/\\xc3\\xa4\\x2fx\\xz", Some(By::Label("ä/x\\xz".into())));
        check("/dev/a=b", Some(By::Node("a=b".into())));
    }

    #[test]
    fn refused() {
        let not_guid = "PARTUUID=0fc63daf-8483-4772-8e79-3d69d8477dex";
        for typed in ["", "/dev/", "/dev", "sda1", "PARTUUID=", "PARTUUID=1-2", not_guid, "LABEL="]
        {
            check(typed, None);
        }
        for typed in ["PARTUUID=8a3f1c02-02/PARTNROFF=", "PARTUUID=8a3f1c02-02/x", "a:b", "1:2:3"] {
            check(typed, None);
        }
        for typed in
            ["/dev/disk/by-path/x", "ID=x", "PARTUUID=8a3f1c02-2", "ubi0:root", "123456789"]
        {
            check(typed, None);
        }
    }
}
