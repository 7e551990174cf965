// SPDX-License-Identifier: MIT OR Apache-2.0
//! An update of the bootloader that is ended anywhere, on large blocks, and through a mounted file system.
#![cfg(target_arch = "x86_64")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops where something is wrong"
)]

mod board;
mod device;
mod traced;

use std::fs;
use std::process::Command;

use bootsel::eeprom::signature::Signature;

use board::{CHOSEN, NEW, OLD, Pi, Rom};
use device::PARTITIONS;

/// The tool is ended before each of its calls that change something: then either nothing is staged, or all of it, whole
/// and counted. The next boots bring it to its end, and it is staged no more often than it may be.
#[test]
fn ended_anywhere() {
    let mut points = 0;
    for until in 1.. {
        let mut pi = Pi::new(OLD);
        let ended = pi.run_until(&["eeprom", "boot"], until);
        let staged = pi.is_staged();
        if staged {
            pi.staged();
            assert_eq!(pi.json()["attempts"]["count"], 1, "{until}");
        }
        if !ended {
            assert!(staged);
            break;
        }
        points += 1;
        // the power was cut there, and comes back
        let written = pi.reset(Rom::Writes);
        assert_eq!(written.is_some(), staged);
        let mut resets = 0;
        while pi.run(&["eeprom", "boot"]).code == 4 {
            resets += 1;
            assert!(resets <= 2, "{until}");
            pi.reset(Rom::Writes);
        }
        let json = pi.json();
        assert_eq!((&json["decision"], &json["files"]), (&"current".into(), &"at-rest".into()));
    }
    assert!(points >= 10, "only {points} calls");
}

/// The same while it clears up, after an update that was made and after one that was not.
#[test]
fn ended_while_clearing_up() {
    for rom in [Rom::Writes, Rom::PassesOver] {
        for until in 1.. {
            let mut pi = Pi::new(OLD);
            pi.boot(4);
            pi.reset(rom);
            let ended = pi.run_until(&["eeprom", "boot"], until);
            if pi.is_staged() {
                pi.staged();
            }
            let mut count = 1;
            while pi.reset(rom).is_some() || pi.run(&["eeprom", "boot"]).code == 4 {
                count += 1;
                assert!(count <= 4, "{rom:?} {until}");
            }
            let decision = if rom == Rom::Writes { "current" } else { "refused" };
            let json = pi.json();
            assert_eq!((&json["decision"], &json["files"]), (&decision.into(), &"at-rest".into()));
            if !ended {
                break;
            }
        }
    }
}

/// A loop device, detached at the end.
struct Detached(String);

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A card with blocks of 4096 bytes: the sector's block is read, and written as a whole.
#[test]
fn large_blocks() {
    let mut pi = Pi::new(OLD);
    let image = std::mem::take(&mut pi.device.disk);
    let losetup = |arguments: &[&str]| {
        let output = Command::new("losetup").args(arguments).output().unwrap();
        assert!(output.status.success(), "losetup (these tests run as root): {output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    let image = image.to_str().unwrap();
    let node = Detached(losetup(&["--find", "--show", "--sector-size", "4096", image]));
    pi.device.disk = node.0.clone().into();
    let (before, directory) = (pi.device.state(), pi.directory());
    pi.boot(4);
    pi.staged();
    pi.done(&["eeprom", "cancel"]);
    let (start, bytes) = PARTITIONS[0];
    let (start, end) = (start as usize, (start + bytes) as usize);
    let after = pi.device.state();
    assert!(before.0[..start] == after.0[..start] && before.0[end..] == after.0[end..]);
    assert!(directory == pi.directory());
    pi.boot(4);
    assert_eq!(pi.reset(Rom::Writes), Some(NEW));
    pi.boot(0);
    assert_eq!(pi.json()["files"], "at-rest");
}

/// A partition 1 that somebody else made, mounted. What lies in the directory for it.
fn elsewhere() -> (Pi, [String; 2]) {
    let pi = Pi::with(OLD, |files| files.none = true);
    // the newest counts; recovery.bin is its own
    let mut from = pi.device.path("from");
    let directory = from.clone();
    for version in [1_690_000_000, NEW] {
        let release = rpieeprom::Release::new(rpieeprom::Chip::Bcm2711, version);
        from = release.write(&directory, "default").unwrap();
    }
    let to = pi.device.path("mnt");
    fs::create_dir_all(&to).unwrap();
    let directories = [from.parent().unwrap().to_owned(), to];
    (pi, directories.map(|path| path.into_os_string().into_string().unwrap()))
}

/// Whether the ROM would run it; then it is whole.
fn is_whole(to: &str) -> bool {
    let read = |name: &str| fs::read(format!("{to}/{name}"));
    let Ok(program) = read("recovery.bin") else { return false };
    let release = rpieeprom::Release::new(rpieeprom::Chip::Bcm2711, NEW);
    let signature = Signature::parse(&read("pieeprom.sig").unwrap()).unwrap();
    let image = read("pieeprom.upd").unwrap();
    assert!(program == release.recovery() && signature.sha256 == device::sha256(&image));
    assert!(image.windows(CHOSEN.len()).any(|text| text == CHOSEN.as_bytes()));
    true
}

#[test]
fn through_a_mounted_file_system() {
    let (mut pi, [from, to]) = elsewhere();
    let stage = ["eeprom", "stage", "--from", &from, "--to", &to];
    pi.unchanged(&["eeprom", "boot"], 1);
    fs::write(format!("{to}/RECOVERY.001"), "an older one").unwrap();
    fs::write(format!("{to}/pieeprom.upd"), "an older one").unwrap();
    fs::write(format!("{to}/config.txt"), "theirs").unwrap();
    let said = pi.done(&stage).err;
    assert!(said.contains("attempt 1"), "{said}");
    assert!(is_whole(&to));
    assert!(!fs::exists(format!("{to}/RECOVERY.001")).unwrap());
    let said = pi.done(&stage).err;
    assert!(!said.contains("staged: ") && pi.json()["attempts"]["count"] == 1, "{said}");
    pi.done(&["eeprom", "cancel", "--to", &to]);
    let left: Vec<_> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["config.txt"]);
    assert_eq!(pi.json()["attempts"]["count"], 0);
    // twice, and the ROM passes over it
    for _ in 0..2 {
        pi.done(&stage);
        pi.device.boot();
    }
    assert!(pi.run(&stage).err.contains("never again"));
    assert!(!is_whole(&to), "what is not tried again is not left there");
    // where partition 1 has its own
    let mut pi = Pi::new(OLD);
    let said = pi.unchanged(&stage, 1).err;
    assert!(said.contains("leave --from and --to out"), "{said}");
}

#[test]
fn ended_anywhere_in_a_mounted_file_system() {
    for until in 1.. {
        let (mut pi, [from, to]) = elsewhere();
        fs::write(format!("{to}/recovery.bin"), "of another update").unwrap();
        fs::write(format!("{to}/pieeprom.upd"), "its image").unwrap();
        let before = fs::read(format!("{to}/recovery.bin")).unwrap();
        let ended = pi.run_until(&["eeprom", "stage", "--from", &from, "--to", &to], until);
        // it is still the other one, or gone, or whole
        let untouched = fs::read(format!("{to}/recovery.bin")).is_ok_and(|now| now == before);
        assert!(!untouched || fs::exists(format!("{to}/pieeprom.upd")).unwrap(), "{until}");
        let staged = !untouched && is_whole(&to);
        assert!(!staged || pi.json()["attempts"]["count"] == 1, "{until}");
        if !ended {
            assert!(staged && until > 15, "only {until} calls");
            break;
        }
    }
}
