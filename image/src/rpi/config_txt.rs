// SPDX-License-Identifier: MIT OR Apache-2.0
//! `config.txt` of a slot. (Raspberry Pi documentation: `config_txt/`.)

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Result, ensure};
use rpifw::BOARDS;

use crate::config::KernelFile::{self, V6, V7, V7l, V8, V2712};
use crate::slot::INITRAMFS;

/// Characters of a line that every firmware reads (config_txt/what_is_config_txt.adoc).
pub const LINE_MAX: usize = 98;
/// Seconds in which the system must have taken over the watchdog that the firmware started: an init that comes so
/// far arms it with 15 s of its own.
const WATCHDOG: u32 = 60;

/// A family of boards: its filter, who that is, and the kernels that it runs, the best first.
struct Family {
    filter: &'static str,
    boards: &'static str,
    kernels: &'static [KernelFile],
}

/// In the order of the file: a Zero 2 W matches `[pi0]`, too, and the last word counts. (config_txt/conditional.adoc)
const FAMILIES: &[Family] = &[
    Family { filter: "pi1", boards: "Pi 1 A, B, A+, B+, Compute Module 1", kernels: &[V6] },
    Family { filter: "pi2", boards: "Pi 2 B", kernels: &[V7] },
    Family { filter: "pi3", boards: "Pi 3 B, B+, A+, Compute Module 3, 3+", kernels: &[V8, V7] },
    Family { filter: "pi4", boards: "Pi 4 B, 400, Compute Module 4, 4S", kernels: &[V8, V7l] },
    Family { filter: "pi5", boards: "Pi 5, 500, 500+, Compute Module 5", kernels: &[V2712, V8] },
    Family { filter: "pi0", boards: "Zero, Zero W", kernels: &[V6] },
    Family {
        filter: "pi02",
        boards: "Zero 2 W; it reads [pi0], too, and this wins",
        kernels: &[V8, V7],
    },
    Family { filter: "cm0", boards: "Compute Module 0", kernels: &[V8, V7] },
];

/// What the file depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Of the revision that the slot belongs to.
    pub revision: &'a str,
    /// Those in the slot.
    pub kernels: &'a BTreeSet<KernelFile>,
    /// Whether the firmware knows `kernel_watchdog_timeout`.
    pub watchdog: bool,
    /// Whether a device tree for Pi 5 is in the slot.
    pub pi5_tree: bool,
    /// Of the configuration.
    pub lines: &'a [String],
}

/// The text.
#[must_use]
pub fn text(facts: &Facts<'_>) -> String {
    let mut out = format!(
        "# Revision {}, made by pivot-image. The same file is in both slots: which of them\n\
         # boots is decided by autoboot.txt on the first partition.\n\n\
         [all]\n\
         # a console on GPIO 14 and 15\n\
         enable_uart=1\n\
         # no rainbow on the screen\n\
         disable_splash=1\n\
         # the hardware watchdog in the device tree\n\
         dtparam=watchdog=on\n",
        facts.revision
    );
    if facts.watchdog {
        out += "# the firmware starts it, and init must take it over within these seconds\n";
        let _ = writeln!(out, "kernel_watchdog_timeout={WATCHDOG}");
    }
    for family in FAMILIES {
        section(&mut out, family, facts);
    }
    if !facts.lines.is_empty() {
        out += "\n# of the image's configuration\n[all]\n";
    }
    for line in facts.lines {
        out += line;
        out.push('\n');
    }
    out
}

fn section(out: &mut String, family: &Family, facts: &Facts<'_>) {
    let kernel = family.kernels.iter().find(|kernel| facts.kernels.contains(kernel));
    let _ = writeln!(out, "\n# {}\n[{}]", family.boards, family.filter);
    let Some(kernel) = kernel else {
        let best = family.kernels.first().map_or("", |kernel| kernel.name());
        // named all the same: a board never runs a kernel that is meant for another one
        let _ = writeln!(out, "# this image has no kernel for it: it stops here\nkernel={best}");
        return;
    };
    // a Pi 5 knows no other mode, and those up to Pi 2 have no other by default
    if family.kernels.contains(&V8) && !family.kernels.contains(&V2712) {
        let _ = writeln!(out, "arm_64bit={}", u8::from(*kernel == V8));
    }
    let lines = |kernel: &KernelFile| {
        let (name, early) = (kernel.name(), kernel.early());
        (format!("kernel={name}"), format!("initramfs {INITRAMFS},{early} followkernel"))
    };
    let (line, initramfs) = lines(kernel);
    let _ = writeln!(out, "{line}\n{initramfs}");
    // the three lines belong together: arm_64bit=0 alone would load the other kernel's early modules
    let narrow = family.kernels.iter().find(|other| **other != V8 && facts.kernels.contains(other));
    if let (V8, Some(narrow)) = (kernel, narrow) {
        let (line, initramfs) = lines(narrow);
        let _ = writeln!(out, "# in 32-bit mode: arm_64bit=0\n# {line}\n# {initramfs}");
    }
    if family.filter == "pi5" && !facts.pi5_tree {
        *out += "# no device tree for it is here: the firmware has one of its own, and is not to look\n";
        *out += "os_check=0\n";
    }
}

/// Checks lines that a person wrote.
///
/// # Errors
/// Names the line that the firmware would not read, or not as it is meant.
pub fn check_lines(lines: &[String]) -> Result<()> {
    for line in lines {
        let length = line.len();
        ensure!(
            length <= LINE_MAX,
            "rpi.config {line:?}: has {length} characters, the firmware reads {LINE_MAX}"
        );
        let printable = line.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        ensure!(printable, "rpi.config {line:?}: expected one line of ASCII");
        if let Some(filter) = line.trim().strip_prefix('[') {
            let known = filter.strip_suffix(']').is_some_and(|name| {
                BOARDS.iter().any(|board| rpifw::filter::is_known(name, board))
            });
            ensure!(known, "rpi.config {line:?}: no filter that the firmware knows");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kernels: &[KernelFile], watchdog: bool, pi5_tree: bool) -> String {
        let kernels = kernels.iter().copied().collect();
        let lines = ["[pi4]".to_owned(), "dtoverlay=disable-bt".to_owned()];
        text(&Facts { revision: "7", kernels: &kernels, watchdog, pi5_tree, lines: &lines })
    }

    /// The lines of a section, without comments.
    fn of(text: &str, filter: &str) -> Vec<String> {
        let mut inside = false;
        let mut out = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            if line.starts_with('[') {
                inside = line == format!("[{filter}]");
            } else if inside {
                out.push(line.to_owned());
            }
        }
        out
    }

    #[track_caller]
    fn check(text: &str, filter: &str, expected: &[&str]) {
        assert_eq!(of(text, filter), expected, "{filter}: {text}");
    }

    #[test]
    fn all_kernels() {
        let text = made(&[V6, V7, V7l, V8, V2712], true, true);
        check(&text, "pi1", &["kernel=kernel.img", "initramfs initrd,early.img followkernel"]);
        check(&text, "pi0", &["kernel=kernel.img", "initramfs initrd,early.img followkernel"]);
        check(&text, "pi2", &["kernel=kernel7.img", "initramfs initrd,early7.img followkernel"]);
        let wide =
            ["arm_64bit=1", "kernel=kernel8.img", "initramfs initrd,early8.img followkernel"];
        for filter in ["pi3", "pi02", "cm0"] {
            check(&text, filter, &wide);
        }
        let pi4 = [&wide[..], &["dtoverlay=disable-bt"]].concat();
        check(&text, "pi4", &pi4);
        let pi5 = ["kernel=kernel_2712.img", "initramfs initrd,early16k.img followkernel"];
        check(&text, "pi5", &pi5);
        let all = [
            "enable_uart=1",
            "disable_splash=1",
            "dtparam=watchdog=on",
            "kernel_watchdog_timeout=60",
        ];
        check(&text, "all", &all);
        assert!(text.find("[pi0]").unwrap() < text.find("[pi02]").unwrap());
        assert!(text.lines().all(|line| line.len() <= LINE_MAX), "{text}");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let text = made(&[V8], false, false);
        check(&text, "pi1", &["kernel=kernel.img"]);
        assert!(
            text.contains("# this image has no kernel for it: it stops here\nkernel=kernel7.img")
        );
        let pi5 = ["kernel=kernel8.img", "initramfs initrd,early8.img followkernel", "os_check=0"];
        check(&text, "pi5", &pi5);
        assert!(!text.contains("kernel_watchdog_timeout"));
        let text = made(&[V7, V7l], false, true);
        check(
            &text,
            "pi02",
            &["arm_64bit=0", "kernel=kernel7.img", "initramfs initrd,early7.img followkernel"],
        );
        check(&text, "pi5", &["kernel=kernel_2712.img"]);
    }

    #[track_caller]
    fn refused(line: &str, why: &str) {
        let error = check_lines(&[line.to_owned()]).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn lines_of_a_person() {
        check_lines(&["dtparam=audio=on", "[pi4]", "[gpio4=1]", "# x"].map(str::to_owned)).unwrap();
        check_lines(&["x".repeat(98)]).unwrap();
        refused(&"x".repeat(99), "has 99 characters, the firmware reads 98");
        refused("[pi6]", "no filter that the firmware knows");
        refused("[pi4", "no filter");
        refused("a\nb", "one line of ASCII");
    }
}
