// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device with an eMMC: its two boot partitions as files, sysfs as the kernel shows them, and behind the whole device's
//! node the register, byte by byte, with what kernel and card do to it. (JESD84-B51; `drivers/mmc/core/block.c`)
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops where something is wrong, and not every test needs everything"
)]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::device::{Device, Outcome, revision};
use crate::traced::{Behind, End, run, run_signalled};

/// `MMC_IOC_CMD`, on 32- and 64-bit machines.
const COMMAND: u64 = 0xc048_b300;
/// Bytes of each boot partition.
pub(crate) const BYTES: usize = 1 << 20;
pub(crate) const PARTITION_CONFIG: usize = 179;

/// How a card, its driver or the kernel can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// That command's call fails with that number.
    Call(u32, i64),
    /// The response to that command has these bits.
    Status(u32, u32),
    /// That command is not sent, and the call says that it was. (Linux 6.1.76 to 6.1.83)
    Dropped(u32),
    /// The kernel writes its own copy of PARTITION_CONFIG at the next access to a boot partition. (before Linux 4.16)
    PutsBack,
    /// Writing fails from that write on.
    Write(usize),
    /// A byte is another one when it is read back.
    Flips,
}

/// What a boot partition and the register were told, in its order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Bytes of boot1, from there on.
    Write(usize, Vec<u8>),
    Sync,
    Switch,
}

/// What the tool's requests get to.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) steps: Vec<Step>,
    root: PathBuf,
    pub(crate) ext_csd: [u8; 512],
    pub(crate) fault: Option<Fault>,
    /// Each command that changed something.
    pub(crate) switches: Vec<u32>,
    copy: u8,
    writes: usize,
}

/// The parts of `struct mmc_ioc_cmd`.
fn word(command: &[u8; 72], place: usize) -> u32 {
    u32::from_le_bytes(command[place..place + 4].try_into().unwrap())
}

impl Card {
    pub(crate) fn active(&self) -> Option<usize> {
        match self.ext_csd[PARTITION_CONFIG] >> 3 & 7 {
            1 => Some(0),
            2 => Some(1),
            _ => None,
        }
    }

    fn command(&mut self, memory: &File, command: &[u8; 72]) -> u32 {
        let (opcode, argument) = (word(command, 8), word(command, 12));
        assert_eq!(word(command, 4), 0, "no application command");
        let silent = self.fault == Some(Fault::Dropped(opcode));
        match opcode {
            8 => {
                // read, R1 with data, one block
                let fields = [0, 32, 36, 40].map(|place| word(command, place));
                assert_eq!((fields, argument), ([0, 0xb5, 512, 1], 0));
                let to = u64::from_le_bytes(command[64..].try_into().unwrap());
                if !silent {
                    memory.write_all_at(&self.ext_csd, to).unwrap();
                }
            }
            6 => {
                // R1b without data
                assert_eq!((word(command, 32), word(command, 40)), (0x49d, 0));
                let [set, value, index, mode] = argument.to_le_bytes();
                assert_eq!((set, usize::from(index), mode), (1, PARTITION_CONFIG, 3));
                if !silent {
                    self.copy = self.ext_csd[PARTITION_CONFIG];
                    self.ext_csd[PARTITION_CONFIG] = value;
                    self.switches.push(argument);
                    self.steps.push(Step::Switch);
                }
            }
            other => panic!("CMD{other}"),
        }
        // ready for data, in the state tran
        0x900
    }
}

impl Behind for Card {
    fn takes(&self, request: u64, file: &Path) -> bool {
        request == COMMAND && file.ends_with("dev/mmcblk0")
    }

    fn changes(&self, memory: &File, address: u64) -> bool {
        let mut command = [0; 72];
        memory.read_exact_at(&mut command, address).unwrap();
        word(&command, 8) == 6
    }

    fn answer(&mut self, memory: &File, address: u64) -> i64 {
        let mut command = [0; 72];
        memory.read_exact_at(&mut command, address).unwrap();
        let opcode = word(&command, 8);
        let mut status = match self.fault {
            Some(Fault::Call(at, number)) if at == opcode => return -number,
            Some(Fault::Status(at, _)) if at == opcode => 0,
            _ => self.command(memory, &command),
        };
        if let Some(Fault::Status(at, bits)) = self.fault
            && at == opcode
        {
            status = bits;
        }
        memory.write_all_at(&status.to_le_bytes(), address + 16).unwrap();
        0
    }

    fn writes(&mut self, file: &Path, at: u64, bytes: &[u8]) {
        if file.ends_with("dev/mmcblk0boot1") {
            self.steps.push(Step::Write(usize::try_from(at).unwrap(), bytes.to_vec()));
        }
    }

    fn syncs(&mut self, file: &Path) {
        if file.ends_with("dev/mmcblk0boot1") {
            self.steps.push(Step::Sync);
        }
    }

    fn touched(&mut self, file: &Path, writes: bool) -> Option<i64> {
        let name = file.file_name()?.to_str()?.to_owned();
        let number = name.strip_prefix("mmcblk0boot")?.parse().unwrap();
        if self.fault == Some(Fault::PutsBack) && !self.switches.is_empty() {
            self.ext_csd[PARTITION_CONFIG] = self.copy;
        }
        if !writes {
            if self.fault == Some(Fault::Flips) && self.writes >= 3 {
                let file = fs::OpenOptions::new().write(true).open(file).unwrap();
                file.write_all_at(b"?", 70_000).unwrap();
            }
            return None;
        }
        assert_ne!(self.active(), Some(number), "the active partition is written");
        self.writes += 1;
        let force_ro = fs::read_to_string(self.root.join(format!("sys/block/{name}/force_ro")));
        match self.fault {
            // EPERM, EIO
            _ if !force_ro.unwrap().starts_with('0') => Some(-1),
            Some(Fault::Write(from)) if self.writes >= from => Some(-5),
            _ => None,
        }
    }
}

/// What each partition holds at first, none of it zeros at its beginning.
pub(crate) fn old(number: usize) -> Vec<u8> {
    format!("bootloader {number}, as it was. ")
        .into_bytes()
        .into_iter()
        .cycle()
        .take(BYTES)
        .collect()
}

/// An image whose first sector that is not empty begins there.
pub(crate) fn image(begins: usize, bytes: usize, name: &str) -> Vec<u8> {
    let rest = name.bytes().chain(*b" is an image. ").cycle().take(bytes - begins);
    std::iter::repeat_n(0, begins).chain(rest).collect()
}

pub(crate) struct Emmc {
    pub(crate) device: Device,
    pub(crate) card: Card,
}

impl Emmc {
    /// boot0 is active, with an acknowledge; the disk of the data partition.
    pub(crate) fn new() -> Self {
        let device = Device::new();
        let root = device.root.path().to_owned();
        let card = Card {
            steps: Vec::new(),
            root,
            ext_csd: [0; 512],
            fault: None,
            switches: Vec::new(),
            copy: 0,
            writes: 0,
        };
        let mut emmc = Self { device, card };
        emmc.device.put("sys/devices/mmcblk0/mmcblk0p4/partition", "4\n");
        emmc.device.put("dev/mmcblk0", "");
        emmc.device.put("sys/block/mmcblk0/device/type", "MMC\n");
        fs::create_dir_all(emmc.device.path("sys/dev/block")).unwrap();
        let link = emmc.device.path("sys/dev/block/179:4");
        symlink("../../devices/mmcblk0/mmcblk0p4", link).unwrap();
        let line = "30 1 179:4 / /run/pivot/data rw - ext4 /dev/mmcblk0p4 rw\n";
        emmc.device.put("proc/self/mountinfo", line);
        emmc.reset();
        emmc
    }

    /// Everything as it was at first.
    pub(crate) fn reset(&mut self) {
        for number in 0..2 {
            let name = format!("mmcblk0boot{number}");
            self.device.put(&format!("dev/{name}"), old(number));
            self.device.put(&format!("sys/block/{name}/size"), format!("{}\n", BYTES / 512));
            self.device.put(&format!("sys/block/{name}/force_ro"), "1\n");
        }
        let _ = fs::remove_file(self.note());
        self.card.ext_csd = [0; 512];
        self.set(192, 8);
        self.set(226, u8::try_from(BYTES >> 17).unwrap());
        self.set(PARTITION_CONFIG, 0x48);
        self.card.fault = None;
        self.card.switches.clear();
        self.card.steps.clear();
        self.card.writes = 0;
    }

    pub(crate) fn set(&mut self, place: usize, value: u8) {
        self.card.ext_csd[place] = value;
    }

    pub(crate) fn config(&self) -> u8 {
        self.card.ext_csd[PARTITION_CONFIG]
    }

    pub(crate) fn note(&self) -> PathBuf {
        self.device.path("run/pivot/data/pivot/state/emmc")
    }

    /// A file with this content.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        self.device.put(name, bytes);
        self.device.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn holds(&self, number: usize) -> Vec<u8> {
        fs::read(self.device.path(&format!("dev/mmcblk0boot{number}"))).unwrap()
    }

    pub(crate) fn force_ro(&self, number: usize) -> bool {
        let path = self.device.path(&format!("sys/block/mmcblk0boot{number}/force_ro"));
        fs::read_to_string(path).unwrap().trim_end() == "1"
    }

    pub(crate) fn run(&mut self, arguments: &[&str]) -> Outcome {
        run(&self.device, &[&["emmc"], arguments].concat(), &mut self.card, None).outcome()
    }

    /// Ended before its n-th call that changes something; the code, if it came to its end.
    pub(crate) fn killed(&mut self, arguments: &[&str], until: usize) -> Option<i32> {
        let arguments = [&["emmc"], arguments].concat();
        match run(&self.device, &arguments, &mut self.card, Some(until)) {
            End::Exited(outcome) => Some(outcome.code),
            End::Killed(_) => None,
        }
    }

    /// Asked to end there; the code.
    pub(crate) fn terminated(&mut self, arguments: &[&str], until: usize) -> i32 {
        let arguments = [&["emmc"], arguments].concat();
        let until = Some((until, Signal::SIGTERM));
        run_signalled(&self.device, &arguments, &mut self.card, until).outcome().code
    }

    /// Any command of the tool, likewise.
    pub(crate) fn tool(&mut self, arguments: &[&str], until: Option<usize>) -> End {
        self.card.writes = 0;
        run(&self.device, arguments, &mut self.card, until)
    }

    /// The next boot: the kernel closes what was left open. Returns the partition.
    pub(crate) fn boot(&mut self) -> u8 {
        for number in 0..2 {
            self.device.put(&format!("sys/block/mmcblk0boot{number}/force_ro"), "1\n");
        }
        self.device.boot()
    }

    /// What the manifest of the revision that runs says of the device.
    pub(crate) fn is_a(&self, soc: &str) {
        let made = revision("1", 1).with_bootloader(Some(soc), None);
        self.device.put("run/pivot/data/pivot/revisions/1/manifest", made.manifest);
    }

    #[track_caller]
    pub(crate) fn done(&mut self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        assert!(self.force_ro(0) && self.force_ro(1));
        outcome
    }

    /// Not done, with that code and reason, and nothing is changed.
    #[track_caller]
    pub(crate) fn not_done(&mut self, arguments: &[&str], code: i32, why: &str) {
        let state = |emmc: &Self| {
            let note = fs::read(emmc.note()).ok();
            (emmc.holds(0), emmc.holds(1), emmc.card.ext_csd, note, emmc.device.state())
        };
        let before = state(self);
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, code, "{arguments:?}: {outcome:?}");
        assert!(outcome.err.contains(why), "{outcome:?}");
        assert!(before == state(self), "{arguments:?} changed something");
        assert!(self.force_ro(0) && self.force_ro(1));
    }

    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        serde_json::from_str(&self.done(&["status", "--json"]).out).unwrap()
    }
}
