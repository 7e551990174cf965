// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{Running, Version, date};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::{format, string::ToString};

/// Text, build time, commit, update-time, capabilities.
type Seen = (&'static str, u32, &'static str, Option<u32>, Option<u32>);

/// As people showed them in public, oldest first.
const SEEN: [Seen; 13] = [
    // the release that boards were first sold with, by firmware of 2019 and of 2021
    (
        "May 10 2019 19:40:36\nversion d2402c53cdeb0f072ff05d52987b1b6b6d474691 (release)\ntimestamp 0\n",
        1_557_517_236,
        "d2402c53",
        None,
        None,
    ),
    (
        "May 10 2019 19:40:36\nversion d2402c53cdeb0f072ff05d52987b1b6b6d474691 (release)\ntimestamp 0\nupdate-time 0\ncapabilities 0x00000000\n",
        1_557_517_236,
        "d2402c53",
        None,
        None,
    ),
    (
        "Sep 10 2019 10:41:50\nversion f626c772b15ba1b7e0532a8d50a761b3ccbdf3bb (release)\ntimestamp 0",
        1_568_112_110,
        "f626c772",
        None,
        None,
    ),
    (
        "Apr 16 2020 18:11:26\nversion a5e1b95f320810c69441557c5f5f0a7f2460dfb8 (release)\ntimestamp 1587057086\n",
        1_587_057_086,
        "a5e1b95f",
        None,
        None,
    ),
    (
        "Sep  3 2020 13:11:43\nversion c305221a6d7e532693cc7ff57fddfc8649def167 (release)\ntimestamp 1599135103",
        1_599_135_103,
        "c305221a",
        None,
        None,
    ),
    (
        "Sep  3 2020 13:11:43\nversion c305221a6d7e532693cc7ff57fddfc8649def167 (release)\ntimestamp 1599135103\nupdate-time 0\ncapabilities 0x00000000",
        1_599_135_103,
        "c305221a",
        None,
        None,
    ),
    (
        "Apr 29 2021 17:11:25\nversion c2f8c388c4ee37ad709ace403467d163e8dd91ce (release)\ntimestamp 1619712685\nupdate-time 1667208514\ncapabilities 0x0000001f\n",
        1_619_712_685,
        "c2f8c388",
        Some(1_667_208_514),
        Some(0x1f),
    ),
    (
        "2022/08/02 16:55:05\nversion 91b6280c53c0b6dff9e3d58810f439e577408845 (release)\ntimestamp 1659455705\nupdate-time 1663866239\ncapabilities 0x0000007f\n",
        1_659_455_705,
        "91b6280c",
        Some(1_663_866_239),
        Some(0x7f),
    ),
    (
        "2022/09/02 15:10:12\nversion 0b3f4b5e0e9994e7c7e4b2a793d5d9b11047f982 (release)\ntimestamp 1662127812\nupdate-time 1662183585\ncapabilities 0x0000007f\n",
        1_662_127_812,
        "0b3f4b5e",
        Some(1_662_183_585),
        Some(0x7f),
    ),
    (
        "2023/01/11 17:40:52\nversion 8ba17717fbcedd4c3b6d4bce7e50c7af4155cba9 (release)\ntimestamp 1673458852\nupdate-time 1675769444\ncapabilities 0x0000007f\n",
        1_673_458_852,
        "8ba17717",
        Some(1_675_769_444),
        Some(0x7f),
    ),
    // boards of the Pi 5 family
    (
        "2025/06/13 10:39:26\nversion 5855b10b2bd22b2a116dc91f6b5b1bc4b2ea849f (release)\ntimestamp 1749807566\nupdate-time 0\ncapabilities 0x0000007f\n",
        1_749_807_566,
        "5855b10b",
        None,
        Some(0x7f),
    ),
    (
        "2025/11/05 17:37:18\nversion 57db150d63864d47e6c9071f6b086a5401eb4e92 (release)\ntimestamp 1762364238\nupdate-time 1762770986\ncapabilities 0x0000007f\n",
        1_762_364_238,
        "57db150d",
        Some(1_762_770_986),
        Some(0x7f),
    ),
    (
        "2026/05/26 16:01:25\nversion 086b83e3332dfc8927c56762771d082f3077a1ae (release)\ntimestamp 1779807685\nupdate-time 1779916375\ncapabilities 0x0000007f\n",
        1_779_807_685,
        "086b83e3",
        Some(1_779_916_375),
        Some(0x7f),
    ),
];

#[test]
fn seen() {
    for (text, timestamp, commit, updated, capabilities) in SEEN {
        let version = Version::parse(text).unwrap();
        assert_eq!(version.timestamp, timestamp, "{text}");
        assert_eq!(version.exact, !text.contains("timestamp 0"), "{text}");
        assert_eq!((version.updated, version.capabilities), (updated, capabilities), "{text}");
        let full = version.commit.unwrap();
        assert!(full.starts_with(commit) && full.len() == 40, "{text}");
    }
}

/// The date alone is right but for summer time: nothing else shows that each part of it is used.
#[test]
fn dates() {
    for (text, timestamp, ..) in SEEN {
        let by_date = date(text.lines().next().unwrap()).unwrap();
        let late = by_date - timestamp;
        assert!([0, 3600].contains(&late), "{text} {late}");
    }
    assert_eq!(date("1970/01/01 00:00:00"), Some(0));
    assert_eq!(date("Feb 29 2024 23:59:59"), Some(1_709_251_199));
    assert_eq!(date("2024/03/01 00:00:00"), Some(1_709_251_200));
    assert_eq!(date("2099/12/31 23:59:59"), Some(4_102_444_799));
    for wrong in [
        "",
        "unknown",
        "2100/01/01 00:00:00",
        "1969/12/31 00:00:00",
        "2022/13/01 00:00:00",
        "2022/00/01 00:00:00",
        "2022/01/00 00:00:00",
        "2022/01/32 00:00:00",
        "2022/01/01 24:00:00",
        "2022/01/01 00:60:00",
        "2022/01/01 00:00",
        "2022/01/01",
        "2022/+1/01 00:00:00",
        "Foo 16 2021 13:23:36",
        "Feb 16 2021",
        "Feb 16 2021 13:23:36 UTC",
        "99999/01/01 00:00:00",
    ] {
        assert_eq!(date(wrong), None, "{wrong}");
    }
}

#[test]
fn no_answers() {
    for text in [
        "",
        "\n",
        "unknown",
        "error=1 error_msg=\"Command not registered\"",
        "error=2 error_msg=\"Invalid arguments\"\n",
        "unknown\nversion unknown\ntimestamp 0\n",
        "2022/08/02 16:55:05\ntimestamp -1\n",
        "2022/08/02 16:55:05\ntimestamp 4294967296\n",
        "2022/08/02 16:55:05\ntimestamp soon\n",
    ] {
        assert_eq!(Version::parse(text), None, "{text}");
    }
    let odd = "?\n version  xyz (debug)\r\ntimestamp 1659455705 \r\ncapabilities 7f\nmore\n";
    let version = Version::parse(odd).unwrap();
    assert_eq!(
        (version.timestamp, version.commit, version.capabilities),
        (1_659_455_705, None, None)
    );
}

#[track_caller]
fn check(device_tree: Option<u32>, mailbox: &str, expected: Option<u32>, shown: &str) {
    let running = Running::new(device_tree, Version::parse(mailbox).as_ref());
    assert_eq!(running.timestamp(), expected);
    assert_eq!(running.to_string(), shown);
}

#[test]
fn two_witnesses() {
    let of_2020 = "Sep  3 2020 13:11:43\ntimestamp 1599135103\n";
    let of_2019 = "Sep 10 2019 10:41:50\ntimestamp 0\n";
    check(Some(1_599_135_103), of_2020, Some(1_599_135_103), "1599135103");
    check(None, of_2020, Some(1_599_135_103), "1599135103");
    check(Some(0), of_2020, Some(1_599_135_103), "1599135103");
    check(Some(7), of_2020, Some(7), "7 in the device tree, 1599135103 by the mailbox");
    // a date is not precise enough to contradict
    check(Some(1_568_108_510), of_2019, Some(1_568_108_510), "1568108510");
    check(Some(7), "error", Some(7), "7");
    check(None, "", None, "not known");
}

proptest! {
    #[test]
    fn any_text(text in "\\PC{0,80}(\n\\PC{0,40}){0,5}") {
        if let Some(version) = Version::parse(&text) {
            prop_assert!(version.timestamp != 0 || !version.exact);
        }
    }

    #[test]
    fn written_as_firmware_does(timestamp in 1..u32::MAX, updated: u32, capabilities: u32, commit in "[0-9a-f]{40}") {
        let text = format!("2022/08/02 16:55:05\nversion {commit} (release)\ntimestamp {timestamp}\nupdate-time {updated}\ncapabilities {capabilities:#010x}\n");
        let version = Version::parse(&text).unwrap();
        prop_assert_eq!(version.timestamp, timestamp);
        prop_assert_eq!(version.commit, Some(commit.as_str()));
        prop_assert_eq!(version.updated, (updated != 0).then_some(updated));
        prop_assert_eq!(version.capabilities, (capabilities != 0).then_some(capabilities));
    }

    /// Days follow each other.
    #[test]
    fn calendar(day in any::<u16>(), second in 0..86_400_u32) {
        let (mut year, mut month, mut rest) = (1970, 1, u32::from(day) % 47_000);
        let days = |year: u32, month: u32| match month {
            2 if year.is_multiple_of(4) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let expected = rest * 86_400 + second;
        while rest >= days(year, month) {
            rest -= days(year, month);
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        let clock = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        let text = format!("{year}/{month:02}/{:02} {clock}", rest + 1);
        prop_assert_eq!(date(&text), Some(expected), "{}", text);
    }
}
