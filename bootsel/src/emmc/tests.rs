// SPDX-License-Identifier: MIT OR Apache-2.0

mod model;
mod shipped;

use super::note::{Hash, Note, With};
use super::*;
use crate::Slot;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::string::{String, ToString as _};
use std::vec;

const MIB: u64 = 1 << 20;

/// A register with these bytes, and the rest as of nobody.
fn with(fields: &[(usize, u8)]) -> ExtCsd {
    let mut bytes = [0xa5; EXT_CSD_BYTES];
    for place in [162, 173, 174, 177, 178, 179] {
        bytes[place] = 0;
    }
    (bytes[192], bytes[226]) = (8, 0x20);
    for (place, value) in fields {
        bytes[*place] = *value;
    }
    ExtCsd::parse(&bytes)
}

fn config(value: u8) -> ExtCsd {
    with(&[(179, value)])
}

/// As `mmc extcsd read` prints them: a 5.1 eMMC of 7.3 GiB that boots from boot0, one of a router with RST_n enabled, one of
/// 234 GiB as it left the factory, an i.MX 8M Mini whose bootloader is in the user area, QEMU's before and after
/// `mmc bootpart enable 1 0` and `2 1`.
#[test]
fn real_ones() {
    let first = with(&[(192, 8), (226, 0x20), (179, 0x48), (177, 0), (162, 0), (173, 0), (174, 0)]);
    assert_eq!((first.version(), first.boot_bytes()), (Some("5.1"), 4 * MIB));
    assert_eq!((first.active(), first.ack(), first.access()), (Active::Boot(Boot::Boot0), true, 0));
    assert_eq!((first.boot_bus(), first.rst_n()), (("sdr", Some(1), false), "disabled"));
    assert_eq!(first.inactive(), Ok(Boot::Boot1));
    assert_eq!(first.may_write(4 * MIB, |_| 4 * MIB), Ok(Boot::Boot1));
    let switch = first.may_switch().unwrap();
    assert_eq!((switch, switch.argument()), (Switch { to: Boot::Boot1, value: 0x50 }, 0x03b3_5001));
    assert_eq!(with(&[(179, 0x48), (162, 1)]).rst_n(), "enabled");
    assert_eq!(config(0).inactive(), Err(Refusal::NotEnabled));
    assert_eq!(config(0x38).inactive(), Err(Refusal::UserArea));
    assert_eq!(config(0x08).may_switch().map(|switch| switch.value), Ok(0x10));
    assert_eq!(config(0x50).may_switch().map(|switch| switch.argument()), Ok(0x03b3_4801));
}

#[test]
fn fields() {
    let versions = [(0, "4.0"), (3, "4.3"), (5, "4.41"), (6, "4.5"), (7, "5.0"), (8, "5.1")];
    for (revision, version) in versions {
        assert_eq!(with(&[(192, revision)]).version(), Some(version));
    }
    assert_eq!(with(&[(192, 4)]).version(), None);
    assert_eq!(with(&[(192, 9)]).version(), None);
    let buses = [
        (0b0_0000, ("sdr", Some(1), false)),
        (0b0_0001, ("sdr", Some(4), false)),
        (0b0_1110, ("sdr-high-speed", Some(8), true)),
        (0b1_0000, ("ddr", Some(4), false)),
        (0b1_0010, ("ddr", Some(8), false)),
        (0b1_1111, ("reserved", None, true)),
    ];
    for (bits, bus) in buses {
        assert_eq!(with(&[(177, bits)]).boot_bus(), bus, "{bits:#07b}");
    }
    assert_eq!(with(&[(162, 2)]).rst_n(), "disabled-for-good");
    for (value, active) in [(0x18, 3), (0x20, 4), (0x28, 5), (0x70, 6)] {
        assert_eq!(config(value).active(), Active::Reserved(active));
        assert_eq!(config(value).inactive(), Err(Refusal::Reserved(active)));
    }
}

/// BOOT_WP and BOOT_WP_STATUS, for boot0 and boot1.
#[test]
fn write_protection() {
    use Protection::{None, Permanent, PowerOn};
    let table = [
        (0x00, 0x00, [None, None]),
        // what is switched off for ever is the protection: B_PWR_WP_DIS, B_PERM_WP_DIS
        (0x50, 0x00, [None, None]),
        // B_PWR_WP_EN and B_PERM_WP_EN, for both
        (0x01, 0x00, [PowerOn, PowerOn]),
        (0x04, 0x00, [Permanent, Permanent]),
        (0x05, 0x00, [Permanent, Permanent]),
        // with B_SEC_WP_SEL: the one that B_PWR_WP_SEC_SEL or B_PERM_WP_SEC_SEL names
        (0x81, 0x00, [PowerOn, None]),
        (0x83, 0x00, [None, PowerOn]),
        (0x84, 0x00, [Permanent, None]),
        (0x8c, 0x00, [None, Permanent]),
        (0x8d, 0x00, [PowerOn, Permanent]),
        (0x87, 0x00, [Permanent, PowerOn]),
        // without it the two bits mean nothing
        (0x0b, 0x00, [PowerOn, PowerOn]),
        // B_AREA_1_WP and B_AREA_2_WP
        (0x00, 0x01, [PowerOn, None]),
        (0x00, 0x02, [Permanent, None]),
        (0x00, 0x04, [None, PowerOn]),
        (0x00, 0x08, [None, Permanent]),
        (0x00, 0x0c, [None, Permanent]),
        (0x01, 0x08, [PowerOn, Permanent]),
    ];
    for (boot_wp, status, expected) in table {
        let ext_csd = with(&[(179, 0x48), (173, boot_wp), (174, status)]);
        assert_eq!(Boot::BOTH.map(|boot| ext_csd.write_protection(boot)), expected, "{boot_wp:#x}");
        let may = match expected[1] {
            None => Ok(Boot::Boot1),
            protection => Err(Refusal::WriteProtected(Boot::Boot1, protection)),
        };
        assert_eq!(ext_csd.may_write(1, |_| MIB), may);
        // what boots then may be protected, and is all the safer
        assert!(ext_csd.may_switch().is_ok());
    }
}

#[test]
fn refusals() {
    let protected = |bits| with(&[(179, 0x48), (178, bits)]).may_switch();
    assert_eq!(protected(0x01), Err(Refusal::ConfigProtected(Protection::PowerOn)));
    assert_eq!(protected(0x11), Err(Refusal::ConfigProtected(Protection::Permanent)));
    assert_eq!(protected(0xee).map(|switch| switch.value), Ok(0x50));
    for none in [with(&[(179, 0x48), (226, 0)]), with(&[(179, 0x48), (192, 2)])] {
        assert_eq!(none.may_write(1, |_| MIB), Err(Refusal::NoBootPartitions));
        assert_eq!(none.may_switch(), Err(Refusal::NoBootPartitions));
    }
    let large = |image, room| Err(Refusal::Large { image, to: Boot::Boot1, room });
    assert_eq!(config(8).may_write(4 * MIB + 1, |_| 8 * MIB), large(4 * MIB + 1, 4 * MIB));
    // the kernel has less of it than the register says
    assert_eq!(config(8).may_write(MIB + 1, |_| MIB), large(MIB + 1, MIB));
    assert_eq!(config(8).may_write(0, |_| MIB), Err(Refusal::Empty));
    let said = [
        (Refusal::UserArea, "the user area is active"),
        (
            Refusal::WriteProtected(Boot::Boot1, Protection::PowerOn),
            "boot1 is write-protected until",
        ),
        (Refusal::ConfigProtected(Protection::Permanent), "PARTITION_CONFIG is protected for good"),
        (Refusal::Content(Boot::Boot0), "boot0 does not verify"),
    ];
    for (refusal, start) in said {
        assert!(refusal.to_string().starts_with(start), "{refusal}");
    }
}

/// Content 1 is to boot: what boot0 and boot1 have, with boot0 active.
#[test]
fn what_is_active_is_decided_by_content() {
    let to = |value| Ok(Some(Switch { to: Boot::Boot1, value }));
    let found = |found| config(0x48).decide_switch(&1, &found);
    assert_eq!(found([0, 1]), to(0x50));
    assert_eq!(found([1, 0]), Ok(None));
    assert_eq!(found([1, 1]), Ok(None));
    assert_eq!(found([0, 0]), Err(Refusal::Content(Boot::Boot1)));
    assert_eq!(config(0).decide_switch(&1, &[0, 1]), Err(Refusal::NotEnabled));
    // done already, though nothing can be changed any more
    let protected = with(&[(179, 0x48), (178, 1)]);
    assert_eq!(protected.decide_switch(&1, &[1, 0]), Ok(None));
    let why = Refusal::ConfigProtected(Protection::PowerOn);
    assert_eq!(protected.decide_switch(&1, &[0, 1]), Err(why));
}

#[test]
fn first_sectors() {
    assert_eq!(first_sector(&[]), None);
    assert_eq!(first_sector(&[0; 4096]), None);
    assert_eq!(first_sector(&[1]), Some(0));
    let mut image = vec![0; 33 << 10];
    image.extend([0xd1, 0, 0x20, 0x41]);
    assert_eq!(first_sector(&image), Some(33 << 10));
    image[32 << 10 | 511] = 1;
    assert_eq!(first_sector(&image), Some(32 << 10));
}

#[test]
fn notes() {
    let hash = "00ff10a9".repeat(8);
    let line = std::format!("partition=boot1 bytes=1048576 sha256={hash}\n");
    let note = Note::parse(&line).unwrap();
    assert_eq!(
        (note.partition, note.bytes, note.to_string()),
        (Boot::Boot1, 1_048_576, line.clone())
    );
    assert_eq!(hash.to_uppercase().parse(), Ok(note.sha256));
    assert_eq!(note.with, None);
    let waits = line.replace('\n', " slot=b revision=2026.11-3\n");
    let note = Note::parse(&waits).unwrap();
    let with = With { slot: Slot::B, revision: "2026.11-3".parse().unwrap() };
    assert_eq!((&note.with, note.to_string()), (&Some(with), waits.clone()));
    for wrong in [
        waits.replace("slot=b", "slot=c"),
        waits.replace("slot=b ", ""),
        waits.replace(" revision=2026.11-3", ""),
        waits.replace("2026.11-3", "../3"),
        waits.replace('\n', " more=1\n"),
        String::new(),
        line.trim_end().to_string(),
        line.replace("boot1", "boot2"),
        line.replace("1048576", "-1"),
        line.replace("1048576", "0"),
        line.replace("a9\n", "a\n"),
        line.replace("a9\n", "a90\n"),
        line.replace("a9\n", "ag\n"),
        line.replace('\n', " x\n"),
        line.replacen("partition=boot1 ", "", 1),
    ] {
        assert_eq!(Note::parse(&wrong), None, "{wrong}");
    }
    for wrong in ["", "+0", &"é".repeat(32), hash.trim_start_matches("00")] {
        assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
    }
}

proptest! {
    /// Of any register: the active partition is never the one that is written or made active, nothing else of the byte
    /// is changed, there and back gives what was, and no other field is written.
    #[test]
    fn only_the_other_one(fields in proptest::array::uniform8(any::<u8>()), image: u32, room: u32) {
        let places = [162, 173, 174, 177, 178, 179, 192, 226];
        let pairs: vec::Vec<_> = places.into_iter().zip(fields).collect();
        let found = with(&pairs);
        if let Ok(to) = found.may_write(image.into(), |_| room.into()) {
            prop_assert_eq!(found.active(), Active::Boot(to.other()));
            prop_assert!(image > 0 && image <= room && u64::from(image) <= found.boot_bytes());
            prop_assert_eq!(found.write_protection(to), Protection::None);
        }
        if let Ok(switch) = found.may_switch() {
            prop_assert_eq!(found.active(), Active::Boot(switch.to.other()));
            prop_assert_eq!(switch.argument() & !0xff00, 0x03b3_0001);
            let then = ExtCsd { partition_config: switch.value, ..found };
            prop_assert!(switch.is_done(&then) && !switch.is_done(&found));
            prop_assert_eq!((then.ack(), then.access()), (found.ack(), 0));
            prop_assert_eq!(then.active(), Active::Boot(switch.to));
            // whatever the kernel has in PARTITION_ACCESS
            let read = ExtCsd { partition_config: switch.value | found.access(), ..found };
            prop_assert!(switch.is_done(&read));
            let back = then.may_switch().unwrap();
            prop_assert_eq!(back.value, found.partition_config & 0x78);
        }
    }

    #[test]
    fn notes_come_back(
        first: bool,
        bytes in 1..=u64::MAX,
        sha256: [u8; 32],
        revision in proptest::option::of("[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"),
    ) {
        let partition = if first { Boot::Boot0 } else { Boot::Boot1 };
        let with = revision.map(|id| With { slot: Slot::A, revision: id.parse().unwrap() });
        let note = Note { partition, bytes, sha256: Hash(sha256), with };
        prop_assert_eq!(Note::parse(&note.to_string()), Some(note));
    }
}
