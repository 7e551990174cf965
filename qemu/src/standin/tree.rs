// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device tree, as the firmware hands it on. Edited by fdtput(1) of the device tree compiler, a property at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rpifw::{Board, Boot, Chip};

use super::Bootloader;
use super::model::Model;
use super::needs::{self, Change};
use crate::tool;

/// A device tree in a file.
#[derive(Debug)]
pub(crate) struct Tree {
    path: PathBuf,
}

/// Build time of an EEPROM's bootloader. The release of 2025-05-08, which rpi-eeprom takes as the least to be current
/// (raspberrypi/rpi-eeprom, rpi-eeprom-update: BOOTLOADER_AUTO_UPDATE_MIN_VERSION).
const BOOTLOADER: [(Chip, u32); 2] =
    [(Chip::Bcm2711, 1_746_717_695), (Chip::Bcm2712, 1_746_713_597)];
/// `boot-mode` of an SD card. (Raspberry Pi documentation, raspberry-pi/eeprom-bootloader.adoc, BOOT_ORDER)
const SD_CARD: u32 = 1;
/// `capabilities`: USB of the VL805, network, TRYBOOT_A_B, TRYBOOT and USB of the chip.
/// (Raspberry Pi documentation, configuration/device-tree.adoc)
const CAPABILITIES: u32 = 0x1f;
/// `rsts` after power was switched on (HADPOR), and after a restart, which is always the watchdog's doing (HADWRF):
/// what a Pi 2 shows in `vcgencmd get_rsts` (raspberrypi/linux issue 1586). The partition's bits are 0 in both.
const POWER_ON: u32 = 0x1000;
const RESTARTED: u32 = 0x20;

impl Tree {
    /// The tree that the image has.
    pub(crate) fn write(path: PathBuf, content: &[u8]) -> Result<Self> {
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path })
    }

    /// One that is in a file already.
    pub(crate) fn open(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the firmware says in it. QEMU says the rest: memory, bootargs, and where the initramfs lies.
    /// (Raspberry Pi documentation, configuration/device-tree.adoc: "/chosen/bootloader"; integers have 4 bytes, the
    /// first the highest.)
    pub(crate) fn as_firmware(
        &self,
        board: &Board,
        boot: &Boot,
        restarted: bool,
        bootloader: Option<&Bootloader>,
    ) -> Result<()> {
        self.string("/", "model", board.model)?;
        // Any 64 bits; the last of a board's MAC addresses are derived from them.
        self.string("/", "serial-number", "10000000c0ffee42")?;
        self.cells("/system", "linux,serial", &[0x1000_0000, 0xc0ff_ee42])?;
        self.cells("/system", "linux,revision", &[revision(board)])?;
        let rsts = if restarted { RESTARTED } else { POWER_ON };
        let of_all = [
            ("partition", boot.partition),
            ("tryboot", boot.tryboot.into()),
            ("boot-mode", SD_CARD),
            ("rsts", rsts),
        ];
        for (property, value) in of_all {
            self.cells("/chosen/bootloader", property, &[value])?;
        }
        let Some((_, built)) = BOOTLOADER.iter().find(|(chip, _)| *chip == board.chip) else {
            return Ok(());
        };
        let (built, updated) =
            bootloader.map_or((*built, 0), |bootloader| (bootloader.built, bootloader.updated));
        let of_eeprom = [
            ("build-timestamp", built),
            ("update-timestamp", updated),
            ("capabilities", CAPABILITIES),
        ];
        for (property, value) in of_eeprom {
            self.cells("/chosen/bootloader", property, &[value])?;
        }
        self.string("/chosen/bootloader", "version", &"0".repeat(40))
    }

    /// What `dtoverlay=ramoops` makes of a tree (raspberrypi/linux: arch/arm/boot/dts/overlays/ramoops-overlay.dts), in
    /// QEMU's generic machine, whose memory begins at 0x40000000: behind kernel and initramfs, as on the board.
    pub(crate) fn ramoops(&self) -> Result<()> {
        let node = "/reserved-memory/ramoops@4b000000";
        self.reserved_memory()?;
        self.string(node, "compatible", "ramoops")?;
        self.cells(node, "reg", &[0, 0x4b00_0000, 0, 0x1_0000])?;
        self.cells(node, "record-size", &[0x4000])?;
        self.cells(node, "console-size", &[0])
    }

    fn reserved_memory(&self) -> Result<()> {
        let parent = "/reserved-memory";
        for property in ["#address-cells", "#size-cells"] {
            self.cells(parent, property, &[2])?;
        }
        self.put(&["-p"], &[parent, "ranges"])
    }

    /// The bootloader's configuration in memory, as on a board, likewise in QEMU's generic machine. (Linux:
    /// arch/arm/boot/dts/broadcom/bcm2711-rpi.dtsi, `blconfig`)
    pub(crate) fn bootconf(&self, qemu: &mut Command, file: &Path) -> Result<()> {
        let node = "/reserved-memory/nvram@4b100000";
        self.reserved_memory()?;
        self.put(
            &["-p", "-t", "s"],
            &[node, "compatible", "raspberrypi,bootloader-config", "nvmem-rmem"],
        )?;
        self.cells(node, "reg", &[0, 0x4b10_0000, 0, 0x1000])?;
        for property in ["#address-cells", "#size-cells"] {
            self.cells(node, property, &[1])?;
        }
        self.put(&["-p"], &[node, "no-map"])?;
        self.string(node, "status", "okay")?;
        self.string("/aliases", "blconfig", node)?;
        let file = file.display().to_string().replace(',', ",,");
        qemu.args(["-device", &format!("loader,file={file},addr=0x4b100000,force-raw=on")]);
        Ok(())
    }

    /// The processor that software looks for, in the tree of QEMU's generic machine.
    pub(crate) fn is_of(&self, board: &Board) -> Result<()> {
        let chip = match board.chip {
            Chip::Bcm2835 => "brcm,bcm2835",
            Chip::Bcm2836 => "brcm,bcm2836",
            Chip::Bcm2837 => "brcm,bcm2837",
            Chip::Bcm2711 => "brcm,bcm2711",
            Chip::Bcm2712 => "brcm,bcm2712",
        };
        self.put(&["-t", "s"], &["/", "compatible", chip, "linux,dummy-virt"])
    }

    /// What a machine of QEMU needs. A tree may lack a node: vendors' and upstream trees differ.
    pub(crate) fn as_needed(&self, model: &Model) -> Result<()> {
        for need in needs::of(model) {
            match need.change {
                Change::Disabled(node) if self.has(node) => {
                    self.string(node, "status", "disabled")?
                }
                Change::WithoutNode(node) if self.has(node) => self.put(&["-r"], &[node])?,
                Change::WithoutProperty(node, property)
                    if self.properties(node)?.contains(&property.to_owned()) =>
                {
                    self.put(&["-d"], &[node, property])?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The kernel's name of the port that `serial0` is, by what drives it: the firmware puts it into the command line.
    /// (Raspberry Pi documentation, configuration/uart.adoc) In upstream trees of boards with Bluetooth that is the
    /// port of the latter, and a console there is seen by nobody.
    pub(crate) fn serial0(&self) -> Option<String> {
        let node = self.get("/aliases", "serial0")?;
        let drivers = self.get(&node, "compatible")?;
        let known = [("brcm,bcm2835-aux-uart", "ttyS0"), ("arm,pl011", "ttyAMA0")];
        let (_, name) = known.iter().find(|(driver, _)| drivers.contains(driver))?;
        let taken =
            if self.has(&format!("{node}/bluetooth")) { ", which its Bluetooth is on" } else { "" };
        Some(format!("{name} on the board{taken}"))
    }

    fn has(&self, node: &str) -> bool {
        self.properties(node).is_ok()
    }

    fn properties(&self, node: &str) -> Result<Vec<String>> {
        let list = tool::run(tool::command("fdtget").arg("-p").arg(&self.path).arg(node))?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    fn get(&self, node: &str, property: &str) -> Option<String> {
        let mut get = tool::command("fdtget");
        let value = tool::run(get.args(["-t", "s"]).arg(&self.path).args([node, property])).ok()?;
        Some(value.trim_end().to_owned())
    }

    fn string(&self, node: &str, property: &str, value: &str) -> Result<()> {
        self.put(&["-p", "-t", "s"], &[node, property, value])
    }

    fn cells(&self, node: &str, property: &str, values: &[u32]) -> Result<()> {
        let values: Vec<_> = values.iter().map(|value| format!("{value:x}")).collect();
        let mut words = vec![node, property];
        words.extend(values.iter().map(String::as_str));
        self.put(&["-p", "-t", "x"], &words)
    }

    fn put(&self, options: &[&str], words: &[&str]) -> Result<()> {
        let mut put = tool::command("fdtput");
        tool::run(put.args(options).arg(&self.path).args(words)).map(|_| ())
    }
}

/// A revision code of the new style: a flag for it, memory, processor and type; made by Sony UK, revision 0.
/// (Raspberry Pi documentation, raspberry-pi/revision-codes.adoc)
fn revision(board: &Board) -> u32 {
    let processor = match board.chip {
        Chip::Bcm2835 => 0,
        Chip::Bcm2836 => 1,
        Chip::Bcm2837 => 2,
        Chip::Bcm2711 => 3,
        Chip::Bcm2712 => 4,
    };
    // 0 is 256 MiB, and each next one twice as much.
    let memory = (board.memory / 256).checked_ilog2().unwrap_or_default();
    1 << 23 | memory << 20 | processor << 12 | board.type_code << 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(board: &str, expected: u32) {
        let found = revision(rpifw::board(board).unwrap());
        assert_eq!(found, expected, "{found:x}");
    }

    /// From the table of revision-codes.adoc, the board's revision taken as 0.
    #[test]
    fn revision_codes() {
        check("pi0", 0x0090_0090);
        check("pi2b", 0x00a0_1040);
        check("pi3b", 0x00a0_2080);
        check("pi4b", 0x00a0_3110);
        check("pi5", 0x00c0_4170);
        check("pi1a+", 0x0080_0020);
    }

    fn tree() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        let source = "/dts-v1/;\n/ { aliases { serial0 = \"/soc/serial@7e201000\"; };\n\
                      soc { serial@7e201000 { compatible = \"arm,pl011\"; bluetooth { }; };\n\
                      mmc@7e300000 { mmc-pwrseq = <1>; wifi@1 { reg = <1>; }; }; clock@7ef00000 { }; }; };\n";
        let (dts, dtb) = (directory.path().join("x.dts"), directory.path().join("x.dtb"));
        fs::write(&dts, source).unwrap();
        tool::run(tool::command("dtc").args(["-q", "-o"]).arg(&dtb).arg(&dts)).unwrap();
        (directory, Tree::open(dtb))
    }

    #[test]
    fn what_the_firmware_says_is_in_the_tree() {
        let (_directory, tree) = tree();
        let boot = Boot { partition: 3, tryboot: true, ..boot() };
        tree.as_firmware(rpifw::board("pi4b").unwrap(), &boot, true, None).unwrap();
        tree.ramoops().unwrap();
        let said =
            tool::run(tool::command("dtc").args(["-q", "-I", "dtb"]).arg(tree.path())).unwrap();
        let lines = [
            "model = \"Raspberry Pi 4 Model B\";",
            "partition = <0x03>;",
            "tryboot = <0x01>;",
            "boot-mode = <0x01>;",
            "rsts = <0x20>;",
            "linux,revision = <0xa03110>;",
            "linux,serial = <0x10000000 0xc0ffee42>;",
            "build-timestamp = <0x681ccbff>;",
            "reg = <0x00 0x4b000000 0x00 0x10000>;",
            "ranges;",
        ];
        for line in lines {
            assert!(said.contains(line), "{line} is not in\n{said}");
        }
    }

    #[test]
    fn what_a_machine_needs_is_done_where_there_is_such_a_node() {
        let (_directory, tree) = tree();
        assert_eq!(tree.serial0().unwrap(), "ttyAMA0 on the board, which its Bluetooth is on");
        tree.as_needed(super::super::model::RASPI4B).unwrap();
        assert_eq!(tree.get("/soc/clock@7ef00000", "status").as_deref(), Some("disabled"));
        assert!(!tree.has("/soc/mmc@7e300000/wifi@1") && !tree.has("/soc/i2c@7ef04500"));
        assert!(tree.properties("/soc/mmc@7e300000").unwrap().is_empty());
        assert_eq!(tree.serial0().unwrap(), "ttyAMA0 on the board");
    }

    fn boot() -> Boot {
        Boot {
            partition: 2,
            tryboot: false,
            arm_64bit: true,
            kernel: "kernel8.img".into(),
            dtb: None,
            initramfs: Vec::new(),
            cmdline: String::new(),
            overlays: Vec::new(),
            firmware: Vec::new(),
            missing: Vec::new(),
            settings: rpifw::Settings::default(),
            notes: Vec::new(),
        }
    }
}
