// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways to name a block device: those of the kernel's `root=`, and UUID= and LABEL= of a filesystem.

use bootsel::text::{number, of, split_once};
use uapi::memory;

/// A device as it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceName<'a> {
    typed: &'a str,
    by: By<'a>,
}

/// What a device is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'a> {
    /// `PARTUUID=`: the GUID of a GPT entry or the `SSSSSSSS-NN` of an MBR partition, and how many partitions
    /// further on the same disk (`/PARTNROFF=`).
    PartUuid(&'a str, i32),
    /// `PARTLABEL=`: the name of a GPT entry.
    PartLabel(&'a str),
    /// `UUID=` of a filesystem.
    Uuid(&'a str),
    /// `LABEL=` of a filesystem.
    Label(&'a str),
    /// `/dev/NAME`: the node's name below /dev.
    Node(&'a str),
    /// `MAJ:MIN`, or both in one hexadecimal number.
    Number(u32, u32),
}

/// What is wrong with a name that is none.
pub const NO_NAME: &str =
    "not PARTUUID=, PARTLABEL=, UUID=, LABEL=, /dev/NAME, MAJOR:MINOR or a hex number";

impl<'a> DeviceName<'a> {
    /// Understands a name; see [`NO_NAME`].
    pub fn parse(typed: &'a str) -> Option<DeviceName<'a>> {
        Some(DeviceName { typed, by: by(typed)? })
    }

    /// What the device is found by.
    pub fn by(&self) -> By<'a> {
        self.by
    }

    /// As it was typed.
    pub fn as_str(&self) -> &'a str {
        self.typed
    }
}

fn by(typed: &str) -> Option<By<'_>> {
    if let Some((key, value)) = split_once(typed, b'=')
        && split_once(key, b'/').is_none()
    {
        return tagged(&|name| key == name, value);
    }
    if let Some(rest) = typed.strip_prefix("/dev/disk/by-") {
        let (key, value) = split_once(rest, b'/')?;
        return tagged(&|name| key.eq_ignore_ascii_case(name), unescape(value)?);
    }
    match typed.strip_prefix("/dev/") {
        Some("") => None,
        Some(node) => Some(By::Node(node)),
        None => device_number(typed),
    }
}

fn tagged<'a>(is: &dyn Fn(&str) -> bool, value: &'a str) -> Option<By<'a>> {
    if value.is_empty() {
        None
    } else if is("PARTUUID") {
        partition_uuid(value)
    } else if is("PARTLABEL") {
        Some(By::PartLabel(value))
    } else if is("UUID") {
        Some(By::Uuid(value))
    } else if is("LABEL") {
        Some(By::Label(value))
    } else {
        None
    }
}

fn partition_uuid(value: &str) -> Option<By<'_>> {
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
    known.then_some(By::PartUuid(uuid, offset))
}

fn device_number(typed: &str) -> Option<By<'_>> {
    if let Some((major, minor)) = split_once(typed, b':') {
        return Some(By::Number(decimal(major)?, decimal(minor)?));
    }
    let device = hexadecimal(typed.strip_prefix("0x").unwrap_or(typed))?;
    // new_decode_dev of linux/kdev_t.h: 12 bits of major between 8 low and 12 high bits of minor.
    Some(By::Number((device & 0xf_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0xf_ff00)))
}

/// A decimal number of 32 bits.
pub fn decimal(text: &str) -> Option<u32> {
    u32::try_from(number(text)?).ok()
}

/// A hexadecimal number of 32 bits: 1 to 8 digits.
pub(crate) fn hexadecimal(text: &str) -> Option<u32> {
    if !(1..=8).contains(&text.len()) {
        return None;
    }
    let shift = |number: u32, byte| Some(number << 4 | u32::from(digit(byte)?));
    text.bytes().try_fold(0, shift)
}

fn signed(text: &str) -> Option<i32> {
    match text.strip_prefix('-') {
        Some(text) => 0_i32.checked_sub_unsigned(decimal(text)?),
        None => i32::try_from(decimal(text)?).ok(),
    }
}

/// The value of a hexadecimal digit.
pub(crate) fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

// udev writes what is not plain in a link's name as \xHH.
fn unescape(name: &str) -> Option<&'static str> {
    let bytes = memory::bytes(name.len());
    let (mut rest, mut length) = (name.as_bytes(), 0);
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'\\', b'x', high, low, after @ ..] => digit(*high).zip(digit(*low)).zip(Some(after)),
            _ => None,
        };
        let (byte, after) = match escaped {
            Some(((high, low), after)) => (high << 4 | low, after),
            None => (*first, after),
        };
        *bytes.get_mut(length)? = byte;
        (rest, length) = (after, length + 1);
    }
    Some(of(bytes.get(..length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(typed: &str, expected: Option<By<'_>>) {
        let name = DeviceName::parse(typed);
        assert_eq!(name.map(|name| name.by()), expected, "{typed}");
        assert!(name.is_none_or(|name| name.as_str() == typed));
    }

    fn partition(uuid: &str, offset: i32) -> Option<By<'_>> {
        Some(By::PartUuid(uuid, offset))
    }

    // Documentation/admin-guide/kernel-parameters.txt, root=, and early_lookup_bdev() of block/early-lookup.c.
    #[test]
    fn as_the_kernel_takes_them() {
        let guid = "0FC63DAF-8483-4772-8e79-3d69d8477de4";
        check(&alloc::format!("PARTUUID={guid}"), partition(guid, 0));
        check("PARTUUID=8a3f1c02-02", partition("8a3f1c02-02", 0));
        check("PARTUUID=8a3f1c02-02/PARTNROFF=1", partition("8a3f1c02-02", 1));
        check("PARTUUID=8a3f1c02-02/PARTNROFF=-1", partition("8a3f1c02-02", -1));
        check("PARTLABEL=root b", Some(By::PartLabel("root b")));
        check("/dev/mmcblk0p2", Some(By::Node("mmcblk0p2")));
        check("/dev/cciss/c0d0p1", Some(By::Node("cciss/c0d0p1")));
        check("179:2", Some(By::Number(179, 2)));
        check("0801", Some(By::Number(8, 1)));
        check("b302", Some(By::Number(179, 2)));
        // new_encode_dev(MKDEV(259, 0x10005))
        check("0x10010305", Some(By::Number(259, 0x10005)));
        check("254:1048575", Some(By::Number(254, 1_048_575)));
    }

    #[test]
    fn by_filesystem_and_as_udev_links_them() {
        check("UUID=ABCD-1234", Some(By::Uuid("ABCD-1234")));
        check("LABEL=a=b/c", Some(By::Label("a=b/c")));
        check("/dev/disk/by-uuid/ABCD-1234", Some(By::Uuid("ABCD-1234")));
        check("/dev/disk/by-partuuid/8a3f1c02-02", partition("8a3f1c02-02", 0));
        check("/dev/disk/by-partlabel/my\\x20data", Some(By::PartLabel("my data")));
        check("/dev/disk/by-label/\\xc3\\xa4\\x2fx\\xz", Some(By::Label("ä/x\\xz")));
        check("/dev/a=b", Some(By::Node("a=b")));
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
