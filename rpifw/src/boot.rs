// SPDX-License-Identifier: MIT OR Apache-2.0

//! The decision. (DOC config_txt/boot.adoc, where nothing else is named.)

use crate::filter::Context;
use crate::partition::{self, Chosen};
use crate::{Board, Chip, Config, Disk, Settings, Start, Stop, Table, Volume};

/// Names that say how a kernel is started. ("If the name given in an explicit kernel option matches one of the known
/// kernels then arm_64bit will be set accordingly"; the names are those in start.elf and the Pi 5 bootloader.)
const KERNELS: [(&str, bool); 7] = [
    ("kernel.img", false),
    ("kernel7.img", false),
    ("kernel7l.img", false),
    ("kernel8-32.img", false),
    ("kernel8.img", true),
    ("kernel8_rt.img", true),
    ("kernel_2712.img", true),
];

/// What a board boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The partition that everything else is loaded from.
    pub partition: u32,
    /// Whether the firmware tells the kernel that this is a trial.
    pub tryboot: bool,
    /// Whether the kernel is started in 64-bit mode.
    pub arm_64bit: bool,
    /// Path of the kernel.
    pub kernel: String,
    /// Path of the device tree; none where config.txt asks for none.
    pub dtb: Option<String>,
    /// Paths of the parts of the initramfs, which are loaded one behind the other.
    pub initramfs: Vec<String>,
    /// As in the file, without the end of the line.
    pub cmdline: String,
    /// Paths of the overlays that are applied, in order.
    pub overlays: Vec<String>,
    /// Files of the firmware itself that are loaded: `bootcode.bin`, `start.elf`, `fixup.dat`.
    pub firmware: Vec<String>,
    /// Files of the firmware that the disk lacks: a board stops at the first, an emulator goes on. Empty on a disk
    /// that is good for boards.
    pub missing: Vec<Stop>,
    /// What config.txt says to this board.
    pub settings: Settings,
    /// What a person should know of how it was decided.
    pub notes: Vec<String>,
}

/// Decides what a board boots from a disk.
///
/// A disk on which no partition has the firmware's files is taken as one for emulation: the decision is made as if
/// they were there, and [`Boot::missing`] names them.
///
/// # Errors
/// Where the board stops.
pub fn boot(board: &Board, disk: &dyn Disk, start: &Start) -> Result<Boot, Stop> {
    let chosen = partition::choose(board, disk, start)?;
    let mut slot =
        Slot { board, number: chosen.number, volume: chosen.volume, prefix: String::new() };
    let config = slot.config(chosen.config)?;
    let context = Context { board, tryboot: start.tryboot, partition: chosen.number };
    let (settings, found) = config.unwrap_or_default().evaluate(&context);
    let Chosen { mut firmware, mut missing, mut notes, .. } = chosen;
    notes.extend(found);
    if disk.table() == Table::Gpt {
        notes.push("gpt: boards have been seen to ignore autoboot.txt there".to_owned());
    }
    slot.firmware(&settings, &mut firmware, &mut missing);
    let (arm_64bit, kernels) = slot.kernels(&settings, start, &mut notes)?;
    slot.prefix = slot.viable_prefix(&settings, &kernels, &mut notes);
    let kernel = slot.first(&kernels).ok_or_else(|| {
        slot.stop(&slot.path(kernels.first().map_or("", String::as_str)), "is missing: no kernel")
    })?;
    let dtb = slot.dtb(&settings, &mut notes)?;
    let initramfs = slot.initramfs(&settings)?;
    let cmdline = slot.cmdline(&settings, &mut notes)?;
    let overlays = slot.overlays(&settings, dtb.as_deref(), &mut notes);
    Ok(Boot {
        partition: slot.number,
        tryboot: start.tryboot,
        arm_64bit,
        kernel,
        dtb,
        initramfs,
        cmdline,
        overlays,
        firmware,
        missing,
        settings,
        notes,
    })
}

/// A partition that is booted.
struct Slot<'a> {
    board: &'a Board,
    number: u32,
    volume: &'a dyn Volume,
    /// `os_prefix`, where it counts.
    prefix: String,
}

impl Slot<'_> {
    fn stop(&self, file: &str, why: &str) -> Stop {
        self.failed(file, format!("{file} {why}"))
    }

    fn failed(&self, file: &str, reason: String) -> Stop {
        Stop { partition: Some(self.number), file: file.to_owned(), reason }
    }

    /// A Pi 5 does not boot without config.txt, others take their defaults. (DOC config_txt/autoboot.adoc)
    fn config(&self, name: &str) -> Result<Option<Config>, Stop> {
        let config = Config::load(self.volume, name).map_err(|error| self.failed(name, error))?;
        if config.is_none() && self.board.chip == Chip::Bcm2712 {
            return Err(self.stop(name, "is missing"));
        }
        Ok(config)
    }

    /// "start_x=1 implies start_file=start_x.elf fixup_file=fixup_x.dat"; likewise `start_debug`, and `gpu_mem=16` the
    /// cut-down ones (DOC config_txt/memory.adoc). "The start_file and the fixup_file are a matched pair."
    fn firmware(&self, settings: &Settings, loaded: &mut Vec<String>, missing: &mut Vec<Stop>) {
        let Some((start, fixup)) = self.board.chip.firmware() else { return };
        let is = |key, value| settings.get(key) == Some(value);
        let variant = match () {
            () if is("start_x", "1") => Some("x"),
            () if is("start_debug", "1") => Some("db"),
            () if is("gpu_mem", "16") => Some("cd"),
            () => None,
        };
        // start_x.elf, but start4x.elf
        let joint = if self.board.chip == Chip::Bcm2711 { "" } else { "_" };
        for (key, name) in [("start_file", start), ("fixup_file", fixup)] {
            let named = match (settings.get(key), variant, name.split_once('.')) {
                (Some(named), _, _) => named.to_owned(),
                (None, Some(variant), Some((stem, end))) => format!("{stem}{joint}{variant}.{end}"),
                _ => name.to_owned(),
            };
            if self.volume.exists(&named) {
                loaded.push(named);
            } else {
                missing.push(self.stop(&named, "is missing"));
            }
        }
    }

    /// Whether the kernel is started in 64-bit mode, and the names that are looked for.
    fn kernels(
        &self,
        settings: &Settings,
        start: &Start,
        notes: &mut Vec<String>,
    ) -> Result<(bool, Vec<String>), Stop> {
        let chip = self.board.chip;
        let mut wide = settings.arm_64bit.unwrap_or(chip.default_arm_64bit());
        let mut name = settings.kernel.clone();
        if let Some(asked) = start.arm_64bit {
            notes.push(format!("arm_64bit={} overrides config.txt", u8::from(asked)));
            name = name.filter(|name| known(name).is_none_or(|known| known == asked));
            wide = asked;
        }
        match chip {
            Chip::Bcm2712 => wide = true,
            // one config.txt with arm_64bit=1 serves Raspberry Pi OS from the Pi 1 to the Pi 5
            _ if !chip.can_64bit() => wide = false,
            _ => {}
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok((wide, chip.kernels(wide).iter().map(|name| (*name).to_owned()).collect()));
        };
        match known(&name) {
            Some(true) if !chip.can_64bit() => {
                return Err(self.stop(&name, "is a 64-bit kernel, the processor has 32 bits"));
            }
            Some(false) if chip == Chip::Bcm2712 => {
                return Err(self.stop(&name, "is a 32-bit kernel, a Pi 5 runs none"));
            }
            known => wide = known.unwrap_or(wide),
        }
        Ok((wide, vec![name]))
    }

    /// "Unless the expected kernel and .dtb can be found at the new location/name, the prefix is ignored";
    /// upstream_kernel=1 "sets os_prefix to upstream/, unless it has been explicitly set".
    fn viable_prefix(
        &self,
        settings: &Settings,
        kernels: &[String],
        notes: &mut Vec<String>,
    ) -> String {
        let upstream = settings.upstream_kernel.then(|| "upstream/".to_owned());
        let prefix = settings.os_prefix.clone().or(upstream).unwrap_or_default();
        let there = Self { prefix, ..*self };
        if there.prefix.is_empty() {
            return there.prefix;
        }
        let trees = self.trees(settings);
        if there.first(kernels).is_some() && (trees.is_empty() || there.first(&trees).is_some()) {
            return there.prefix;
        }
        if settings.os_prefix.is_some() {
            notes.push(format!(
                "os_prefix={} is ignored: no kernel and device tree there",
                there.prefix
            ));
        }
        String::new()
    }

    /// Names of device trees, in order; none where none is wanted.
    fn trees(&self, settings: &Settings) -> Vec<String> {
        let upstream = if settings.upstream_kernel { self.board.upstream_dtb } else { &[] };
        match settings.device_tree.as_deref() {
            Some("") => Vec::new(),
            Some(name) => vec![name.to_owned()],
            None => upstream.iter().chain(self.board.dtb).map(|name| (*name).to_owned()).collect(),
        }
    }

    /// Older kernels could do without one, none of today's can: no device tree is a stop.
    fn dtb(&self, settings: &Settings, notes: &mut Vec<String>) -> Result<Option<String>, Stop> {
        let trees = self.trees(settings);
        let Some(wanted) = trees.first() else {
            notes.push("device_tree= is empty: the kernel gets no device tree".to_owned());
            return Ok(None);
        };
        let found = self.first(&trees);
        found.map(Some).ok_or_else(|| self.stop(&self.path(wanted), "is missing: no device tree"))
    }

    fn initramfs(&self, settings: &Settings) -> Result<Vec<String>, Stop> {
        let one = |name: &String| {
            let path = self.path(name);
            if self.volume.exists(&path) {
                Ok(path)
            } else {
                Err(self.stop(&path, "is missing: no initramfs"))
            }
        };
        settings.initramfs.iter().map(one).collect()
    }

    fn cmdline(&self, settings: &Settings, notes: &mut Vec<String>) -> Result<String, Stop> {
        let path = self.path(settings.cmdline.as_deref().unwrap_or("cmdline.txt"));
        let text = self.volume.read(&path).map_err(|error| self.failed(&path, error))?;
        let Some(text) = text else {
            notes.push(format!("{path} is missing: the command line is the firmware's alone"));
            return Ok(String::new());
        };
        Ok(String::from_utf8_lossy(&text).trim_end_matches(['\r', '\n', '\0']).to_owned())
    }

    /// "${os_prefix}${overlay_prefix}disable-bt.dtbo"; the former only where a README is there. "If the upstream file
    /// isn't found the firmware will load the downstream variant instead and automatically apply the upstream overlay".
    fn overlays(
        &self,
        settings: &Settings,
        dtb: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Vec<String> {
        let directory = settings.overlay_prefix.as_deref().unwrap_or("overlays/");
        let prefixed = format!("{}{directory}", self.prefix);
        let shared = !self.volume.exists(&format!("{prefixed}README"));
        let directory = if shared { directory } else { &prefixed };
        let is_upstream =
            |dtb: &str| self.board.upstream_dtb.iter().any(|name| dtb.ends_with(name));
        let automatic = settings.upstream_kernel
            && settings.device_tree.is_none()
            && dtb.is_some_and(|dtb| !is_upstream(dtb));
        let named = settings.overlays.iter().filter(|(key, _)| key == "dtoverlay");
        let names = named.map(|(_, value)| value.split([',', ':']).next().unwrap_or_default());
        let mut paths = Vec::new();
        for name in automatic.then_some("upstream").into_iter().chain(names) {
            let path = format!("{directory}{name}.dtbo");
            match self.volume.exists(&path) {
                _ if name.is_empty() || dtb.is_none() => {}
                true => paths.push(path),
                false => notes.push(format!("{path} is missing: taken as no reason to stop")),
            }
        }
        paths
    }

    /// "Any user-specified OS file can bypass all prefixes by using an absolute path."
    fn path(&self, name: &str) -> String {
        match name.strip_prefix('/') {
            Some(absolute) => absolute.to_owned(),
            None => format!("{}{name}", self.prefix),
        }
    }

    fn first(&self, names: &[String]) -> Option<String> {
        names.iter().map(|name| self.path(name)).find(|path| self.volume.exists(path))
    }
}

/// Whether a kernel of this name is started in 64-bit mode; none: it is no name that the firmware knows.
fn known(name: &str) -> Option<bool> {
    KERNELS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, wide)| *wide)
}

#[cfg(test)]
mod tests;
