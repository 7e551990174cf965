// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel command line: split as the kernel splits it, and what the words mean to us.
//!
//! Everything is borrowed from the line, which lives as long as the boot. Nothing here is fatal. A word that we cannot use becomes a complaint, which the boot logs: a typing error must not
//! cost a drive to the device.

use alloc::string::String;
use alloc::vec::Vec;

use bootsel::format;
use bootsel::slot::Slot;
use bootsel::text::split_once;

/// How long the boot may take until it counts as hung, in seconds: a USB disk may need 20 to spin up and an ext4
/// journal on a slow card as much again.
const TIMEOUT: u32 = 60;
/// The watchdog's timeout in seconds where the given one is refused: the largest that bcm2835_wdt takes before
/// Linux 6.8 (its counter has 20 bits of 1/65536 s).
const WATCHDOG: u32 = 15;

/// One word: `key` or `key=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word<'a> {
    key: &'a str,
    value: Option<&'a str>,
}

/// What `pivot.watchdog=` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchdogWish {
    /// Not given: none is armed, one that runs already is fed and handed over.
    TakeOver,
    /// `off`: the device is not touched.
    Off,
    /// Arm it with this timeout in seconds.
    Arm(u32),
}

/// What lies over the root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Overlay {
    /// Nothing: the root as it is.
    #[default]
    None,
    /// A tmpfs: changes are gone at the next boot.
    Volatile,
    /// A directory of the data partition, one per revision.
    Persistent,
}

/// What happens when the boot cannot go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rescue {
    /// Wait ten seconds, so that a person can read, and restart.
    #[default]
    Reboot,
    /// A shell on the console, if the initramfs has one; the watchdog is not fed any more.
    Shell,
    /// The same, and the watchdog is fed.
    ShellFeed,
}

/// The command line's meaning.
#[derive(Debug)]
pub(crate) struct Cmdline<'a> {
    words: Vec<Word<'a>>,
    pub(crate) data: Option<&'a str>,
    /// Whether the data partition may take the rest of its disk.
    pub(crate) grow: bool,
    /// Whether an old bootloader may be brought up to date.
    pub(crate) eeprom: bool,
    pub(crate) revision: Option<&'a str>,
    pub(crate) slot: Option<Slot>,
    pub(crate) trial: bool,
    pub(crate) pivot_root: Option<&'a str>,
    pub(crate) overlay: Overlay,
    pub(crate) watchdog: WatchdogWish,
    pub(crate) timeout: u32,
    pub(crate) modules: &'a str,
    pub(crate) rescue: Rescue,
    pub(crate) init: Option<&'a str>,
    pub(crate) debug: bool,
    pub(crate) root: Option<&'a str>,
    pub(crate) rootfstype: Option<&'a str>,
    pub(crate) rootflags: Option<&'a str>,
    pub(crate) read_only: bool,
    pub(crate) rootdelay: u32,
    /// What could not be used, a line each.
    pub(crate) complaints: Vec<String>,
}

/// What is wrong with a value, to stand after `key=value`.
type Complaint = &'static str;

impl<'a> Cmdline<'a> {
    /// Understands a command line of any length.
    // Out of line, as its stack frame makes longer code of the caller.
    #[inline(never)]
    pub(crate) fn parse(line: &'a str) -> Self {
        let mut cmdline = Self::empty();
        for word in split(line) {
            if let Err(complaint) = cmdline.take(word.key, word.value) {
                let Word { key, value } = word;
                let line = format!("{key}={} {complaint}", value.unwrap_or_default());
                cmdline.complaints.push(line);
            }
            cmdline.words.push(word);
        }
        cmdline
    }

    fn empty() -> Self {
        Self {
            words: Vec::new(),
            data: None,
            grow: true,
            eeprom: true,
            revision: None,
            slot: None,
            trial: false,
            pivot_root: None,
            overlay: Overlay::None,
            watchdog: WatchdogWish::TakeOver,
            timeout: TIMEOUT,
            modules: "",
            rescue: Rescue::Reboot,
            init: None,
            debug: false,
            root: None,
            rootfstype: None,
            rootflags: None,
            // The kernel's default since ever; `rw` is for the root file system to say.
            read_only: true,
            rootdelay: 0,
            complaints: Vec::new(),
        }
    }

    /// Takes one word; the last of several wins, as in the kernel.
    #[inline(never)]
    fn take(&mut self, key: &'a str, value: Option<&'a str>) -> Result<(), Complaint> {
        if let Some(ours) = key.strip_prefix("pivot.") {
            return self.take_ours(ours, value);
        }
        match key {
            "root" => self.root = text(value),
            "rootfstype" => self.rootfstype = text(value),
            "rootflags" => self.rootflags = text(value),
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "rootdelay" => self.rootdelay = number(value)?,
            // A bare rootwait waits for ever in the kernel; here every wait ends at pivot.timeout=.
            "rootwait" if value.is_some() => self.timeout = seconds(value)?,
            // pivot.init= wins wherever it stands: `init=` may come from a boot loader's own hand.
            "init" if !self.has("pivot.init") => self.init = path(value)?,
            _ => {}
        }
        Ok(())
    }

    fn take_ours(&mut self, key: &str, value: Option<&'a str>) -> Result<(), Complaint> {
        match key {
            "data" => self.data = text(value),
            "grow" => self.grow = flag(value)?,
            "eeprom" => self.eeprom = flag(value)?,
            "revision" => self.revision = text(value),
            "slot" => {
                self.slot = Slot::from_cmdline(value.unwrap_or_default())
                    .map_err(|_| "is neither a nor b")?;
            }
            "trial" => self.trial = flag(value)?,
            "root" => self.pivot_root = text(value),
            "overlay" => self.overlay = overlay(value)?,
            "watchdog" => {
                // A refused value arms the default all the same: a device without its watchdog is the worse failure.
                self.watchdog = WatchdogWish::Arm(WATCHDOG);
                self.watchdog = value.map_or(Ok(self.watchdog), watchdog)?;
            }
            "timeout" => self.timeout = seconds(value)?,
            "modules" => self.modules = value.unwrap_or_default(),
            "rescue" => self.rescue = rescue(value)?,
            "init" => self.init = path(value)?,
            "debug" => self.debug = flag(value)?,
            _ => return Err("is not a parameter of this version"),
        }
        Ok(())
    }

    fn has(&self, key: &str) -> bool {
        self.words.iter().any(|word| word.key == key)
    }

    /// The options for a module, as `modprobe` would find them: every `MODULE.OPTION[=VALUE]` of the command line.
    pub(crate) fn module_options(&self, module: &str) -> String {
        let mut options = String::new();
        for word in &self.words {
            let Some((name, option)) = split_once(word.key, b'.') else { continue };
            if same_name(name, module) {
                push_option(&mut options, option, word.value);
            }
        }
        options
    }
}

fn push_option(options: &mut String, option: &str, value: Option<&str>) {
    if !options.is_empty() {
        options.push(' ');
    }
    options.push_str(option);
    if let Some(value) = value {
        options.push('=');
        let quote = if split_once(value, b' ').is_some() { "\"" } else { "" };
        options.push_str(quote);
        options.push_str(value);
        options.push_str(quote);
    }
}

/// Module names are the same with `-` and with `_` (`parameq` in kernel/params.c).
fn same_name(a: &str, b: &str) -> bool {
    let plain = |c: u8| if c == b'-' { b'_' } else { c };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| plain(a) == plain(b))
}

fn text(value: Option<&str>) -> Option<&str> {
    value.filter(|v| !v.is_empty())
}

fn flag(value: Option<&str>) -> Result<bool, Complaint> {
    match value {
        None | Some("1" | "yes" | "on") => Ok(true),
        Some("0" | "no" | "off") => Ok(false),
        Some(_) => Err("is neither 1 nor 0"),
    }
}

fn number(value: Option<&str>) -> Result<u32, Complaint> {
    mount::device::decimal(value.unwrap_or_default()).ok_or("is not a number of seconds")
}

/// A time limit: at most a day, so that sums of it cannot overflow, and never nothing.
fn seconds(value: Option<&str>) -> Result<u32, Complaint> {
    match number(value)? {
        given @ 1..=86_400 => Ok(given),
        _ => Err("is not between 1 and 86400 seconds"),
    }
}

fn path(value: Option<&str>) -> Result<Option<&str>, Complaint> {
    let absolute = value.is_some_and(|path| path.starts_with('/'));
    if absolute { Ok(value) } else { Err("is not an absolute path") }
}

fn overlay(value: Option<&str>) -> Result<Overlay, Complaint> {
    match value {
        Some("none") => Ok(Overlay::None),
        Some("volatile") => Ok(Overlay::Volatile),
        Some("persistent") => Ok(Overlay::Persistent),
        _ => Err("is none of none, volatile, persistent; using none"),
    }
}

fn rescue(value: Option<&str>) -> Result<Rescue, Complaint> {
    match value {
        Some("reboot") => Ok(Rescue::Reboot),
        Some("shell") => Ok(Rescue::Shell),
        Some("shell-feed") => Ok(Rescue::ShellFeed),
        _ => Err("is none of reboot, shell, shell-feed; using reboot"),
    }
}

/// bcm2835_wdt programs the timeout modulo 16 s while the kernel feeds it every 8 s: with 16, 20 or 64 the board
/// resets before the first feeding (drivers/watchdog/bcm2835_wdt.c since Linux 6.8; systemd issue 38289).
fn watchdog(value: &str) -> Result<WatchdogWish, Complaint> {
    if value == "off" {
        return Ok(WatchdogWish::Off);
    }
    match seconds(Some(value)) {
        Ok(given) if given >= 16 && given % 16 <= 8 => Err(
            "is refused: a Raspberry Pi resets early where seconds modulo 16 are 0 to 8; using 15",
        ),
        Ok(given) => Ok(WatchdogWish::Arm(given)),
        Err(_) => Err("is neither off nor between 1 and 86400 seconds; using 15"),
    }
}

/// The words of a command line, by the rules of `next_arg` in the kernel's lib/cmdline.c: blanks end a word outside
/// of double quotes, one pair of quotes around the value or the word is taken off, `--` ends our part.
fn split(line: &str) -> impl Iterator<Item = Word<'_>> {
    let mut quoted = false;
    let words = line.split(move |c: char| {
        quoted ^= c == '"';
        c == '\0' || (!quoted && c.is_ascii_whitespace())
    });
    words.take_while(|word| *word != "--").filter(|word| !word.is_empty()).map(word)
}

fn word(raw: &str) -> Word<'_> {
    let text = unquote(raw);
    match split_once(text, b'=') {
        Some((key, value)) => Word { key, value: Some(unquote(value)) },
        None => Word { key: text, value: None },
    }
}

fn unquote(text: &str) -> &str {
    match text.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
        None => text,
    }
}

#[cfg(test)]
mod tests;
