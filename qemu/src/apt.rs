// SPDX-License-Identifier: MIT OR Apache-2.0
//! An apt configuration of our own: the mirror that the machine is set up with, other suites of it. Nothing of the
//! machine's own configuration is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::{progress, tool};

/// Signs the Release files; package debian-archive-keyring, which every Debian has.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What the guests are made of, on every host: Debian 12 with the kernel of its backports.
pub(crate) const GUEST: &str = "bookworm";
/// Its raspi-firmware is the first of Debian that knows `tryboot_a_b`.
pub(crate) const FIRMWARE: &str = "trixie";
/// How long package lists are good for: kernels of backports change every few weeks.
const FRESH: Duration = Duration::from_hours(12);
/// The file whose age is theirs.
const UPDATED: &str = "updated";

/// The mirrors that the machine's own apt uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    pub(crate) main: String,
    pub(crate) security: Option<String>,
}

impl Mirrors {
    /// Asks apt, which reads every format of its sources.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";
        let mut query = tool::command("apt-get");
        query.args(["indextargets", "--format", format, "Created-By: Packages"]);
        let listing = tool::run(&mut query)?;
        Self::choose(&listing)
            .context("apt's sources name no Debian mirror (a suite of Debian with its -updates)")
    }

    /// Of several candidates the one that has the most signs of being Debian's archive.
    fn choose(listing: &str) -> Option<Self> {
        let rows: Vec<Vec<&str>> =
            listing.lines().map(|line| line.split_whitespace().collect()).collect();
        let field = |row: &[&str], i: usize| row.get(i).copied().unwrap_or_default().to_owned();
        let main = rows.iter().filter(|row| field(row, 2) == "main");
        let score = |row: &&Vec<&str>| {
            let (uri, release) = (field(row, 0), field(row, 1));
            let twin = format!("{release}-updates");
            let updates = rows.iter().any(|r| field(r, 0) == uri && field(r, 1) == twin);
            let path = uri.trim_end_matches('/').ends_with("/debian");
            u8::from(updates) * 2 + u8::from(path) + u8::from(field(row, 3) == "Debian")
        };
        let best = main.clone().filter(|row| score(row) >= 2).max_by_key(score)?;
        let security = main.into_iter().find(|row| field(row, 1).ends_with("-security"));
        Some(Self { main: field(best, 0), security: security.map(|row| field(row, 0)) })
    }
}

/// Said where a mirror does not have all lists.
pub(crate) const PARTLY: &str = "package lists: going on with those that could be had";

/// A package as the signed lists describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    pub(crate) sha256: String,
    pub(crate) depends: String,
    /// What `apt-get download` calls the file.
    pub(crate) file: String,
}

/// apt with a configuration in a directory of ours.
#[derive(Debug)]
pub(crate) struct Apt {
    directory: PathBuf,
}

impl Apt {
    /// For packages of the guests: `main` of Debian 12 and its backports, and the Raspberry Pi's firmware.
    pub(crate) fn for_guests(directory: &Path, mirrors: &Mirrors) -> Result<Self> {
        let suites = format!("{GUEST} {GUEST}-updates {GUEST}-backports");
        let main = source(&mirrors.main, &suites, "main", "Architectures: arm64 armhf armel\n");
        // Packages for all architectures are listed with those of each.
        let firmware =
            source(&mirrors.main, FIRMWARE, "non-free-firmware", "Architectures: arm64\n");
        Self::write(directory, &(main + &firmware), "")
    }

    /// For packages of this machine: its own suites, and backports for QEMU alone where Debian is older than 13.
    pub(crate) fn for_host(directory: &Path, mirrors: &Mirrors, codename: &str) -> Result<Self> {
        let mut suites = format!("{codename} {codename}-updates");
        let mut preferences = String::new();
        if codename == "bookworm" {
            suites.push_str(" bookworm-backports");
            preferences.push_str(
                "Package: qemu-*\nPin: release n=bookworm-backports\nPin-Priority: 990\n",
            );
        }
        // Of other architectures nothing is installed here, and each list more is one more that a mirror can have wrong.
        let native = format!("Architectures: {}\n", native()?);
        let mut sources = source(&mirrors.main, &suites, "main", &native);
        if let Some(security) = &mirrors.security {
            // Debian's libraries of a stable release may come from there; a -dev package must fit them.
            sources.push_str(&source(security, &format!("{codename}-security"), "main", &native));
        }
        Self::write(directory, &sources, &preferences)
    }

    fn write(directory: &Path, sources: &str, preferences: &str) -> Result<Self> {
        let cannot = || format!("cannot write apt's configuration in {}", directory.display());
        for inner in ["lists/partial", "cache/archives/partial", "sources.list.d"] {
            fs::create_dir_all(directory.join(inner)).with_context(cannot)?;
        }
        let here = directory.display();
        let native = native()?;
        let configuration = format!(
            "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{here}/sources.list.d\";\n\
             Dir::Etc::preferences \"{here}/preferences\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::State::lists \"{here}/lists\";\nDir::Cache \"{here}/cache\";\n\
             APT::Architectures {{ \"{native}\"; \"arm64\"; \"armhf\"; \"armel\"; }};\nAcquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             APT::Sandbox::User \"root\";\n"
        );
        let list = directory.join("sources.list.d/debian.sources");
        if fs::read_to_string(&list).is_ok_and(|old| old != sources) {
            // Lists of other sources are not fresh, however young they are.
            match fs::remove_file(directory.join(UPDATED)) {
                Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                    return Err(why).with_context(cannot);
                }
                _ => {}
            }
        }
        fs::write(list, sources).with_context(cannot)?;
        fs::write(directory.join("preferences"), preferences).with_context(cannot)?;
        fs::write(directory.join("apt.conf"), configuration).with_context(cannot)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// `apt-get` or `apt-cache` with this configuration.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = tool::command(name);
        command.arg("-c").arg(self.configuration());
        command
    }

    /// The file for apt's `-c`.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.join("apt.conf")
    }

    /// Gets the package lists, unless they are fresh.
    pub(crate) fn update(&self) -> Result<()> {
        let stamp = self.directory.join(UPDATED);
        let age = fs::metadata(&stamp)
            .and_then(|found| found.modified())
            .map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        if age.is_ok_and(|age| age < FRESH) {
            return Ok(());
        }
        let mut update = self.command("apt-get");
        update.args(["-o", "Acquire::Retries=3", "update"]);
        if let Err(why) = progress::step("package lists", || tool::run(&mut update)) {
            // A mirror that is just being filled has some lists that do not fit their signatures: apt leaves those out.
            // What cannot be had because of it is named where it is asked for, and the next run asks anew.
            progress::note(&format!("{PARTLY}: {}", tool::tail(&format!("{why:#}"), 4)));
            return Ok(());
        }
        fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))
    }

    /// What the lists say of `name:architecture` in a suite.
    pub(crate) fn show(&self, name: &str, architecture: &str, suite: &str) -> Result<Package> {
        let wanted = format!("{name}:{architecture}/{suite}");
        let mut query = self.command("apt-cache");
        let text = tool::run(query.args(["show", "--no-all-versions", &wanted]))?;
        parse(&text).with_context(|| format!("apt knows nothing of {wanted}"))
    }

    /// Puts the package's file into `directory`, whole or not at all. apt checks it against the signed lists, we check
    /// it once more.
    pub(crate) fn download(&self, package: &Package, directory: &Path) -> Result<PathBuf> {
        let temporary = tempfile::tempdir_in(directory)
            .with_context(|| format!("cannot write into {}", directory.display()))?;
        let wanted = format!("{}:{}={}", package.name, package.architecture, package.version);
        progress::step(&format!("download {wanted}"), || {
            let mut download = self.command("apt-get");
            tool::run(download.current_dir(temporary.path()).args(["download", &wanted]))
        })?;
        let (from, to) = (temporary.path().join(&package.file), directory.join(&package.file));
        let sum = tool::sha256(&from)?;
        ensure!(
            sum == package.sha256,
            "{wanted} has sha256 {sum}, the lists say {}",
            package.sha256
        );
        fs::rename(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
        Ok(to)
    }
}

/// This machine's architecture, as Debian calls it.
fn native() -> Result<String> {
    let native = tool::run(tool::command("dpkg").arg("--print-architecture"))?;
    Ok(native.trim().to_owned())
}

/// A paragraph of sources.list(5); `more` are whole lines.
fn source(uri: &str, suites: &str, components: &str, more: &str) -> String {
    format!(
        "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {components}\n{more}Signed-By: {KEYRING}\n\n"
    )
}

fn parse(text: &str) -> Option<Package> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
    };
    let (name, version) = (field("Package")?, field("Version")?);
    let architecture = field("Architecture")?;
    let file = format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a"));
    let depends = field("Depends").unwrap_or_default();
    Some(Package { name, version, architecture, sha256: field("SHA256")?, depends, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listing: &str, expected: Option<(&str, Option<&str>)>) {
        let expected = expected.map(|(main, security)| Mirrors {
            main: main.into(),
            security: security.map(str::to_owned),
        });
        assert_eq!(Mirrors::choose(listing), expected);
    }

    #[test]
    fn the_mirror_is_found_among_other_sources() {
        let debian = "http://m/debian/ bookworm main Debian\nhttp://m/debian/ bookworm-updates main Debian\n\
                      http://m/debian-security/ bookworm-security main Debian\n";
        check(debian, Some(("http://m/debian/", Some("http://m/debian-security/"))));
        let others = "https://x/apt/ bookworm main X\nhttps://y/node/ nodistro main Y\n";
        check(
            &format!("{others}{debian}"),
            Some(("http://m/debian/", Some("http://m/debian-security/"))),
        );
        check(others, None);
        check("", None);
    }

    #[test]
    fn before_the_first_update_there_is_no_origin() {
        let listing =
            "http://m/pub/debian/ stable main\nhttp://m/pub/debian/ stable-updates main\n";
        check(listing, Some(("http://m/pub/debian/", None)));
        check(
            "http://m/other/ trixie main\nhttp://m/other/ trixie-updates main",
            Some(("http://m/other/", None)),
        );
    }

    #[test]
    fn a_package_and_its_file() {
        let text =
            "Package: busybox-static\nVersion: 1:1.35.0-4+b1\nArchitecture: arm64\nSHA256: ab\n";
        let package = parse(text).unwrap();
        assert_eq!(package.file, "busybox-static_1%3a1.35.0-4+b1_arm64.deb");
        assert_eq!(package.depends, "");
        assert_eq!(parse("Package: x\n"), None);
    }
}
