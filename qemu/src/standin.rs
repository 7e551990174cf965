// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stands in for the firmware of a Raspberry Pi, which QEMU does not have: reads a disk image as the named board's
//! firmware would, and starts QEMU with what that would have started. The image is never written to: a card has a copy
//! of it, and the firmware reads the card anew at each start, as whatever ran on the board has left it.
//!
//! The decision is [`rpifw`]'s. Here are its consequences: files taken out of the card, the device tree as the
//! firmware hands it on, and what a restart leads to. Nothing is written that real firmware does not write.

mod model;
mod needs;
mod rom;
mod tree;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use ::image::rpidisk::ImageDisk;
use anyhow::{Context, Result, anyhow, bail, ensure};
use rpifw::{Board, Boot, Disk, Start};

use crate::{recorder, tool};
use model::{Card, Model};
pub(crate) use rom::{Bootloader, Eeprom, Recovery, verified};
use tree::Tree;

/// What a kernel prints before it restarts with an argument (kernel: kernel/reboot.c, kernel_restart). The vendor's
/// kernels make the firmware's one-shot flag of this argument (raspberrypi/linux: drivers/firmware/raspberrypi.c);
/// mainline kernels do not.
const TRYBOOT: &str = "reboot: Restarting system with command '0 tryboot'";

/// A board with a card in it.
#[derive(Clone, Debug)]
pub(crate) struct Standin {
    pub(crate) board: &'static Board,
    pub(crate) image: PathBuf,
    /// For the files of a run, the card among them.
    pub(crate) directory: PathBuf,
    /// See [`Start::arm_64bit`].
    pub(crate) arm_64bit: Option<bool>,
    /// Whether the card is a virtio disk where QEMU's generic machine stands in: ten times as fast as an SD card.
    pub(crate) quick: bool,
    /// Whether QEMU's generic machine has a piece of memory for the kernel's last words, as a board has with
    /// `dtoverlay=ramoops`, and keeps its memory while it restarts.
    pub(crate) ramoops: bool,
    /// Its content, where it matters; without one a Raspberry Pi 4 or 5 has a bootloader of 2025.
    pub(crate) eeprom: Option<Eeprom>,
    /// Where what is written to a virtio disk is recorded.
    pub(crate) record: Option<PathBuf>,
}

/// What brought the board to its boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    /// The one-shot flag is set.
    pub(crate) tryboot: bool,
    /// It was restarted; otherwise its power was switched on.
    pub(crate) restarted: bool,
}

impl Cause {
    /// What a restart leads to. The flag is read and cleared before the kernel starts, so every restart boots the
    /// default, the watchdog's included, except for one that asks for it. (Raspberry Pi documentation,
    /// raspberry-pi/bootflow-eeprom.adoc)
    pub(crate) fn after(console: &str) -> Self {
        Self { tryboot: console.contains(TRYBOOT), restarted: true }
    }
}

/// A board that is about to run.
#[derive(Debug)]
pub(crate) struct Started {
    /// QEMU without any console.
    pub(crate) qemu: Command,
    pub(crate) boot: Boot,
    /// What was decided and why, for a person.
    pub(crate) told: String,
}

/// The board of this name.
pub(crate) fn board(name: &str) -> Result<&'static Board> {
    rpifw::board(name).with_context(|| {
        let all = rpifw::BOARDS.iter().map(|b| format!("  {:<10} {}\n", b.name, b.model));
        format!("no board is called {name:?}; there are\n{}", all.collect::<String>())
    })
}

impl Standin {
    /// The card's file: its plain content.
    pub(crate) fn card(&self) -> PathBuf {
        self.directory.join("card.img")
    }

    /// Puts a new card with the image's content into the board. A card's size in bytes is a power of two, which is
    /// all that QEMU takes (hw/sd/sd.c); without `size` it is the smallest that the image fits on.
    pub(crate) fn insert_card(&self, size: Option<u64>) -> Result<()> {
        let length = fs::metadata(&self.image)
            .with_context(|| format!("cannot read {}", self.image.display()))?
            .len();
        let size = size.unwrap_or(length.next_power_of_two());
        ensure!(size.is_power_of_two(), "a card of {size} bytes: QEMU takes powers of two only");
        ensure!(size >= length, "a card of {size} bytes: the image has {length}");
        let card = self.card();
        tool::copy_sparse(&self.image, &card)?;
        let file = File::options().write(true).open(&card);
        file.and_then(|file| file.set_len(size))
            .with_context(|| format!("cannot make {} {size} bytes long", card.display()))
    }

    /// Decides, takes out of the card what the firmware would load, and makes QEMU's command line. `append` is more
    /// words for the kernel's.
    pub(crate) fn start(&self, cause: Cause, append: &OsStr) -> Result<Started> {
        let path = self.card();
        let mut cause = cause;
        if let Some(eeprom) = &self.eeprom
            && eeprom.start(&path)? > 0
        {
            // the reset takes the flag with it
            cause = Cause { tryboot: false, restarted: true };
        }
        let card = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let disk = ImageDisk::open(&card).with_context(|| path.display().to_string())?;
        let start = Start { tryboot: cause.tryboot, arm_64bit: self.arm_64bit };
        let mut boot = rpifw::boot(self.board, &disk, &start)
            .map_err(|stop| anyhow!("{stop}"))
            .with_context(|| format!("a {} stops", self.board.model))?;
        if self.arm_64bit.is_some() {
            with_its_initramfs(&disk, &mut boot)?;
        }
        let model = model::nearest(self.board, boot.arm_64bit);
        let mut qemu = machine(model);
        self.load(&mut qemu, &disk, &boot)?;
        let tree = self.tree(model, &disk, &boot)?;
        let serial0 = tree.serial0();
        let bootloader = self.eeprom.as_ref().map(Eeprom::bootloader).transpose()?;
        tree.as_firmware(self.board, &boot, cause.restarted, bootloader.as_ref())?;
        tree.as_needed(model)?;
        if self.ramoops && model.is_virt() {
            tree.ramoops()?;
            self.keep_memory(&mut qemu, model);
        }
        if let Some(Bootloader { bootconf, .. }) = bootloader.filter(|_| model.is_virt()) {
            let file = self.directory.join("bootconf");
            write(&file, &bootconf)?;
            tree.bootconf(&mut qemu, &file)?;
            tree.is_of(self.board)?;
        }
        qemu.arg("-dtb").arg(tree.path());
        let cmdline = needs::cmdline(model, &cmdline(&boot));
        qemu.arg("-append").arg(crate::image::append(&cmdline, append));
        let quick = self.quick && model.is_virt();
        self.attach(&mut qemu, if quick { Card::Virtio } else { model.card })?;
        let told = self.told(cause, model, &boot, serial0.as_deref());
        Ok(Started { qemu, boot, told })
    }

    /// Kernel and initramfs. The parts of an initramfs are loaded one behind the other, as they are. (Raspberry Pi
    /// documentation, config_txt/boot.adoc, `ramfsfile`)
    fn load(&self, qemu: &mut Command, disk: &ImageDisk<'_>, boot: &Boot) -> Result<()> {
        let (kernel, initrd) = (self.directory.join("kernel"), self.directory.join("initrd"));
        write(&kernel, &read(disk, boot, &boot.kernel)?)?;
        qemu.arg("-kernel").arg(&kernel);
        let parts = boot.initramfs.iter().map(|part| read(disk, boot, part));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        if !parts.is_empty() {
            write(&initrd, &parts.concat())?;
            qemu.arg("-initrd").arg(&initrd);
        }
        Ok(())
    }

    /// The board's, or the machine's own where it is none of a Raspberry Pi's.
    fn tree(&self, model: &Model, disk: &ImageDisk<'_>, boot: &Boot) -> Result<Tree> {
        let path = self.directory.join("dtb");
        if model.is_virt() {
            let dump = format!("dumpdtb={}", path.display().to_string().replace(',', ",,"));
            tool::run(machine(model).arg("-machine").arg(dump))?;
            return Ok(Tree::open(path));
        }
        match &boot.dtb {
            Some(dtb) => Tree::write(path, &read(disk, boot, dtb)?),
            None => bail!("config.txt asks for no device tree; QEMU's {} needs one", model.name),
        }
    }

    /// In a file: a start is a QEMU of its own.
    fn keep_memory(&self, qemu: &mut Command, model: &Model) {
        let file = self.directory.join("memory").display().to_string().replace(',', ",,");
        let size = model.memory.unwrap_or_default();
        let object = format!("memory-backend-file,id=memory,size={size},mem-path={file},share=on");
        qemu.arg("-object").arg(object).args(["-machine", "memory-backend=memory"]);
    }

    /// As if the power were cut.
    pub(crate) fn forget_memory(&mut self) -> Result<()> {
        self.ramoops = false;
        fs::remove_file(self.directory.join("memory")).context("there was no memory")
    }

    fn attach(&self, qemu: &mut Command, card: Card) -> Result<()> {
        if let Some(log) = self.record.as_ref().filter(|_| card == Card::Virtio) {
            return recorder::add_disk(qemu, &self.card(), log);
        }
        let file = self.card().display().to_string().replace(',', ",,");
        let drive = format!("id=card,format=raw,file={file}");
        match card {
            Card::Slot => qemu.arg("-drive").arg(format!("if=sd,{drive}")),
            Card::Pci => qemu.arg("-drive").arg(format!("if=none,{drive}")).args([
                "-device",
                "sdhci-pci",
                "-device",
                "sd-card,drive=card",
            ]),
            Card::Virtio => qemu
                .arg("-drive")
                .arg(format!("if=none,{drive}"))
                .args(["-device", "virtio-blk-pci,drive=card"]),
        };
        Ok(())
    }

    fn told(&self, cause: Cause, model: &Model, boot: &Boot, serial0: Option<&str>) -> String {
        let mut lines = vec![
            format!("board      {} ({})", self.board.model, self.board.name),
            format!("partition  {}{}", boot.partition, if boot.tryboot { ", tryboot" } else { "" }),
            format!("kernel     {}", boot.kernel),
            format!("dtb        {}", boot.dtb.as_deref().unwrap_or("none")),
            format!("initramfs  {}", boot.initramfs.join(" ")),
            format!("cmdline    {}", boot.cmdline),
        ];
        lines.extend(
            boot.missing.iter().map(|stop| format!("emulation  a board stops here: {stop}")),
        );
        lines.extend(boot.notes.iter().map(|note| format!("note       {note}")));
        lines.extend(model::difference(self.board, model).map(|text| format!("machine    {text}")));
        if !boot.overlays.is_empty() {
            lines.push(format!("note       not applied: {}", boot.overlays.join(" ")));
        }
        if let Some(port) = serial0.filter(|_| !model.is_virt()) {
            lines.push(format!("serial0    {port}"));
        }
        if cause.tryboot && cause.restarted {
            lines.push(
                "tryboot    vendor-assumed: a mainline kernel would not pass \"0 tryboot\" on to the firmware"
                    .into(),
            );
        }
        lines.push(format!("QEMU's {} needs, and the board does not:", model.name));
        lines.extend(needs::of(model).map(|need| format!("  {}\n      {}", need.what(), need.why)));
        lines.join("\n")
    }
}

/// QEMU's command line up to what is loaded.
fn machine(model: &Model) -> Command {
    let mut qemu = tool::command("qemu-system-aarch64");
    qemu.args(["-machine", model.name]);
    let more = [("-cpu", model.cpu), ("-m", model.memory)];
    for (option, value) in more {
        qemu.args(value.map(|value| [option, value]).into_iter().flatten());
    }
    for need in needs::of(model) {
        if let needs::Change::Options(options) = need.change {
            qemu.args(options);
        }
    }
    qemu
}

/// The line of the file, and what the firmware adds because of config.txt. (Raspberry Pi documentation,
/// config_txt/boot.adoc, `kernel_watchdog_timeout`) What else it adds is for the vendor's drivers, and left out.
fn cmdline(boot: &Boot) -> String {
    match boot.settings.kernel_watchdog_timeout {
        Some(seconds) => format!("{} watchdog.open_timeout={seconds}", boot.cmdline),
        None => boot.cmdline.clone(),
    }
}

/// Who sets arm_64bit in config.txt writes the initramfs that belongs to the other kernel there, too; kernels.txt of
/// the slot says which one that is.
fn with_its_initramfs(disk: &ImageDisk<'_>, boot: &mut Boot) -> Result<()> {
    let list = String::from_utf8(read(disk, boot, "kernels.txt")?).context("kernels.txt")?;
    let mut rows = list.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    if let Some([_, _, parts @ ..]) = rows.find(|row| row.get(1) == Some(&&*boot.kernel)).as_deref()
    {
        boot.initramfs = parts.iter().map(|part| (*part).to_owned()).collect();
        boot.notes.push(format!("initramfs: what kernels.txt names for {}", boot.kernel));
    }
    Ok(())
}

/// A file of the partition that the board boots from.
fn read(disk: &ImageDisk<'_>, boot: &Boot, path: &str) -> Result<Vec<u8>> {
    let place = || format!("{path} of partition {}", boot.partition);
    let volume = disk.volume(boot.partition).with_context(place)?;
    let content = volume.read(path).map_err(|why| anyhow!("{why}")).with_context(place)?;
    content.with_context(|| format!("{} is not there", place()))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(console: &str, tryboot: bool) {
        assert_eq!(Cause::after(console), Cause { tryboot, restarted: true });
    }

    #[test]
    fn only_a_restart_that_asks_for_it_is_a_trial() {
        check("[   9.1] reboot: Restarting system with command '0 tryboot'\n", true);
        check("[   9.1] reboot: Restarting system\n", false);
        check("[   9.1] reboot: Restarting system with command '3'\n", false);
        check(
            "pivot: restarting with '0 tryboot'\n[ 1.0] watchdog: watchdog0: hard reset\n",
            false,
        );
    }

    #[test]
    fn an_unknown_board_is_told_the_names() {
        let told = board("pi7").unwrap_err().to_string();
        assert!(told.contains("pi3b ") && told.contains("Raspberry Pi 5"), "{told}");
        assert_eq!(board("PI3B").unwrap().name, "pi3b");
    }
}
