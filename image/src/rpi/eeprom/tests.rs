// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use rpieeprom::Release;

/// 2026-05-17 and 2026-08-04.
const TIMES: [u32; 2] = [1_779_045_198, 1_785_861_000];

fn pi4(time: u32) -> Release {
    Release::new(rpieeprom::Chip::Bcm2711, time)
}

fn pi5(time: u32) -> Release {
    Release::new(rpieeprom::Chip::Bcm2712, time)
}

fn one(path: &str, bytes: Vec<u8>) -> Found {
    (path.to_owned(), bytes)
}

fn release(place: &str, release: &Release) -> [Found; 2] {
    let path = |name: &str| format!("{place}/{name}");
    [(path(&release.name()), release.image()), (path("recovery.bin"), release.recovery())]
}

#[track_caller]
fn lines(found: Vec<Found>, channel: Channel, expected: [&str; 2]) {
    let lines: Vec<_> = Eeprom::of(found, channel).unwrap().lines().collect();
    assert_eq!(lines, expected.map(|line| format!("bootloader for the eeprom: {line}")));
}

#[test]
fn layouts() {
    let [first, second] = [&pi4(TIMES[0]), &pi4(TIMES[1])];
    let none = "none for BCM2712";
    for place in [
        "firmware-2711/default",
        "bootloader-2711/default",
        "firmware-2711",
        "2711/default",
        "2711",
    ] {
        let line = format!("BCM2711 of 2026-05-17 (1779045198), {place}/pieeprom-2026-05-17.bin");
        lines(release(place, first).into(), Channel::Default, [&line, none]);
    }
    let both = [release("firmware-2711/default", first), release("firmware-2711/latest", second)];
    let line = "BCM2711 of 2026-08-04 (1785861000), firmware-2711/latest/pieeprom-2026-08-04.bin";
    lines(both.concat(), Channel::Latest, [line, none]);
    // where there is nothing but the other chip's, and other files beside them
    let mut found = release("firmware-2712/latest", &pi5(TIMES[0])).to_vec();
    found.push(one("firmware-2711/latest/vl805-000138c0.bin", b"x".to_vec()));
    let line = "BCM2712 of 2026-05-17 (1779045198), firmware-2712/latest/pieeprom-2026-05-17.bin";
    lines(found, Channel::Latest, ["none for BCM2711", line]);
}

#[test]
fn newest_image() {
    // by its build time, whatever it is called, and whatever else lies beside it
    let mut found = release("2711", &pi4(TIMES[1])).to_vec();
    found.push(one("2711/pieeprom-2099-01-01.bin", pi4(TIMES[0]).image()));
    found.push(one("2711/pieeprom-2020-01-01.bin", pi4(1_580_000_000).image()));
    let line = "BCM2711 of 2026-08-04 (1785861000), 2711/pieeprom-2026-08-04.bin";
    lines(found, Channel::Default, [line, "none for BCM2712"]);
}

#[track_caller]
fn refused(found: Vec<Found>, why: &str) {
    let error = format!("{:#}", Eeprom::of(found, Channel::Default).unwrap_err());
    assert!(error.contains(why), "{error}");
}

#[test]
fn refusals() {
    let place = "firmware-2711/default";
    let [image, recovery] = release(place, &pi4(TIMES[0]));
    let (path, program) = (image.0.clone(), recovery.0.clone());
    refused(
        vec![],
        "expected firmware-2711/default/ or firmware-2712/default/ with pieeprom-*.bin and",
    );
    refused(vec![image.clone()], &format!("no recovery.bin, which would write {path}, beside it"));
    refused(vec![recovery.clone()], &format!("no pieeprom-*.bin beside {place}/recovery.bin"));
    let with = |bytes: Vec<u8>| vec![one(&path, bytes), recovery.clone()];
    refused(with(vec![0; 100]), &format!("{path}: eeprom image: 100 bytes, no eeprom has so many"));
    refused(with(pi5(TIMES[0]).image()), &format!("{path}: is for BCM2712, by its length"));
    let old = pi4(1_666_090_664).image();
    refused(
        with(old),
        &format!("{path}: was built on 2022-10-18 (1666090664): slots can be tried"),
    );
    let with = |bytes: Vec<u8>| vec![image.clone(), one(&program, bytes)];
    refused(with(b"x".to_vec()), &format!("{program}: is no recovery.bin"));
    let five = release("firmware-2712/default", &pi5(TIMES[0]));
    let other = [five[0].clone(), one(&five[1].0, recovery.1.clone())];
    refused(
        other.into(),
        "firmware-2712/default/recovery.bin: is for BCM2711, and not for BCM2712",
    );
}

#[test]
fn what_is_shipped() {
    let mut found = release("2711", &pi4(TIMES[0])).to_vec();
    found.extend(release("2712", &pi5(TIMES[1])));
    found.push(one("LICENSE", b"terms".to_vec()));
    let files = Eeprom::of(found, Channel::Default).unwrap().files().unwrap();
    let names: Vec<_> =
        files.iter().map(|(name, content)| (name.as_str(), content.len())).collect();
    let (small, large) = (512 << 10, 2 << 20);
    let expected = [
        ("EEPR2711.IMG", small),
        ("EEPR2711.UPD", small),
        ("EEPR2711.SIG", 97),
        ("EEPR2711.REC", 100_140),
        ("EEPR2712.IMG", large),
        ("EEPR2712.UPD", large),
        ("EEPR2712.SIG", 97),
        ("EEPR2712.REC", 105_147),
        ("eeprom.lic", 5),
    ];
    assert_eq!(names, expected);
    let Content::Bytes(text) = &files[2].1 else { panic!() };
    let text = String::from_utf8(text.clone()).unwrap();
    assert!(text.ends_with("\nts: 1779045198\ntarget-soc: 2711\n"), "{text}");
}
