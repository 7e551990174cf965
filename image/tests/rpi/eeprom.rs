// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files for the EEPROM of a Pi 4 and 5: from where they come to partition 1, read back as a device reads them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use bootsel::eeprom::Chip;
use bootsel::eeprom::image::Image;
use bootsel::eeprom::signature::Signature;
use bootsel::eeprom::stage::{self, State};
use bootsel::fat::{BLOCK, Extent, Volume};
use rpieeprom::Release;
use sha2::{Digest, Sha256};

use super::common::pi::{self, CONFIG};
use super::common::{
    Project, assert_equal, deb, output, partition, pivot_image, program, refusal, said,
};
use super::{SLOTS, built, image, names, read};

const MIB: u64 = 1 << 20;
const FIRMWARE: &str = "[rpi]\nfirmware = \"pi-firmware\"";

/// 2026-05-17 for the Pi 4 and 2026-08-04 for the Pi 5.
fn releases() -> [Release; 2] {
    let [pi4, pi5] = rpieeprom::Chip::ALL;
    let pi5 = Release { manufacture: Some(1), ..Release::new(pi5, 1_785_861_000) };
    [Release::new(pi4, 1_779_045_198), pi5]
}

fn configure(project: &Project, line: &str) {
    let text = CONFIG.replace(FIRMWARE, &format!("{FIRMWARE}\n{line}"));
    project.write("demo.toml", text.as_bytes());
}

/// A project with a checkout of rpi-eeprom.
fn project() -> Project {
    let project = pi::project();
    for release in releases() {
        release.write(&project.path("rpi-eeprom"), "default").unwrap();
        let later = Release { build_timestamp: release.build_timestamp + 86_400, ..release };
        later.write(&project.path("rpi-eeprom"), "latest").unwrap();
    }
    project.write("rpi-eeprom/LICENSE", b"terms");
    configure(&project, "eeprom = \"rpi-eeprom\"");
    project
}

#[test]
fn partition_1_has_them() {
    let project = project();
    if !built(&project) {
        return;
    }
    let image = image(&project);
    let expected = [
        "autoboot.txt",
        "config.txt",
        "bootcode.bin",
        "EEPR2711.IMG",
        "EEPR2711.UPD",
        "EEPR2711.SIG",
        "EEPR2711.REC",
        "EEPR2712.IMG",
        "EEPR2712.UPD",
        "EEPR2712.SIG",
        "EEPR2712.REC",
        "eeprom.lic",
    ];
    assert_eq!(names(&image, 1), expected);
    for (release, number) in releases().iter().zip([2711, 2712]) {
        let read = |ending: &str| read(&image, 1, &format!("EEPR{number}.{ending}"));
        assert!(read("IMG") == release.image() && read("UPD") == release.image());
        assert_eq!(read("REC"), release.recovery());
        let hash: String =
            Sha256::digest(release.image()).iter().map(|byte| format!("{byte:02x}")).collect();
        // without a clock: the time is the image's own
        let expected = format!("{hash}\nts: {}\ntarget-soc: {number}\n", release.build_timestamp);
        assert_eq!(String::from_utf8(read("SIG")).unwrap(), expected);
    }
    // and no slot has any
    for slot in SLOTS {
        let found = names(&image, slot);
        assert!(!found.iter().any(|name| name.to_lowercase().contains("eep")), "{found:?}");
    }
    if let Some(mut fsck) = program("fsck.fat", "dosfstools") {
        partition(&image, 1, 32, &project.path("part"));
        output(fsck.arg("-n").arg(project.path("part")));
    }
    let cmdline = String::from_utf8(read(&image, SLOTS[0], "cmdline.txt")).unwrap();
    assert!(cmdline.contains(" watchdog.stop_on_reboot=0 console="), "{cmdline}");
}

/// Where a file of partition 1 lies on the disk.
fn extents(image: &File, name: &str) -> Vec<Extent> {
    let mut read = |at: u64, block: &mut [u8; BLOCK]| image.read_exact_at(block, at);
    let volume = Volume::open(MIB, 32 * MIB, &mut read).unwrap();
    let file = volume.find(name, &mut read).unwrap().unwrap();
    volume.extents(&file, &mut read).unwrap()
}

/// What a device does, on the image: one sector is written, and the three files have the names that the ROM looks for.
#[test]
fn staged_by_one_sector() {
    let project = project();
    if !built(&project) {
        return;
    }
    let (path, slots) = (image(&project), fs::read(image(&project)).unwrap());
    let image = File::options().read(true).write(true).open(&path).unwrap();
    let mut read = |at: u64, block: &mut [u8; BLOCK]| image.read_exact_at(block, at);
    let volume = Volume::open(MIB, 32 * MIB, &mut read).unwrap();
    let place = stage::locate(&volume, &mut read).unwrap().unwrap();
    let mut block = [0; BLOCK];
    read(place, &mut block).unwrap();
    assert_eq!(stage::state(&block), Ok(State::AtRest));
    // one entry more can be made in that block: a recovery.bin that does not rename itself in its place
    assert!(block.as_chunks::<32>().0.iter().filter(|entry| entry[0] == 0).count() >= 1);
    for chip in Chip::ALL {
        for name in [stage::shipped(chip), stage::File::Image.at_rest(chip)] {
            let [Extent { bytes, .. }] = extents(&image, name)[..] else {
                panic!("{name} has pieces")
            };
            assert_eq!(bytes, u64::from(chip.image_bytes()), "{name}");
        }
        let staged = stage::stage(&block, chip).unwrap();
        image.write_all_at(&staged, place).unwrap();
        let names = names(&path, 1);
        for name in ["PIEEPROM.UPD", "PIEEPROM.SIG", "RECOVERY.BIN"] {
            assert!(names.iter().any(|found| found == name), "{names:?}");
        }
        // what recovery.bin finds there by another reader of FAT
        let update = super::read(&path, 1, "pieeprom.upd");
        let found = Image::parse(&update).unwrap();
        let signature = Signature::parse(&super::read(&path, 1, "pieeprom.sig")).unwrap();
        assert_eq!((found.chip, signature.chip), (chip, Some(chip)));
        assert_eq!(signature.sha256, <[u8; 32]>::from(Sha256::digest(&update)));
        assert_eq!(signature.timestamp, Some(found.build_timestamp));
        image.write_all_at(&stage::restore(&staged).unwrap(), place).unwrap();
    }
    assert!(fs::read(&path).unwrap() == slots, "put back as it was");
}

#[test]
fn reports_and_rules() {
    let project = project();
    if !built(&project) {
        return;
    }
    let image = image(&project);
    let (pi4, pi5) = ("BCM2711 of 2026-05-17 (1779045198)", "BCM2712 of 2026-08-04 (1785861000)");
    let text = output(pivot_image().arg("inspect").arg(&image));
    for line in [pi4, pi5] {
        assert!(text.contains(&format!("  bootloader for the eeprom: {line}\n")), "{text}");
    }
    let json = output(pivot_image().args(["inspect", "--json"]).arg(&image));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["eeprom"][1]["version"]["date"], "2026-08-04");
    assert_eq!(report["eeprom"][1]["version"]["manufacture"], 1);
    assert_eq!(report["eeprom"][0]["problems"], serde_json::json!([]));
    let text = output(pivot_image().arg("boards").arg(&image));
    let line = format!("\nbootloader for the eeprom: {pi4}\n  pi4b pi400\n");
    assert!(text.contains(&line) && text.contains(pi5), "{text}");
    let json = output(pivot_image().args(["boards", "--json"]).arg(&image));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["eeprom"][0]["chip"], "BCM2711");
    assert_eq!(report["eeprom"][0]["boards"], serde_json::json!(["pi4b", "pi400"]));
    let findings = image::lint::lint(&image).unwrap().findings;
    assert!(!findings.iter().any(|found| found.rule.starts_with("eeprom")), "{findings:#?}");
}

#[test]
fn two_builds_are_equal() {
    let (one, two) = (project(), project());
    if !built(&one) || !built(&two) {
        return;
    }
    assert_equal(&image(&one), &image(&two));
}

#[test]
fn sources() {
    let project = project();
    if !built(&project) {
        return;
    }
    let line = |text: &str| format!("bootloader for the eeprom: {text}\n");
    configure(&project, "eeprom = \"rpi-eeprom\"\neeprom_channel = \"latest\"");
    let text = said(&project);
    let path = "firmware-2711/latest/pieeprom-2026-05-18.bin";
    assert!(text.contains(&line(&format!("BCM2711 of 2026-05-18 (1779131598), {path}"))), "{text}");
    assert!(!text.contains("single revisions"), "{text}");
    for path in ["2711/latest-c03111", "2712/latest-d04171", "2711/default-c03111", "2711/latest-x"]
    {
        project.write(&format!("rpi-eeprom/firmware-{path}/pieeprom-2026-05-18.bin"), b"x");
    }
    let text = said(&project);
    let warning = "warning: rpi.eeprom: images for single revisions of a board are not looked at: \
                   firmware-2711/latest-c03111 firmware-2712/latest-d04171\n";
    assert!(text.contains(warning), "{text}");
    // the package, of which one chip's files are taken
    let [release, _] = releases();
    let base = "usr/lib/firmware/raspberrypi/bootloader-2711";
    let files = [
        (format!("{base}/default/pieeprom-2026-05-17.bin"), release.image()),
        (format!("{base}/default/recovery.bin"), release.recovery()),
        (format!("{base}/latest/recovery.bin"), b"not looked at".to_vec()),
        (format!("{base}/default-b03115/recovery.bin"), b"not looked at".to_vec()),
        ("usr/share/doc/rpi-eeprom/copyright".to_owned(), b"terms of the package".to_vec()),
    ];
    let files: Vec<_> = files.iter().map(|(path, bytes)| (path.as_str(), &bytes[..])).collect();
    project.write("rpi-eeprom.deb", &deb("all", &files, &[]));
    configure(&project, "eeprom = \"rpi-eeprom.deb\"");
    let text = said(&project);
    let path = "bootloader-2711/default/pieeprom-2026-05-17.bin";
    assert!(text.contains(&line(&format!("BCM2711 of 2026-05-17 (1779045198), {path}"))), "{text}");
    assert!(text.contains(&line("none for BCM2712")), "{text}");
    assert!(text.contains("are not looked at: bootloader-2711/default-b03115\n"), "{text}");
    let image = image(&project);
    assert!(!names(&image, 1).iter().any(|name| name.contains("2712")));
    assert_eq!(read(&image, 1, "eeprom.lic"), b"terms of the package");
    assert_eq!(read(&image, 1, "EEPR2711.REC"), release.recovery());
}

#[test]
fn refusals() {
    let project = project();
    if program("depmod", "kmod").is_none() {
        return;
    }
    let refused = |line: &str, why: &str| {
        configure(&project, line);
        let (text, code) = refusal(&mut project.build("out"));
        assert!(text.contains(why) && code == 1, "{text}");
        assert!(!project.path("out").exists(), "refused before any work");
    };
    let path = |name: &str| project.path(name).display().to_string();
    let why = format!("rpi.eeprom {}: expected firmware-2711/default/ or ", path("pi-firmware"));
    refused("eeprom = \"pi-firmware\"", &why);
    refused("eeprom = \"gone\"", &format!("rpi.eeprom {}: cannot read ", path("gone")));
    refused("eeprom = \"rpi-eeprom\"\neeprom_channel = \"beta\"", "unknown variant `beta`");
    project.write("other.deb", &deb("all", &[("usr/share/doc/x", b"x")], &[]));
    refused("eeprom = \"other.deb\"", "expected firmware-2711/default/ or firmware-2712/default/");
    fs::remove_file(project.path("rpi-eeprom/firmware-2712/default/recovery.bin")).unwrap();
    let same = "eeprom = \"rpi-eeprom\"";
    let image = "firmware-2712/default/pieeprom-2026-08-04.bin";
    refused(same, &format!("no recovery.bin, which would write {image}, beside it"));
    fs::remove_dir_all(project.path("rpi-eeprom/firmware-2712")).unwrap();
    let old = Release::new(rpieeprom::Chip::Bcm2711, 1_600_000_000);
    fs::remove_dir_all(project.path("rpi-eeprom/firmware-2711/default")).unwrap();
    old.write(&project.path("rpi-eeprom"), "default").unwrap();
    refused(
        same,
        "pieeprom-2020-09-13.bin: was built on 2020-09-13 (1600000000): slots can be tried",
    );
}

#[test]
fn too_small_a_partition() {
    let project = project();
    if program("depmod", "kmod").is_none() {
        return;
    }
    let text = fs::read_to_string(project.path("demo.toml")).unwrap();
    let text = text.replace("table = \"mbr\"", "table = \"mbr\"\nbootsel_size = \"5M\"");
    project.write("demo.toml", text.as_bytes());
    let (text, _) = refusal(&mut project.build("out"));
    assert!(text.contains("on partition 1 does not fit into disk.bootsel_size"), "{text}");
    assert!(text.contains(" bytes of files, room for "), "{text}");
    assert!(!project.path("out").exists());
}
