// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel command line: split as the kernel splits it, and what the words mean to us.
//!
//! Everything is borrowed from the line, which lives as long as the boot. Nothing here is fatal. A word that we cannot use becomes a complaint, which the boot logs: a typing error must not
//! cost a drive to the device.

use bootsel::list::List;
use bootsel::slot::Slot;
use bootsel::text::split_once;
use mount::text;

/// How long the boot may take until it counts as hung, in seconds: a USB disk may need 20 to spin up and an ext4
/// journal on a slow card as much again.
const TIMEOUT: u32 = 60;
/// The watchdog's timeout in seconds where the given one is refused: the largest that bcm2835_wdt takes before
/// Linux 6.8 (its counter has 20 bits of 1/65536 s).
const WATCHDOG: u32 = 15;

/// How many options of modules are kept. A Raspberry Pi's firmware adds a dozen of its own, and a line is at most 2 KiB.
const OPTIONS: usize = 64;

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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cmdline<'a> {
    /// `MODULE.OPTION[=VALUE]`
    options: List<Word<'a>, OPTIONS>,
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
    /// `pivot.init=` wins wherever it stands: `init=` may come from a boot loader's own hand.
    ours_is_init: bool,
    pub(crate) debug: bool,
    pub(crate) root: Option<&'a str>,
    pub(crate) rootfstype: Option<&'a str>,
    pub(crate) rootflags: Option<&'a str>,
    pub(crate) read_only: bool,
    pub(crate) rootdelay: u32,
}

/// What is wrong with a value, to stand after `key=value`.
type Complaint = &'static str;

impl<'a> Cmdline<'a> {
    /// Understands a command line of any length. What cannot be used is complained about, a line each.
    // Out of line, as its stack frame makes longer code of the caller.
    #[inline(never)]
    pub(crate) fn parse(line: &'a str, complain: &mut dyn FnMut(&str)) -> Self {
        let mut cmdline = Self::empty();
        let mut rest = line;
        while let Some(Word { key, value }) = next_word(&mut rest) {
            if let Err(complaint) = cmdline.take(key, value) {
                complain(text!("{}={} {}", key, value.unwrap_or_default(), complaint));
            }
        }
        cmdline
    }

    fn empty() -> Self {
        Self {
            options: List::new(Word { key: "", value: None }),
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
            ours_is_init: false,
            debug: false,
            root: None,
            rootfstype: None,
            rootflags: None,
            // The kernel's default since ever; `rw` is for the root file system to say.
            read_only: true,
            rootdelay: 0,
        }
    }

    /// Takes one word; the last of several wins, as in the kernel.
    #[inline(never)]
    fn take(&mut self, key: &'a str, value: Option<&'a str>) -> Result<(), Complaint> {
        if let Some(ours) = key.strip_prefix("pivot.") {
            return self.take_ours(ours, value);
        }
        let text = match key {
            "root" => &mut self.root,
            "rootfstype" => &mut self.rootfstype,
            "rootflags" => &mut self.rootflags,
            "ro" | "rw" => {
                self.read_only = key == "ro";
                return Ok(());
            }
            "rootdelay" => {
                self.rootdelay = number(value)?;
                return Ok(());
            }
            // A bare rootwait waits for ever in the kernel; here every wait ends at pivot.timeout=.
            "rootwait" if value.is_some() => return self.take_ours("timeout", value),
            "init" if !self.ours_is_init => {
                self.init = path(value)?;
                return Ok(());
            }
            _ if split_once(key, b'.').is_none() || self.options.push(Word { key, value }) => {
                return Ok(());
            }
            _ => return Err("is one option of modules too many"),
        };
        *text = value.filter(|text| !text.is_empty());
        Ok(())
    }

    fn take_ours(&mut self, key: &str, value: Option<&'a str>) -> Result<(), Complaint> {
        let text = match key {
            "data" => &mut self.data,
            "revision" => &mut self.revision,
            "root" => &mut self.pivot_root,
            _ => return self.take_flag(key, value),
        };
        *text = value.filter(|text| !text.is_empty());
        Ok(())
    }

    fn take_flag(&mut self, key: &str, value: Option<&'a str>) -> Result<(), Complaint> {
        let flag = match key {
            "grow" => &mut self.grow,
            "eeprom" => &mut self.eeprom,
            "trial" => &mut self.trial,
            "debug" => &mut self.debug,
            _ => return self.take_choice(key, value),
        };
        *flag = match value {
            None | Some("1" | "yes" | "on") => true,
            Some("0" | "no" | "off") => false,
            Some(_) => return Err("is neither 1 nor 0"),
        };
        Ok(())
    }

    fn take_choice(&mut self, key: &str, value: Option<&'a str>) -> Result<(), Complaint> {
        match key {
            "slot" => {
                self.slot = Slot::from_cmdline(value.unwrap_or_default())
                    .map_err(|_| "is neither a nor b")?;
            }
            "overlay" => self.overlay = overlay(value)?,
            "watchdog" => {
                // A refused value arms the default all the same: a device without its watchdog is the worse failure.
                self.watchdog = WatchdogWish::Arm(WATCHDOG);
                self.watchdog = value.map_or(Ok(self.watchdog), watchdog)?;
            }
            "timeout" => self.timeout = seconds(value)?,
            "modules" => self.modules = value.unwrap_or_default(),
            "rescue" => self.rescue = rescue(value)?,
            "init" => {
                self.ours_is_init = true;
                self.init = path(value)?;
            }
            _ => return Err("is not a parameter of this version"),
        }
        Ok(())
    }

    /// The options for a module, as `modprobe` would find them: every `MODULE.OPTION[=VALUE]` of the command line.
    pub(crate) fn module_options(&self, module: &str) -> &'static str {
        let mut options = "";
        for Word { key, value } in self.options.iter() {
            if key.as_bytes().get(module.len()) == Some(&b'.')
                && let Some((name, option)) = split_once(key, b'.')
                && same_name(name, module)
            {
                let blank = if options.is_empty() { "" } else { " " };
                let equals = if value.is_some() { "=" } else { "" };
                let value = value.unwrap_or_default();
                let quote = if split_once(value, b' ').is_some() { "\"" } else { "" };
                options =
                    text!("{}{}{}{}{}{}{}", options, blank, option, equals, quote, value, quote);
            }
        }
        options
    }
}

/// Module names are the same with `-` and with `_` (`parameq` in kernel/params.c).
fn same_name(a: &str, b: &str) -> bool {
    let plain = |c: u8| if c == b'-' { b'_' } else { c };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| plain(a) == plain(b))
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

/// Takes the next word off a command line, by the rules of `next_arg` in the kernel's lib/cmdline.c: blanks end a word
/// outside of double quotes, one pair of quotes around the value or the word is taken off, `--` ends our part.
fn next_word<'a>(line: &mut &'a str) -> Option<Word<'a>> {
    loop {
        let mut quoted = false;
        let end = line.bytes().position(|byte| {
            // What is behind the quote in ASCII ends no word, and is nearly all of a line.
            if byte > b'"' {
                return false;
            }
            quoted ^= byte == b'"';
            byte == 0 || (!quoted && byte.is_ascii_whitespace())
        });
        let (raw, rest) = match end {
            Some(end) => (line.get(..end)?, line.get(end + 1..)?),
            None => (*line, ""),
        };
        *line = rest;
        match raw {
            "--" => *line = "",
            "" if rest.is_empty() => {}
            "" => continue,
            _ => return Some(word(raw)),
        }
        return None;
    }
}

fn word(raw: &str) -> Word<'_> {
    let text = unquote(raw);
    match split_once(text, b'=') {
        Some((key, value)) => Word { key, value: Some(unquote(value)) },
        None => Word { key: text, value: None },
    }
}

fn unquote(text: &str) -> &str {
    if text.as_bytes().first() != Some(&b'"') {
        return text;
    }
    let inner = text.get(1..).unwrap_or_default();
    inner.strip_suffix('"').unwrap_or(inner)
}

#[cfg(test)]
mod tests;
