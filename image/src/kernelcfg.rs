// SPDX-License-Identifier: MIT OR Apache-2.0
//! `kernel check`: how a kernel was built, and what that means for pivot: which features work by what is built in, by a
//! module, or not at all.

mod features;

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use serde::Serialize;

pub use features::{FEATURES, Feature, For, When};

use crate::deb;
use crate::kconfig::Kconfig;
use crate::kernel::image::{self, Kind};
use crate::kernel::{Look, Source};
use crate::machines::Machine;

/// The longest configuration of a distribution has 350 KB.
const CONFIG_MAX: u64 = 8 << 20;
/// The largest kernels have 60 MB.
const IMAGE_MAX: u64 = 256 << 20;

/// How a kernel has a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum State {
    /// All of it is built in.
    #[serde(rename = "builtin")]
    BuiltIn,
    /// Some of it is a module that the initramfs has to have.
    #[serde(rename = "early module")]
    Early,
    /// Some of it is a module, of the modules image.
    #[serde(rename = "module")]
    Module,
    /// Not at all.
    #[serde(rename = "no")]
    No,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::BuiltIn => "builtin",
            Self::Early => "early module",
            Self::Module => "module",
            Self::No => "no",
        })
    }
}

/// What the configuration says of one feature.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its word.
    pub feature: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Who needs it.
    pub who: For,
    /// How the kernel has it.
    pub state: State,
    /// What to set so that it is built in: `CONFIG_BLK_DEV_LOOP=y`. Those that are modules are among them.
    pub set: Vec<String>,
    /// Which of `kernel/*.config` sets it.
    pub fragment: Option<&'static str>,
}

/// What was found of a kernel.
#[derive(Debug, Serialize)]
pub struct Report {
    /// In the order of the table.
    pub features: Vec<Finding>,
}

/// Looks at a configuration, a kernel's image, a package, or a directory with a kernel.
///
/// # Errors
/// Where it is none of these, or does not say how the kernel was built.
pub fn check(path: &Path) -> Result<Report> {
    let named = || path.display().to_string();
    let head = head(path).with_context(named)?;
    let config = if path.is_dir() || head.starts_with(deb::AR_MAGIC) {
        // its errors have the name in them
        said(Look::at(&Source::at(path))?.config)
    } else {
        read(path, &head)
    };
    Ok(Report::of(&config.with_context(named)?))
}

/// The first bytes of a file, none of a directory.
fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    if !path.is_dir() {
        let file = File::open(path).context("cannot open it")?;
        file.take(image::HEAD as u64).read_to_end(&mut head)?;
    }
    Ok(head)
}

fn read(path: &Path, head: &[u8]) -> Result<Kconfig> {
    if Kind::of(head).is_some() {
        let length = fs::metadata(path)?.len();
        ensure!(length <= IMAGE_MAX, "it is no kernel: it has {length} bytes");
        let carried = image::config(&image::plain(fs::read(path)?));
        return carried.map(|text| Kconfig::parse(&text)).context(
            "the kernel does not carry its configuration (CONFIG_IKCONFIG): give its config-RELEASE or its package",
        );
    }
    text(path, head)
}

/// `/proc/config.gz`, or plain text.
fn text(path: &Path, head: &[u8]) -> Result<Kconfig> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    let read = match head {
        [0x1f, 0x8b, ..] => MultiGzDecoder::new(file).take(CONFIG_MAX + 1).read_to_end(&mut bytes),
        _ => file.take(CONFIG_MAX + 1).read_to_end(&mut bytes),
    };
    read.context("cannot read it")?;
    let text = String::from_utf8_lossy(&bytes);
    let known = text.lines().any(|line| line.starts_with("CONFIG_") && line.contains('='));
    if bytes.len() as u64 > CONFIG_MAX || !known {
        bail!("neither a kernel's configuration, nor an image that is known here, nor a package");
    }
    Ok(Kconfig::parse(&text))
}

/// What the builder assumes of a kernel that does not say is no answer here.
fn said(config: Kconfig) -> Result<Kconfig> {
    ensure!(!config.is_assumed(), "neither a file nor the kernel says how it was built");
    Ok(config)
}

impl Report {
    /// What follows from a configuration.
    #[must_use]
    pub fn of(config: &Kconfig) -> Self {
        Self { features: FEATURES.iter().map(|feature| finding(feature, config)).collect() }
    }

    /// The features that these machines cannot boot without, and that are not there.
    #[must_use]
    pub fn missing(&self, machines: &[Machine]) -> Vec<&'static str> {
        let needed = |who| match who {
            For::All => true,
            For::Virt => machines.contains(&Machine::Virt),
            For::Raspi => machines.contains(&Machine::Raspi),
            For::Uefi => machines.contains(&Machine::Uefi),
            For::Some => false,
        };
        let lacks = |finding: &&Finding| finding.state == State::No && needed(finding.who);
        self.features.iter().filter(lacks).map(|finding| finding.feature).collect()
    }
}

fn finding(feature: &Feature, config: &Kconfig) -> Finding {
    let Feature { name, what, when, who, options, fragment } = *feature;
    let states: Vec<State> = options.iter().map(|list| state(list, when, config)).collect();
    let open = options.iter().zip(&states).filter(|(_, state)| **state != State::BuiltIn);
    let set = open.filter_map(|(list, _)| list.first());
    Finding {
        feature: name,
        what,
        who,
        state: states.iter().copied().max().unwrap_or(State::BuiltIn),
        set: set.map(|option| format!("CONFIG_{option}=y")).collect(),
        fragment,
    }
}

/// The best that one of the options gives.
fn state(options: &[&str], when: When, config: &Kconfig) -> State {
    let of = |option: &&str| {
        let option = format!("CONFIG_{option}");
        match when {
            _ if config.built_in(&option) => State::BuiltIn,
            When::Boot if config.enabled(&option) => State::Early,
            When::System if config.enabled(&option) => State::Module,
            _ => State::No,
        }
    };
    options.iter().map(of).min().unwrap_or(State::BuiltIn)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.features {
            let Finding { feature, what, state, set, .. } = finding;
            write!(f, "{state:<12}  {feature:<18}  {what}")?;
            match state {
                State::BuiltIn => {}
                State::No => write!(f, ": set {}", set.join(" "))?,
                State::Early | State::Module => write!(f, " (built in with {})", set.join(" "))?,
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
