// SPDX-License-Identifier: MIT OR Apache-2.0
//! `[bootsel]`: what the device updates itself with, laid into the root file system while it is packed.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

use super::Config;
use crate::initramfs::Arch;

/// `[bootsel]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootsel {
    /// The program; the workspace's own build where absent.
    pub program: Option<PathBuf>,
    /// Which build that is; the one that all kernels run where absent.
    pub arch: Option<Arch>,
    /// Public keys; that of `revision.key` where absent.
    pub keys: Option<Vec<PathBuf>>,
    /// Whether systemd is to call the program; it is where absent.
    pub units: Option<bool>,
    /// When an uncommitted trial ends; [`Deadline::default`] where absent.
    pub deadline: Option<Deadline>,
    /// Whether a trial is kept only where the network is there; it is kept without where absent.
    pub health_network: Option<Network>,
}

/// A time after the start of the kernel, in systemd's words: `"90s"`, `"10min"`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Deadline(String);

/// A boot that mends its file systems takes minutes.
const SHORTEST: u64 = 60;
const LONGEST: u64 = 24 * 60 * 60;

impl Default for Deadline {
    fn default() -> Self {
        Self("10min".to_owned())
    }
}

impl TryFrom<String> for Deadline {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (number, unit) = match (text.strip_suffix("min"), text.strip_suffix('s')) {
            (Some(number), _) => (number, 60),
            (_, Some(number)) => (number, 1),
            _ => ("", 0),
        };
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
        match seconds {
            Some(SHORTEST..=LONGEST) if digits => Ok(Self(text)),
            Some(_) if digits => Err(format!("deadline {text:?}: expected 1 minute to 24 hours")),
            _ => Err(format!("deadline {text:?}: expected a number and s or min, as in \"10min\"")),
        }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the network is asked, and what of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "Asked")]
pub enum Network {
    /// No.
    Off,
    /// For a default route.
    Route,
    /// For an answer from `HOST:PORT`, too.
    Peer(String),
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected true, false or \"HOST:PORT\"")]
enum Asked {
    Whether(bool),
    Peer(String),
}

impl TryFrom<Asked> for Network {
    type Error = String;

    fn try_from(asked: Asked) -> Result<Self, String> {
        let peer = match asked {
            Asked::Whether(true) => return Ok(Self::Route),
            Asked::Whether(false) => return Ok(Self::Off),
            Asked::Peer(peer) => peer,
        };
        // nothing that means something to systemd in a line ExecStart=
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        let fits = |host: &str| match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.starts_with('-') && host.bytes().all(plain),
        };
        let port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        match peer.rsplit_once(':') {
            Some((host, number)) if fits(host) && port(number) => Ok(Self::Peer(peer)),
            _ => Err(format!("{peer:?}: expected true, false or \"HOST:PORT\"")),
        }
    }
}

/// What only makes sense together.
pub(super) fn check(config: &Config) -> Result<()> {
    let Some(section) = &config.bootsel else { return Ok(()) };
    match &config.root {
        None => bail!(
            "bootsel: there is no [root] section to put it into: add one, or put bootsel into the root that the \
             command line names"
        ),
        Some(root) if root.squashfs.is_some() => bail!(
            "bootsel: root.squashfs is taken as it is, and nothing can be put into it: give the root as a directory \
             (unsquashfs -d, as root) or as a tar file (sqfs2tar), or put bootsel, its units and keys into it \
             yourself and remove this section"
        ),
        Some(_) => {}
    }
    if section.units == Some(false) {
        let given = [
            ("deadline", section.deadline.is_some()),
            ("health_network", section.health_network.is_some()),
        ];
        if let Some((key, _)) = given.iter().find(|(_, given)| *given) {
            bail!("bootsel.{key}: is a matter of the units, and units = false");
        }
    }
    let listed = section.keys.iter().flatten();
    for key in listed {
        let name = key.file_name().unwrap_or_default().to_string_lossy();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        ensure!(
            name.ends_with(".pub") && !name.starts_with('.') && name.bytes().all(plain),
            "bootsel.keys: {}: expected a file NAME.pub of letters, digits, '.', '_', '+' and '-'",
            key.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found: Result<Bootsel, _> = toml::from_str(text);
        match found {
            Ok(section) => {
                let (deadline, network) = (section.deadline, section.health_network);
                let deadline = deadline.map(|time| time.to_string());
                assert_eq!(format!("{:?}", (deadline, network)), expected, "{text}");
            }
            Err(error) => {
                assert!(!expected.is_empty() && error.message().contains(expected), "{error}");
            }
        }
    }

    #[test]
    fn deadlines() {
        check("", "(None, None)");
        check("deadline = \"10min\"", "(Some(\"10min\"), None)");
        check("deadline = \"90s\"", "(Some(\"90s\"), None)");
        for bad in ["10", "", "min", "1h", "+90s", "1.5min", "10 min", "90s\\nx"] {
            check(&format!("deadline = \"{bad}\""), "expected a number and s or min");
        }
        for far in ["59s", "0min", "1441min", "86401s"] {
            check(&format!("deadline = \"{far}\""), "expected 1 minute to 24 hours");
        }
        check("deadline = 90", "expected a string");
    }

    #[test]
    fn networks() {
        check("health_network = true", "(None, Some(Route))");
        check("health_network = false", "(None, Some(Off))");
        for peer in ["example.com:443", "192.0.2.1:80", "[2001:db8::1]:443"] {
            let expected = format!("(None, Some(Peer({peer:?})))");
            check(&format!("health_network = {peer:?}"), &expected);
        }
        let bad = ["example.com", "example.com:0", "example.com:65536", ":443", "a b:1", "%h:1"];
        for peer in bad.iter().chain(&["-x:1", "2001:db8::1:443", "[::1:443", "$HOME:1"]) {
            check(&format!("health_network = {peer:?}"), "expected true, false or");
        }
        check("health_network = 1", "expected true, false or");
    }

    #[test]
    fn unknown_words() {
        check("arch = \"arm64\"", "unknown variant `arm64`");
        check("key = \"x\"", "unknown field `key`");
    }
}
