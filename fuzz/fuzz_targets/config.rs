// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever autoboot.txt, config.txt, a file that it includes and cmdline.txt say, every board decides, for a file that is
//! there. The files are separated by NUL.
#![no_main]

use rpifw::{BOARDS, Disk, Fat, Start, Table, Volume, boot};

const NAMES: [&str; 4] = ["autoboot.txt", "config.txt", "more.txt", "cmdline.txt"];
/// Without content.
const OTHERS: [&str; 8] = [
    "bootcode.bin",
    "start.elf",
    "kernel.img",
    "kernel7.img",
    "kernel8.img",
    "initrd",
    "os/kernel8.img",
    "bcm2710-rpi-3-b.dtb",
];

struct Volumes<'a>(Vec<&'a [u8]>);

impl Volume for Volumes<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let same = |name: &&str| name.eq_ignore_ascii_case(path.trim_start_matches('/'));
        let text = NAMES.iter().position(|name| same(&name)).and_then(|at| self.0.get(at));
        let empty = || OTHERS.iter().any(|name| same(&name)).then(Vec::new);
        Ok(text.map(|text| text.to_vec()).or_else(empty))
    }

    fn exists(&self, path: &str) -> bool {
        self.read(path).unwrap().is_some()
    }

    fn fat(&self) -> Fat {
        Fat::Fat32
    }
}

impl Disk for Volumes<'_> {
    fn table(&self) -> Table {
        Table::Mbr
    }

    fn volume(&self, number: u32) -> Option<&dyn Volume> {
        (1..=3).contains(&number).then_some(self)
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let disk = Volumes(bytes.split(|byte| *byte == 0).collect());
    for board in BOARDS.iter().step_by(3) {
        for tryboot in [false, true] {
            let start = Start { tryboot, arm_64bit: None };
            let Ok(boot) = boot(board, &disk, &start) else { continue };
            assert_eq!(boot.tryboot, tryboot);
            assert!(disk.volume(boot.partition).is_some(), "partition {}", boot.partition);
            let dtb = boot.dtb.iter();
            for path in dtb.chain(&boot.initramfs).chain([&boot.kernel]) {
                assert!(disk.exists(path), "{} takes {path}", board.name);
            }
        }
    }
});
