// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `[bootsel]` lays into a root: the program, the units that call it, and the keys that it believes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use signed::Keys;

use super::{Added, New, Source, has, mount_points, walk};
use crate::config::{Bootsel, Config, Network, Table};
use crate::elf::{Facts, Machine};
use crate::initramfs::{self, Arch};
use crate::kconfig::Kconfig;
use crate::progress::Progress;

/// The program's place.
pub const PROGRAM: &str = "usr/sbin/bootsel";
/// The directory of the public keys.
pub const KEYS: &str = "etc/pivot/keys";
/// No key is longer for who reads it on the device.
const KEY_MAX: usize = 1024;

const UNITS: &str = "usr/lib/systemd/system";
const SYSTEMD: [&str; 2] = ["usr/lib/systemd/systemd", "lib/systemd/systemd"];
const SETTINGS: &str = "usr/lib/systemd/system.conf.d/50-pivot.conf";

/// A unit, and the directory in which a link to it enables it.
struct Unit {
    name: &'static str,
    text: &'static str,
    enabled_in: Option<&'static str>,
}

const NETWORK: &str = "pivot-health-network.service";

/// Links in `/usr`, so that `/etc` stays the user's, and `systemctl mask` works.
const ALL: [Unit; 5] = [
    Unit {
        name: "pivot-commit.service",
        text: include_str!("../../units/pivot-commit.service"),
        enabled_in: Some("multi-user.target.wants"),
    },
    Unit {
        name: "pivot-deadline.timer",
        text: include_str!("../../units/pivot-deadline.timer"),
        enabled_in: Some("sysinit.target.wants"),
    },
    Unit {
        name: "pivot-deadline.service",
        text: include_str!("../../units/pivot-deadline.service"),
        enabled_in: None,
    },
    Unit {
        name: "pivot-collect.service",
        text: include_str!("../../units/pivot-collect.service"),
        enabled_in: Some("sysinit.target.wants"),
    },
    Unit {
        name: NETWORK,
        text: include_str!("../../units/pivot-health-network.service"),
        enabled_in: Some("boot-complete.target.requires"),
    },
];

/// A kernel, as far as it has to run the program.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    /// Its release.
    pub release: &'a str,
    /// What it was built with.
    pub config: &'a Kconfig,
    /// [`Machine::Arm`] where it is 32-bit.
    pub machine: Machine,
}

/// Decides what goes where, and says it. `own` is the public key that belongs to `revision.key`.
///
/// # Errors
/// Where the program, a key or systemd is missing, or something has no place in the root.
pub fn plan(
    config: &Config,
    section: &Bootsel,
    root: &Source,
    kernels: &[Runs<'_>],
    own: Option<&str>,
    progress: Progress,
) -> Result<Added> {
    let (program, machine) = program(section, kernels)?;
    let (mut wanted, _) = mount_points(root);
    wanted.push((PROGRAM.to_owned(), New::File(program, true)));
    let name = config.revision.key.as_deref().map(public_name);
    let keys = keys(section, name.as_deref().zip(own))?;
    check_keys(root, &keys, own, progress)?;
    for (name, text) in keys {
        wanted.push((format!("{KEYS}/{name}"), New::File(text, false)));
    }
    if section.units != Some(false) {
        ensure!(
            SYSTEMD.iter().any(|path| has(root, path)),
            "bootsel.units: the root has no systemd: say units = false, and have its own init start `bootsel guard` \
             and `bootsel commit`"
        );
        wanted.extend(units(section));
    }
    let added = Added::plan(root, wanted)?;
    progress.note(&format!("bootsel: the {machine} program is put into the root"));
    if !added.replaced.is_empty() {
        let list = added.replaced.join(", ");
        progress.note(&format!("note: of the root's own files these are replaced: {list}"));
    }
    if config.disk.table == Table::Gpt && config.uefi.is_none() {
        progress.note(
            "warning: bootsel has nothing to choose slots by on this disk: no grubenv without [uefi], and no autoboot.txt \
             on a GPT",
        );
    }
    Ok(added)
}

/// The program that all kernels run.
fn program(section: &Bootsel, kernels: &[Runs<'_>]) -> Result<(Vec<u8>, Machine)> {
    let narrow = kernels.iter().any(|kernel| kernel.machine == Machine::Arm);
    let arch = section.arch.unwrap_or(if narrow { Arch::Armv6 } else { Arch::Aarch64 });
    let path = match &section.program {
        Some(path) => path.clone(),
        None => initramfs::built_program("bootsel", arch)?,
    };
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let machine =
        runs(&bytes, section.arch, kernels).with_context(|| path.display().to_string())?;
    Ok((bytes, machine))
}

fn runs(program: &[u8], asked: Option<Arch>, kernels: &[Runs<'_>]) -> Result<Machine> {
    let facts = Facts::read(program)?;
    facts.check()?;
    let machine = facts.machine;
    match (machine, asked) {
        (Machine::Aarch64, None | Some(Arch::Aarch64)) => {}
        (Machine::Arm, None | Some(Arch::Armv6)) => facts.check_armv6()?,
        (Machine::Other(_), _) => bail!("is for {machine}: expected AArch64 or ARM"),
        (_, Some(arch)) => bail!("is for {machine}, and bootsel.arch = {:?}", arch.word()),
    }
    for Runs { release, config, machine: kernel } in kernels {
        match (machine, kernel) {
            (Machine::Aarch64, Machine::Arm) => bail!(
                "is for {machine}, and the kernel {release} is 32-bit: take the ARMv6 program, which all kernels run"
            ),
            // what is assumed of the vendor's kernels says nothing of it; they have it
            (Machine::Arm, Machine::Aarch64)
                if !config.is_assumed() && !config.built_in("CONFIG_COMPAT") =>
            {
                bail!(
                    "is for {machine}, and the kernel {release} runs no 32-bit programs (CONFIG_COMPAT)"
                )
            }
            _ => {}
        }
    }
    Ok(machine)
}

/// The public key's file beside a secret key's.
fn public_name(secret: &Path) -> String {
    let stem = secret.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    let fits = !stem.starts_with('.') && stem.bytes().all(plain);
    format!("{}.pub", if fits { &stem } else { "revision" })
}

/// The keys by the names of their files.
fn keys(section: &Bootsel, own: Option<(&str, &str)>) -> Result<BTreeMap<String, Vec<u8>>> {
    let Some(listed) = &section.keys else {
        let own = own.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        return Ok(own.into_iter().collect());
    };
    let mut keys = BTreeMap::new();
    for path in listed {
        let at = || format!("bootsel.keys: {}", path.display());
        let text = fs::read_to_string(path)
            .with_context(|| format!("bootsel.keys: cannot read {}", path.display()))?;
        ensure!(text.len() <= KEY_MAX, "{}: is longer than a public key", at());
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Keys::default().add(&name, &text).with_context(at)?;
        if keys.insert(name.clone(), text.into_bytes()).is_some() {
            bail!("{}: a second {name}; each needs a name of its own", at());
        }
    }
    Ok(keys)
}

/// A device without a key takes no update, and one without the key that signs takes none of ours.
fn check_keys(
    root: &Source,
    keys: &BTreeMap<String, Vec<u8>>,
    own: Option<&str>,
    progress: Progress,
) -> Result<()> {
    let there = walk(&|at| root.kind(at), KEYS).map(|way| root.names(&way.at)).unwrap_or_default();
    let mut there: Vec<_> = there.into_iter().filter(|name| name.ends_with(".pub")).collect();
    there.retain(|name| !keys.contains_key(name));
    ensure!(
        !keys.is_empty() || !there.is_empty(),
        "bootsel.keys: no public key: name one, or the secret one in revision.key; without it a device installs nothing"
    );
    if !there.is_empty() {
        let list = there.join(", ");
        progress.note(&format!("note: the root trusts keys of its own: {list}"));
    }
    let trusted =
        |own: &str| keys.values().any(|text| is_same(own, &String::from_utf8_lossy(text)));
    if own.is_some_and(|own| !keys.is_empty() && !trusted(own)) {
        progress.note("warning: bootsel.keys: the public key of revision.key is not among them");
    }
    Ok(())
}

/// The first line is a comment, the second the key.
fn is_same(one: &str, two: &str) -> bool {
    let key = |text: &str| text.lines().nth(1).map(|line| line.trim().to_owned());
    key(one).is_some() && key(one) == key(two)
}

/// The units with the settings in them, the links that enable them, and the setting of systemd itself.
fn units(section: &Bootsel) -> Vec<(String, New)> {
    let text = include_str!("../../units/50-pivot.conf");
    let mut wanted = vec![(SETTINGS.to_owned(), New::File(text.into(), false))];
    let network = section.health_network.as_ref().unwrap_or(&Network::Off);
    let deadline = section.deadline.clone().unwrap_or_default();
    for Unit { name, text, enabled_in } in ALL {
        let text = with_settings(text, &deadline.to_string(), network);
        wanted.push((format!("{UNITS}/{name}"), New::File(text.into_bytes(), false)));
        let enabled = name != NETWORK || *network != Network::Off;
        if let Some(directory) = enabled_in.filter(|_| enabled) {
            let link = New::Link(format!("../{name}"));
            wanted.push((format!("{UNITS}/{directory}/{name}"), link));
        }
    }
    wanted
}

fn with_settings(text: &str, deadline: &str, network: &Network) -> String {
    let line = |line: &str| match network {
        _ if line.starts_with("OnBootSec=") => format!("OnBootSec={deadline}\n"),
        Network::Peer(peer) if line.starts_with("ExecStart=/usr/sbin/bootsel reachable") => {
            format!("{line} {peer}\n")
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests;
