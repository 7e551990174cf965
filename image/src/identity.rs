// SPDX-License-Identifier: MIT OR Apache-2.0
//! Identifiers on a disk: derived from the image's name, so that they are equal in each build and different
//! in images of different names.

use bootsel::ptable::Guid;
use sha2::{Digest, Sha256};

/// All identifiers of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Of a GPT.
    pub disk: Guid,
    /// Of its partitions: BOOTSEL, `BOOT_A`, `BOOT_B`, DATA.
    pub partitions: [Guid; 4],
    /// Of an MBR.
    pub signature: u32,
    /// Volume numbers: of BOOTSEL, and of both slots.
    pub volumes: [u32; 2],
    /// Of the ext4.
    pub data: Guid,
    /// Salt of its directories.
    pub hash_seed: Guid,
}

impl Identity {
    /// From the image's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = |part: &str| Sha256::digest(format!("pivot image\0{name}\0{part}"));
        let first = |part: &str| -> [u8; 16] { std::array::from_fn(|index| hash(part)[index]) };
        let number = |part: &str| {
            // 0 is "none"
            u32::from_le_bytes(std::array::from_fn(|index| hash(part)[index])).max(1)
        };
        Self {
            disk: guid(first("disk")),
            partitions: ["1", "2", "3", "4"].map(|number| guid(first(number))),
            signature: number("mbr"),
            volumes: [number("bootsel"), number("slot")],
            data: guid(first("data")),
            hash_seed: guid(first("hash seed")),
        }
    }
}

/// Marks the bytes as a GUID of version 8 ("made some other way", RFC 9562).
fn guid(mut bytes: [u8; 16]) -> Guid {
    // the third field is little-endian on the disk: its high byte is the second
    bytes[7] = bytes[7] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Guid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_for_equal_names_only() {
        assert_eq!(Identity::of("demo"), Identity::of("demo"));
        let (one, two) = (Identity::of("demo"), Identity::of("demo2"));
        assert_ne!(one.disk, two.disk);
        assert_ne!(one.signature, two.signature);
        assert!(one.partitions.iter().all(|guid| !two.partitions.contains(guid)));
        assert_ne!(one.partitions[1], one.partitions[2]);
    }

    #[test]
    fn version_and_variant() {
        let text = Identity::of("demo").disk.to_string();
        assert_eq!(&text[14..15], "8");
        assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
    }
}
