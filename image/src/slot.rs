// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a boot partition holds: kernels, archives and the command line. The volumes of slot a and slot b are
//! equal but for one byte, the letter in `pivot.slot=`, so that one image can be installed in either.

use anyhow::{Result, bail, ensure};

use crate::config::{Disk, Overlay, Table};
use crate::fat::Content;
use crate::uefi;

/// The Arm kernel takes 1024 bytes, and the Raspberry Pi firmware adds hundreds of its own.
pub const CMDLINE_MAX: usize = 512;
/// The file with the command line.
pub const CMDLINE: &str = "cmdline.txt";
/// The shared archive in a slot: names here are short ones (8.3), the Pi firmware's own wish for `initramfs`.
pub const INITRAMFS: &str = "initrd";
/// Where in `cmdline.txt` the letter of the slot is: the parameter is the first.
pub const LETTER_AT: u64 = "pivot.slot=".len() as u64;

/// On the command line of an image for the Raspberry Pi.
pub const STOP_ON_REBOOT: &str = "watchdog.stop_on_reboot=0";

/// The list of what is what, for people and boot loader scripts.
pub const KERNELS: &str = "kernels.txt";

/// One kernel of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// What `uname -r` says.
    pub release: String,
    /// The file with the kernel.
    pub kernel: String,
    /// The file with its early modules.
    pub early: String,
}

impl Names {
    /// Of kernel number `index`, where no firmware looks for a name.
    #[must_use]
    pub fn numbered(release: &str, index: usize) -> Self {
        let [kernel, early] = ["vmlinuz", "early"].map(|name| format!("{name}{index}"));
        Self { release: release.to_owned(), kernel, early }
    }
}

/// Text of [`KERNELS`].
#[must_use]
pub fn kernels_txt<'a>(kernels: impl Iterator<Item = &'a Names>) -> Content {
    let line =
        |names: &Names| format!("{} {} {INITRAMFS} {}\n", names.release, names.kernel, names.early);
    let lines: String = kernels.map(line).collect();
    Content::Bytes(format!("# release, kernel, initramfs, early modules\n{lines}").into_bytes())
}

/// What the command line says beside the words of the configuration.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// `pivot.data=`
    pub data: &'a str,
    /// `pivot.revision=`
    pub revision: &'a str,
    /// Whether the revision brings its own root.
    pub has_root: bool,
    /// Whether 32-bit kernels find their init at /sbin/init.
    pub two_machines: bool,
    /// Whether it is for the Raspberry Pi.
    pub is_pi: bool,
    /// The words that GRUB adds, where it is for UEFI.
    pub grub: Option<&'a str>,
}

/// The command line, the slot's letter `_`.
///
/// # Errors
/// Where it cannot be one line of 512 bytes, or a word contradicts what the image is.
pub fn cmdline(disk: &Disk, boot: &Boot<'_>) -> Result<String> {
    let given = words(&disk.cmdline)?;
    let key = |word: &str| word.split_once('=').map_or(word, |(key, _)| key).to_owned();
    let has = |name: &str| given.iter().any(|word| key(word) == name);
    let printable = disk.cmdline.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    ensure!(printable, "disk.cmdline: expected one line of ASCII");
    if let Some(word) = ["pivot.slot", "pivot.trial"].into_iter().find(|word| has(word)) {
        bail!("disk.cmdline: {word} is not a setting: it says which slot booted");
    }
    if boot.two_machines && has("init") {
        bail!("disk.cmdline: init= hides the 32-bit kernels' /sbin/init; say pivot.init= instead");
    }
    if disk.overlay.is_some() && has("pivot.overlay") {
        bail!("disk.cmdline: pivot.overlay= is there, and disk.overlay, too");
    }
    ensure!(
        boot.has_root || has("root") || has("pivot.root"),
        "no root: expected a [root] section, or root= in disk.cmdline"
    );
    let mut line = vec!["pivot.slot=_".to_owned()];
    let mut add = |word: String| {
        if !has(&key(&word)) {
            line.push(word);
        }
    };
    add(format!("pivot.data={}", boot.data));
    add(format!("pivot.revision={}", boot.revision));
    if let Some(overlay) = disk.overlay.map(Overlay::as_str) {
        add(format!("pivot.overlay={overlay}"));
    }
    add("pivot.watchdog=15".to_owned());
    add("systemd.watchdog_sec=15".to_owned());
    add("panic=5".to_owned());
    // no mounts that systemd guesses from partition types
    add("systemd.gpt_auto=0".to_owned());
    // half of what a distribution's kernel executes before init (docs/performance.md); with fips=1 it tests all the same
    add("cryptomgr.notests".to_owned());
    // no loop devices before somebody asks for one; before Linux 6.6 it has no effect
    add("loop.max_loop=0".to_owned());
    if boot.is_pi {
        // kernel: drivers/watchdog/watchdog_core.c, since 5.8: a restart leaves the watchdog running, which ends one
        // that hangs, as one for the update of the EEPROM may
        add(STOP_ON_REBOOT.to_owned());
    }
    if disk.table == Table::Gpt {
        // the kernel then takes the second table where the first is broken: growing it can be interrupted
        add("gpt".to_owned());
    }
    line.extend(given.iter().map(|word| (*word).to_owned()));
    let line = line.join(" ");
    if let Some(more) = boot.grub {
        let plain = uefi::is_plain(&line) && uefi::is_plain(more);
        ensure!(
            plain,
            "disk.cmdline, uefi.cmdline: GRUB does not pass quotes, backslashes and $ on as they are"
        );
    }
    let length = line.len() + boot.grub.map_or(0, |more| more.len() + 1);
    ensure!(
        length < CMDLINE_MAX,
        "the command line has {length} bytes, {} are possible: {line}",
        CMDLINE_MAX - 1
    );
    Ok(line)
}

/// `grub.cfg` of the slot, from its command line and the words for GRUB alone.
///
/// # Errors
/// Where the words cannot be in it.
pub fn for_grub(kernel: &str, early: &str, line: &str, more: &str) -> Result<Content> {
    let words = line.split_once(' ').map_or("", |(_letter, words)| words);
    let cmdline = [words, more.trim()].join(" ").trim().to_owned();
    uefi::fragment(kernel, &[INITRAMFS, early], cmdline)
}

/// The words of a command line; double quotes protect blanks, as for the kernel.
fn words(text: &str) -> Result<Vec<&str>> {
    let mut quoted = false;
    let blank = |c: char| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    };
    let words = text.split(blank).filter(|word| !word.is_empty()).collect();
    ensure!(!quoted, "disk.cmdline: a double quote has no end");
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(table: Table, cmdline: &str) -> Disk {
        let text = format!(
            "name = \"x\"\n[revision]\nid = \"1\"\nversion = 1\n[disk]\ntable = \"{}\"\ncmdline = {cmdline:?}\n\
             overlay = \"volatile\"\n[[kernel]]\npackage = \"x\"\n",
            if table == Table::Gpt { "gpt" } else { "mbr" }
        );
        crate::config::Config::parse(&text, std::path::Path::new("")).unwrap().disk
    }

    const BOOT: Boot<'_> = Boot {
        data: "PARTUUID=11223344-04",
        revision: "7",
        has_root: true,
        two_machines: false,
        is_pi: false,
        grub: None,
    };

    #[test]
    fn added_words() {
        assert_eq!(
            cmdline(&disk(Table::Gpt, "console=ttyAMA0 quiet"), &BOOT).unwrap(),
            "pivot.slot=_ pivot.data=PARTUUID=11223344-04 pivot.revision=7 pivot.overlay=volatile \
             pivot.watchdog=15 systemd.watchdog_sec=15 panic=5 systemd.gpt_auto=0 cryptomgr.notests \
             loop.max_loop=0 gpt console=ttyAMA0 quiet"
        );
    }

    #[test]
    fn given_words_win() {
        let words = "panic=-1 pivot.watchdog=off cryptomgr.notests=0 loop.max_loop=8";
        let line = cmdline(&disk(Table::Mbr, words), &BOOT).unwrap();
        assert_eq!(
            line,
            "pivot.slot=_ pivot.data=PARTUUID=11223344-04 pivot.revision=7 pivot.overlay=volatile \
             systemd.watchdog_sec=15 systemd.gpt_auto=0 panic=-1 pivot.watchdog=off cryptomgr.notests=0 \
             loop.max_loop=8"
        );
        assert_eq!(line.as_bytes()[LETTER_AT as usize], b'_');
    }

    #[test]
    fn on_a_raspberry_pi() {
        let pi = Boot { is_pi: true, ..BOOT };
        let line = |words: &str| cmdline(&disk(Table::Mbr, words), &pi).unwrap();
        assert!(line("").ends_with(" loop.max_loop=0 watchdog.stop_on_reboot=0"));
        let other = line("watchdog.stop_on_reboot=1");
        assert!(other.ends_with(" loop.max_loop=0 watchdog.stop_on_reboot=1"));
    }

    #[test]
    fn quoted_words() {
        let found = words("a  b=\"c  init=d\" e").unwrap();
        assert_eq!(found, ["a", "b=\"c  init=d\"", "e"]);
    }

    #[track_caller]
    fn refused(words: &str, boot: &Boot<'_>, why: &str) {
        let error = cmdline(&disk(Table::Gpt, words), boot).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    #[test]
    fn refusals() {
        refused("pivot.slot=a", &BOOT, "pivot.slot is not a setting");
        refused("pivot.trial", &BOOT, "pivot.trial is not a setting");
        refused("a\nb", &BOOT, "one line of ASCII");
        refused("pivot.overlay=none", &BOOT, "disk.overlay");
        refused("dyndbg=\"file x", &BOOT, "a double quote has no end");
        refused(&"x".repeat(400), &BOOT, "511 are possible");
        refused("init=/bin/sh", &Boot { two_machines: true, ..BOOT }, "pivot.init=");
        let grub = Boot { grub: Some("console=tty0"), ..BOOT };
        refused("dyndbg=\"file x\"", &grub, "GRUB does not pass quotes");
        refused("", &Boot { grub: Some("a='b'"), ..BOOT }, "GRUB does not pass quotes");
        refused("", &Boot { grub: Some(&"x".repeat(400)), ..BOOT }, "511 are possible");
        refused("", &Boot { has_root: false, ..BOOT }, "no root: expected a [root] section");
        cmdline(&disk(Table::Gpt, "root=/dev/vdb"), &Boot { has_root: false, ..BOOT }).unwrap();
    }

    #[test]
    fn list_of_kernels() {
        let names = [Names::numbered("6.12-a", 0), Names::numbered("6.12-b", 1)];
        let Content::Bytes(text) = kernels_txt(names.iter()) else { panic!() };
        assert!(text.ends_with(b"6.12-a vmlinuz0 initrd early0\n6.12-b vmlinuz1 initrd early1\n"));
    }
}
