// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device made of files: a disk image with partitions as `pivot-image` lays them, and the root that the tool looks
//! at. What the firmware does between two runs of the tool is played here.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops where something is wrong, and not every test needs everything"
)]

mod bundle;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bootsel::autoboot::Autoboot;
use bootsel::log::{self, Record};
use bootsel::manifest::{self, Manifest};
use bootsel::ptable::mbr;
use bootsel::{Slot, fat};
use image::fat::{Content, Kind, Volume};
use minisign::KeyPair;
use sha2::{Digest, Sha256};

use bundle::member;

const MIB: u64 = 1 << 20;
/// Start and length of partitions 1 to 3.
pub(crate) const PARTITIONS: [(u64, u64); 3] =
    [(MIB, 8 * MIB), (9 * MIB, 16 * MIB), (25 * MIB, 16 * MIB)];
pub(crate) const RELEASE: &str = "6.12-test";

pub(crate) struct Device {
    pub(crate) root: tempfile::TempDir,
    pub(crate) disk: PathBuf,
    keys: KeyPair,
    boots: u32,
}

/// What a run of the tool gave.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A revision with its boot volume.
pub(crate) struct Made {
    pub(crate) manifest: Vec<u8>,
    pub(crate) boot: Vec<u8>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What the slot says to GRUB.
fn fragment(id: &str) -> String {
    format!(
        "set pivot_kernel=\"/kernel8.img\"\nset pivot_initrd=\"/initrd /early.img\"\n\
         set pivot_cmdline=\"pivot.revision={id} panic=5\"\n"
    )
}

/// A boot volume whose letter is not set, and where that is; without one of its files.
fn boot_volume(id: &str, without: &str) -> (Vec<u8>, u64) {
    let bytes = |text: String| Content::Bytes(text.into_bytes());
    let mut volume = Volume {
        label: "PIVOT_BOOT".into(),
        id: 7,
        kind: Kind::Fat16,
        bytes: 16 * MIB,
        hidden: 0,
        files: vec![
            ("config.txt".into(), bytes("# config\n".into())),
            ("cmdline.txt".into(), bytes(format!("pivot.slot=_ pivot.revision={id} panic=5\n"))),
            (
                "kernels.txt".into(),
                bytes(format!("# list\n{RELEASE} kernel8.img initrd early.img\n")),
            ),
            ("kernel8.img".into(), bytes(format!("kernel of {id}").repeat(9999))),
            ("grub.cfg".into(), bytes(fragment(id))),
            ("initrd".into(), bytes("initrd".into())),
            ("early.img".into(), bytes("early".into())),
            ("start.elf".into(), bytes("..\0tryboot\0..".into())),
            ("start4.elf".into(), bytes("start4".into())),
            ("fixup4.dat".into(), bytes("fixup4".into())),
            ("bcm2711-rpi-4-b.dtb".into(), bytes("tree".into())),
        ],
    };
    volume.files.retain(|(name, _)| name != without);
    let plan = volume.plan().unwrap();
    let file = tempfile::tempfile().unwrap();
    file.set_len(volume.bytes).unwrap();
    plan.write(&file, 0).unwrap();
    let mut out = vec![0; usize::try_from(volume.bytes).unwrap()];
    file.read_exact_at(&mut out, 0).unwrap();
    let letter = plan.offset_of("cmdline.txt").unwrap() + "pivot.slot=".len() as u64;
    assert_eq!(out[usize::try_from(letter).unwrap()], b'_');
    (out, letter)
}

pub(crate) fn revision(id: &str, version: u64) -> Made {
    revision_for(id, version, "pi4b", "")
}

/// A revision for these boards, whose slot lacks a file.
pub(crate) fn revision_for(id: &str, version: u64, boards: &str, without: &str) -> Made {
    let (boot, letter) = boot_volume(id, without);
    let files = vec![
        (manifest::ROOT.to_owned(), format!("root of {id}").into_bytes().repeat(9000)),
        (manifest::modules_image(RELEASE).unwrap(), b"modules, the same in all".repeat(5000)),
    ];
    let mut made = Manifest::new(&id.parse().unwrap(), version);
    made.keys.push((manifest::SLOT_LETTER.into(), letter.to_string()));
    made.keys.push(("boards".into(), boards.into()));
    let all = [(manifest::BOOT.to_owned(), boot.clone())].into_iter().chain(files.clone());
    for (name, bytes) in all {
        made.files.push(manifest::File { sha256: sha256(&bytes), bytes: bytes.len() as u64, name });
    }
    Made { manifest: made.to_string().into_bytes(), boot, files }
}

impl Device {
    /// Revision 1 in both slots, slot a booted; a Pi 4 with a new bootloader, systemd, and a kernel of any kind.
    pub(crate) fn new() -> Self {
        Self::with_config("", Vec::new())
    }

    /// The same with this config.txt and more files on partition 1.
    pub(crate) fn with_config(config: &str, more: Vec<(String, Content)>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let disk = root.path().join("disk.img");
        let file = File::create(&disk).unwrap();
        file.set_len(42 * MIB).unwrap();
        let entry = |(start, bytes): (u64, u64)| mbr::Entry {
            start: u32::try_from(start / 512).unwrap(),
            sectors: u32::try_from(bytes / 512).unwrap(),
            kind: 0x0c,
            ..mbr::Entry::default()
        };
        let [one, two, three] = PARTITIONS.map(entry);
        let table = mbr::write(1, &[one, two, three, mbr::Entry::default()]).unwrap();
        file.write_all_at(&table, 0).unwrap();
        let autoboot = Autoboot::new(2, 3).unwrap().to_bytes().unwrap();
        let volume = Volume {
            label: "BOOTSEL".into(),
            id: 1,
            kind: Kind::Fat16,
            bytes: 8 * MIB,
            hidden: 2048,
            files: vec![
                ("autoboot.txt".into(), Content::Bytes(autoboot.to_vec())),
                ("config.txt".into(), Content::Bytes(config.into())),
                ("bootcode.bin".into(), Content::Bytes(b"..\0tryboot_a_b\0..".to_vec())),
            ]
            .into_iter()
            .chain(more)
            .collect(),
        };
        volume.plan().unwrap().write(&file, MIB).unwrap();
        let keys = KeyPair::generate_unencrypted_keypair().unwrap();
        let mut device = Self { root, disk, keys, boots: 0 };
        let made = revision("1", 1);
        for slot in [Slot::A, Slot::B] {
            device.write_slot(&made, slot);
        }
        device.put("run/pivot/data/pivot/log/init.log", [0; log::BYTES]);
        for (name, bytes) in &made.files {
            device.put(&format!("run/pivot/data/pivot/revisions/1/{name}"), bytes);
        }
        device.put("run/pivot/data/pivot/revisions/1/manifest", &made.manifest);
        device.put("proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0");
        device.put(
            "proc/device-tree/chosen/bootloader/build-timestamp",
            1_700_000_000_u32.to_be_bytes(),
        );
        device.put("etc/pivot/keys/test.pub", device.keys.pk.to_box().unwrap().to_string());
        fs::create_dir_all(device.path("run/systemd/system")).unwrap();
        device.boot();
        device
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn write_slot(&self, made: &Made, slot: Slot) {
        let (start, _) = PARTITIONS[1 + usize::from(slot == Slot::B)];
        let mut boot = made.boot.clone();
        let at = boot.windows(12).position(|window| window == b"pivot.slot=_").unwrap() + 11;
        boot[at] = slot.as_str().as_bytes()[0];
        self.poke(start, &boot);
    }

    /// Changes bytes of the disk behind the tool's back.
    pub(crate) fn poke(&self, at: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(&self.disk).unwrap();
        file.write_all_at(bytes, at).unwrap();
        file.sync_all().unwrap();
    }

    pub(crate) fn peek(&self, at: u64, bytes: u64) -> Vec<u8> {
        let mut out = vec![0; usize::try_from(bytes).unwrap()];
        File::open(&self.disk).unwrap().read_exact_at(&mut out, at).unwrap();
        out
    }

    pub(crate) fn autoboot(&self) -> Autoboot {
        let file = File::open(&self.disk).unwrap();
        let read = &mut |at: u64, block: &mut [u8; fat::BLOCK]| file.read_exact_at(block, at);
        let volume = fat::Volume::open(MIB, 8 * MIB, read).unwrap();
        let found = volume.find("autoboot.txt", read).unwrap().unwrap();
        let at = volume.one_sector(&found, 512, read).unwrap();
        Autoboot::parse(&self.peek(at, 512)).unwrap()
    }

    /// What the firmware does: the flag is read and cleared, and the slot's own command line is used. Returns the
    /// partition.
    pub(crate) fn boot(&mut self) -> u8 {
        let flag = fs::remove_file(self.path("run/systemd/reboot-param")).is_ok();
        let partition = self.autoboot().target(flag);
        self.boots += 1;
        let boot_id = format!("{:08}-boot", self.boots);
        self.put("proc/sys/kernel/random/boot_id", &boot_id);
        let tree = "proc/device-tree/chosen/bootloader";
        self.put(&format!("{tree}/tryboot"), u32::from(flag).to_be_bytes());
        self.put(&format!("{tree}/partition"), u32::from(partition).to_be_bytes());
        let (start, bytes) = PARTITIONS[usize::from(partition) - 1];
        let slot = self.peek(start, bytes);
        let at = slot.windows(11).position(|window| window == b"pivot.slot=").expect("cmdline.txt");
        let line: Vec<u8> = slot[at..].iter().copied().take_while(|byte| *byte != b'\n').collect();
        self.put("proc/cmdline", &line);
        partition
    }

    /// A record of init's.
    pub(crate) fn init_writes(&self, event: &str, slot: Slot, message: &str) {
        let path = self.path("run/pivot/data/pivot/log/init.log");
        let boot_id = fs::read_to_string(self.path("proc/sys/kernel/random/boot_id")).unwrap();
        let record = Record {
            counter: 0,
            boot_id: boot_id.as_str(),
            slot: Some(slot),
            revision: "",
            event,
            message,
        };
        let (at, bytes) = log::next(&fs::read(&path).unwrap(), record).unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&bytes, at).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootsel"));
        command.arg("--root").arg(self.root.path()).arg("--disk").arg(&self.disk).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        outcome
    }

    /// Refused, and not a byte of the disk or of the revisions was changed.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str], why: &str) {
        let before = self.state();
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 1, "{arguments:?}: {outcome:?}");
        assert!(outcome.err.contains(why), "{outcome:?}");
        assert!(before == self.state(), "{arguments:?} changed something");
    }

    pub(crate) fn state(&self) -> (Vec<u8>, Vec<(PathBuf, Vec<u8>)>) {
        let mut files = Vec::new();
        walk(&self.path("run/pivot/data"), &mut files);
        (fs::read(&self.disk).unwrap(), files)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.done(&["status", "--json"]).out).unwrap()
    }

    /// A bundle of it, signed with this device's key.
    pub(crate) fn bundle(&self, made: &Made) -> PathBuf {
        let parsed = Manifest::parse(&made.manifest).unwrap();
        let comment = signed::trusted_comment(&parsed);
        let signature =
            minisign::sign(None, &self.keys.sk, &made.manifest[..], Some(&comment), Some("test"))
                .unwrap();
        let mut out = Vec::new();
        member(&mut out, manifest::NAME, &made.manifest);
        member(&mut out, manifest::SIGNATURE, signature.to_string().as_bytes());
        member(&mut out, "boot.img.zst", &zstd::encode_all(&made.boot[..], 1).unwrap());
        for (name, bytes) in &made.files {
            member(&mut out, name, bytes);
        }
        out.extend([0; 1024]);
        let path = self.path(&format!("{}.bundle", parsed.revision().unwrap()));
        fs::write(&path, out).unwrap();
        path
    }
}

fn walk(directory: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, files);
            files.push((path, Vec::new()));
        } else {
            files.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
}
