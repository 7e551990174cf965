// SPDX-License-Identifier: MIT OR Apache-2.0

//! config.txt: its lines, and what they say to one board. (DOC config_txt/what_is_config_txt.adoc)

use crate::Volume;
use crate::filter::{Context, Filters, Holds, number};

/// "There is a 98-character line length limit [...] any characters past this limit will be ignored."
pub const LINE: usize = 98;
/// Lines of a file, and files that are included: more than any real configuration has.
const LINES: usize = 10_000;
const FILES: usize = 16;

/// Where an initramfs is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// Behind the kernel, `followkernel` or 0.
    #[default]
    FollowKernel,
    /// At this address.
    At(u64),
}

/// The settings that decide what boots; all others are in `other`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `kernel=`
    pub kernel: Option<String>,
    /// `arm_64bit=`
    pub arm_64bit: Option<bool>,
    /// Names of `initramfs NAME[,NAME...] ADDRESS` or `ramfsfile=`.
    pub initramfs: Vec<String>,
    /// Its address.
    pub initramfs_address: Address,
    /// `cmdline=`
    pub cmdline: Option<String>,
    /// `device_tree=`; empty: none is loaded.
    pub device_tree: Option<String>,
    /// `dtoverlay=NAME[,PARAMETER...]` and `dtparam=`, as they stand there, in order: ("dtoverlay", "disable-bt").
    pub overlays: Vec<(String, String)>,
    /// `os_prefix=`
    pub os_prefix: Option<String>,
    /// `overlay_prefix=`
    pub overlay_prefix: Option<String>,
    /// `upstream_kernel=1`
    pub upstream_kernel: bool,
    /// `kernel_watchdog_timeout=`, seconds: adds `watchdog.open_timeout=` to the command line.
    pub kernel_watchdog_timeout: Option<u32>,
    /// `enable_uart=1`
    pub enable_uart: bool,
    /// `auto_initramfs=1`
    pub auto_initramfs: bool,
    /// Everything else, in order.
    pub other: Vec<(String, String)>,
}

impl Settings {
    /// The last value of a setting that has no field of its own.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.other.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `[name]`
    Filter(String),
    /// `key=value`, or `initramfs value`.
    Setting(String, String),
}

/// The ways in which a line can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// More than [`LINE`] characters.
    Length,
    /// No form of line that the firmware knows.
    Form,
    /// A file to include that is not there, or one too many.
    Include,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which way.
    pub wrong: Wrong,
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// What, without naming the line.
    pub text: String,
}

/// A config.txt with what it includes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Its lines: where they stand, and what they say.
    pub lines: Vec<(String, usize, Line)>,
    /// What is wrong with it whatever the board.
    pub problems: Vec<Problem>,
}

impl Config {
    /// Parses the text of a file called `file`, without what it includes.
    #[must_use]
    pub fn parse(file: &str, bytes: &[u8]) -> Self {
        let mut config = Self::default();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')).take(LINES) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > LINE {
                let text = format!("has {} characters, the firmware reads {LINE}", line.len());
                config.problem(Wrong::Length, file, number, text);
            }
            let text = String::from_utf8_lossy(line.get(..LINE).unwrap_or(line));
            match parse_line(text.trim()) {
                Ok(Some(line)) => config.lines.push((file.to_owned(), number, line)),
                Ok(None) => {}
                Err(text) => config.problem(Wrong::Form, file, number, text.to_owned()),
            }
        }
        config
    }

    /// Reads a file of a volume, with what it includes: none where it is not there.
    ///
    /// # Errors
    /// Where the volume cannot be read.
    pub fn load(volume: &dyn Volume, file: &str) -> Result<Option<Self>, String> {
        Self::load_some(volume, file, &mut { FILES })
    }

    fn load_some(
        volume: &dyn Volume,
        file: &str,
        left: &mut usize,
    ) -> Result<Option<Self>, String> {
        let Some(bytes) = volume.read(file)? else { return Ok(None) };
        let parsed = Self::parse(file, &bytes);
        let mut config = Self { lines: Vec::new(), problems: parsed.problems };
        for (file, number, line) in parsed.lines {
            let included = match &line {
                Line::Setting(key, name) if key == "include" => name.clone(),
                _ => {
                    config.lines.push((file, number, line));
                    continue;
                }
            };
            let inner = match left.checked_sub(1) {
                None => None,
                Some(rest) => {
                    *left = rest;
                    Self::load_some(volume, &included, left)?
                }
            };
            match inner {
                Some(mut inner) => {
                    config.lines.append(&mut inner.lines);
                    config.problems.append(&mut inner.problems);
                }
                None => {
                    let text = format!("cannot include {included}");
                    config.problem(Wrong::Include, &file, number, text);
                }
            }
        }
        Ok(Some(config))
    }

    fn problem(&mut self, wrong: Wrong, file: &str, line: usize, text: String) {
        self.problems.push(Problem { wrong, file: file.to_owned(), line, text });
    }

    /// What it says to a board, and what a person should know of it.
    #[must_use]
    pub fn evaluate(&self, context: &Context<'_>) -> (Settings, Vec<String>) {
        let (mut settings, mut notes) = (Settings::default(), Vec::new());
        let mut filters = Filters::default();
        for (file, number, line) in &self.lines {
            match line {
                Line::Filter(name) => match filters.add(name, context) {
                    Holds::Known(_) => {}
                    Holds::Depends => notes.push(format!(
                        "{file}, line {number}: [{name}] depends on the very board; taken as not matching"
                    )),
                    Holds::Unknown => notes.push(format!(
                        "{file}, line {number}: there is no filter [{name}]; taken as not matching"
                    )),
                },
                Line::Setting(key, value) if filters.pass() => {
                    if let Some(note) = settings.set(key, value) {
                        notes.push(format!("{file}, line {number}: {note}"));
                    }
                }
                Line::Setting(..) => {}
            }
        }
        (settings, notes)
    }
}

fn parse_line(line: &str) -> Result<Option<Line>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if let Some(rest) = line.strip_prefix('[') {
        let name = rest.strip_suffix(']').ok_or("a filter without its ]")?;
        return Ok(Some(Line::Filter(name.to_owned())));
    }
    // these two have a blank, and no '='
    for word in ["initramfs", "include"] {
        if let Some(value) = line.strip_prefix(word).filter(|rest| rest.starts_with([' ', '\t'])) {
            return Ok(Some(Line::Setting(word.to_owned(), value.trim().to_owned())));
        }
    }
    let (key, value) = line.split_once('=').ok_or("neither a filter nor property=value")?;
    if key.ends_with([' ', '\t']) || value.starts_with([' ', '\t']) {
        return Err("a blank beside the =");
    }
    Ok(Some(Line::Setting(key.to_owned(), value.to_owned())))
}

impl Settings {
    /// Takes a line over. Returns what is to be said of it.
    fn set(&mut self, key: &str, value: &str) -> Option<String> {
        let text = || Some(value.to_owned());
        let flag = || number(value).is_some_and(|number| number != 0);
        let mut note = None;
        match key {
            "kernel" => self.kernel = text(),
            "arm_64bit" => self.arm_64bit = Some(flag()),
            "initramfs" | "ramfsfile" => note = self.set_initramfs(key, value),
            "cmdline" => self.cmdline = text(),
            "device_tree" => self.device_tree = text(),
            "dtoverlay" | "dtparam" => self.overlays.push((key.to_owned(), value.to_owned())),
            "os_prefix" => self.os_prefix = text(),
            "overlay_prefix" => self.overlay_prefix = text(),
            "upstream_kernel" => self.upstream_kernel = flag(),
            "kernel_watchdog_timeout" => {
                self.kernel_watchdog_timeout =
                    number(value).and_then(|number| number.try_into().ok());
            }
            "enable_uart" => self.enable_uart = flag(),
            "auto_initramfs" => {
                self.auto_initramfs = flag();
                note = flag().then(|| {
                    "auto_initramfs names files by rules that changed from release to release; say initramfs"
                        .to_owned()
                });
            }
            _ => self.other.push((key.to_owned(), value.to_owned())),
        }
        let numeric = matches!(
            key,
            "arm_64bit"
                | "upstream_kernel"
                | "kernel_watchdog_timeout"
                | "enable_uart"
                | "auto_initramfs"
        );
        if numeric && number(value).is_none() {
            return Some(format!("{key}={value} is no number; taken as 0"));
        }
        note
    }

    /// "Separate the multiple file names with commas"; "the address can also be followkernel (or 0)".
    /// (DOC config_txt/boot.adoc)
    fn set_initramfs(&mut self, key: &str, value: &str) -> Option<String> {
        let mut words = value.split_ascii_whitespace();
        let names = words.next().unwrap_or_default().split(',').filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        let address = words.next();
        let replaced = !self.initramfs.is_empty() && self.initramfs != names;
        self.initramfs = names;
        self.initramfs_address = match address {
            None | Some("followkernel") => Address::FollowKernel,
            Some(word) => match number(word) {
                Some(0) | None => Address::FollowKernel,
                Some(address) => Address::At(address),
            },
        };
        match address {
            None if key == "initramfs" => Some("initramfs without an address".to_owned()),
            Some(word) if word != "followkernel" && number(word).is_none() => {
                Some(format!("{word} is no address; taken as followkernel"))
            }
            _ => replaced.then(|| format!("a second {key}: taken as replacing the first")),
        }
    }
}

#[cfg(test)]
mod tests;
